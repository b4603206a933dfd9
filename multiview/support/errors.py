"""The one error class for mistakes a user can mend, and how the commands show it."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable


class InputError(Exception):
    """Bad input: the message says what was expected, what was found and what to do."""


def first_line(error: Exception) -> str:
    """What an error of a library says, without the lines that follow, and not without end."""
    return str(error).strip().split("\n")[0][:500]


def exit_status(program: str, command: Callable[[], int | None]) -> int:
    """Run `command`; turn a user's mistake into one line on stderr and status 1.

    Parameters
    ----------
    program : str
        Name that starts the line.
    command : callable
        Returns an exit status, or None for 0.

    Returns
    -------
    int
        0 on success, 1 on failure, 130 when interrupted.
    """
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        return command() or 0
    except InputError as error:
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
    except ModuleNotFoundError as error:  # where only what `predict` needs is installed
        print(f"{program}: error: expected the package {error.name}, found none; say pip install .", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        full = _is_full_disk(error)
        if not (full or isinstance(error, OSError)):
            raise
        advice = "; free some disk space and repeat the command, nothing finished is lost" if full else ""
        print(f"{program}: error: {' '.join(str(error).split())}{advice}", file=sys.stderr)
    return 1


def _is_full_disk(error: Exception) -> bool:
    """Whether it came of that, as is, through HDF5, which has the number in its text, or TensorFlow, the words."""
    return any(
        getattr(error, "errno", None) == number
        or f"errno = {number}" in str(error)
        or os.strerror(number) in str(error)
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    )

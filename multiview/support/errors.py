"""The one error class for mistakes a user can mend, and how the commands show it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator

# What says that there is too little memory: NumPy, TensorFlow, JAX.
_NO_MEMORY = ("Unable to allocate", "OOM when allocating", "RESOURCE_EXHAUSTED")
_MEMORY = (
    "memory for what is computed",
    "run less beside it or, as another run, with a smaller --batch-size or with --gradient-checkpointing,",
)
# What disks, and memory, say; what was expected of them, and what to do.
_SHORTAGES = {
    os.strerror(errno.ENOSPC): (
        "room on the disk",
        "free some disk space, or delete some files where df -i shows no inodes left,",
    ),
    os.strerror(errno.EDQUOT): ("room within the quota", "delete what is not needed, or have the quota raised,"),
    os.strerror(errno.EFBIG): (
        "files of any size",
        "raise their limit (ulimit -f), or name a disk that takes larger ones,",
    ),
    os.strerror(errno.EROFS): ("a disk to write to", "make it writable, or name another place,"),
    "No usable temporary directory": ("room for temporary files", "free some, or name a folder with room in TMPDIR,"),
    **dict.fromkeys(_NO_MEMORY, _MEMORY),
}


class InputError(Exception):
    """Bad input: the message says what was expected, what was found and what to do."""

    status = 1  # of a command that ends with it


class UsageError(InputError):
    """Wrong use, whatever the input: a value that an option never takes, or an option that is missing."""

    status = 2


def other_backend(found: str) -> InputError:
    """What to raise where Keras has a backend that this package cannot use."""
    return InputError(
        f"expected Keras's backend tensorflow or jax, found {found}; set KERAS_BACKEND or ~/.keras/keras.json"
    )


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """What is refused here is wrong use."""
    try:
        yield
    except InputError as error:
        raise UsageError(str(error)) from error


def first_line(error: Exception) -> str:
    """What an error of a library says, without the lines that follow, and not without end."""
    return str(error).strip().split("\n")[0][:500]


def exit_status(program: str, command: Callable[[], int | None]) -> int:
    """Run `command`; turn a user's mistake into one line on stderr and a status.

    Parameters
    ----------
    program : str
        Name that starts the line.
    command : callable
        Returns an exit status, or None for 0.

    Returns
    -------
    int
        0 on success, 1 on failure, 2 for a `UsageError`, 130 when interrupted.
    """
    if sys.stderr is None:  # closed; what is printed there would go among the answers
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for the rest of the process
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        status = command() or 0
        if sys.stdout:
            sys.stdout.flush()  # not at the exit, where nobody could say in a line that there is no room for it
        return status
    except InputError as error:
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.status
    except ModuleNotFoundError as error:  # where only what `predict` needs is installed
        print(f"{program}: error: {_missing(error.name)}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads the output has seen enough
        pass
    except Exception as error:
        line = _line(error)
        if line is None:
            raise
        print(f"{program}: error: {line}", file=sys.stderr)
    finally:
        _drop_unwritten()
    return 1


def _missing(package: str | None) -> str:
    """What to say where a package is not installed."""
    if package in ("torch", "openvino"):  # which Keras is told to use
        return str(other_backend(package))
    wanted = "'.[jax]'" if package in ("jax", "jaxlib") else "."
    return f"expected the package {package}, found none; say pip install {wanted}"


def _line(error: Exception) -> str | None:
    """What to say of the system's errors, which also come through libraries; None for any other."""
    # HDF5 has the number in its text, TensorFlow the words, and where it was in brackets.
    numbers = [getattr(error, "errno", None), *map(int, re.findall(r"errno = (\d+)", str(error)))]
    found = " ".join(re.sub(r"\{\{.*?\}\}|\[Op:\w+\]", "", str(error)).split())
    said = " ".join([found, *(os.strerror(number) for number in numbers if number)])
    for words, (expected, advice) in _SHORTAGES.items():
        if words in said:
            if expected == _MEMORY[0]:
                found = found[found.index(words) :][:200]  # TensorFlow says before which lines of code led there
            return f"expected {expected}, found {found}; {advice} and repeat the command, nothing finished is lost"
    return found if isinstance(error, OSError) else None


def _drop_unwritten() -> None:
    """Leave nothing for the interpreter to write at its exit that cannot be written; it would complain at length."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

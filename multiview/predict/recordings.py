"""The sounds that a user names on the command line: files, folders, standard input and pipes."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from multiview.audio import look_into
from multiview.support.errors import InputError

Recordings = Sequence[tuple[str, Path]]  # how the user named it, and where it is


@contextlib.contextmanager
def recordings(arguments: Sequence[str]) -> Iterator[Recordings]:
    """The sounds that the user named: files, those in folders, and standard input as `-`.

    What cannot be read is among them, folders and sub-folders, too: who reads it says why. At the end, what lies in the
    folders and is no sound is named on standard error.

    Raises
    ------
    InputError
        If standard input is named and closed.
    """
    found: list[tuple[str, Path]] = []
    unused: list[str] = []
    with contextlib.ExitStack() as stack:

        def spooled(source: BinaryIO) -> Path:
            # Formats are told by looking around in a file, which a pipe does not allow.
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="multiview-"))
            shutil.copyfileobj(source, file)
            file.flush()
            return Path(file.name)

        for argument in dict.fromkeys(arguments):
            if argument == "-":
                if sys.stdin is None:
                    raise InputError("expected a sound on standard input, found it closed")
                found.append(("-", spooled(sys.stdin.buffer)))
            elif os.path.isdir(argument):
                sounds, others = _in_folder(Path(argument))
                found += [(str(each), each) for each in sounds]
                unused += [f"{argument}: {line}" for line in others]
            elif _is_nameless_pipe(argument):
                with open(argument, "rb") as source:
                    found.append((argument, spooled(source)))
            else:
                found.append((argument, Path(argument)))
        yield found
    for line in unused:
        print(line, file=sys.stderr)


def _in_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """The sound files below a folder and the folders that cannot be read, itself where there is neither; and on others.

    What is in it and no sound is in lines for the user.
    """
    inside = look_into(folder)
    return sorted([*inside.sounds, *inside.closed]) or [folder], inside.unused(folder)


def _is_nameless_pipe(path: str) -> bool:
    """Whether it is what a shell passes for `<(command)`. A pipe with a name may have nobody who writes to it."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode) and not os.path.exists(os.path.realpath(path))
    except (OSError, ValueError):
        return False

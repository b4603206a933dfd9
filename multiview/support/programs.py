"""The project's commands, as other processes: how the library hands over to the scripts that it knows nothing of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from multiview.support import plugins
from multiview.support.errors import InputError

MARK = ": error: "  # in the line of a command that refuses or fails


def command(name: str, words: Sequence[str]) -> list[str]:
    """The command `name` of this installation with these words, and with the plugins that are loaded here.

    Raises
    ------
    InputError
        If it is not installed.
    """
    return [script(name), *words, *(text for plugin in plugins.given() for text in ("--plugin", plugin))]


def script(name: str) -> str:
    """The absolute path of a command of this installation: in an environment, of the system, or of a user.

    Raises
    ------
    InputError
        If it is not installed.
    """
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    places = [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), user, os.environ.get("PATH", os.defpath)]
    if not (found := shutil.which(name, path=os.pathsep.join(places))):
        raise InputError(f"expected the command {name} beside {sys.executable}, found none; say pip install .")
    return os.path.abspath(found)


def called(name: str, words: Sequence[str]) -> None:
    """Run a command, and say on standard error what it says there; its refusals are ours.

    Raises
    ------
    InputError
        With the line of the command, where it ends with another status than 0.
    """
    said = ""
    # Read here, as notebooks show what Python writes, not what other processes do.
    with subprocess.Popen(command(name, words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr
        while part := process.stderr.read1():  # type: ignore[attr-defined]
            text = part.decode(errors="replace")
            said = (said + text)[-10_000:]
            sys.stderr.write(text)
            sys.stderr.flush()
    if process.returncode:
        lines = [line for line in said.splitlines() if line.strip()] or [f"{name} ended with {process.returncode}"]
        refusals = [line.partition(MARK)[2] for line in lines if MARK in line]
        raise InputError((refusals or lines)[-1])

"""Command lines: argparse, whose refusals are one line."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Without the usage before what is wrong, which `--help` has; options are named in full.

    Plugins and programs that pass options on look for the whole word.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords | {"allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with status 2."""
        print(f"{self.prog}: error: {' '.join(message.split())} ({self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

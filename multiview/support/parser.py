"""Command lines: argparse, whose refusals are one line."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Without the usage before what is wrong; `--help` has it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with status 2."""
        print(f"{self.prog}: error: {' '.join(message.split())} ({self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

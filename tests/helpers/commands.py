"""Commands in this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from multiview import cli


def run(*arguments: object) -> int:
    """Exit status of `multiview` with these words."""
    return cli.main([str(argument) for argument in arguments])


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user who may not read everything; tests may run as root, who may."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)

"""Commands in this process."""

from __future__ import annotations

from multiview import cli


def run(*arguments: object) -> int:
    """Exit status of `multiview` with these words."""
    return cli.main([str(argument) for argument in arguments])

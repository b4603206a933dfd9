"""Words that messages share."""

from __future__ import annotations

from collections.abc import Sequence

LISTED = 20  # names in a line, at most


def listed(names: Sequence[object], most: int = LISTED) -> str:
    """Names in a line, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + rest


def counted(number: int, one: str, many: str = "") -> str:
    """`1 clip`, `2 clips`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"

"""Words that messages share."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

LISTED = 20  # names in a line, at most
_SHORT = reprlib.Repr()
_SHORT.maxstring = 100


def listed(names: Sequence[object], most: int = LISTED) -> str:
    """Names in a line, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + rest


def shown(found: str) -> str:
    """What was found in a file, quoted, on one line and not too long."""
    return _SHORT.repr(found)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 clip`, `2 clips`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def spoken(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"

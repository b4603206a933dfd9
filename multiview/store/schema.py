"""What a store says of its clips and of its dataset."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

FORMAT_VERSION = 1
SPLITS = ("development", "evaluation")
COLUMNS = {"id": str, "label": np.int64, "fold": np.int64, "split": str, "source": str, "samples": np.int64}


@dataclass(frozen=True)
class Clip:
    """One row of a store's table of clips.

    `fold` is 1-based, 0 where there is none; `split` is `development` or `evaluation`; clips that
    share `source` must stay on one side of a split; `samples` is the length before any padding.
    """

    id: str
    label: int
    fold: int
    split: str
    source: str
    samples: int


@dataclass(frozen=True)
class About:
    """What travels with a dataset's features, so that nothing later has to know the dataset.

    Parameters
    ----------
    label : str
        How people read its name.
    epochs : int
        E of Sec. 3.1.3.
    validation_sources : int or float
        Sources of each class drawn for validation: a number, or a share of those there are.
    page, licence : str
        Where it is published, and on what terms; empty where that is not known.
    non_commercial : bool
        Whether the terms forbid commercial use.
    synthesised : bool
        Whether the sounds are of no use outside of this project.
    """

    label: str = ""
    epochs: int = 1500
    validation_sources: int | float = 0.1
    page: str = ""
    licence: str = ""
    non_commercial: bool = False
    synthesised: bool = False

    @classmethod
    def of_record(cls, found: Any) -> About:
        """What was recorded; fields that are younger with their defaults.

        Raises
        ------
        ValueError
            If it is something else.
        """
        if not isinstance(found, dict):
            raise ValueError(f"expected about as an object, found {str(found)[:80]!r}")
        known = {field.name: field.default for field in fields(cls)}
        for name, default in known.items():
            value = found.get(name, default)
            number = isinstance(default, int | float) and not isinstance(default, bool)
            kind: Any = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(value, kind) or (number and (isinstance(value, bool) or not 0 < value < 2**31)):
                raise ValueError(f"expected about with {name} like {default!r}, found {str(value)[:80]!r}")
        return cls(**{name: found[name] for name in known if name in found})


# Of stores that were made before their datasets' protocol travelled with them.
BEFORE = {
    "esc50": About("ESC-50", epochs=3000, validation_sources=2),
    "esc10": About("ESC-10", epochs=3000, validation_sources=2),
    "demo": About("demo", validation_sources=4, synthesised=True),
}

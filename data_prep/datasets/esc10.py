"""ESC-10: the 400 clips and 10 classes of ESC-50 that are marked `esc10`, same folds. CC BY 3.0.

Takes a folder of ESC-10 alone or of all ESC-50, in ESC-50's layout.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data_prep.datasets import esc
from data_prep.datasets.base import DATASETS, Dataset, Index
from multiview.support.errors import InputError


def index(audio: Path | None) -> Index:
    """The clips of ESC-10 below `audio`."""
    root, rows = esc.only(esc.find_tables(audio), "ESC-10 or ESC-50")
    marked = esc.in_esc10(rows)
    if not marked.any():
        raise InputError(f"{root}: expected rows with esc10 = True in meta/esc50.csv, found none")
    return esc.make_index(root, rows[marked], published=400)


DATASETS.register(
    Dataset(
        name="esc10",
        label="ESC-10",
        summary="400 clips of 5 s in 10 classes of environmental sound, a part of ESC-50 with its 5 official folds.",
        sample_rate=44100,
        index=index,
        source=replace(
            esc.SOURCE,
            licence="Creative Commons BY 3.0 (its archive, ESC-50 as a whole: BY-NC 3.0)",
            non_commercial=False,
        ),
        epochs=3000,
        validation_sources=2,
    )
)

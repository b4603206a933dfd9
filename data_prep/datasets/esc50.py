"""ESC-50: 2,000 clips of 5 s, 50 classes of environmental sound, 5 official folds. CC BY-NC 3.0."""

from __future__ import annotations

from pathlib import Path

from data_prep.datasets import esc
from data_prep.datasets.base import DATASETS, Dataset, Index


def index(audio: Path | None) -> Index:
    """All clips of ESC-50 below `audio`."""
    tables = {root: rows for root, rows in esc.find_tables(audio).items() if not esc.in_esc10(rows).all()}
    return esc.make_index(*esc.only(tables, "ESC-50"), published=2000)


DATASETS.register(
    Dataset(
        name="esc50",
        label="ESC-50",
        summary="2,000 clips of 5 s in 50 classes of environmental sound, 5 official folds.",
        sample_rate=44100,
        index=index,
        source=esc.SOURCE,
        epochs=3000,
        validation_sources=2,
        paper=True,
    )
)

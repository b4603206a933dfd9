"""ESC-50: 2,000 clips of 5 s, 50 classes of environmental sound, 5 official folds.

Expects `meta/esc50.csv` and `audio/` as in the official archive, or that folder's parent. K. J.
Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015. CC BY-NC 3.0.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data_prep.datasets.base import ClipFile, Index, require_folder
from multiview.errors import InputError

SAMPLE_RATE = 44100
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file")


def read_table(audio: Path | None) -> tuple[Path, pd.DataFrame]:
    """Folder of the sound files, and the rows of `meta/esc50.csv` in its order.

    Raises
    ------
    InputError
        If the folder or the table is missing, or the table lacks columns or rows.
    """
    root = require_folder(audio)
    tables = [root / "meta" / "esc50.csv", *sorted(root.glob("*/meta/esc50.csv"))]
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        raise InputError(f"expected {tables[0]} as in the ESC-50 archive, found no such file; check --audio")
    try:
        rows = pd.read_csv(table, dtype={"src_file": str, "filename": str, "category": str})
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{table} is not a CSV table ({error}); take the official esc50.csv") from error
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise InputError(
            f"{table}: expected the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}; "
            "take the official esc50.csv"
        )
    if rows.empty:
        raise InputError(f"{table} lists no clips; take the official esc50.csv")
    fold = pd.to_numeric(rows["fold"], "coerce")
    bad = rows[rows[list(COLUMNS)].isna().any(axis=1) | ~(fold.between(1, 1000) & (fold % 1 == 0))]
    if len(bad):
        raise InputError(f"{table}: row {bad.index[0] + 2} has an empty cell or a fold that is no whole number from 1")
    return table.parent.parent / "audio", rows


def make_index(folder: Path, rows: pd.DataFrame) -> Index:
    """Clips of the given rows; classes are ordered by ESC-50's targets and numbered from 0."""
    classes = rows.sort_values("target")["category"].unique().tolist()
    clips = [
        ClipFile(
            path=folder / row.filename,
            id=row.filename,
            label=classes.index(row.category),
            source=row.src_file,
            fold=int(row.fold),
        )
        for row in rows.itertuples()
    ]
    return Index(classes, clips)


def index(audio: Path | None) -> Index:
    """All clips of ESC-50 below `audio`."""
    return make_index(*read_table(audio))

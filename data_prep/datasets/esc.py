"""The layout that ESC-50 and ESC-10 share: `meta/esc50.csv` and `audio/` as in the official archive, or a folder above.

K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data_prep.datasets.base import Archive, ClipFile, Index, Source
from data_prep.datasets.finding import SoundFiles, entry, find_folders, require_folder
from data_prep.datasets.tables import read_table, whole_numbers
from multiview.support.errors import InputError

COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file")
SOURCE = Source(
    page="https://github.com/karoldvl/ESC-50",
    licence="Creative Commons BY-NC 3.0: not for commercial use; ESC-10 alone: CC BY 3.0",
    non_commercial=True,
    archives=(
        Archive(
            "https://github.com/karoldvl/ESC-50/archive/master.zip", "7771e4b9d86d0945acce719c7a59305a", 645_695_005
        ),
    ),
    files=2500,
)


def _table(folder: Path) -> Path | None:
    meta = entry(folder, "meta")
    return entry(meta, "esc50.csv") if meta else None


def find_tables(audio: Path | None) -> dict[Path, pd.DataFrame]:
    """The rows of `meta/esc50.csv`, in its order, by the root folder of each copy of the dataset.

    Raises
    ------
    InputError
        If the folder or the table is missing, or a table lacks columns or rows.
    """
    audio = require_folder(audio)
    roots = find_folders(audio, _table)
    if not roots:
        raise InputError(
            f"expected {audio / 'meta' / 'esc50.csv'} as in the ESC-50 archive, found no such file; check --audio"
        )
    return {root: _read(table) for root in roots if (table := _table(root))}


def only(tables: dict[Path, pd.DataFrame], dataset: str) -> tuple[Path, pd.DataFrame]:
    """The one copy of the dataset.

    Raises
    ------
    InputError
        If there is none, or several.
    """
    if len(tables) != 1:
        found = " and ".join(map(str, tables)) or "none"
        raise InputError(f"expected one copy of {dataset}, found {found}; check --audio")
    ((root, rows),) = tables.items()
    return root, rows


def in_esc10(rows: pd.DataFrame) -> pd.Series:
    """Which rows are marked as part of ESC-10."""
    return rows["esc10"].str.lower() == "true"


def _read(table: Path) -> pd.DataFrame:
    rows = read_table(table, "a CSV table", "take the official esc50.csv")
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise InputError(
            f"{table}: expected the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}; "
            "take the official esc50.csv"
        )
    if rows.empty:
        raise InputError(f"{table} lists no clips; take the official esc50.csv")
    numbers = {"fold": whole_numbers(rows["fold"], 1, 1000), "target": whole_numbers(rows["target"], 0, 10**6)}
    bad = rows[(rows[list(COLUMNS)] == "").any(axis=1) | pd.DataFrame(numbers).isna().any(axis=1)]
    if len(bad):
        raise InputError(
            f"{table}: line {bad.index[0]} has an empty cell, or a fold that is no whole number from 1, or a target "
            "that is none from 0; take the official esc50.csv"
        )
    return rows.assign(**{name: column.astype(int) for name, column in numbers.items()})


def make_index(root: Path, rows: pd.DataFrame, published: int) -> Index:
    """Clips of the given rows; classes are ordered by ESC-50's targets and numbered from 0.

    The official folds divide four recordings, each of which holds two classes: the parts count as
    sources of their own.
    """
    divided = rows.groupby("src_file")["fold"].transform("nunique") > 1
    rows = rows.assign(source=rows["src_file"].where(~divided, rows["src_file"] + "-fold" + rows["fold"].astype(str)))
    classes = rows.sort_values("target")["category"].unique().tolist()
    files = SoundFiles(entry(root, "audio") or root / "audio")
    clips = [
        ClipFile(
            path=path,
            id=path.name,
            label=classes.index(row.category),
            source=row.source,
            fold=int(row.fold),
        )
        for row in rows.itertuples()
        for path in [files.find(row.filename)]
    ]
    return Index(classes, clips, published)

"""Anyone's own sounds, in any format: one sub-folder a class, or a table.

A table is a CSV file with the columns `path` and `label`, and optionally `fold` (1, 2, ...), `split`
(`development` or `evaluation`) and `source` (clips that share one stay on one side of a split). Folds
that it does not give are drawn once, stratified and with a seed, and stored.
"""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep.datasets.base import DATASETS, ClipFile, Dataset, Index, Option, seed_option
from data_prep.datasets.finding import children, require_folder, stratified_folds
from data_prep.datasets.tables import read_table, whole_numbers
from multiview.audio import is_hidden, not_used, sort_out, walk
from multiview.options import at_least
from multiview.support.errors import InputError
from multiview.support.words import counted, listed, shown

FOLDS = 5
DRAWS = 100
MAX_FOLD = 1000
SPLITS = ("development", "evaluation")


def _sub_folders(root: Path) -> tuple[pd.DataFrame, list[str], list[Path]]:
    """Rows of `path` and `label`, which is the sub-folder, of the sounds below `root`.

    With lines on what is not used, and the folders that cannot be read. A sub-folder may be a link.
    """
    beside = children(root)
    walked = [walk(child) if os.path.isdir(child) else ([child], []) for child in beside]
    below = sort_out(chain(*(files for files, _ in walked)), root, chain(*(closed for _, closed in walked)))
    paths = [path.relative_to(root) for path in below.sounds]
    rows = [(path.as_posix(), path.parts[0]) for path in paths if len(path.parts) > 1]
    labels = sorted({label for _, label in rows})
    notes = below.unused(root)
    if outside := [path for path in below.sounds if path.parent == root]:
        notes.insert(0, not_used("as in no sub-folder", outside, root))
    folders = [each for each in beside if os.path.isdir(each) and each not in below.closed and not is_hidden(each.name)]
    if empty := [each.name for each in folders if each.name not in labels]:
        notes.insert(0, f"not used, as without a sound: {counted(len(empty), 'sub-folder')}: {listed(empty)}")
    shut = ""
    if below.closed:
        names = listed([path.relative_to(root).as_posix() for path in below.closed])
        shut = f"{counted(len(below.closed), 'folder')} that cannot be read: {names}"
        notes.insert(0, f"not used: {shut}")
    if len(labels) < 2:
        raise InputError(
            f"expected at least two sub-folders with sound files in {root}, one a class; "
            f"found {len(labels)}{f', and {shut}' if shut else ''}; check --audio, or give a table with --csv"
        )
    return pd.DataFrame(rows, columns=["path", "label"]), notes, below.closed


def _beside(csv: Path, root: Path, listed_paths: pd.Series) -> list[str]:
    """What lies beside the clips of a table and is not used."""
    clips = {root / path for path in listed_paths}
    files = [path for folder in {clip.parent for clip in clips} for path in children(folder)]
    # A path of the table may lead out of the root.
    above = Path(os.path.commonpath([os.path.abspath(path.parent) for path in clips]))
    rest = {Path(os.path.abspath(path)) for path in files} - {Path(os.path.abspath(path)) for path in (*clips, csv)}
    beside = sort_out(rest, above)
    return [
        *([not_used("as not in the table", beside.sounds, above)] if beside.sounds else []),
        *beside.unused(above),
    ]


def _table(csv: Path) -> pd.DataFrame:
    """Rows of a user's table, every cell checked."""
    rows = read_table(csv, "a CSV table", "save it as one, and check --csv")
    missing = [column for column in ("path", "label") if column not in rows]
    if missing:
        raise InputError(
            f"{csv}: expected a first line with path,label and optionally fold,source,split; "
            f"found {shown(','.join(rows.columns))}; add {' and '.join(missing)}"
        )
    # One file, one name; spreadsheets write paths of Windows.
    rows["path"] = rows["path"].str.replace("\\", "/").map(os.path.normpath, na_action="ignore")
    if "split" in rows:
        rows["split"] = rows["split"].str.lower()
    known = rows.columns.intersection(["path", "label", "source", "split", "fold"])
    folds = whole_numbers(rows["fold"], 1, MAX_FOLD) if "fold" in rows else pd.Series(1.0, rows.index)
    for number, cells in rows[known].to_dict("index").items():
        empty = [name for name, value in cells.items() if value in ("", ".") and name != "fold"]
        if empty:
            raise InputError(f"{csv}: line {number}: expected a value for {empty[0]}, found none; fill it in")
        split = cells.get("split", SPLITS[0])
        if split not in SPLITS:
            raise InputError(
                f"{csv}: line {number}: expected split {' or '.join(SPLITS)}, found {shown(split)}; mend it"
            )
        if split == SPLITS[0] and np.isnan(folds[number]):
            raise InputError(
                f"{csv}: line {number}: expected a fold that is a whole number from 1 to {MAX_FOLD}, "
                f"found {shown(cells['fold'])}; mend it"
            )
    if rows["label"].nunique() < 2:
        raise InputError(f"{csv}: expected at least two labels, found {rows['label'].nunique()}; add clips of others")
    return rows.assign(fold=folds) if "fold" in rows else rows


def _draw(rows: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Stratified folds from 1, int64 [rows], whole sources each, every class in each fold.

    Raises
    ------
    InputError
        If a class has fewer sources than there are folds, or the sources do not allow it.
    """
    sources = rows.groupby("label")["source"].nunique()
    if not 2 <= folds <= sources.min():
        raise InputError(
            f"expected 2 to {sources.min()} folds, as many as class {sources.idxmin()!r} has clips of different "
            f"sources; found {folds}; say another --draw-folds"
        )
    if rows["source"].is_unique:
        return np.array(stratified_folds(rows["label"], folds, seed))
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to load, which workers need not

    # With whole sources, a draw may leave a class out of a fold: then another one.
    for attempt in range(DRAWS):
        drawn = np.zeros(len(rows), np.int64)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + attempt * 1_000_003)
        for fold, (_, test) in enumerate(splitter.split(rows, rows["label"], rows["source"]), start=1):
            drawn[test] = fold
        if pd.crosstab(rows["label"].to_numpy(), drawn).gt(0).all(axis=None):
            return drawn
    raise InputError(
        f"expected {folds} folds of whole sources with every class in each, found none in {DRAWS} draws; "
        "say fewer --draw-folds"
    )


def _default_folds(rows: pd.DataFrame) -> int:
    """As many folds as the smallest class allows, 5 at most.

    Raises
    ------
    InputError
        If a class has one recording, which cannot be learned from and tested on.
    """
    sources = rows.groupby("label")["source"].nunique()
    if sources.min() < 2:
        single = sources[sources < 2].index
        raise InputError(
            f"expected at least two recordings of each class, to learn from some and test on others, found one of "
            f"{listed([repr(name) for name in single])}; add recordings, or leave the class out"
        )
    return min(FOLDS, int(sources.min()))


def index(audio: Path | None, draw_folds: int | None = None, seed: int | None = None, csv: Path | None = None) -> Index:
    """Clips below `audio`, their class the name of the sub-folder they are in, or those of a table.

    Parameters
    ----------
    audio : Path or None
        With `csv`: where its relative paths begin, by default the table's own folder.
    draw_folds : int, optional
        Number of folds to draw: at least 2 and at most the sources of the smallest class; by default as many as that,
        5 at most.
    seed : int, optional
        Of the draw.
    csv : Path, optional
        A table as this module's docstring describes.

    Raises
    ------
    InputError
        If there are fewer than two classes, too few clips for the folds, or a bad cell in the table.
    """
    root = require_folder(csv.parent if csv and audio is None else audio)
    if csv:
        rows = _table(csv)
        notes, closed = _beside(csv, root, rows["path"]), list[Path]()
    else:
        rows, notes, closed = _sub_folders(root)
    rows = rows.assign(**{name: rows["path"] for name in ("source",) if name not in rows})
    development = rows.get("split", pd.Series(SPLITS[0], rows.index)) == SPLITS[0]
    if "fold" in rows and (draw_folds is not None or seed is not None):
        raise InputError(f"{csv} gives the folds itself: drop --draw-folds and --seed, or its column fold")
    numbers = np.zeros(len(rows), np.int64)
    if "fold" in rows:
        numbers[development] = rows.loc[development, "fold"].astype(int)
    elif development.all():
        number = _default_folds(rows) if draw_folds is None else draw_folds
        numbers = _draw(rows, number, seed or 0)
        if draw_folds is None and number < FOLDS:
            notes.append(f"note: {number} folds, as the smallest class has no more recordings; {FOLDS} are usual")
    elif draw_folds is not None or seed is not None:
        raise InputError(f"{csv} names evaluation clips, which are the test set: drop --draw-folds and --seed")
    classes = sorted(rows["label"].unique())
    clips = [
        ClipFile(
            path=root / row.path,
            id=row.path,
            label=classes.index(row.label),
            source=row.source,
            fold=int(fold),
            split=SPLITS[0] if inside else SPLITS[1],
        )
        for row, fold, inside in zip(rows.itertuples(), numbers, development, strict=True)
    ]
    return Index(classes, clips, notes=notes, closed=closed)


DATASETS.register(
    Dataset(
        name="folder",
        label="own sounds",
        summary="Your own sounds, one sub-folder a class, or a table of them.",
        sample_rate=44100,
        index=index,
        preset="modern",
        named=True,
        audio="folder with a sub-folder of sounds for each class; with --csv, where its paths begin",
        options=(
            Option(
                "--csv",
                "a table with path,label[,fold,source,split] of each clip",
                {"type": Path, "metavar": "FILE"},
                replaces_audio=True,
            ),
            Option(
                "--draw-folds",
                f"how many folds to draw ({FOLDS}, or the recordings of the smallest class)",
                {"type": at_least(0), "metavar": "N"},
            ),
            seed_option("of the folds"),
        ),
    )
)

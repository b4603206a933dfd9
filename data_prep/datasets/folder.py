"""Anyone's own sounds: one sub-folder a class, any format libsndfile reads, stratified folds.

The folds are drawn once, with a seed, and stored; each file is its own source.
"""

from __future__ import annotations

from pathlib import Path

from sklearn.model_selection import StratifiedKFold

from data_prep.datasets.base import ClipFile, Index, require_folder, sound_files
from multiview.errors import InputError

SAMPLE_RATE = 44100


def index(audio: Path | None, folds: int = 5, seed: int = 0) -> Index:
    """Clips below `audio`, their class the name of the sub-folder they are in.

    Parameters
    ----------
    folds : int
        Number of stratified folds, at least 2 and at most the clips of the smallest class.
    seed : int
        Of the draw.

    Raises
    ------
    InputError
        If there are fewer than two classes with sound files, or too few clips for the folds.
    """
    root = require_folder(audio)
    by_class = {
        child.name: sound_files(child)
        for child in sorted(root.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    by_class = {name: paths for name, paths in by_class.items() if paths}
    if len(by_class) < 2:
        raise InputError(
            f"expected at least two sub-folders with sound files in {root}, one a class; "
            f"found {len(by_class)}; check --audio"
        )
    smallest = min(by_class, key=lambda name: len(by_class[name]))
    if not 2 <= folds <= len(by_class[smallest]):
        raise InputError(
            f"expected 2 to {len(by_class[smallest])} folds, as many as class {smallest!r} has clips; "
            f"found {folds}; say multiview-prepare folder --folds N"
        )
    paths = [path for files in by_class.values() for path in files]
    labels = [label for label, files in enumerate(by_class.values()) for _ in files]
    drawn = [0] * len(paths)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(paths, labels), start=1):
        for row in rows:
            drawn[row] = fold
    clips = [
        ClipFile(path, name, label, source=name, fold=fold)
        for path, label, fold in zip(paths, labels, drawn, strict=True)
        for name in [path.relative_to(root).as_posix()]
    ]
    return Index(list(by_class), clips)

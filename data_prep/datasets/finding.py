"""What the datasets' modules find their clips with, whatever the layout of a copy, and draw folds with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from multiview.audio import sound_files
from multiview.support.errors import InputError, UsageError


def require_given(audio: Path | None) -> Path:
    """The folder that `--audio` names.

    Raises
    ------
    InputError
        If none was named.
    """
    if audio is None:
        raise UsageError("expected --audio DIR, the folder with the sound files")
    return audio


def require_folder(audio: Path | None) -> Path:
    """The folder with the dataset.

    Raises
    ------
    InputError
        If none was named, it does not exist, or may not be read.
    """
    audio = require_given(audio)
    if not os.path.isdir(audio):
        raise InputError(f"expected a folder of sound files, found none at {audio}; check --audio")
    try:
        os.listdir(audio)
    except PermissionError as error:
        raise InputError(f"expected a folder that may be read, found {audio}, which may not; open it") from error
    return audio


def entry(folder: Path, name: str) -> Path | None:
    """The file or folder `name` in `folder`, whatever the case of its letters."""
    inside = children(folder)
    return next((child for child in inside if child.name == name), None) or next(
        (child for child in inside if child.name.lower() == name.lower()), None
    )


def children(folder: Path) -> list[Path]:
    """What is in a folder; nothing if it is none, or closed to us, as `lost+found` of a disk is."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def find_folders(root: Path, accept: Callable[[Path], object]) -> list[Path]:
    """The folders that `accept`, from the first level that has any: `root` or up to three below it."""
    level = [root]
    for _ in range(4):
        if accepted := [folder for folder in level if accept(folder)]:
            return accepted
        level = [
            child
            for folder in level
            for child in children(folder)
            if os.path.isdir(child) and not child.name.startswith(".")
        ]
    return []


class SoundFiles:
    """The sound files below a folder by the names that a dataset's tables give them.

    The case of letters does not matter, nor the format: a table's `a.wav` finds `A.flac`, too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = sound_files(folder) if os.path.isdir(folder) else []
        self._by_name = {path.name.lower(): path for path in paths}
        self._by_stem = {path.stem.lower(): path for path in paths}

    def find(self, name: str) -> Path:
        """Path of the file that a table calls `name`; where it would be if it is missing."""
        name = Path(name).name
        found = self._by_name.get(name.lower()) or self._by_stem.get(Path(name).stem.lower())
        return found or self.folder / name


def stratified_folds(labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """A fold from 1 to `folds` for each clip, every class spread evenly over them."""
    from sklearn.model_selection import StratifiedKFold  # takes a second to load, which workers need not

    drawn = [0] * len(labels)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(labels, labels), start=1):
        for row in rows:
            drawn[row] = fold
    return drawn

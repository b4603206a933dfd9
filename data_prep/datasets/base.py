"""What every dataset module gives: where its clips are, and their labels, folds and sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.audio import SUFFIXES
from multiview.errors import InputError


@dataclass(frozen=True)
class ClipFile:
    """A clip before it is read. `label` indexes the classes; the rest is as in `multiview.store.Clip`."""

    path: Path
    id: str
    label: int
    source: str
    fold: int = 0
    split: str = "development"


@dataclass(frozen=True)
class Index:
    """A dataset on disk: its class names and its clips in a fixed order."""

    classes: Sequence[str]
    clips: Sequence[ClipFile]


def require_folder(audio: Path | None) -> Path:
    """The folder with the dataset.

    Raises
    ------
    InputError
        If none was named, or it does not exist.
    """
    if audio is None:
        raise InputError("expected --audio DIR, the folder with the sound files")
    if not audio.is_dir():
        raise InputError(f"expected a folder of sound files, found none at {audio}; check --audio")
    return audio


def sound_files(folder: Path) -> list[Path]:
    """Files below `folder` whose suffix names a sound format, in order, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )

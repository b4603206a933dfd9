"""GTZAN: 10 genres of music, 100 clips of about 30 s each, 22.05 kHz; ten stratified folds.

Expects a folder with one sub-folder a genre, `blues/blues.00000.au` or any other format, or a folder
above. G. Tzanetakis and P. Cook, Musical Genre Classification of Audio Signals, IEEE TSAP 2002.

The dataset has no official folds: they are drawn with a seed, such that a clip has the same fold in every
format, without the faulty clips, and where a few are missing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from data_prep.datasets.base import DATASETS, Archive, ClipFile, Dataset, Index, Option, Source, seed_option
from data_prep.datasets.finding import entry, find_folders, require_folder, stratified_folds
from multiview.audio import sound_files
from multiview.support.errors import InputError

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
FOLDS = 10
SOURCE = Source(
    page="http://marsyas.info/downloads/datasets.html",
    licence="none is stated: for research",
    # This server has not answered for years; the sum tells whether a copy is the original.
    archives=(
        Archive("http://opihi.cs.uvic.ca/sound/genres.tar.gz", "5b3d6dddb579ab49814ab86dba69e7c7", 1_225_571_541),
    ),
    files=2500,
)

# Repeated, mislabelled or distorted clips, as the fault-filtered split leaves them out.
FAULTY = {
    "classical": (42,),
    "country": (8, 52),
    "disco": (38, 50, 51, 55, 60, 71, 98),
    "hiphop": (1, 39, 46, 47, 48, 49, 50, 76),
    "jazz": (33, 34, 35, 36, 37, 38, 39, 40, 42, 43, 44, 45, 46),
    "metal": (4, 34, 40, 41, 42, 43, 44, 45, 58),
    "pop": (15, 21, 22, 30, 37, 45, 47, 48, 51, 52, 54, 56, 57, 67, 68, 87),
    "reggae": (3, 5, 7, 8, 10, 13, 33, 41, 73, 75, 80, 81, 86, 91),
}
FAULTY_CLIPS = frozenset(f"{genre}.{number:05}" for genre, numbers in FAULTY.items() for number in numbers)


def _genres(folder: Path) -> dict[str, list[Path]]:
    """The sound files of each genre that has a sub-folder with any."""
    folders = {genre: entry(folder, genre) for genre in GENRES}
    found = {genre: sound_files(path) for genre, path in folders.items() if path and path.is_dir()}
    # Of a clip in several formats, one.
    stems = {genre: {path.stem.lower(): path for path in reversed(paths)} for genre, paths in found.items()}
    return {genre: [paths[stem] for stem in sorted(paths)] for genre, paths in stems.items() if paths}


def _folds(clips: list[ClipFile], seed: int) -> list[int]:
    """A fold for each clip, stratified by genre.

    They are drawn for the names of all 1,000 clips, so that a copy without some of them, or in another
    format, has the same folds; what lacks more than a tenth has folds of its own.
    """
    names = {f"{genre}.{number:05}": label for label, genre in enumerate(GENRES) for number in range(100)}
    if len(clips) >= 0.9 * len(names) and {clip.source for clip in clips} <= set(names):
        fold_of = dict(zip(names, stratified_folds(list(names.values()), FOLDS, seed), strict=True))
        return [fold_of[clip.source] for clip in clips]
    return stratified_folds([clip.label for clip in clips], FOLDS, seed)


def index(audio: Path | None, seed: int = 0, without_faulty: bool = False) -> Index:
    """The clips of GTZAN below `audio`.

    Parameters
    ----------
    seed : int
        Of the ten stratified folds.
    without_faulty : bool
        Leave out the 70 clips that are repeated, mislabelled or distorted.

    Raises
    ------
    InputError
        If there are no genre folders, several copies of them, or too few clips for ten folds.
    """
    audio = require_folder(audio)
    roots = find_folders(audio, lambda folder: len(_genres(folder)) > 1)
    if len(roots) != 1:
        raise InputError(
            f"expected one folder below {audio} with a sub-folder for each genre ({', '.join(GENRES)}), "
            f"found {' and '.join(map(str, roots)) or 'none'}; check --audio"
        )
    genres = _genres(roots[0])
    smallest = min(genres, key=lambda genre: len(genres[genre]))
    if len(genres[smallest]) < FOLDS:
        raise InputError(
            f"{roots[0]}: expected at least {FOLDS} clips of each genre, one for each fold, "
            f"found {len(genres[smallest])} of {smallest}; complete the dataset"
        )
    classes = list(genres)
    clips = [
        ClipFile(path, path.name, label, source=path.stem.lower())
        for label, paths in enumerate(genres.values())
        for path in paths
    ]
    folds = _folds(clips, seed)
    clips = [dataclasses.replace(clip, fold=fold) for clip, fold in zip(clips, folds, strict=True)]
    published = len(GENRES) * 100
    if without_faulty:
        clips = [clip for clip in clips if clip.source not in FAULTY_CLIPS]
        published -= len(FAULTY_CLIPS)
    return Index(classes, clips, published)


DATASETS.register(
    Dataset(
        name="gtzan",
        label="GTZAN",
        summary="1,000 clips of 30 s in 10 genres of music, ten stratified folds drawn with a seed.",
        sample_rate=22050,
        index=index,
        options=(
            Option(
                "--without-faulty",
                f"leave out {len(FAULTY_CLIPS)} faulty clips",
                {"action": "store_true"},
                variant=True,
            ),
            seed_option("of the folds"),
        ),
        source=SOURCE,
        paper=True,
    )
)

"""DCASE2016 Task 1: TUT Acoustic Scenes 2016, 15 scenes, binaural clips of 30 s at 44.1 kHz.

Training clips are the development set (1,170), test clips the evaluation set (390). Expects the folders
`TUT-acoustic-scenes-2016-development` and `-evaluation` as published, or a folder above them. A.
Mesaros, T. Heittola and T. Virtanen, TUT Database for Acoustic Scene Classification and Sound Event
Detection, EUSIPCO 2016. For non-commercial use.

A source is a recording, `b020` in `b020_90_120.wav`. What `error.txt` lists is kept, as the paper names
no exception.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.datasets.base import DATASETS, Archive, ClipFile, Dataset, Index, Option, Source
from data_prep.datasets.finding import SoundFiles, entry, find_folders, require_folder
from data_prep.datasets.tables import read_table
from multiview.support.errors import InputError

DEVELOPMENT_FOLDS = range(1, 5)
DEVELOPMENT_CLIPS, EVALUATION_CLIPS = 1170, 390


def _archives(record: int, part: str, files: dict[str, tuple[str, int]]) -> tuple[Archive, ...]:
    start = f"https://zenodo.org/record/{record}/files/TUT-acoustic-scenes-2016-{part}"
    return tuple(Archive(f"{start}.{name}.zip", md5, size) for name, (md5, size) in files.items())


SOURCE = Source(
    page="https://zenodo.org/record/45739 and https://zenodo.org/record/165995",
    licence="free for non-commercial use, see EULA in the archives",
    non_commercial=True,
    archives=(
        *_archives(
            45739,
            "development",
            {
                "doc": ("f94ad46eb36325d9fbce5d60f7fc9926", 69_671),
                "meta": ("779b33da2ebbf8bde494b3c981827251", 28_815),
                "error": ("a0d3e0d81b0a36ece87d0f3a9124a386", 1_283),
                "audio.1": ("e39546e65f2e72517b6335aaf0c8323d", 1_070_981_236),
                "audio.2": ("d36cf3253e2c041f68e937a3fe804807", 1_067_186_166),
                "audio.3": ("0393a9620ab882b1c26d884eccdcffdd", 1_073_644_405),
                "audio.4": ("fb3e4e0cd7ea82120ec07031dee558ce", 1_072_111_347),
                "audio.5": ("a19cf600b33c8f88f6ad607bafd74057", 1_069_681_513),
                "audio.6": ("591aad3219d1155342572cc1f6af5680", 1_072_890_150),
                "audio.7": ("9e6c1897789e6bce13ac69c6caedb7ab", 1_069_265_197),
                "audio.8": ("c4718354f48fcc9dfc7305f6cd8325c8", 528_461_098),
            },
        ),
        *_archives(
            165995,
            "evaluation",
            {
                "doc": ("ef315bf912d1124050646888cc3ceba2", 69_217),
                "meta": ("0d5c131fc3f50c682de62e0e648aceba", 5_962),
                "audio.1": ("7c6c2e54b8a9c4c37a803b81446d16fe", 1_067_685_684),
                "audio.2": ("7930f1dc26707ab3ba9526073af87333", 1_068_308_900),
                "audio.3": ("17187d633d6402aee4b481122a1b28f0", 538_894_804),
            },
        ),
    ),
    files=500,
)


def _setup(folder: Path, name: str) -> Path | None:
    """A file of `folder/evaluation_setup`."""
    setup = entry(folder, "evaluation_setup")
    return entry(setup, name) if setup and setup.is_dir() else None


def _read(table: Path | None) -> list[tuple[str, str]]:
    """Rows of a table of file and scene, separated by a tab.

    Raises
    ------
    InputError
        If it is empty or has other columns.
    """
    assert table  # the folder is found by it
    rows = read_table(table, "lines of file, tab, scene", "take the official file", ["file", "scene"])
    bad = rows[(rows == "").any(axis=1)]
    if rows.empty or len(bad):
        where = f"line {bad.index[0]}" if len(bad) else "no lines"
        raise InputError(f"{table}: expected lines of file, tab, scene, found {where} without; take the official file")
    return list(rows.itertuples(index=False, name=None))


def _find(audio: Path, part: str, accept: Callable[[Path], object], advice: str = "") -> Path:
    found = find_folders(audio, accept)
    # Other years' sets look alike.
    found = [folder for folder in found if "2016" in folder.name] or found
    if len(found) != 1:
        raise InputError(
            f"expected one folder TUT-acoustic-scenes-2016-{part} below {audio}, "
            f"found {' and '.join(map(str, found)) or 'none'}; check --audio{advice}"
        )
    return found[0]


def _development_folds(folder: Path) -> dict[str, int]:
    """The fold in which each file of the development set is a test clip, by the file's stem."""
    folds: dict[str, int] = {}
    for fold in DEVELOPMENT_FOLDS:
        table = _setup(folder, f"fold{fold}_evaluate.txt")
        for name, _ in _read(table) if table else ():
            stem = Path(name).stem.lower()
            if folds.setdefault(stem, fold) != fold:
                raise InputError(f"{table}: {name} is a test clip of fold {folds[stem]}, too; take the official files")
    return folds


def index(audio: Path | None, development_folds: bool = False) -> Index:
    """The clips of DCASE2016 Task 1 below `audio`, scenes in alphabetical order.

    Parameters
    ----------
    development_folds : bool
        Take the development set alone, to test on its four official folds.

    Raises
    ------
    InputError
        If a set or a table is missing, or a table does not fit.
    """
    audio = require_folder(audio)
    development = _find(
        audio, "development", lambda folder: entry(folder, "meta.txt") and not _setup(folder, "evaluate.txt")
    )
    folds = _development_folds(development)
    rows = [(development, "development", name, scene) for name, scene in _read(entry(development, "meta.txt"))]
    if development_folds:
        unknown = [name for _, _, name, _ in rows if Path(name).stem.lower() not in folds]
        if unknown:
            raise InputError(
                f"{development}: expected every clip in one of evaluation_setup/fold1_evaluate.txt to "
                f"fold4_evaluate.txt, found {unknown[0]} in none; take the official files"
            )
    else:
        advice = ", or test on the development set with --development-folds"
        evaluation = _find(audio, "evaluation", lambda folder: _setup(folder, "evaluate.txt"), advice)
        rows += [(evaluation, "evaluation", name, scene) for name, scene in _read(_setup(evaluation, "evaluate.txt"))]
    classes = sorted({scene for *_, scene in rows})
    files = {root: SoundFiles(entry(root, "audio") or root / "audio") for root in {root for root, *_ in rows}}
    clips = [
        ClipFile(
            path=path,
            id=path.name,
            label=classes.index(scene),
            source=Path(name).stem.split("_")[0],
            fold=folds.get(Path(name).stem.lower(), 0) if split == "development" else 0,
            split=split,
        )
        for root, split, name, scene in rows
        for path in [files[root].find(name)]
    ]
    return Index(classes, clips, DEVELOPMENT_CLIPS + (0 if development_folds else EVALUATION_CLIPS))


DATASETS.register(
    Dataset(
        name="dcase2016",
        label="DCASE2016",
        summary="TUT Acoustic Scenes 2016: 1,560 clips of 30 s in 15 scenes, tested on the evaluation set.",
        sample_rate=44100,
        index=index,
        options=(
            Option(
                "--development-folds",
                "test on the development set's four folds",
                {"action": "store_true"},
                variant=True,
            ),
        ),
        source=SOURCE,
        paper=True,
    )
)

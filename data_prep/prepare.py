"""`multiview-prepare`: index a dataset, extract the four views in parallel, write the store."""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from data_prep.audio import AudioError, read_audio
from data_prep.datasets.base import ClipFile, Index
from data_prep.views import GEOMETRIES, VIEWS, extract, parameters
from multiview.errors import InputError, exit_status
from multiview.files import locked, replacing
from multiview.store import Clip, Store, write_store

DATASETS = ("esc10", "esc50", "folder", "demo")
UNREADABLE_SHARE = 0.05  # more than this needs --allow-missing
SOFTWARE = ("librosa", "spafe", "numpy", "scipy", "soundfile", "soxr", "h5py")

EXAMPLE = """example:
  multiview-prepare esc10 --audio ESC-50-master --store stores/esc10_22050.h5 --sample-rate 22050
"""


def extract_part(clip: ClipFile, part: Path, sample_rate: int) -> str | None:
    """Write the views of one clip to `part`; return None, or why the clip gives none."""
    try:
        waveform = read_audio(clip.path, sample_rate)
    except AudioError as error:
        return str(error)
    with replacing(part) as temporary:
        np.savez(temporary, samples=len(waveform), **extract(waveform, sample_rate))
    return None


class Parts:
    """The views of single clips, kept beside the store until it is written.

    A part is named after its sound file, that file's size and time, and the view parameters, so a
    later call takes what an interrupted one finished and nothing that has become stale.
    """

    def __init__(self, store: Path, sample_rate: int) -> None:
        self.folder = store.with_name(store.name + ".parts")
        self.sample_rate = sample_rate
        self.parameters = json.dumps(parameters(sample_rate), sort_keys=True)

    def path(self, clip: ClipFile) -> Path:
        """Where the part of `clip` is or will be."""
        stat = clip.path.stat() if clip.path.exists() else None
        key = [str(clip.path.absolute()), stat and stat.st_size, stat and stat.st_mtime_ns, self.parameters]
        return self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.npz"

    def extract(self, clips: list[ClipFile], jobs: int) -> dict[str, str]:
        """Make the parts that are missing; return by clip id why a clip could not be read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        todo = [(clip, self.path(clip)) for clip in clips]
        todo = [(clip, part) for clip, part in todo if not part.exists()]
        if len(todo) < len(clips):
            print(f"{len(clips) - len(todo)} of {len(clips)} clips are extracted already", file=sys.stderr)
        one = joblib.delayed(functools.partial(extract_part, sample_rate=self.sample_rate))
        results = joblib.Parallel(n_jobs=jobs, return_as="generator")(one(*item) for item in todo)
        progress = tqdm(results, total=len(todo), desc="views", unit="clip", disable=not todo)
        return {clip.id: why for (clip, _), why in zip(todo, progress, strict=True) if why}

    def load(self, clips: list[ClipFile]) -> Iterator[dict[str, np.ndarray]]:
        """The views of `clips` in order, one clip in memory at a time."""
        for clip in clips:
            with np.load(self.path(clip)) as part:
                yield {view: part[view] for view in VIEWS}

    def samples(self, clip: ClipFile) -> int:
        """Samples of the clip before padding."""
        with np.load(self.path(clip)) as part:
            return int(part["samples"])


def check_index(dataset: str, index: Index) -> None:
    """Refuse an index that could not be trained on.

    Raises
    ------
    InputError
        If it has no clips, repeated names, or a fold without clips below its highest fold.
    """
    if not index.clips:
        raise InputError(f"{dataset}: found no clips; check --audio")
    ids = [clip.id for clip in index.clips]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise InputError(f"{dataset}: expected every clip once, found {twice!r} more than once")
    folds = {clip.fold for clip in index.clips if clip.split == "development"} - {0}
    empty = set(range(1, max(folds, default=0) + 1)) - folds
    if empty:
        raise InputError(
            f"{dataset}: expected test clips in each of the folds 1 to {max(folds)}, found none in "
            f"fold {min(empty)}; mend the fold column"
        )


def already_prepared(path: Path, dataset: str, sample_rate: int | None, index: Index | None) -> bool:
    """Whether `path` is the store that was asked for; refuse a different one.

    Parameters
    ----------
    sample_rate, index
        Where None, the store's own is taken.

    Raises
    ------
    InputError
        If there is a store of another dataset, sample rate or list of clips.
    """
    if not path.exists():
        return False
    store = Store(path)
    for what, expected, found in (
        ("dataset", dataset, store.dataset),
        ("sample rate", sample_rate, store.sample_rate),
    ):
        if expected not in (None, found):
            raise InputError(
                f"{path} exists: expected {what} {expected}, found {found}; name another --store or delete it"
            )
    if store.left_out:
        print(f"{path} was made without {len(store.left_out)} unreadable clips; delete it to try them again")
    if index is None:
        return True
    expected = {(c.id, c.label, c.fold, c.split, c.source) for c in index.clips if c.id not in store.left_out}
    found = {(c.id, c.label, c.fold, c.split, c.source) for c in store.clips()}
    if expected != found or list(index.classes) != store.classes:
        raise InputError(
            f"{path} exists with other clips: expected {len(expected)}, found {len(found)}, of which "
            f"{len(expected & found)} agree in name, label, fold and source; name another --store or delete it"
        )
    return True


def prepare(
    dataset: str,
    index: Index,
    store: Path,
    sample_rate: int,
    *,
    jobs: int = 1,
    allow_missing: bool = False,
) -> None:
    """Extract the views of the clips of `index` and write them to `store`; name what cannot be read.

    Raises
    ------
    InputError
        If more than 5 % of the clips cannot be read, unless `allow_missing`.
    """
    check_index(dataset, index)
    if already_prepared(store, dataset, sample_rate, index):
        return
    parts = Parts(store, sample_rate)
    unreadable = parts.extract(list(index.clips), jobs)
    for name, why in unreadable.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    share = len(unreadable) / len(index.clips)
    if len(unreadable) == len(index.clips) or (share > UNREADABLE_SHARE and not allow_missing):
        raise InputError(
            f"{len(unreadable)} of {len(index.clips)} clips cannot be read, more than "
            f"{UNREADABLE_SHARE:.0%}; mend them, or leave them out with --allow-missing"
        )
    clips = [clip for clip in index.clips if clip.id not in unreadable]
    write_store(
        store,
        dataset=dataset,
        sample_rate=sample_rate,
        classes=index.classes,
        clips=[Clip(clip.id, clip.label, clip.fold, clip.split, clip.source, parts.samples(clip)) for clip in clips],
        features=tqdm(parts.load(clips), total=len(clips), desc="store", unit="clip"),
        software={package: version(package) for package in SOFTWARE},
        left_out=list(unreadable),
    )
    shutil.rmtree(parts.folder)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `multiview-prepare`."""
    parser = argparse.ArgumentParser(
        "multiview-prepare",
        description="Turn the sound files of a dataset into a store of four views.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=DATASETS, help="folder: one sub-folder a class; demo: synthesised")
    parser.add_argument("--audio", type=Path, metavar="DIR", help="folder with the dataset")
    parser.add_argument("--store", type=Path, required=True, metavar="FILE.h5", help="the store to write")
    parser.add_argument("--sample-rate", type=int, choices=sorted(GEOMETRIES), help="Hz; the dataset's own by default")
    parser.add_argument("--jobs", type=int, default=joblib.cpu_count(), metavar="N", help="processes (all cores)")
    parser.add_argument(
        "--allow-missing", action="store_true", help="go on when more than 5 %% of the clips are unreadable"
    )
    parser.add_argument("--folds", type=int, metavar="N", help="folds to draw (dataset folder; 5)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the folds, or of the demo's sounds (0)")
    args = parser.parse_args(argv)
    options = {name: getattr(args, name) for name in ("folds", "seed") if getattr(args, name) is not None}
    allowed = {"folder": {"folds", "seed"}, "demo": {"seed"}}.get(args.dataset, set())
    if set(options) - allowed:
        parser.error(f"--{min(set(options) - allowed)} does not go with {args.dataset}: its folds are fixed")
    if args.seed is not None and args.seed < 0:
        parser.error(f"expected --seed of at least 0, found {args.seed}")
    if args.jobs < 1:
        parser.error(f"expected --jobs of at least 1, found {args.jobs}")

    def command() -> None:
        module = importlib.import_module(f"data_prep.datasets.{args.dataset}")
        audio = args.audio
        if args.dataset == "demo" and audio is None:
            audio = args.store.with_name(f"{args.store.stem}_audio")
        if audio is None and options:
            raise InputError(f"expected --audio with --{min(options)}, to see whether the store fits")
        name = args.store.stem
        lock = args.store.with_name(f"{name}.lock")
        with locked(lock, f"{args.store} is being prepared", f".{name}.*.tmp*"):
            # A store that is there can be used without its sounds.
            if audio or not already_prepared(args.store, args.dataset, args.sample_rate, index=None):
                prepare(
                    args.dataset,
                    module.index(audio, **options),
                    args.store,
                    args.sample_rate or module.SAMPLE_RATE,
                    jobs=args.jobs,
                    allow_missing=args.allow_missing,
                )
        store = Store(args.store)
        print(
            f"{args.store}: {len(store)} clips, {len(store.classes)} classes, {store.sample_rate} Hz, "
            f"{store.samples.sum() / store.sample_rate / 60:.1f} minutes, "
            f"{args.store.stat().st_size / 2**20:.0f} MiB; {len(store.left_out)} clips left out"
        )

    return exit_status("multiview-prepare", command)


if __name__ == "__main__":
    sys.exit(main())

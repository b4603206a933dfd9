"""`multiview-prepare`: index a dataset, extract the four views in parallel, write the store."""

from __future__ import annotations

import argparse
import importlib
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import joblib
from tqdm import tqdm

from data_prep.datasets.base import Index
from data_prep.download import download
from data_prep.extraction import Parts
from data_prep.views import GEOMETRIES
from multiview.errors import InputError, exit_status
from multiview.files import leftovers, locked
from multiview.splits import folds, make_split
from multiview.store import Clip, Store, write_store

# By dataset, what only it can be asked for.
DATASETS = {
    "esc10": (),
    "esc50": (),
    "dcase2016": ("development_folds",),
    "gtzan": ("without_faulty", "seed"),
    "folder": ("csv", "folds", "seed"),
    "demo": ("seed",),
}
# Options that take other clips to other folds than the paper: the store names them with the dataset.
VARIANTS = ("development_folds", "without_faulty")
UNREADABLE_SHARE = 0.05  # more than this needs --allow-missing
SOFTWARE = ("librosa", "spafe", "numpy", "scipy", "soundfile", "soxr", "h5py")

EXAMPLE = """example:
  multiview-prepare esc10 --audio ESC-50-master --store stores/esc10_22050.h5 --sample-rate 22050
"""


def check_index(dataset: str, index: Index) -> None:
    """Refuse an index that could not be trained on.

    Raises
    ------
    InputError
        If it has no clips, repeated names, a fold without clips below its highest fold, or a source
        on both sides of a split.
    """
    if not index.clips:
        raise InputError(f"{dataset}: found no clips; check --audio")
    ids = [clip.id for clip in index.clips]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise InputError(f"{dataset}: expected every clip once, found {twice!r} more than once")
    given = {clip.fold for clip in index.clips if clip.split == "development"} - {0}
    empty = set(range(1, max(given, default=0) + 1)) - given
    if empty:
        raise InputError(
            f"{dataset}: expected test clips in each of the folds 1 to {max(given)}, found none in "
            f"fold {min(empty)}; mend the fold column"
        )
    evaluated = any(clip.split == "evaluation" for clip in index.clips)
    side_of: dict[str, int | str] = {}
    for clip in index.clips:
        side = clip.split if evaluated else clip.fold
        if side_of.setdefault(clip.source, side) != side:
            raise InputError(
                f"{dataset}: expected the clips of a source on one side of every split, found source "
                f"{clip.source!r} in {'' if evaluated else 'fold '}{side_of[clip.source]} and {side}; mend the table"
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
    cluster: str | None = None,
    allow_missing: bool = False,
) -> None:
    """Extract the views of the clips of `index` and write them to `store`; name what cannot be read.

    Parameters
    ----------
    jobs : int
        Processes on this machine.
    cluster : str, optional
        Address of a Dask scheduler, whose workers do it instead.

    Raises
    ------
    InputError
        If more than 5 % of the clips cannot be read, unless `allow_missing`.
    """
    check_index(dataset, index)
    parts = Parts(store, sample_rate)
    if already_prepared(store, dataset, sample_rate, index):
        parts.remove()  # those that a call killed at its very end left
        return
    if index.published not in (None, len(index.clips)):
        print(f"note: {dataset} is published with {index.published} clips, found {len(index.clips)}", file=sys.stderr)
    unreadable = parts.extract(index.clips, jobs, cluster)
    for name, why in unreadable.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    share = len(unreadable) / len(index.clips)
    if len(unreadable) == len(index.clips) or (share > UNREADABLE_SHARE and not allow_missing):
        raise InputError(
            f"{len(unreadable)} of {len(index.clips)} clips cannot be read, more than "
            f"{UNREADABLE_SHARE:.0%}; mend them, or leave them out with --allow-missing"
        )
    clips = [clip for clip in index.clips if clip.id not in unreadable]
    rows = [Clip(clip.id, clip.label, clip.fold, clip.split, clip.source, parts.samples(clip)) for clip in clips]
    write_store(
        store,
        dataset=dataset,
        sample_rate=sample_rate,
        classes=index.classes,
        clips=rows,
        features=tqdm(parts.load(clips), total=len(clips), desc="store", unit="clip"),
        software={package: version(package) for package in SOFTWARE},
        left_out=list(unreadable),
    )
    parts.remove()
    written = Store(store)
    try:
        for fold in folds(written):
            make_split(written, fold, seed=0)
    except InputError as error:
        print(f"note: {error}", file=sys.stderr)


def downloaded(module: ModuleType, audio: Path, mirror: str | None, options: dict) -> Index:
    """The index of a dataset below `audio`, whose archives are fetched if any clip is not there."""
    try:
        index = module.index(audio, **options)
        if len(index.clips) == index.published and all(clip.path.exists() for clip in index.clips):
            return index
    except InputError:
        pass  # what is missing is about to come
    download(module.SOURCE, audio, mirror)
    return module.index(audio, **options)


def make_store(args: argparse.Namespace, options: dict) -> None:
    """What `multiview-prepare DATASET` does: index, extract, write, unless the store is there."""
    module = importlib.import_module(f"data_prep.datasets.{args.dataset}")
    dataset = "_".join([args.dataset, *(name for name in VARIANTS if name in options)])
    audio, choices = args.audio, sorted(set(options) - set(VARIANTS))
    if args.dataset == "demo" and audio is None:
        audio = args.store.with_name(f"{args.store.stem}_audio")
    if audio is None and args.download:
        raise InputError("expected --audio DIR, the folder to download to")
    given = audio or options.get("csv")
    if not given and choices:
        raise InputError(f"expected --audio with --{choices[0]}, to see whether the store fits")
    lock = args.store.with_name(f"{args.store.stem}.lock")
    # A store that is there can be used without its sounds, and nothing is fetched for it.
    if (not given or (args.download and not choices)) and already_prepared(
        args.store, dataset, args.sample_rate, index=None
    ):
        return
    with locked(lock, f"{args.store} is being prepared", leftovers(args.store)):
        index = downloaded(module, audio, args.mirror, options) if args.download else module.index(audio, **options)
        prepare(
            dataset,
            index,
            args.store,
            args.sample_rate or module.SAMPLE_RATE,
            jobs=args.jobs,
            cluster=args.cluster,
            allow_missing=args.allow_missing,
        )


def describe(path: Path) -> None:
    """Print one line on what a store holds."""
    store = Store(path)
    print(
        f"{path}: {len(store)} clips, {len(store.classes)} classes, {store.sample_rate} Hz, "
        f"{store.samples.sum() / store.sample_rate / 60:.1f} minutes, "
        f"{path.stat().st_size / 2**20:.0f} MiB; {len(store.left_out)} clips left out"
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point of `multiview-prepare`."""
    parser = argparse.ArgumentParser(
        "multiview-prepare",
        usage="%(prog)s DATASET --audio DIR --store FILE.h5 [options]\n       %(prog)s --inspect FILE.h5 [--to DIR]",
        description="Turn the sound files of a dataset into a store of four views, or look at a store.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset", nargs="?", choices=DATASETS, metavar="DATASET", help=f"{', '.join(DATASETS)} (synthesised)"
    )
    parser.add_argument("--audio", type=Path, metavar="DIR", help="folder with the dataset, or to download it to")
    parser.add_argument("--store", type=Path, metavar="FILE.h5", help="the store to write")
    parser.add_argument("--sample-rate", type=int, choices=sorted(GEOMETRIES), help="Hz; the dataset's own by default")
    parser.add_argument(
        "--allow-missing", action="store_true", help="go on when more than 5 %% of the clips are unreadable"
    )
    where = parser.add_argument_group("where the work is done")
    where.add_argument("--jobs", type=int, default=joblib.cpu_count(), metavar="N", help="processes (all cores)")
    where.add_argument("--cluster", metavar="ADDRESS", help="on the workers of a Dask scheduler, tcp://host:port")
    fetching = parser.add_argument_group("esc10, esc50, dcase2016, gtzan")
    fetching.add_argument("--download", action="store_true", help="fetch what is not in --audio yet")
    fetching.add_argument("--mirror", metavar="URL", help="folder with the archives, instead of the official server")
    special = parser.add_argument_group("one dataset's own")
    special.add_argument("--csv", type=Path, metavar="FILE", help="folder: path,label[,fold,source,split] of each clip")
    special.add_argument("--folds", type=int, metavar="N", help="folder: folds to draw (5)")
    special.add_argument("--seed", type=int, metavar="N", help="folder, gtzan: of the folds; demo: of the sounds (0)")
    special.add_argument(
        "--development-folds", action="store_true", help="dcase2016: test on the development set's four folds"
    )
    special.add_argument("--without-faulty", action="store_true", help="gtzan: leave out 70 faulty clips")
    looking = parser.add_argument_group("look at a store")
    looking.add_argument("--inspect", type=Path, metavar="FILE.h5", help="print what is in it and draw views.png")
    looking.add_argument("--to", type=Path, metavar="DIR", help="where views.png goes (beside the store)")
    args = parser.parse_args(argv)

    own = {name for names in DATASETS.values() for name in names}
    options = {name: value for name in sorted(own) if (value := getattr(args, name)) not in (None, False)}
    if args.inspect:
        from data_prep.inspection import inspect  # draws, which takes a while to load

        given = {name for name, value in vars(args).items() if value != parser.get_default(name)} - {"inspect", "to"}
        if given:
            parser.error(f"expected --inspect FILE.h5 alone, found {', '.join(sorted(given))} with it")
        return exit_status("multiview-prepare", lambda: inspect(args.inspect, args.to or args.inspect.parent))
    if not args.dataset or not args.store:
        parser.error("expected DATASET and --store FILE.h5, or --inspect FILE.h5")
    for name in options:
        if name not in DATASETS[args.dataset]:
            owners = " and ".join(dataset for dataset, names in DATASETS.items() if name in names)
            parser.error(f"--{name.replace('_', '-')} does not go with {args.dataset}; it is for {owners}")
    if args.download and not hasattr(importlib.import_module(f"data_prep.datasets.{args.dataset}"), "SOURCE"):
        parser.error(f"--download does not go with {args.dataset}: it is not published")
    for option, without in (("mirror", not args.download), ("to", True)):
        if getattr(args, option) and without:
            parser.error(f"--{option} goes with --{'download' if option == 'mirror' else 'inspect'}")
    if not args.store.name or args.store.is_dir():
        parser.error(f"expected --store FILE.h5, found the folder {args.store}")
    if args.seed is not None and args.seed < 0:
        parser.error(f"expected --seed of at least 0, found {args.seed}")
    if args.jobs < 1:
        parser.error(f"expected --jobs of at least 1, found {args.jobs}")

    def command() -> None:
        make_store(args, options)
        describe(args.store)

    return exit_status("multiview-prepare", command)


if __name__ == "__main__":
    sys.exit(main())

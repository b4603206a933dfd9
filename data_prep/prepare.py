"""`multiview-prepare`: index a dataset, extract its views in parallel, write the store."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from data_prep import arguments
from data_prep.checks import already_prepared, check_index, check_part, check_unreadable, note_folds, note_short
from data_prep.datasets import DATASETS, Dataset, Index
from data_prep.datasets.base import name_of_part
from data_prep.datasets.finding import require_folder
from data_prep.download import download
from data_prep.extraction import Parts, try_views
from data_prep.naming import NAME
from multiview.store import About, Clip, Store, write_store
from multiview.support.errors import InputError, UsageError, exit_status
from multiview.support.files import leftovers, locked, twin
from multiview.views import in_order, paper_views

SOFTWARE = ("librosa", "spafe", "numpy", "scipy", "soundfile", "av", "soxr", "h5py")


def prepare(
    dataset: str,
    index: Index,
    store: Path,
    sample_rate: int,
    *,
    jobs: int = 1,
    cluster: str | None = None,
    allow_missing: bool = False,
    views: Sequence[str] | None = None,
    about: About | None = None,
    elsewhere: str = "--store",
) -> None:
    """Extract the views of the clips of `index` and write them to `store`; name what cannot be read.

    Parameters
    ----------
    jobs : int
        Processes on this machine.
    cluster : str, optional
        Address of a Dask scheduler, whose workers do it instead.
    views : sequence of str, optional
        The paper's four by default.
    about : About, optional
        The dataset's protocol and terms, which travel with the store.
    elsewhere : str
        The options that choose another store.

    Raises
    ------
    InputError
        If more than 5 % of the clips cannot be read, unless `allow_missing`; if there is another store; or if a
        user's own view does not fit its declaration.
    """
    views = in_order(views or paper_views())
    parts = Parts(store, sample_rate, views)
    check_index(dataset, index, allow_missing, made=store.exists())
    if already_prepared(store, dataset, sample_rate, index, views, elsewhere):
        parts.remove()  # those that a call killed at its very end left
        return
    check_part(dataset, index, about or About())
    try_views(sample_rate, views)
    unreadable = parts.extract(index.clips, jobs, cluster)
    check_unreadable(unreadable, len(index.clips), allow_missing)
    clips = [clip for clip in index.clips if clip.id not in unreadable]
    part = name_of_part(dataset, len(clips), index.published)
    if part != dataset:
        about = about and replace(about, label=f"{about.label}, {len(clips)} of {index.published} clips")
        print(
            f"note: {len(clips):,} of the {index.published:,} clips that are published: another protocol, named {part}",
            file=sys.stderr,
        )
    write_store(
        store,
        dataset=part,
        sample_rate=sample_rate,
        classes=index.classes,
        clips=[Clip(c.id, c.label, c.fold, c.split, c.source, parts.samples(c)) for c in clips],
        features=tqdm(parts.load(clips), total=len(clips), desc="store", unit="clip"),
        software={package: version(package) for package in SOFTWARE},
        left_out=list(unreadable),
        views=views,
        about=about,
    )
    parts.remove()
    note_short(Store(store))
    note_folds(Store(store))


def downloaded(dataset: Dataset, audio: Path | None, mirror: str | None, options: dict) -> Index:
    """The index of a dataset below `audio`, whose archives are fetched if any clip is not there."""
    try:
        index = dataset.index(audio, **options)
        if len(index.clips) == len(index.there().clips) == index.published:
            return index
    except InputError:
        pass  # what is missing is about to come
    assert dataset.source and audio  # the parser offers --download for published datasets only
    download(dataset.source, audio, mirror)
    return dataset.index(audio, **options)


def _audio(args: argparse.Namespace) -> Path | None:
    """Where the sounds are or are to be; None where the user did not say."""
    if args.audio is None and args.download:
        return Path("audio") / args.dataset.name
    if args.audio is None and args.dataset.synthesised and args.store:
        return args.store.with_name(f"{args.store.stem}_audio")
    return args.audio


def _sounds_named(args: argparse.Namespace) -> bool:
    """Whether a dataset can be indexed; what needs that to be checked is refused otherwise.

    Raises
    ------
    InputError
        If an option decides on the clips, and it is not known where they are.
    """
    named = [option for option in args.dataset.options if option.name in args.options]
    if _audio(args) or any(option.replaces_audio for option in named):
        return True
    choices = sorted(option.flag for option in named if not option.variant)
    if choices:
        raise UsageError(f"expected --audio with {choices[0]}, to see whether the store fits")
    return False


def make_store(args: argparse.Namespace) -> Sequence[str]:
    """What `multiview-prepare DATASET` does: index, extract, write, unless the store is there.

    Returns
    -------
    sequence of str
        What the user should hear at the end.
    """
    dataset, options, store, audio = args.dataset, args.options, args.store, _audio(args)
    # What is not named is whatever the store is called.
    name = dataset.stored_name(options, args.name) if args.name else ""
    chosen = set(options) - set(dataset.variants(options))
    if other := twin(store):
        raise InputError(f"{other} exists: expected a --store that differs in more than the case of letters from it")
    # A store that is there can be used without its sounds, and nothing is fetched for it.
    named = _sounds_named(args)
    if (not named or (args.download and not chosen)) and already_prepared(
        store, name, args.sample_rate, None, args.views
    ):
        return ()
    if not named:
        require_folder(audio)  # refuses, before anything is written
    with locked(store.with_name(f"{store.stem}.lock"), f"{store} is being prepared", leftovers(store)):
        index = downloaded(dataset, audio, args.mirror, options) if args.download else dataset.index(audio, **options)
        prepare(
            name,
            index,
            store,
            args.sample_rate or dataset.sample_rate,
            jobs=args.jobs,
            cluster=args.cluster,
            allow_missing=args.allow_missing,
            views=args.views,
            about=dataset.about(options, args.name if dataset.named else ""),
            elsewhere="--name or --store" if dataset.named else "--store",
        )
    return index.notes


def plan(args: argparse.Namespace) -> dict:
    """What `--plan` prints, once all is checked that can be without reading a sound or writing a file.

    Raises
    ------
    InputError
        If the sounds, a table or the store are not there, or not as they should be.
    """
    dataset, options, audio = args.dataset, args.options, _audio(args)
    if not args.name:
        raise UsageError(f"expected --audio DIR or {NAME.flag} NAME, found neither; say where the sounds are")
    name = dataset.stored_name(options, args.name)
    if args.audio and not args.download and not dataset.synthesised:
        require_folder(args.audio)
    for option in dataset.options:
        file = options.get(option.name)
        if isinstance(file, Path) and not file.is_file():
            raise InputError(f"expected a table at {file}, found no file; check {option.flag}")
    try_views(args.sample_rate or dataset.sample_rate, args.views or ())
    there = bool(args.store) and already_prepared(args.store, name, args.sample_rate, None, args.views)
    if not args.download and not dataset.synthesised and (_sounds_named(args) or (args.store and not there)):
        index = dataset.index(audio, **options)
        check_index(name, index, args.allow_missing)
        check_part(name, index, dataset.about(options))
        name = name_of_part(name, len(index.there().clips), index.published)
    return {
        "dataset": name,
        "label": dataset.about(options, args.name if dataset.named else "").label,
        "sample_rate": args.sample_rate or dataset.sample_rate,
        "sample_rates_own": dataset.sample_rate,
        "preset": dataset.preset,
        "folds": dataset.folds,
        "paper": dataset.paper,
        "audio": os.path.abspath(audio) if audio else None,
    }


def describe(path: Path) -> None:
    """Print one line on what a store holds."""
    store = Store(path)
    print(
        f"{path}: {len(store)} clips, {len(store.classes)} classes, {store.sample_rate} Hz, "
        f"{store.samples.sum() / store.sample_rate / 60:.1f} minutes, "
        f"{path.stat().st_size / 2**20:.0f} MiB; {len(store.left_out)} clips left out"
    )


def list_datasets(as_json: bool) -> None:
    """Print the datasets there are."""
    if as_json:
        keys = ("name", "label", "paper", "sample_rate")
        rows = [
            {key: getattr(dataset, key) for key in keys} | {"options": [option.flag for option in dataset.options]}
            for dataset in DATASETS.values()
        ]
        print(json.dumps(rows))
        return
    for dataset in DATASETS.values():
        licence = dataset.source.licence if dataset.source else "synthesised" if dataset.synthesised else "your own"
        flags = " ".join(option.flag for option in dataset.options)
        print(f"{dataset.name:<10} {dataset.label:<10} {licence}; {flags or 'no options of its own'}")


def run(argv: list[str]) -> None:
    """Do what the command line says."""
    args = arguments.parse(argv)
    if args.dataset is None and args.list:
        list_datasets(args.json)
    elif args.dataset is None:
        from data_prep.inspection import inspect  # draws, which takes a while to load

        inspect(args.inspect, args.to or args.inspect.parent, args.check)
    elif args.plan:
        print(json.dumps(plan(args)))
    else:
        notes = make_store(args)
        describe(args.store)
        for line in notes:
            print(line, file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `multiview-prepare`."""
    return exit_status(arguments.PROGRAM, lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())

"""What is refused or noted before, while and after a store is made."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from data_prep.datasets.base import Index, is_part
from data_prep.naming import is_text
from multiview.splits import folds, make_split
from multiview.store import About, Store
from multiview.support.errors import InputError
from multiview.support.words import counted, listed, shown

UNREADABLE_SHARE = 0.05  # more than this needs --allow-missing
LONGEST = {"class": 255, "clip": 4096, "source": 4096}  # bytes of a name, as of a folder and of a path


def check_index(dataset: str, index: Index, allow_missing: bool = False, made: bool = False) -> None:
    """Refuse an index that could not be trained on; less strictly where a store of it is `made` already.

    Raises
    ------
    InputError
        If it has no clips, names that no store takes, repeated names or files, classes that differ only in the case of
        letters, spaces or how accents are written, a fold without clips below its highest fold, or a source on both
        sides of a split; and, unless that is allowed, if more than 5 % of the files are missing, a folder cannot be
        read, or a published dataset lacks all of a fold.
    """
    if not index.clips:
        raise InputError(f"{dataset}: found no clips; check --audio")
    ids = [clip.id for clip in index.clips]
    _check_names(dataset, {"class": index.classes, "clip": ids, "source": [clip.source for clip in index.clips]})
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise InputError(f"{dataset}: expected every clip once, found {twice!r} more than once")
    if (empty := _empty_folds(index, _last_fold(index))) and len(index.clips) >= (index.published or 0):
        raise InputError(
            f"{dataset}: expected test clips in each of the folds 1 to {_last_fold(index)}, found none in "
            f"fold {empty[0]}; mend the fold column"
        )
    _check_sources(dataset, index)
    if made:
        return
    _check_classes(dataset, index.classes)
    _check_files(dataset, index)
    if not allow_missing:
        _check_missing(dataset, index)


def _check_names(dataset: str, names: Mapping[str, Sequence[str]]) -> None:
    """Refuse what a store cannot hold, or could not be shown of it."""
    for what, each in names.items():
        bad = [name for name in dict.fromkeys(each) if not is_text(name) or len(name.encode()) > LONGEST[what]]
        if bad:
            raise InputError(
                f"{dataset}: expected names in UTF-8, without control characters and of at most {LONGEST[what]:,} "
                f"bytes, found {what} {listed([*map(shown, bad)])}; rename it"
            )


def _check_classes(dataset: str, classes: Sequence[str]) -> None:
    """Refuse classes that are one, on some disks or in some eyes."""
    seen: dict[str, str] = {}
    for name in classes:
        seen_as = " ".join(unicodedata.normalize("NFC", name.casefold()).split())
        if (other := seen.setdefault(seen_as, name)) != name:
            raise InputError(
                f"{dataset}: expected classes that differ in more than the case of letters, spaces and how accents are "
                f"written, found {ascii(other)} and {ascii(name)}; rename one, or put them together"
            )


def _check_files(dataset: str, index: Index) -> None:
    """Refuse a file that is two clips, by a link or another way to write it: one might test what the other taught."""
    seen: dict[str, str] = {}
    for clip in index.clips:
        if (other := seen.setdefault(os.path.realpath(clip.path), clip.id)) != clip.id:
            raise InputError(
                f"{dataset}: expected every sound file once, found one that is {shown(other)} and {shown(clip.id)}; "
                "leave one out"
            )


def _last_fold(index: Index) -> int:
    return max((clip.fold for clip in index.clips if clip.split == "development"), default=0)


def _empty_folds(index: Index, last: int) -> list[int]:
    """The folds from 1 to `last` that have no clips."""
    given = {clip.fold for clip in index.clips if clip.split == "development"}
    return sorted(set(range(1, last + 1)) - given)


def _check_missing(dataset: str, index: Index) -> None:
    """Refuse an index whose files are not there, or that lacks whole folds, as published ones do in part."""
    if index.closed:
        raise InputError(
            f"{dataset}: {counted(len(index.closed), 'folder')} cannot be read: {listed(index.closed)}; make that "
            "possible, or go on without with --allow-missing"
        )
    there = index.there()
    missing = len(index.clips) - len(there.clips)
    empty = _empty_folds(there, _last_fold(index)) if index.published else []
    if missing <= UNREADABLE_SHARE * len(index.clips) and not empty:
        return
    if missing == len(index.clips):
        advice = "check --audio"
    else:
        advice = "complete it, or go on with what is there, as another protocol, with --allow-missing"
    whole = max(index.published or 0, len(index.clips))
    first = next((f", the first {clip.path}" for clip in index.clips if not os.path.exists(clip.path)), "")
    folds = f", all of fold {', '.join(map(str, empty))} among them" if empty and there.clips else ""
    raise InputError(
        f"{dataset}: {whole - len(there.clips):,} of its {whole:,} sound files are missing{first}{folds}; {advice}"
    )


def _check_sources(dataset: str, index: Index) -> None:
    evaluated = any(clip.split == "evaluation" for clip in index.clips)
    side_of: dict[str, int | str] = {}
    for clip in index.clips:
        side = clip.split if evaluated else clip.fold
        if side_of.setdefault(clip.source, side) != side:
            raise InputError(
                f"{dataset}: expected the clips of a source on one side of every split, found source "
                f"{clip.source!r} in {'' if evaluated else 'fold '}{side_of[clip.source]} and {side}; mend the table"
            )


def check_part(dataset: str, index: Index, about: About) -> None:
    """Refuse a part of a published dataset on which no fold can be trained.

    Raises
    ------
    InputError
        With what the first fold lacks.
    """
    clips = index.there().clips
    if index.published is None or len(clips) >= index.published:
        return
    columns = {"labels": "label", "folds": "fold", "sources": "source", "splits": "split"}
    arrays = {name: np.array([getattr(clip, of) for clip in clips]) for name, of in columns.items()}
    table: Any = SimpleNamespace(path=dataset, dataset=dataset, classes=list(index.classes), about=about, **arrays)
    reasons = []
    for fold in folds(table):
        try:
            make_split(table, fold, seed=0)
            return
        except InputError as error:
            reasons.append(str(error))
    raise InputError(f"with {len(clips):,} of the {index.published:,} clips no fold can be trained on ({reasons[0]})")


def already_prepared(
    path: Path,
    dataset: str,
    sample_rate: int | None,
    index: Index | None,
    views: Sequence[str] | None = None,
    elsewhere: str = "--store",
) -> bool:
    """Whether `path` is the store that was asked for; refuse a different one.

    Parameters
    ----------
    dataset
        Its name; a part of it is one of its stores, too. Empty for any.
    sample_rate, index, views
        Where None, the store's own is taken. A store may hold more views than asked for.
    elsewhere
        The options that choose another store.

    Raises
    ------
    InputError
        If there is a store of another dataset, sample rate or list of clips, or without some of the views.
    """
    if not path.exists():
        return False
    store = Store(path)
    held, mend = ",".join(store.views), f"name another {elsewhere}, or delete it"
    for what, expected, found in (
        ("dataset", None if is_part(store.dataset, dataset or store.dataset) else dataset, store.dataset),
        ("sample rate", sample_rate, store.sample_rate),
        ("views", None if set(views or ()) <= set(store.views) else ",".join(views or ()), held),
    ):
        if expected not in (None, found):
            raise InputError(f"{path} exists: expected {what} {expected}, found {found}; {mend}")
    if store.left_out:
        print(
            f"{path} was made without {len(store.left_out)} unreadable clips; delete it to try them again",
            file=sys.stderr,
        )
    if index is not None:
        _check_clips(store, index, mend)
    return True


def _check_clips(store: Store, index: Index, mend: str) -> None:
    """Refuse a store of other clips than those of `index`."""
    expected = {(c.id, c.label, c.fold, c.split, c.source) for c in index.clips if c.id not in store.left_out}
    found = {(c.id, c.label, c.fold, c.split, c.source) for c in store.clips()}
    if expected != found or list(index.classes) != store.classes:
        raise InputError(
            f"{store.path} exists with other clips: expected {len(expected)}, found {len(found)}, of which "
            f"{len(expected & found)} agree in name, label, fold and source; {mend}"
        )


def check_unreadable(unreadable: dict[str, str], clips: int, allow_missing: bool) -> None:
    """Name what cannot be read.

    Raises
    ------
    InputError
        If nothing is left, or more than 5 % of the clips are missing and that is not allowed.
    """
    for name, why in unreadable.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    share = len(unreadable) / clips
    if share == 1 or (share > UNREADABLE_SHARE and not allow_missing):
        raise InputError(
            f"{len(unreadable)} of {clips} clips cannot be read, more than "
            f"{UNREADABLE_SHARE:.0%}; mend them, or leave them out with --allow-missing"
        )


def note_short(store: Store) -> None:
    """Say so where recordings are shorter than a segment."""
    segment = store.size.segment_samples
    short = list(store.ids[store.samples < segment])
    if short:
        seconds = segment / store.sample_rate
        print(
            f"note: {counted(len(short), 'recording is', 'recordings are')} shorter than a segment of {seconds:.2f} s "
            f"and padded with silence: {listed(short)}",
            file=sys.stderr,
        )


def note_folds(store: Store) -> None:
    """Say so where a fold cannot be trained on."""
    try:
        for fold in folds(store):
            make_split(store, fold, seed=0)
    except InputError as error:
        print(f"note: {error}", file=sys.stderr)

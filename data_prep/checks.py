"""What is refused or noted before, while and after a store is made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.datasets.base import Index
from multiview.splits import folds, make_split
from multiview.store import Store
from multiview.support.errors import InputError

UNREADABLE_SHARE = 0.05  # more than this needs --allow-missing


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


def already_prepared(
    path: Path, dataset: str, sample_rate: int | None, index: Index | None, views: Sequence[str] | None = None
) -> bool:
    """Whether `path` is the store that was asked for; refuse a different one.

    Parameters
    ----------
    sample_rate, index, views
        Where None, the store's own is taken. A store may hold more views than asked for.

    Raises
    ------
    InputError
        If there is a store of another dataset, sample rate or list of clips, or without some of the views.
    """
    if not path.exists():
        return False
    store = Store(path)
    held = ",".join(store.views)
    for what, expected, found in (
        ("dataset", dataset, store.dataset),
        ("sample rate", sample_rate, store.sample_rate),
        ("views", None if set(views or ()) <= set(store.views) else ",".join(views or ()), held),
    ):
        if expected not in (None, found):
            raise InputError(
                f"{path} exists: expected {what} {expected}, found {found}; name another --store or delete it"
            )
    if store.left_out:
        print(
            f"{path} was made without {len(store.left_out)} unreadable clips; delete it to try them again",
            file=sys.stderr,
        )
    if index is not None:
        _check_clips(store, index)
    return True


def _check_clips(store: Store, index: Index) -> None:
    """Refuse a store of other clips than those of `index`."""
    expected = {(c.id, c.label, c.fold, c.split, c.source) for c in index.clips if c.id not in store.left_out}
    found = {(c.id, c.label, c.fold, c.split, c.source) for c in store.clips()}
    if expected != found or list(index.classes) != store.classes:
        raise InputError(
            f"{store.path} exists with other clips: expected {len(expected)}, found {len(found)}, of which "
            f"{len(expected & found)} agree in name, label, fold and source; name another --store or delete it"
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


def note_folds(store: Store) -> None:
    """Say so where a fold cannot be trained on."""
    try:
        for fold in folds(store):
            make_split(store, fold, seed=0)
    except InputError as error:
        print(f"note: {error}", file=sys.stderr)

"""Who trains, who validates, who tests: the folds of a store and the paper's validation draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multiview.store import Store
from multiview.support.errors import InputError

EVERY_CLIP = 0  # in place of a fold: no clip is held out for test


@dataclass(frozen=True)
class Split:
    """Rows of a store, each an int64 array in ascending order.

    `monitor` is the fixed subset of `train` on which the training loss of Eq. (4) is measured.
    """

    train: np.ndarray
    monitor: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def folds(store: Store) -> list[int]:
    """Folds that can be tested: one where an evaluation set is given, else those of the clips."""
    if (store.splits == "evaluation").any():
        return [1]
    return sorted({int(fold) for fold in store.folds} - {0})


def make_split(store: Store, fold: int, seed: int) -> Split:
    """The split of one fold, or of EVERY_CLIP; the same seed gives every system the same one.

    Validation takes whole sources, drawn from each class, and `monitor` as many training clips of
    each class as validation has.

    Raises
    ------
    InputError
        If the store has no such fold, or a class has no clip left to train on.
    """
    known = folds(store)
    if fold not in (EVERY_CLIP, *known):
        raise InputError(
            f"{store.path} has the folds {', '.join(map(str, known)) or 'none'}, not fold {fold}; choose one of them"
        )
    held_out = store.splits == "evaluation"
    test = held_out if held_out.any() else store.folds == fold
    if fold == EVERY_CLIP:
        test = np.zeros_like(held_out)
    if set(store.sources[test]) & set(store.sources[~test]):
        shared = sorted(set(store.sources[test]) & set(store.sources[~test]))
        raise InputError(
            f"{store.path}: source '{shared[0]}' is both in the test and in the training clips of "
            f"fold {fold} ({len(shared)} such sources); give each source one fold"
        )

    rng = np.random.default_rng([seed, fold])
    validation = ~test & np.isin(store.sources, list(_validation_sources(store, test, rng)))
    train = ~test & ~validation
    monitor = _monitor(store, fold, train, validation, rng)
    if not validation.any():
        raise InputError(
            f"{store.path}: no source can be spared for validation in fold {fold}; every class "
            "needs clips of at least two sources outside each fold"
        )
    return Split(np.flatnonzero(train), monitor, np.flatnonzero(validation), np.flatnonzero(test))


def _validation_sources(store: Store, test: np.ndarray, rng: np.random.Generator) -> set[str]:
    """Sources of each class that validate: as many as the dataset's protocol says, and not all of a class."""
    drawn: set[str] = set()
    wanted = store.about.validation_sources
    for label in range(len(store.classes)):
        sources = np.unique(store.sources[~test & (store.labels == label)])
        count = wanted if isinstance(wanted, int) else max(1, round(wanted * len(sources)))
        drawn.update(rng.permutation(sources)[: min(count, len(sources) - 1)] if len(sources) else ())
    return drawn


def _monitor(
    store: Store, fold: int, train: np.ndarray, validation: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """As many training clips of each class as validate, in ascending order."""
    monitor: list[int] = []
    for label, name in enumerate(store.classes):
        rows = np.flatnonzero(train & (store.labels == label))
        if not len(rows):
            raise InputError(
                f"{store.path}: class {name!r} has no clip to train on in fold {fold}; every class "
                "needs clips of at least two sources outside each fold"
            )
        count = min(len(rows), int((validation & (store.labels == label)).sum()))
        monitor.extend(rng.choice(rows, count, replace=False))
    return np.sort(np.array(monitor, dtype=np.int64))

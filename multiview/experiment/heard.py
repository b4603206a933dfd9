"""Which clips a trained network has heard, itself or by what it started from."""

from __future__ import annotations

from pathlib import Path

from multiview.experiment.run import Run
from multiview.experiment.schema import HEARD, STARTED_FROM
from multiview.splits import make_split
from multiview.store import Store
from multiview.support.errors import InputError


def heard(run: Run, store: Store) -> list[str]:
    """Clips of `store` that were in the training or validation of the run, or of what it started from.

    As far as that can be told: from the run's own store where it is still there, from `store` where that is the same,
    and from the list that a starter model has. Names count without suffixes, as collections are passed on in other
    formats.
    """
    found = _of_split(run.store(), run.settings()) if _has_store(run) else set()
    record: dict | None = run.read()
    while record:
        found |= {Path(name).stem for name in record.get(HEARD) or ()}
        if record["store"]["fingerprint"] == store.fingerprint:
            found |= _of_split(store, record["settings"])
        record = record.get(STARTED_FROM)
    return [name for name in map(str, store.ids) if Path(name).stem in found]


def all_known(run: Run, store: Store) -> bool:
    """Whether `heard` can tell for the run and all that it started from: not where a store is gone, or changed."""
    record, told = run.read(), _has_store(run)
    while record:
        if not (told or record.get(HEARD) or record["store"]["fingerprint"] == store.fingerprint):
            return False
        record, told = record.get(STARTED_FROM) or {}, False
    return True


def _of_split(store: Store, settings: dict) -> set[str]:
    split = make_split(store, settings["fold"], settings["seed"])
    return {Path(str(store.ids[row])).stem for row in (*split.train, *split.validation)}


def _has_store(run: Run) -> bool:
    try:
        run.store()
    except (InputError, KeyError):  # gone, changed, or of a starter model
        return False
    return True

"""Testing a trained network on the clips of the same classes elsewhere: another collection, microphone or band."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from multiview.experiment.evaluate import predicted, scores_of
from multiview.experiment.heard import all_known, heard
from multiview.experiment.run import Run
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.files import leftovers, locked, write_json


def matched(known: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Class of another collection to the network's class of that name.

    Names are equal as they are, or else, where that makes one pair, but for case, spaces, hyphens, underscores and how
    accents are written.
    """
    found = {name: name for name in others if name in known}
    plain = {name: _plain(name) for name in {*known, *others}}
    of_known, of_others = (Counter(plain[each] for each in names) for names in (known, others))
    left = (each for each in others if each not in found and plain[each])
    for name in (each for each in left if of_others[plain[each]] == of_known[plain[each]] == 1):
        found[name] = next(each for each in known if plain[each] == plain[name])
    return found


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFC", name.casefold())
    return "".join(each for each in letters if unicodedata.category(each) not in ("Zs", "Pd", "Pc"))


def evaluate_elsewhere(run: Run, store: Store, directory: Path) -> dict:
    """Test the kept model of a run on all clips of another store whose class it knows, and that it has not heard.

    Leaves `predictions.h5` and `metrics.json` in `directory`, as those of a run; those of the run itself, and of any
    other, stay as they are.

    Returns
    -------
    dict
        Content of `metrics.json`: `accuracy` by branch as fractions, where the network may name any of its classes, and
        `accuracy_among` where it may name those alone that are there; `classes` that are; `left_out`, the `classes`
        of the store that are not, and how many clips were `heard`; `heard_known`, whether all that were could be told.

    Raises
    ------
    InputError
        If the store lacks a view, has another sample rate, or has no such clip; or if `directory` is that of a run, or
        another process writes there.
    """
    to = Run(directory)
    if to.record.exists():
        raise InputError(
            f"expected a folder of their own for the results on {store.path}, found the run {directory}, which has its "
            "own; name another with --to"
        )
    record, system = run.read()["store"], run.system()
    store.require(system.views, f"system {system.name}")
    if store.sample_rate != record["sample_rate"]:
        raise InputError(
            f"expected a store at {record['sample_rate']} Hz, as {run.path} was trained at, found {store.path} at "
            f"{store.sample_rate} Hz; prepare it with --sample-rate {record['sample_rate']}"
        )
    classes, names = record["classes"], matched(record["classes"], store.classes)
    there = [name for name in classes if name in names.values()]
    known, old = [name in names for name in store.classes], set(heard(run, store))
    asked = np.array(known)[store.labels]
    fresh = np.array([str(name) not in old for name in store.ids])
    rows = np.flatnonzero(asked & fresh)
    if not len(rows):
        raise InputError(
            f"expected clips in {store.path} of a class of {', '.join(classes)} that {run.path} has not heard, found "
            f"{asked.sum()} of such classes, {np.sum(asked & ~fresh)} of them heard; test it on another store"
        )
    model = run.load_model()
    # The folder may be anyone's: other names than these are left alone.
    stale = (leftovers(path) for path in (to.predictions, to.metrics))
    with locked(directory / "elsewhere.lock", f"{directory} is being written", *stale):
        labels = np.array([classes.index(names[store.classes[label]]) for label in store.labels[rows]], np.int64)
        predictions = predicted(model, system, store, rows, labels, classes)
        predictions.write(to.predictions)
        metrics = {
            "system": system.name,
            "dataset": store.dataset,
            "trained_on": record["dataset"],
            "fold": run.settings().fold,
            "clips": len(rows),
            "accuracy": scores_of(predictions, system),
            "accuracy_among": scores_of(predictions, system, [classes.index(name) for name in there]),
            "classes": there,
            "left_out": {
                "classes": [name for name in store.classes if name not in names],
                "heard": int(np.sum(asked & ~fresh)),
            },
            "heard_known": all_known(run, store),
        }
        write_json(to.metrics, metrics)
    return metrics

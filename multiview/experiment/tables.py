"""What a run left on disk, as pandas tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from multiview.experiment.run import Run
from multiview.support.errors import InputError

Place = Run | str | Path


def history_table(run: Place) -> pd.DataFrame:
    """`history.csv`: a row an evaluation, by its number.

    Raises
    ------
    InputError
        If there is no such run, or it has not begun.
    """
    found = _run(run)
    if not found.history.is_file():
        raise InputError(f"expected a run that has begun, found no {found.history.name} in {found.path}; train it")
    return pd.DataFrame(found.read_history()).set_index("evaluation")


def metrics_table(*runs: Place) -> pd.DataFrame:
    """Accuracies of tested runs, as fractions: a row a run and branch, and self-ensemble.

    Raises
    ------
    InputError
        If one of them has not been tested.
    """
    rows = []
    for run in map(_tested, runs):
        metrics = run.read_metrics()
        head = {"run": str(run.path), **{key: metrics[key] for key in ("system", "dataset", "fold", "clips")}}
        rows += [{**head, "branch": branch, "accuracy": value} for branch, value in metrics["accuracy"].items()]
    return pd.DataFrame(rows)


def predictions_table(run: Place) -> pd.DataFrame:
    """Probabilities of the classes (columns) for each `clip`, `true` class and `branch` (index), as they were tested.

    Of several branches the self-ensemble of Eq. (6) is another one. `table.idxmax(axis=1)` is what is predicted, but
    where all are alike, of which nothing is.

    Raises
    ------
    InputError
        If it has not been tested.
    """
    found = _tested(run)
    said = found.read_predictions()
    true = [said.classes[label] for label in said.labels]
    parts = []
    for branch, values in said.rows(found.system()).items():
        index = pd.MultiIndex.from_arrays([said.clips, true, [branch] * len(true)], names=("clip", "true", "branch"))
        parts.append(pd.DataFrame(values, index=index, columns=said.classes))
    return pd.concat(parts)


def _run(run: Place) -> Run:
    found = run if isinstance(run, Run) else Run(run)
    found.read()
    return found


def _tested(run: Place) -> Run:
    found = _run(run)
    if not found.metrics.is_file():
        raise InputError(f"expected a tested run, found no {found.metrics.name} in {found.path}; evaluate it")
    return found

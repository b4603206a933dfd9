"""Finished runs on disk with given probabilities, which nothing trained."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from multiview import evaluation
from multiview.experiment.predictions import Predictions
from multiview.history import column, columns
from multiview.systems import find_system
from multiview.views import paper_views

# Probabilities of class 0 for four clips, labels 0 0 1 1.
RIGHT, HALF, WRONG = [0.9, 0.9, 0.1, 0.1], [0.9, 0.2, 0.1, 0.8], [0.4, 0.4, 0.6, 0.6]
PAPER_BRANCHES = find_system("multiview", paper_views()).branches


def record(dataset: str = "esc50", **settings: object) -> dict:
    """What `run.json` has at least, of two classes."""
    least = {"preset": "small", "sample_rate": 22050, "epochs": 2, "window": 1, "system": "mel", "fold": 1}
    least |= {"batch_size": 32, "learning_rate": 1e-3, "warm_up_epochs": 0, "warm_up_learning_rate": 1e-3, "width": 1}
    store = {"dataset": dataset, "sample_rate": 22050, "fingerprint": "f", "classes": ["yes", "no"]}
    return {"settings": {**least, **settings}, "store": store}


def write_run(
    path: Path,
    system: str,
    fold: int,
    rows: dict[str, list[float]],
    *,
    weights: dict[str, float] | list[list[float]] | None = None,
    dataset: str = "esc50",
    **settings: object,
) -> None:
    """A run of four clips of two classes in `path`, with three evaluations.

    `rows` has the probability of class 0 by branch, `weights` the weight by branch of the kept model, or those of
    every evaluation, of which the last is kept; all alike where None.
    """
    path.mkdir(parents=True)
    labels, branches = np.array([0, 0, 1, 1]), list(rows)
    uniform = [1 / len(branches)] * len(branches)
    over_time = weights if isinstance(weights, list) else [uniform] * 3
    kept = weights if isinstance(weights, dict) else dict(zip(branches, over_time[-1], strict=True))
    probabilities = {branch: np.array([[p, 1 - p] for p in values], np.float32) for branch, values in rows.items()}
    names = [f"{fold}-{i}.wav" for i in range(4)]
    Predictions(names, labels, ["yes", "no"], probabilities, kept).write(path / "predictions.h5")
    scores = {branch: evaluation.accuracy(values, labels) for branch, values in probabilities.items()}
    if system == "multiview":
        scores["self_ensemble"] = evaluation.accuracy(evaluation.self_ensemble(probabilities, kept), labels)
    metrics = {"system": system, "dataset": dataset, "fold": fold, "clips": 4, "accuracy": scores}
    (path / "metrics.json").write_text(json.dumps(metrics))
    (path / "run.json").write_text(json.dumps(record(dataset, system=system, fold=fold, **settings)))
    history = pd.DataFrame(0.5, index=range(3), columns=columns(branches))
    history[["evaluation", "epoch"]] = [[0, 0], [1, 1], [2, 2]]
    history["step"] = (4 + fold) * history["evaluation"]
    for branch, each in zip(branches, np.transpose(over_time), strict=True):
        history[column("train", branch)] = 1.0 / (history["evaluation"] + 1)
        history[column("validation", branch)] = 2.0 / (history["evaluation"] + 1)
        history[column("weight", branch)] = each
    history.to_csv(path / "history.csv", index=False)


def write_runs(directory: Path, dataset: str = "esc50") -> Path:
    """Two folds of all systems on the paper's views."""
    for fold in (1, 2):
        values = {"mel": RIGHT, "gammatone": HALF, "cqt": HALF, "raw": WRONG if fold == 1 else HALF}
        for view in values:
            path = directory / view / f"fold{fold}"
            write_run(path, view, fold, {view: values[view]}, dataset=dataset)
        write_run(directory / "concat" / f"fold{fold}", "concat", fold, {"multiview": HALF}, dataset=dataset)
        weights = dict.fromkeys(PAPER_BRANCHES, 0.0) | {"mel": 0.7, "multiview": 0.3}
        rows = {**values, "multiview": HALF if fold == 1 else RIGHT}
        write_run(directory / "multiview" / f"fold{fold}", "multiview", fold, rows, weights=weights, dataset=dataset)
    return directory


def write_multiview(path: Path, fold: int, views: Sequence[str] = paper_views(), joint: list[float] = HALF,
                    weights: list[list[float]] | None = None, **settings: object) -> None:  # fmt: skip
    """A multi-view run on any views, of which mel and the joint branch as `joint` says are right."""
    rows = {view: RIGHT if view == "mel" else HALF for view in views} | {"multiview": joint}
    chosen = None if tuple(views) == paper_views() else ",".join(views)
    write_run(path, "multiview", fold, rows, weights=weights, views=chosen, **settings)


def squeezed(markdown: str) -> str:
    """Markdown without the padding of its tables."""
    return re.sub(" +", " ", markdown)

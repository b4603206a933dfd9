"""Testing the kept model of a run: `predictions.h5` and `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from multiview.calibration import calibrate
from multiview.evaluation import accuracy, average_by_clip, predict_segments
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import Run
from multiview.segments import test_segments
from multiview.splits import EVERY_CLIP, make_split
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.files import write_json
from multiview.systems import System

if TYPE_CHECKING:
    from multiview.networks import BlendedModel


def evaluate(run: Run) -> dict:
    """Test the kept model of a run on its fold; write `predictions.h5` and `metrics.json`.

    Both are of probabilities as the branches give them. A run that was made before there were temperatures gets them.

    Returns
    -------
    dict
        Content of `metrics.json`, accuracies as fractions.

    Raises
    ------
    InputError
        If no clip was held out of its training, or it is in use.
    """
    if run.settings().fold == EVERY_CLIP:
        raise InputError(
            f"{run.path} was trained for use, no clip is left to test on; test a run of a fold, or it with --store"
        )
    with run.locked():
        return _evaluate(run)


def _evaluate(run: Run) -> dict:
    system, settings = run.system(), run.settings()
    store, model = run.store(), run.load_model()
    split = make_split(store, settings.fold, settings.seed)
    if run.calibration() is None:
        run.update(calibration=asdict(calibrate(model, store, split.validation)))
    rows = split.test
    predictions = predicted(model, system, store, rows, store.labels[rows], store.classes)
    predictions.write(run.predictions)
    metrics = {
        "system": system.name,
        "dataset": store.dataset,
        "fold": settings.fold,
        "clips": len(rows),
        "accuracy": scores_of(predictions, system),
    }
    write_json(run.metrics, metrics)
    run.update(status="evaluated")
    return metrics


def predicted(
    model: BlendedModel, system: System, store: Store, rows: np.ndarray, labels: np.ndarray, classes: list[str]
) -> Predictions:
    """What the branches of a network say of the clips in some rows of a store, means over their test segments.

    Parameters
    ----------
    rows, labels : int arrays [clips]
        The clips, and what each is among `classes`, those of the network.
    """
    segments = test_segments(rows, store.samples[rows], store.size)
    outputs = predict_segments(model, store, segments)
    return Predictions(
        clips=[str(name) for name in store.ids[rows]],
        labels=labels,
        classes=classes,
        probabilities={branch: average_by_clip(outputs[branch], segments.clips) for branch in system.branches},
        weights=model.weights_by_branch(),
    )


def scores_of(predictions: Predictions, system: System, among: Sequence[int] | None = None) -> dict[str, float]:
    """Accuracy of each branch and of the self-ensemble as fractions, where only the classes `among` may be named."""
    allowed = np.unique(range(len(predictions.classes)) if among is None else among)
    labels = np.searchsorted(allowed, predictions.labels)
    return {name: accuracy(values[:, allowed], labels) for name, values in predictions.rows(system).items()}

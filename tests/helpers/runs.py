"""What tests look at in a run."""

from __future__ import annotations

import csv

import keras
import numpy as np

from multiview.experiment.run import Run


def rows(run: Run) -> list[dict[str, float]]:
    """Content of `history.csv`."""
    with run.history.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def kept_weights(run: Run) -> list[np.ndarray]:
    """All variables of the kept model."""
    return [keras.ops.convert_to_numpy(variable) for variable in run.load_model().weights]

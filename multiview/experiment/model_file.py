"""`model.keras`: a zip archive of a description and of weights, opened for no more than the weights that it has."""

from __future__ import annotations

import io
import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from multiview.support import zips
from multiview.support.hdf5 import check_all

if TYPE_CHECKING:
    import keras

WEIGHTS = "model.weights.h5"
MOST = {"metadata.json": 2**16, "config.json": 2**24, WEIGHTS: 2**32}  # bytes; the paper's network has 2**28
LEAST_BYTES = 2  # of a number


def load(path: Path) -> keras.Model:
    """The network, as `keras.saving.load_model` gives it; nothing of it is code.

    Raises
    ------
    Exception
        Of any kind, Keras's own among them, if the file is damaged, packed, of other parts than ours, or describes more
        weights than it has.
    """
    with zips.opened(path, len(MOST)) as archive:
        for each in archive.infolist():
            if each.file_size > MOST.get(each.filename, 0):
                raise ValueError(
                    f"expected {', '.join(MOST)}, found {each.filename[:100]!r} of {each.file_size:,} bytes"
                )
        weights, description = archive.read(WEIGHTS), json.loads(archive.read("config.json"))
    with h5py.File(io.BytesIO(weights), "r") as file:
        check_all(file, len(weights))
    model = _described(description, len(weights))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Skipping")  # Keras would leave weights that are missing as drawn
        model.load_weights(path)
    return model


def _described(description: dict, most: int) -> keras.Model:
    """The network of a description, if its weights are no more than so many bytes."""
    import keras

    with keras.StatelessScope() as scope:  # in which weights have shapes, and take no memory
        try:
            model = keras.saving.deserialize_keras_object(description)
            if (needed := LEAST_BYTES * sum(math.prod(each.shape) for each in model.variables)) > most:
                raise ValueError(
                    f"expected at most {most:,} bytes of weights, found a description of {needed:,} and more"
                )
        except BaseException:
            scope.initialize_variables = False
            keras.utils.clear_session(free_memory=False)  # else Keras makes them later on
            raise
    return model

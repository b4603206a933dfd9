"""`checkpoint.npz`: all that a killed training needs to end as an undisturbed one, in one file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from multiview.networks import BlendedModel
from multiview.support.errors import InputError
from multiview.support.files import replacing


def arrays_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of Keras variables, copied."""
    return [np.array(keras.ops.convert_to_numpy(each)) for each in variables]


class Checkpoint:
    """Every variable of the model and its optimizer, those of the kept model, and a record of JSON types."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, model: BlendedModel, kept: Sequence[np.ndarray], record: dict) -> None:
        """Replace the file."""
        arrays = {"record": np.array(json.dumps(record))}
        for group, variables in (("model", model.variables), ("optimizer", model.optimizer.variables), ("best", kept)):
            for index, variable in enumerate(variables):
                arrays[f"{group}/{index}"] = keras.ops.convert_to_numpy(variable)
        with replacing(self.path) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    def read(self, model: BlendedModel) -> tuple[list[np.ndarray], dict] | None:
        """Put the variables into `model`; the kept model's variables and the record, None where there is no file.

        Raises
        ------
        InputError
            If the file is not one of this network's checkpoints.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path) as arrays:
                record = json.loads(str(arrays["record"]))
                for group, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
                    for index, variable in enumerate(variables):
                        variable.assign(arrays[f"{group}/{index}"])
                return [arrays[f"best/{index}"] for index in range(len(model.variables))], record
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self.path} does not continue this run ({error}); delete {self.path.parent} to start anew"
            ) from error

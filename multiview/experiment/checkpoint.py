"""`checkpoint.npz`: all that a killed training needs to end as an undisturbed one, in one file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multiview.history import check_rows, row_check
from multiview.support import zips
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.support.records import fields, listed, mapping, number, parse

if TYPE_CHECKING:
    from multiview.networks import BlendedModel


def arrays_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of Keras variables, copied."""
    import keras

    return [np.array(keras.ops.convert_to_numpy(each)) for each in variables]


class Checkpoint:
    """Every variable of the model and its optimizer, those of the kept model, and a record of JSON types.

    Parameters
    ----------
    path : Path
        Of the file.
    branches : sequence of str
        Whose evaluations it has.
    """

    def __init__(self, path: Path, branches: Sequence[str]) -> None:
        self.path, self.branches = path, branches

    def write(self, model: BlendedModel, kept: Sequence[np.ndarray], record: dict) -> None:
        """Replace the file."""
        arrays = {"record": np.array(json.dumps(record))}
        for group, variables in (("model", model.variables), ("optimizer", model.optimizer.variables), ("best", kept)):
            arrays |= {f"{group}/{index}": each for index, each in enumerate(arrays_of(variables))}
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
        now = {"model": arrays_of(model.variables), "optimizer": arrays_of(model.optimizer.variables)}
        try:
            with zips.opened(self.path) as archive:
                record = self._record(archive)
                found = {
                    group: [
                        zips.array(archive, f"{group}/{index}", each.shape, each.dtype)
                        for index, each in enumerate(arrays)
                    ]
                    for group, arrays in {**now, "best": now["model"]}.items()
                }
        except ValueError as error:
            raise InputError(
                f"{self.path} does not continue this run ({error}); delete {self.path.parent} to start anew"
            ) from error
        for variables, values in ((model.variables, found["model"]), (model.optimizer.variables, found["optimizer"])):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return found["best"], record

    def progress(self) -> tuple[int, float]:
        """The last epoch, and the seconds of training until then.

        Raises
        ------
        ValueError
            If the file is no checkpoint.
        """
        with zips.opened(self.path) as archive:
            record = self._record(archive)
        return record["rows"][-1]["epoch"], record["seconds"]

    def _record(self, archive: zipfile.ZipFile) -> dict:
        row = row_check(self.branches)
        check = fields(
            {"rows": listed(mapping(number()), 1), "best_row": row, "seconds": number()},
            {"checkpoint_seconds": number()},
        )
        record = parse(str(zips.array(archive, "record", (), str)), check)
        check_rows(record["rows"], self.branches)
        return record

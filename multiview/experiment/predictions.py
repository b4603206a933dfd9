"""`predictions.h5`: what the branches of a run say of its test clips."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from multiview.support.errors import InputError
from multiview.support.files import replacing


@dataclass(frozen=True)
class Predictions:
    """Content of `predictions.h5`: clip names, labels, classes, probabilities and weights by branch."""

    clips: list[str]
    labels: np.ndarray
    classes: list[str]
    probabilities: dict[str, np.ndarray]
    weights: dict[str, float]

    def write(self, path: Path) -> None:
        """Write the file, atomically."""
        text, content = h5py.string_dtype("utf-8"), io.BytesIO()
        with h5py.File(content, "w") as file:
            file.create_dataset("clip", data=self.clips, dtype=text)
            file["label"] = self.labels
            file.create_dataset("classes", data=self.classes, dtype=text)
            for branch, values in self.probabilities.items():
                file[f"probability/{branch}"] = values.astype(np.float32)
            file["weight"] = np.array(list(self.weights.values()), np.float32)
            file["weight"].attrs["branches"] = list(self.weights)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getvalue())

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read the file.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        try:
            with h5py.File(path, "r") as file:
                branches = list(file["weight"].attrs["branches"])
                return cls(
                    clips=list(file["clip"].asstr()[()]),
                    labels=file["label"][()],
                    classes=list(file["classes"].asstr()[()]),
                    probabilities={branch: file[f"probability/{branch}"][()] for branch in branches},
                    weights=dict(zip(branches, file["weight"][()].tolist(), strict=True)),
                )
        except (OSError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} cannot be read ({reason}); run multiview evaluate again") from error

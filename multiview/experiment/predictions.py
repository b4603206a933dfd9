"""`predictions.h5`: what the branches of a run say of its test clips."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multiview.evaluation import self_ensemble
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.support.hdf5 import checked, integers, text
from multiview.support.words import listed
from multiview.systems import System

if TYPE_CHECKING:
    import h5py

TOLERANCE = 0.01  # of a sum of probabilities


@dataclass(frozen=True)
class Predictions:
    """Content of `predictions.h5`: clip names, labels, classes, probabilities and weights by branch."""

    clips: list[str]
    labels: np.ndarray
    classes: list[str]
    probabilities: dict[str, np.ndarray]
    weights: dict[str, float]

    def rows(self, system: System) -> dict[str, np.ndarray]:
        """Probabilities of the branches of `system`, and of the self-ensemble of Eq. (6) where there is one."""
        if not system.ensemble:
            return self.probabilities
        return {**self.probabilities, system.ensemble: self_ensemble(self.probabilities, self.weights)}

    def write(self, path: Path) -> None:
        """Write the file, atomically."""
        import h5py

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
    def read(cls, path: Path, branches: Sequence[str] = (), classes: Sequence[str] = ()) -> Predictions:
        """Read the file.

        Parameters
        ----------
        branches, classes : sequence of str, optional
            What it has to be of.

        Raises
        ------
        InputError
            If it is missing or damaged, or of others.
        """
        import h5py

        try:
            with h5py.File(path, "r") as file:
                found = cls._read(file)
            for name, have, want in (("branches", found.weights, branches), ("classes", found.classes, classes)):
                if want and list(have) != list(want):
                    raise ValueError(f"expected {name} {listed(want)}, found {listed(list(have))[:200]}")
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:500]
            raise InputError(f"{path} cannot be read ({reason}); run multiview evaluate again") from error
        return found

    @classmethod
    def _read(cls, file: h5py.File) -> Predictions:
        clips, classes = text(file, "clip"), text(file, "classes")
        if not clips or not classes or len(set(classes)) < len(classes):
            raise ValueError(f"expected clips and classes, each once, found {len(clips)} and {len(classes)}")
        weight = checked(file, "weight", (None,), np.float32)
        branches = np.atleast_1d(weight.attrs["branches"]).tolist()
        if not branches or len({each for each in branches if isinstance(each, str)}) < len(weight):
            raise ValueError(f"expected the names of {len(weight)} branches, found {str(branches)[:80]}")
        return cls(
            clips=clips,
            labels=integers(file, "label", len(clips), 0, len(classes) - 1),
            classes=classes,
            probabilities={each: _probabilities(file, each, (len(clips), len(classes))) for each in branches},
            weights=dict(zip(branches, _fractions("weight", weight[()]).tolist(), strict=True)),
        )


def _fractions(name: str, values: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1, which sum to 1 along the last axis, as closely as 16 bits can."""
    if not ((values >= 0) & (values <= 1 + TOLERANCE)).all() or not np.allclose(values.sum(-1), 1, atol=TOLERANCE):
        raise ValueError(f"expected {name} from 0 to 1, which sum to 1, found others")
    return values


def _probabilities(file: h5py.File, branch: str, shape: tuple[int, int]) -> np.ndarray:
    name = f"probability/{branch}"
    return _fractions(name, checked(file, name, shape, np.float32)[()])

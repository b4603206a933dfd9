"""`model.keras` before Keras opens it: a zip archive of a description and of weights, no larger than it looks."""

from __future__ import annotations

import io
from pathlib import Path

import h5py

from multiview.support import zips
from multiview.support.hdf5 import check_all

WEIGHTS = "model.weights.h5"
MOST = {"metadata.json": 2**16, "config.json": 2**24, WEIGHTS: 2**32}  # bytes; the paper's network has 2**28


def check_model_file(path: Path) -> None:
    """Refuse a file that is not of the three parts that a network of ours has, or is packed.

    Raises
    ------
    ValueError
        With what was expected and found.
    """
    with zips.opened(path, len(MOST)) as archive:
        for each in archive.infolist():
            if each.file_size > MOST.get(each.filename, 0):
                raise ValueError(
                    f"expected {', '.join(MOST)}, found {each.filename[:100]!r} of {each.file_size:,} bytes"
                )
        content = archive.read(WEIGHTS)
    with h5py.File(io.BytesIO(content), "r") as file:
        check_all(file, len(content))

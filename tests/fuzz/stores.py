"""Stores: edited by HDF5, or byte by byte, then opened, looked into as training does, and some checked as a whole."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from multiview.store import Store
from tests.fuzz.mutations import any_bytes, any_hdf5
from tests.fuzz.runner import Case
from tests.fuzz.subjects import make_store

SEED = 20213
FAILED: tuple[int, ...] = (177, 429, 937, 1185, 1625, 3097, 4369, 4385, 4499)
HEADER = 4096  # bytes in which HDF5 says most of what a file holds


def make_case(folder: Path, store: Path | None = None) -> Case:
    """What takes the number of a case and a folder. Without a tiny store, it makes one."""
    content, path = (store or make_store(folder)).read_bytes(), folder / "store.h5"

    def case(number: int, _: Path) -> None:
        rng = np.random.default_rng([SEED, number])
        path.unlink(missing_ok=True)  # no writing into what the case before has mapped
        if number % 2:
            path.write_bytes(content)
            with h5py.File(path, "a") as file:
                any_hdf5(rng, file)
        elif number % 4:
            path.write_bytes(any_bytes(content[:HEADER], rng) + content[HEADER:])
        else:
            path.write_bytes(any_bytes(content, rng))
        opened = Store(path)
        for view in opened.views:
            assert np.asarray(opened.clip(view, len(opened) - 1)).size
        if number % 8 < 2:
            opened.verify()

    return case

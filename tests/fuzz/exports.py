"""Files of an export, by their bytes: the network for LiteRT, the SavedModel, its variables, what is said of them.

What is damaged is seen by its digest, before LiteRT or TensorFlow opens it. Digests that a forger made to fit would be
believed: a SavedModel is a program, and LiteRT 2.3 crashed at one of 500 such files.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import multiview
from tests.fuzz.mutations import any_bytes
from tests.fuzz.runner import Case
from tests.fuzz.subjects import make_export, make_store, make_trained

SEED = 20216
FAILED: tuple[int, ...] = ()
RATE = 22050


def make_case(folder: Path, exported: Path | None = None) -> Case:
    """What takes the number of a case and a folder. Without an export, it makes one."""
    if exported is None:
        make_trained(make_store(folder), folder / "trained")
        exported = make_export(folder / "trained", folder / "exports")
    light, full = folder / "light", folder / "full"
    for copy in (light, full):
        shutil.copytree(exported, copy)
    (full / "network.tflite").unlink()
    noise = 0.1 * np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    files = [*[light / "network.tflite"] * 6, light / "export.json", full / "saved_model.pb",
             *sorted((full / "variables").iterdir())]  # fmt: skip

    def case(number: int, _: Path) -> None:
        rng = np.random.default_rng([SEED, number])
        path = files[rng.integers(len(files))]
        home = light if light in path.parents else full
        whole = path.read_bytes()
        changed = any_bytes(whole, rng)
        try:
            path.write_bytes(changed)
            answer = multiview.load(home).predict(noise, RATE)
            assert answer.probabilities.shape == (len(answer.classes),)
            assert path.name == "export.json" or changed == whole
        finally:
            path.write_bytes(whole)

    return case

"""Files of an export, by their bytes: the network for LiteRT, the SavedModel, its variables, what is said of them.

Half of those for LiteRT come with digests that fit, so that the interpreter sees them. A SavedModel never does: it is a
program, which one takes from those whom one trusts.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

import multiview
from multiview.predict.saved import digests
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
        whole = {each: each.read_bytes() for each in (path, home / "export.json")}
        try:
            path.write_bytes(any_bytes(whole[path], rng))
            if path.suffix == ".tflite" and rng.random() < 0.5:
                record = json.loads(whole[home / "export.json"])
                (home / "export.json").write_text(json.dumps(record | {"sha256": digests(home)}))
            answer = multiview.load(home).predict(noise, RATE)
            assert answer.probabilities.shape == (len(answer.classes),)
        finally:
            for each, content in whole.items():
                each.write_bytes(content)

    return case

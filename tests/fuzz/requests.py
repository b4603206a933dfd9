"""Requests to an export, by the loader of TensorFlow Serving: damaged WAV files, wrong types, shapes and values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from multiview.support.errors import InputError
from multiview.views import geometry, paper_views
from tests.fuzz.mutations import any_bytes
from tests.fuzz.runner import ROOT, Case
from tests.helpers.c_api import CError, SavedModel
from tests.helpers.service import wav

SEED = 20212
FAILED: tuple[int, ...] = ()
Inputs = dict[str, np.ndarray]
RATE = 22050
SIZES = [0, 1, 2, 100, 33_516, 40_001]  # the fifth: samples of a segment


def damaged(rng: np.random.Generator, whole: bytes) -> tuple[str, Inputs]:
    return "wav_bytes", {"wav_bytes": np.array([any_bytes(whole, rng) for _ in range(rng.integers(1, 3))], object)}


def waveforms(rng: np.random.Generator) -> tuple[str, Inputs]:
    """Of any type and shape, and of any loudness."""
    dtype = rng.choice([np.float32, np.int16, np.float64, np.int64])
    shape = rng.choice(SIZES, size=rng.integers(0, 4)).tolist()
    while np.prod(shape) > 200_000:
        shape.pop()
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.asarray(rng.choice([1, 1e4, 1e30]) * rng.standard_normal(shape)).astype(dtype)
    if dtype == np.float32 and values.size and rng.random() < 0.3:
        values.flat[rng.integers(values.size)] = rng.choice([np.nan, np.inf, -np.inf])
    return str(rng.choice(["serving_default", "int16", "nothing"])), {"waveforms": values}


def views(rng: np.random.Generator) -> tuple[str, Inputs]:
    """One of them missing, of fewer rows, or shorter; silent, loud or no number."""
    size, value = geometry(RATE), rng.choice([0, -100, 1e30, np.nan])
    found = {view: np.full((2, *size.segment_shape(view)), value, np.float32) for view in paper_views()}
    view, kind = str(rng.choice(list(found))), rng.integers(4)
    if kind == 0:
        del found[view]
    elif kind == 1:
        found[view] = found[view][:1]
    elif kind == 2:
        found[view] = found[view][:, :-1]
    return "views", found


def make_case(folder: Path, exported: Path | None = None) -> Case:
    """What takes the number of a case and a folder. Without an export, another process makes one."""
    if exported is None:
        command = [sys.executable, "-m", "tests.fuzz.subjects", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True)
        exported = folder / "exports" / "1"
    # NumPy's random module loads a library whose names TensorFlow's has, too: first come, first served.
    whole = wav(0.1 * np.random.default_rng(SEED).standard_normal(34_000))
    model = SavedModel(str(exported))

    def case(number: int, _: Path) -> None:
        rng = np.random.default_rng([SEED, number])
        signature, inputs = {3: waveforms, 4: views}.get(number % 5, lambda rng: damaged(rng, whole))(rng)
        try:
            answer = model.run(signature, **inputs)
        except CError as error:
            raise InputError(ascii(str(error))) from error  # TensorFlow quotes the bytes of the request
        np.testing.assert_allclose(answer["class_probabilities"].sum(axis=1), 1, atol=1e-4)

    # The first request of a signature also makes its plan, which warm-up does in a service.
    model.run("wav_bytes", wav_bytes=np.array([whole], object))
    model.run("serving_default", waveforms=np.zeros((1, 34_000), np.float32))
    model.run("int16", waveforms=np.zeros((1, 34_000), np.int16))
    return case

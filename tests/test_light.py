"""An export answers without TensorFlow, by the packages of requirements-predict.txt alone, as the run does."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import multiview
from multiview.experiment.run import Run
from multiview.export.light import write_light
from multiview.export.service import Service
from multiview.networks import BlendedModel
from multiview.predict import Predictor
from multiview.predict.light import FILE, light_network
from multiview.views import geometry

ROOT = Path(__file__).parents[1]
# What `pip install .` brings beyond the list: these packages' modules.
HEAVY = ("tensorflow", "keras", "jax", "h5py", "pandas", "matplotlib", "jinja2", "tabulate")


def without_heavy(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`multiview` in a process in which those packages cannot be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))"
    script = f"{hidden}; from multiview.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def test_an_export_answers_without_tensorflow(exported: Path, live: Predictor, clips: list[Path]) -> None:
    """As the run does with it."""
    done = without_heavy("predict", exported, *clips[:6], "--csv")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 6
    for row, answer in zip(rows, live.predict_files(clips[:6]), strict=True):
        found = np.array([float(row[name]) for name in live.classes])
        np.testing.assert_allclose(found, answer.probabilities, atol=1e-5)  # type: ignore[union-attr]


def test_what_needs_more_says_what_to_install(tiny_trained: Run, exported: Path, clips: list[Path]) -> None:
    for arguments in (("predict", tiny_trained.path, clips[0]), ("report", tiny_trained.path.parents[1])):
        done = without_heavy(*arguments)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert re.fullmatch(
            r"multiview: error: expected the package (keras|pandas)\S*, found none; say pip install \.", line
        )


def test_every_branch_of_every_segment_is_the_savedmodels(exported: Path, live: Predictor) -> None:
    """LiteRT against TensorFlow's own loader, on noise, for one and several segments."""
    rng, size = np.random.default_rng(3), geometry(live.sample_rate)
    loaded = tf.saved_model.load(str(exported))
    light = light_network(exported / FILE, list(live.weights))
    for rows in (1, 5):
        views = {view: rng.normal(-50, 15, (rows, *size.segment_shape(view))).astype(np.float32) for view in live.views}
        views["raw"] = (views["raw"] + 50) / 100
        wanted = loaded.signatures["views"](**{view: tf.constant(values) for view, values in views.items()})
        found = light({view: values[..., np.newaxis] for view, values in views.items()})
        assert set(found) == set(live.weights)
        for branch, values in found.items():
            assert values.shape == (rows, len(live.classes))
            np.testing.assert_allclose(values, wanted[branch].numpy(), atol=1e-5)


def test_any_number_of_threads_may_ask(exported: Path, clips: list[Path]) -> None:
    """In a process of its own, which an interpreter that two enter at once would end."""
    script = (
        "import sys, soundfile, multiview; from concurrent.futures import ThreadPoolExecutor\n"
        "predictor = multiview.load(sys.argv[1]); sounds = [soundfile.read(path) for path in sys.argv[2:]]\n"
        "alone = [predictor.predict(*sound).top() for sound in sounds]\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    found = list(pool.map(lambda sound: predictor.predict(*sound).top(), 5 * sounds))\n"
        "print(len(found), found == 5 * alone)\n"
    )
    command = [sys.executable, "-c", script, exported, *clips[:4]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert (done.returncode, done.stdout.split()) == (0, ["20", "True"]), done.stderr[-500:]


def test_an_export_made_before_is_loaded_by_tensorflow(
    exported: Path, live: Predictor, clips: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(exported, tmp_path / "1")
    (tmp_path / "1" / FILE).unlink()
    here, there = (each.predict_files(clips[:2]) for each in (multiview.load(tmp_path), live))
    for answer, wanted in zip(here, there, strict=True):
        np.testing.assert_allclose(answer.probabilities, wanted.probabilities, atol=1e-5)  # type: ignore[union-attr]


def test_a_network_that_litert_has_no_operations_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """It gets no file, and one line that says what follows."""

    class Unknown(layers.Layer):
        def call(self, x):
            return tf.linalg.svd(x, compute_uv=False)  # no operation of LiteRT's

    view = keras.Input((75, 64, 1), name="mel")
    outputs = layers.Dense(2, activation="softmax")(layers.Flatten()(Unknown()(view)))
    network = BlendedModel({"mel": view}, {"mel": outputs})
    write_light(tmp_path, Service(network, ["a", "b"], geometry(22050)), geometry(22050))
    assert not (tmp_path / FILE).exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"no {FILE}: ") and line.endswith("multiview predict will need TensorFlow for this export")


def test_a_damaged_file_is_named(exported: Path, clips: list[Path], tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "1")
    (tmp_path / "1" / FILE).write_bytes((exported / FILE).read_bytes()[:1000])
    done = without_heavy("predict", tmp_path, clips[0])
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "cannot be loaded" in line and "export the run again" in line

"""Exports for other runtimes, LiteRT and ONNX: what is in the files, their answers, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import keras
import numpy as np
import onnx
import pytest
import soundfile
import tensorflow as tf
from onnx import numpy_helper

import multiview
from multiview import cli
from multiview.audio import read_audio
from multiview.experiment.run import Run
from multiview.export import formats, light, trial
from multiview.export import onnx as onnx_files
from multiview.export.formats import FORMATS
from multiview.export.service import Service
from multiview.export.write import export
from multiview.networks import BlendedModel, build_network
from multiview.predict import Predictor
from multiview.predict import light as predict_light
from multiview.predict import onnx as predict_onnx
from multiview.support.errors import InputError
from multiview.views import VIEWS, Sound, extract, geometry
from multiview.views.base import fourier
from tests.test_light import without_heavy

ROOT = Path(__file__).parents[1]
RATE, SECONDS = 22050, 2.0
OTHERS = [name for name in FORMATS if name != "savedmodel"]


@pytest.fixture(scope="module", params=OTHERS)
def version(request: pytest.FixtureRequest, tiny_trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the whole network in float32, for the clips of the demo, made on the command line."""
    directory = tmp_path_factory.mktemp(request.param) / "phone"
    options = ["--format", request.param, "--seconds", f"{SECONDS:g}"]
    assert cli.main(["export", str(tiny_trained.path), "--to", str(directory), *options]) == 0
    return directory / "1"


def test_content(version: Path, tiny_trained: Run, live: Predictor) -> None:
    """Both files, what they are of, and how far their answers are from the run's."""
    record, (suffix,) = json.loads((version / "export.json").read_text()), {each.suffix for each in version.glob("n*")}
    files = [f"network{suffix}", f"sound{suffix}"]
    assert {each.name for each in version.iterdir()} == {*files, "export.json", "MODEL_CARD.md"}
    assert {each.name for each in version.parent.iterdir()} == {"1"}  # nothing for TensorFlow Serving
    assert record["files"] == files and record["precision"] == "float32" and 0 < record["largest_difference"] < 3e-3
    assert record["classes"] == live.classes and record["weights"] == live.weights and record["sample_rate"] == RATE
    assert record["segment"] == {view: list(live.size.segment_shape(view)) for view in live.views}
    assert record["calibration"]["self_ensemble"] == tiny_trained.read()["calibration"]["self_ensemble"]
    card = (version / "MODEL_CARD.md").read_text()
    assert f"Files of {record['format']}, weights in float32: {', '.join(files)}." in card


def test_trial_hears_clips_of_the_store(tiny_trained: Run, tmp_path: Path) -> None:
    """A segment of each of 50, which lies in its clip; none where the store is not at hand."""
    (found,), store = trial._of_store(tiny_trained, ["mel", "raw"]), tiny_trained.store()
    assert {view: len(values) for view, values in found.items()} == {"mel": 50, "raw": 50}
    assert len(store) == 60
    for index, row in ((0, 0), (49, 59)):
        clip, segment = store.clip("raw", row) / 32768, found["raw"][index, :, 0]
        assert any(
            np.allclose(clip[start : start + len(segment)], segment) for start in range(len(clip) - len(segment) + 1)
        )
    shutil.copytree(tiny_trained.path, tmp_path / "moved")
    assert list(trial._of_store(Run(tmp_path / "moved"), ["mel"])) == []


def test_classes_are_in_the_files(version: Path, live: Predictor) -> None:
    for file in (each for stem in ("network", "sound") for each in version.glob(f"{stem}.*")):
        if file.suffix == ".tflite":
            with zipfile.ZipFile(file) as archive:
                assert archive.read("labels.txt").decode().splitlines() == live.classes
        else:
            found = {each.key: json.loads(each.value) for each in onnx.load(file).metadata_props}
            record = json.loads((version / "export.json").read_text())
            assert found == {name: record[name] for name in found} and found["classes"] == live.classes
            assert {"weights", "calibration", "sample_rate", "segment", "precision"} <= set(found)


def test_sounds_are_answered_as_by_the_run(version: Path, live: Predictor, clips: list[Path]) -> None:
    """All in the graph: views, segments, network, mean, Eq. (6), temperatures."""
    (file,) = version.glob("sound.*")
    sound = trial.OPENED[file.suffix](file)
    for path in clips[:4]:
        waveform = read_audio(path, RATE)
        assert len(waveform) == SECONDS * RATE
        answer, wanted = sound(waveforms=waveform[np.newaxis]), live.predict(waveform, RATE)
        np.testing.assert_allclose(answer["class_probabilities"], [wanted.probabilities], atol=2e-3)
        for branch, values in wanted.branches.items():
            np.testing.assert_allclose(answer[branch], [values], atol=2e-3)


def test_predict_takes_it_without_tensorflow(version: Path, live: Predictor, clips: list[Path]) -> None:
    done = without_heavy("predict", version.parent, *clips[:3], "--json", "--top", "9")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for line, wanted in zip(done.stdout.splitlines(), live.predict_files(clips[:3]), strict=True):
        found = json.loads(line)["classes"]
        assert found == pytest.approx(dict(wanted.top()), abs=1e-5)  # type: ignore[union-attr]


def test_documented_programs(version: Path, live: Predictor, clips: list[Path], tmp_path: Path) -> None:
    """As docs/serving.md prints them: with NumPy, a reader of WAV files and the runtime."""
    package = {".tflite": "ai_edge_litert", ".onnx": "onnxruntime"}[next(version.glob("sound.*")).suffix]
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = [each for each in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if package in each]
    folder = tmp_path / re.search(r"exports/\w+", code)[0]  # type: ignore[index]
    shutil.copytree(version, folder / "1")
    waveform = read_audio(clips[0], RATE)
    soundfile.write(tmp_path / "clip.wav", waveform, RATE, subtype="FLOAT")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={"PATH": ""} | PLAIN)
    assert done.returncode == 0, done.stderr
    name, probability = done.stdout.split()
    ((wanted, most),) = live.predict(waveform, RATE).top(1)
    assert name == wanted and float(probability) == pytest.approx(most, abs=2e-3)


PLAIN = {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}


@pytest.fixture(scope="module")
def service() -> Service:
    """An untrained network on one view, whose answers differ from sound to sound."""
    keras.utils.set_random_seed(1)
    statistics = {"mel": (np.full(64, -50.0), np.full(64, 15.0))}
    network = build_network("mel", 4, RATE, 1 / 8, statistics)
    for weights in network.trainable_weights:
        weights.assign(keras.ops.multiply(weights, 1.3))
    return Service(network, ["a", "b", "c", "d"], geometry(RATE))


@pytest.fixture(scope="module")
def views(service: Service) -> dict[str, np.ndarray]:
    return {"mel": np.random.default_rng(2).normal(-50, 15, (6, 75, 64, 1)).astype(np.float32)}


def litert(service: Service, precision: str, path: Path) -> Callable:
    path.write_bytes(light._network(service, geometry(RATE), precision))
    return predict_light.light_network(path, ["mel"])


def of_onnx(service: Service, precision: str, path: Path) -> Callable:
    onnx.save(onnx_files.PRECISIONS[precision](onnx_files._network(service, geometry(RATE))), path)
    return predict_onnx.onnx_network(path, ["mel"])


@pytest.mark.parametrize("make", [litert, of_onnx])
def test_precisions(make: Callable, service: Service, views: dict, tmp_path: Path) -> None:
    """Fewer bits, smaller files, further away, and within the tolerance of the format."""
    wanted = service.network.predict_on_batch(views)["mel"]
    assert np.std(wanted, axis=0).max() > 0.01
    tolerances = FORMATS[make.__name__.removeprefix("of_")].tolerances
    differences, sizes, whole = {}, {}, 4 * service.network.count_params()
    for precision in ("float16", "int8"):
        path = tmp_path / precision
        found = make(service, precision, path)(views)["mel"]
        assert found.dtype == np.float32 and found.shape == wanted.shape
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        differences[precision], sizes[precision] = np.abs(found - wanted).max(), path.stat().st_size
        assert differences[precision] < tolerances[precision] / 2
    assert 1e-5 < differences["float16"] < differences["int8"] and sizes["int8"] < sizes["float16"] < 0.7 * whole


def test_onnx_has_its_own_gru_and_weights_of_16_bits(service: Service) -> None:
    """One operation a view, in place of a loop; all that is large is rounded as IEEE 754 has it."""
    whole = onnx_files._network(service, geometry(RATE))
    (gru,) = (node for node in whole.graph.node if node.op_type == "GRU")
    assert not [node for node in whole.graph.node if node.op_type == "Loop"]
    before = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer}
    cell = service.network.get_layer("birnn").birnns[0].backward_layer.cell
    np.testing.assert_array_equal(before[gru.input[1]][1], keras.ops.convert_to_numpy(cell.kernel).T)
    after = onnx_files._float16(whole).graph
    casts = {node.output[0]: node.input[0] for node in after.node if node.name.endswith("_cast")}
    for each in after.initializer:
        assert (
            each.data_type == onnx.TensorProto.FLOAT16
            or np.prod(each.dims) <= onnx_files.SMALL
            or "INT" in (onnx.TensorProto.DataType.Name(each.data_type))
        )
    stored = {each.name: numpy_helper.to_array(each) for each in after.initializer}
    assert gru.input[1] in casts
    np.testing.assert_array_equal(stored[casts[gru.input[1]]], before[gru.input[1]].astype(np.float16))


@pytest.mark.parametrize("writer", [light, onnx_files])
def test_a_network_with_what_the_format_lacks(writer: ModuleType, tmp_path: Path) -> None:
    """It is refused in one line."""

    class Unknown(keras.layers.Layer):
        def call(self, x):
            return tf.linalg.svd(x, compute_uv=False)

    view = keras.Input((75, 64, 1), name="mel")
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(Unknown()(view)))
    service = Service(BlendedModel({"mel": view}, {"mel": outputs}), ["a", "b"], geometry(RATE))
    live = SimpleNamespace(size=geometry(RATE), classes=["a", "b"])
    subject = SimpleNamespace(service=service, live=live, precision="float32", samples=2 * RATE, record=dict)
    with pytest.raises(InputError, match="expected a network that (LiteRT|ONNX) .*, found .+; export a SavedModel"):
        writer.write(tmp_path, subject)


@pytest.mark.parametrize("size", [16, 128])
def test_fourier_is_the_fft(rng: np.random.Generator, size: int) -> None:
    x = rng.standard_normal((3, size - 3))
    np.testing.assert_allclose(x @ fourier(size - 3, size), np.fft.rfft(x, size), atol=1e-12)


@pytest.mark.parametrize("rate", [22050, 44100])
def test_views_without_fft(rng: np.random.Generator, rate: int) -> None:
    """Products of matrices in the graph against SciPy's and librosa's transforms outside of it."""
    samples = geometry(rate).segment_samples + 1000
    waveform = 0.2 * rng.standard_normal(samples) + np.sin(np.arange(samples) * 0.1) / 2
    wanted, sound = extract(waveform, rate), Sound(tf.constant(waveform[np.newaxis], tf.float32), rate, fft=False)
    for view in ("mel", "gammatone", "cqt"):
        found = VIEWS[view].graph(sound)[0].numpy()
        near = wanted[view] > wanted[view].max() - 60
        assert np.abs(found - wanted[view])[near].max() < (0.1 if view == "cqt" else 2e-3)


@pytest.mark.parametrize("form", OTHERS)
def test_what_differs_is_not_put_into_place(
    form: str, tiny_trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """By more than the precision's tolerance, or by no number at all."""
    for found, precision in ((0.0201, "float16"), (np.nan, "int8")):
        monkeypatch.setattr(light, "write", lambda *_, found=found: found)
        monkeypatch.setattr(onnx_files, "write", lambda *_, found=found: found)
        arguments = ["export", str(tiny_trained.path), "--to", str(tmp_path), "--format", form]
        assert cli.main([*arguments, "--precision", precision]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"expected an export within {FORMATS[form].tolerances[precision]} of" in line
        assert line.endswith("nothing was written") and not list(tmp_path.iterdir())


def test_difference_is_that_of_the_worst_file(
    version: Path, live: Predictor, tiny_trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live network that says something else of segments, and one that fuses otherwise."""
    files = [each.name for stem in ("network", "sound") for each in version.glob(f"{stem}.*")]
    subject = SimpleNamespace(run=tiny_trained, live=live, samples=round(SECONDS * RATE))
    network, weights = live.network, live.weights
    monkeypatch.setattr(live, "network", lambda segments: {**network(segments), "cqt": network(segments)["cqt"] + 0.3})
    assert trial.difference(version, *files, subject) == pytest.approx(0.3, abs=3e-3)
    monkeypatch.setattr(live, "network", network)
    monkeypatch.setattr(live, "weights", {**weights, "raw": weights["raw"] + 1})
    assert trial.difference(version, *files, subject) > 0.05


def test_difference_on_clips_of_the_store_alone_is_seen(
    version: Path, live: Predictor, tiny_trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live network that says something else of them, and of nothing that is synthesised."""
    (real,), network = trial._of_store(tiny_trained, live.views), live.network

    def other(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        is_real = [any(np.array_equal(each, one) for one in real["mel"]) for each in segments["mel"]]
        answers = network(segments)
        return {**answers, "cqt": answers["cqt"] + 0.3 * np.array(is_real)[:, np.newaxis]}

    monkeypatch.setattr(live, "network", other)
    (file,) = version.glob("network.*")
    subject = SimpleNamespace(run=tiny_trained, live=live, samples=RATE)
    assert trial.difference(version, file.name, "none", subject) == pytest.approx(0.3, abs=3e-3)


def test_files_that_do_not_run(version: Path, live: Predictor, tiny_trained: Run, tmp_path: Path) -> None:
    (file,) = version.glob("network.*")
    (tmp_path / file.name).write_bytes(file.read_bytes()[:1000])
    subject = SimpleNamespace(run=tiny_trained, live=live, samples=RATE)
    with pytest.raises(InputError, match="expected files that run again in a fresh process, found .*; export a Saved"):
        trial.difference(tmp_path, file.name, "none", subject)
    shutil.copy(version / "export.json", tmp_path)
    with pytest.raises(InputError, match="cannot be loaded .*; export the run again"):
        multiview.load(tmp_path)


REFUSED = {
    "--format torch": "argument --format: invalid choice: 'torch'",
    "--format onnx --precision int4": "argument --precision: invalid choice: 'int4'",
    "--precision int8": "expected --precision of float32 for --format savedmodel, found 'int8'",
    "--format litert --seconds 1.5": "expected --seconds of 1.52 to 60, found 1.5",
    "--format onnx --seconds nan": "expected --seconds of 1.52 to 60, found nan",
}


@pytest.mark.parametrize("options", REFUSED)
def test_wrong_options(options: str, tiny_trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["export", str(tiny_trained.path), "--to", str(tmp_path / "x"), *options.split()]
    try:
        status = cli.main(arguments)
    except SystemExit as refused:
        status = refused.code
    assert status == 2
    assert REFUSED[options] in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_missing_package_is_named(
    tiny_trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    found = formats.importlib.util.find_spec
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else found(name))
    assert cli.main(["export", str(tiny_trained.path), "--to", str(tmp_path / "x"), "--format", "onnx"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("for --format onnx, found no tf2onnx; say pip install '.[onnx]'")


@pytest.mark.parametrize("version", ["onnx"], indirect=True)  # the runtime of LiteRT comes with the core
def test_missing_runtime_is_named(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="expected ONNX Runtime for .*, found none; say pip install onnxruntime"):
        multiview.load(version)


def test_directories_that_hold_something_else(version: Path, exported: Path, tiny_trained: Run, tmp_path: Path) -> None:
    """TensorFlow Serving would take a version without a SavedModel, and fail."""
    file = tmp_path / "file"
    file.write_text("")
    form = json.loads((version / "export.json").read_text())["format"]
    for directory, other, message in (
        (file, form, "expected a directory for versions, found a file"),
        (version, form, "found a version at .*name the one above it"),
        (version.parent, "savedmodel", f"expected no format but savedmodel in .*, found {form}; name another"),
        (exported.parent, form, f"expected no format but {form} in .*, found savedmodel; name another"),
    ):
        with pytest.raises(InputError, match=message):
            export(tiny_trained.path, directory, other)

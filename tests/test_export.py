"""Exports: what is in them, their versions, and that they answer as the run does."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import multiview
from multiview import cli
from multiview.audio import read_audio
from multiview.evaluation import undecided
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import Run
from multiview.experiment.train import train
from multiview.export import savedmodel, service, write
from multiview.export.check import check_graphs, largest_difference
from multiview.export.model_card import model_card
from multiview.export.service import Service, in_float32
from multiview.export.write import export
from multiview.networks import build_network
from multiview.predict import Predictor
from multiview.predict.saved import Export
from multiview.settings import make_settings
from multiview.store import About, Clip, Store, write_store
from multiview.support import plugins, registry
from multiview.support.errors import InputError
from multiview.views import MEL, VIEWS, extract, geometry, paper_views

ROOT = Path(__file__).parents[1]
RATE = 22050


@pytest.fixture(scope="module")
def single(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A single-view run, trained in mixed precision and not evaluated."""
    quick = {"width": 1 / 32, "epochs": 1, "window": 1, "warm_up_epochs": 0, "precision": "bfloat16"}
    path = tmp_path_factory.mktemp("single") / "raw" / "fold1"
    return train(tiny_store, make_settings(tiny_store, "raw", 1, "demo", **quick), path)


def test_content_of_an_export(exported: Path, tiny_trained: Run) -> None:
    files = {str(path.relative_to(exported.parent)) for path in exported.parent.rglob("*") if path.is_file()}
    assert files == {
        "batching.config",
        "1/saved_model.pb",
        "1/network.tflite",
        "1/fingerprint.pb",
        "1/variables/variables.index",
        "1/variables/variables.data-00000-of-00001",
        "1/assets.extra/tf_serving_warmup_requests",
        "1/export.json",
        "1/MODEL_CARD.md",
    }
    record = json.loads((exported / "export.json").read_text())
    assert record["classes"] == tiny_trained.read()["store"]["classes"]
    assert record["largest_difference"] < 3e-3
    variables = (exported / "variables" / "variables.data-00000-of-00001").stat().st_size
    parameters = 4 * sum(np.prod(each.shape) for each in tiny_trained.load_model().variables)
    assert parameters < variables < 1.2 * parameters + 50_000  # each once


def graph(export: Path) -> Iterator[tf.compat.v1.NodeDef]:
    """All nodes of a SavedModel, those of its functions, too."""
    model = SavedModel.FromString((export / "saved_model.pb").read_bytes())
    for meta in model.meta_graphs:
        yield from meta.graph_def.node
        for function in meta.graph_def.library.function:
            assert not function.attr["_XlaMustCompile"].b
            yield from function.node_def


def test_graph_runs_anywhere(exported: Path) -> None:
    """No cuDNN or XLA operation, no Python, and no number of 16 bits but those of the int16 signature."""
    nodes = list(graph(exported))
    assert len(nodes) > 1000
    assert not [node.op for node in nodes if re.search("cudnn|xla|pyfunc", node.op, re.IGNORECASE)]
    assert not [node.name for node in nodes if node.attr["_XlaMustCompile"].b or "GPU" in node.device]
    kinds = {attribute.type for node in nodes for attribute in node.attr.values()}
    assert kinds.isdisjoint({tf.half.as_datatype_enum, tf.bfloat16.as_datatype_enum})


def test_predict_answers_alike_from_an_export(
    exported: Path, tiny_trained: Run, demo_index, capsys: pytest.CaptureFixture
) -> None:
    """By its directory, the newest version; by the version; and as the run."""
    names = Predictions.read(tiny_trained.predictions).clips[:10]
    paths = [str(clip.path) for clip in demo_index.clips if clip.id in names]
    answers = []
    for model in (tiny_trained.path, exported.parent, exported):
        assert cli.main(["predict", str(model), *paths, "--json"]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    for run, *others in zip(*answers, strict=True):
        for other in others:
            assert other["file"] == run["file"] and list(other["classes"]) == list(run["classes"])
            assert list(other["classes"].values()) == pytest.approx(list(run["classes"].values()), abs=1e-5)


def test_versions_count_up(exported: Path, single: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next free integer; what a kill left is removed; an export that differs is not put into place."""
    directory = tmp_path / "many"
    (directory / "7").mkdir(parents=True)
    (directory / ".8.0123456789ab.tmp" / "variables").mkdir(parents=True)
    (directory / ".mine.tmp").mkdir()  # no leftover
    shutil.copytree(exported, directory / "3")
    with monkeypatch.context() as patch:
        patch.setattr(savedmodel, "largest_difference", lambda *_: 0.06)
        with pytest.raises(InputError, match="expected an export within 0.05.*found a difference of 0.06"):
            export(single.path, directory)
    assert {path.name for path in directory.iterdir()} == {"3", "7", ".mine.tmp"}
    assert Export.find(directory).path == directory / "3"  # 7 holds no model
    shutil.copytree(exported, directory / "10")
    assert Export.find(directory).path == directory / "10"  # by number, not by name
    shutil.rmtree(directory / "10")
    monkeypatch.setattr(savedmodel, "largest_difference", lambda *_: 0.0)
    assert export(single.path, directory) == directory / "8"
    with pytest.raises(InputError, match="found a version at .*name the one above it"):
        export(single.path, directory / "8")


def test_another_format_that_came_first_is_seen(
    exported: Path, single: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two commands at once: the second finds the version of the first, which was not there when it began."""

    def first(*_: object) -> None:
        shutil.copytree(exported, tmp_path / "many" / "1")
        record = tmp_path / "many" / "1" / "export.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "format": "onnx"}))

    monkeypatch.setattr(write, "check_graphs", first)
    with pytest.raises(InputError, match="expected no format but savedmodel in .*many, found onnx; name another"):
        export(single.path, tmp_path / "many")
    assert sorted(path.name for path in (tmp_path / "many").iterdir() if path.is_dir()) == ["1"]


def test_what_is_alike_stays_alike_to_the_last_bit() -> None:
    """Of any number of classes, whatever operations take many at once: means over segments, Eq. (6), temperatures."""
    for classes in range(2, 130):
        alike = tf.fill((3, 5, classes), np.float32(1) / np.float32(classes))
        mean = service._mean(alike)
        fused = 0.3 * mean + 0.7 * mean
        for temperature in (0.2, 1.7):
            found = service._tempered(fused, temperature).numpy()
            assert undecided(found).all() and found[0, 0] == pytest.approx(1 / classes, rel=1e-6), classes
    sure = np.array([[0.7, 0.2, 0.1]], np.float32)
    np.testing.assert_allclose(service._tempered(tf.constant(sure), 2.0), sure**0.5 / (sure**0.5).sum(), rtol=1e-5)


def test_difference_is_noticed(exported: Path, live: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live network that differs by 0.3 in one branch."""
    network = live.network
    monkeypatch.setattr(live, "network", lambda segments: {**network(segments), "cqt": network(segments)["cqt"] + 0.3})
    assert largest_difference(exported, live) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("name", ["network.tflite", "saved_model.pb", "variables/variables.index", "variables/more"])
def test_files_are_those_that_were_exported(exported: Path, tmp_path: Path, name: str) -> None:
    """One bit of a file, or a file more, and the network is not opened; exports of before do not say."""
    copy = tmp_path / "1"
    shutil.copytree(exported, copy)
    if name != "network.tflite":
        (copy / "network.tflite").unlink()  # which would be taken
    content = bytearray((copy / name).read_bytes() if (copy / name).exists() else b"x")
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(InputError, match=f"expected {name} as it was exported, found another.*export the run again"):
        multiview.load(copy)
    record = json.loads((copy / "export.json").read_text())
    del record["sha256"]
    (copy / "export.json").write_text(json.dumps(record))
    if name == "variables/more":
        assert multiview.load(copy).classes


def test_bfloat16_run_exports_float32(single: Run, tmp_path: Path) -> None:
    """Trained in mixed precision, computed in float32, within the tolerance for that."""
    run = Run(shutil.copytree(single.path, tmp_path / "run"))
    run.attribution.write_text("dog bark by nfrae")
    path = export(run.path, tmp_path / "export")
    kinds = {attribute.type for node in graph(path) for attribute in node.attr.values()}
    assert tf.bfloat16.as_datatype_enum not in kinds
    record = json.loads((path / "export.json").read_text())
    assert record["system"] == "raw" and record["weights"] == {"raw": 1.0}
    assert 0 < record["largest_difference"] < 0.05
    card = (path / "MODEL_CARD.md").read_text()
    assert "Not tested" in card and "`ATTRIBUTION.txt`, which goes with this model" in card
    assert (path / "ATTRIBUTION.txt").read_text() == "dog bark by nfrae"


def test_copy_for_any_device(single: Run) -> None:
    """Float32 throughout, and GRUs that a visible GPU would not turn into cuDNN's."""
    model = single.load_model()
    assert model.get_layer("raw_conv1").compute_dtype == "bfloat16"
    copy = in_float32(model, single.settings())
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    (birnn,) = copy.get_layer("birnn").birnns
    assert birnn.forward_layer.use_cudnn is False and birnn.backward_layer.use_cudnn is False
    for mine, its in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_graph_at_44100_hz(rng: np.random.Generator) -> None:
    """All views in one graph at the other rate, on lengths of 1, 2 and 3 segments, as outside of the graph."""
    statistics = {view: (rng.uniform(-60, -20, 64), rng.uniform(5, 20, 64)) for view in paper_views()[:3]}
    keras.utils.set_random_seed(0)
    network, classes, size = build_network("concat", 3, 44100, 1 / 32, statistics), ["a", "b", "c"], geometry(44100)
    # Larger weights, so that the answers differ from sound to sound.
    for weights in network.trainable_weights:
        weights.assign(keras.ops.multiply(weights, 1.5))
    serve = Service(network, classes, size).signatures()["serving_default"]
    live = Predictor(network.predict_on_batch, classes, 44100, paper_views(), {"multiview": 1.0})
    answers = []
    for samples in (size.segment_samples, 95_001, 140_000):
        waveforms = (0.2 * rng.standard_normal((2, samples))).astype(np.float32)
        # Beside the tone some noise: what is 80 dB below the rest is rounding, and no view's matter.
        waveforms[1] = np.sin(np.arange(samples) * rng.uniform(0.01, 0.3)) / 2 + waveforms[0] / 10
        found = serve(waveforms=tf.constant(waveforms))["multiview"].numpy()
        wanted = [live.predict(waveform, 44100).probabilities for waveform in waveforms]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        answers += list(found)
    assert np.std(answers, axis=0).max() > 0.005


def test_export_needs_a_trained_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["export", str(tmp_path), "--to", str(tmp_path / "x")]) == 1
    assert "expected a run directory" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_damaged_export_is_named(exported: Path, tmp_path: Path) -> None:
    """The file for LiteRT, or without one, as in exports made before, the SavedModel."""
    data = "variables/variables.data-00000-of-00001"
    light = [("network.tflite", b"broken"), ("export.json", b"[]")]
    for name, content in (*light, ("saved_model.pb", b"broken"), (data, b"\0")):
        copy = tmp_path / Path(name).stem
        shutil.copytree(exported, copy)
        if (name, content) not in light:
            (copy / "network.tflite").unlink()
        (copy / name).write_bytes(content)
        with pytest.raises(InputError, match="is damaged" if name == "export.json" else "cannot be loaded"):
            multiview.load(copy)


ESC50 = About("ESC-50", page="https://esc", licence="CC BY-NC 3.0", non_commercial=True)


def card(run: Run, folder: Path, dataset: str, about: About | None) -> str:
    """Model card of a copy of a run that says to be of another dataset."""
    for fold in (1, 2):
        copy = Run(folder / dataset / f"fold{fold}")
        shutil.copytree(run.path, copy.path)
        record = run.read()
        record["store"]["dataset"], record["settings"]["fold"] = dataset, fold
        del record["store"]["about"]
        if about:
            record["store"]["about"] = dataclasses.asdict(about)
        copy.record.write_text(json.dumps(record))
        metrics = json.loads(copy.metrics.read_text())
        metrics |= {"dataset": dataset, "fold": fold, "clips": 10 * fold}
        metrics["accuracy"]["self_ensemble"] = 0.5 + fold / 10
        copy.metrics.write_text(json.dumps(metrics))
    return again(folder / dataset)


def again(folder: Path) -> str:
    """Model card of the run of fold 1 in a folder."""
    run = Run(folder / "fold1")
    export = {"classes": run.read()["store"]["classes"], "sample_rate": RATE, "weights": {"mel": 1.0}}
    return model_card(run, 4, {**export, "largest_difference": 1e-6})


def test_model_cards(tiny_trained: Run, tmp_path: Path) -> None:
    """Accuracy of the folds, and the terms that the run recorded."""
    text = card(tiny_trained, tmp_path, "esc50", ESC50)
    assert "**Non-commercial**" in text and "- https://esc\n- Licence of the data: CC BY-NC 3.0." in text
    # Wilson's intervals of 6 of 10 and 14 of 20; guessing gives a third of three classes, alike in number.
    assert "| 1 (this model) | 10 | 60.00 | 31.27 to 83.18 |\n| 2 | 20 | 70.00 | 48.10 to 85.45 |" in text
    assert "chance gives 33.33 %, the most frequent class for all 33.33 %: this model is **not shown to be" in text
    clips = tiny_trained.read()["clips"]
    assert f"\n{clips['train']} training clips, 5 epochs; {clips['validation']} others validated.\n" in text
    mean = "means over its segments of 1.52 s, one for each second it lasts"
    assert f"{mean}, without those of silence, of all branches by Eq. (6)." in text
    assert "speech or noise, too; of silence it says nothing." in text
    assert "S segments" not in text and "Those of the softmax, not calibrated." in text
    assert "version 4" in text and "22050 Hz" in text and ", ".join(tiny_trained.read()["store"]["classes"]) in text
    assert tiny_trained.read()["store"]["fingerprint"] in text and "takes no waveforms" not in text
    run = Run(tmp_path / "esc50" / "fold1")
    record = run.read()
    run.record.write_text(json.dumps({**record, "settings": {**record["settings"], "skip_silence": False}}))
    text = again(tmp_path / "esc50")
    assert f"{mean}, of all branches by Eq. (6)." in text and "speech, silence or noise, too." in text
    run.record.write_text(json.dumps(record))
    other = Run(tmp_path / "esc50" / "fold2")  # of another experiment
    record = other.read()
    other.record.write_text(json.dumps({**record, "settings": {**record["settings"], "seed": 9}}))
    assert "| 2 |" not in again(tmp_path / "esc50")
    other.record.write_text("damaged")  # no matter of fold 1
    assert "| 2 |" not in again(tmp_path / "esc50")


def test_a_run_of_any_name_is_in_its_model_card(tiny_trained: Run, tmp_path: Path) -> None:
    """Its own figures, which decide, not those of a neighbour that does better."""
    card(tiny_trained, tmp_path, "esc10", None)
    run = Run(shutil.move(tmp_path / "esc10" / "fold1", tmp_path / "esc10" / "mine"))
    answers = {"classes": run.read()["store"]["classes"], "sample_rate": RATE, "weights": {"mel": 1.0}}
    text = model_card(run, 1, answers)
    assert "| 1 (this model) | 10 | 60.00 |" in text and "| 2 | 20 | 70.00 |" in text
    metrics = json.loads(run.metrics.read_text())
    metrics["accuracy"]["self_ensemble"] = 0.1
    run.metrics.write_text(json.dumps(metrics))
    assert "**not shown to be better than that, so do not rely on it**" in model_card(run, 1, answers)
    run.metrics.unlink()
    text = model_card(run, 1, answers)
    assert "(this model)" not in text and "this model is **not shown to be" in text


def test_model_card_of_every_clip(tiny_trained: Run, tmp_path: Path) -> None:
    """What the folds reached stands for it, though their trainings took other numbers of epochs; else nothing does."""
    card(tiny_trained, tmp_path, "esc10", None)
    run = Run(tmp_path / "esc10" / "all")
    shutil.copytree(tmp_path / "esc10" / "fold2", run.path)
    for path in (run.metrics, run.predictions):
        path.unlink()

    def says(**settings: object) -> str:
        for each in tmp_path.glob("esc10/*/run.json"):
            record = json.loads(each.read_text())
            record["settings"] |= settings | ({"fold": 0, "epochs": 4} if each.parent == run.path else {})
            each.write_text(json.dumps(record))
        answers = {"classes": run.read()["store"]["classes"], "sample_rate": RATE, "weights": {"mel": 1.0}}
        return model_card(run, 1, answers)

    text = says(preset="modern")
    assert "Trained for use, with seed 0: no clip of esc10 was left to test it on." in text
    assert "The same network, trained without the clips of a fold, on these:\n\n| test fold" in text
    assert "| 1 | 10 | 60.00 | 31.27 to 83.18 |\n| 2 | 20 | 70.00 |" in text and "(this model)" not in text
    text = says(preset="demo")
    assert "| test fold" not in text and "How well it does is not known: train the same on folds" in text


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (About("ESC-10", page="https://esc", licence="CC BY 3.0"), "Licence of the data: CC BY 3.0."),
        (About("folder"), "their licence is not known here. **Add it"),
        (About("demo", synthesised=True), "Sounds synthesised by this project"),
        (None, "are not recorded here"),
    ],
)
def test_terms_in_the_model_card(tiny_trained: Run, tmp_path: Path, about: About | None, says: str) -> None:
    text = card(tiny_trained, tmp_path, "some", about)
    assert says in text and "Non-commercial" not in text
    assert ("publisher before you pass this model on" in text) == (about is None)


def test_export_made_before(exported: Path, live: Predictor, tmp_path: Path, rng: np.random.Generator) -> None:
    """Whose record names neither views nor plugins."""
    old, waveform = tmp_path / "1", 0.1 * rng.standard_normal(3 * RATE)
    shutil.copytree(exported, old)
    record = json.loads((old / "export.json").read_text())
    kept = ("system", "classes", "sample_rate", "weights", "largest_difference")
    (old / "export.json").write_text(json.dumps({name: record[name] for name in kept}))
    predictor = multiview.load(tmp_path)
    assert predictor.views == list(paper_views()) and predictor.size == live.size
    raw = multiview.load(exported, calibrated=False)
    np.testing.assert_allclose(
        predictor.predict(waveform, RATE).probabilities, raw.predict(waveform, RATE).probabilities, atol=1e-5
    )


# Frames of 100 ms: mean level and number of crossings of zero, which no graph computes.
TWO_NUMBERS = """
import numpy as np
from multiview.views import VIEWS, Grid, View

def extract(sound):
    hop = sound.sample_rate // 10
    frames = sound.waveform[: len(sound.waveform) // hop * hop].reshape(-1, hop)
    crossings = (np.diff(np.sign(frames), axis=1) != 0).sum(axis=1)
    return np.stack([np.abs(frames).mean(axis=1), crossings / hop], axis=1).astype(np.float32)

VIEWS.register(
    View(
        name="two_numbers", label="Two numbers", unit="", bands=2, extract=extract, parameters=lambda rate: {},
        grid=lambda rate: Grid(hop=rate // 10, window=rate // 10, segment=15),
    )
)
"""


@pytest.fixture(scope="module")
def own_view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run on mel and a view of a plugin, which has no graph."""
    folder, rng, before = tmp_path_factory.mktemp("own"), np.random.default_rng(3), registry.snapshot()
    (folder / "two_numbers.py").write_text(TWO_NUMBERS)
    plugins.load([str(folder / "two_numbers.py")])
    views, clips, sounds = ("mel", "two_numbers"), [], []
    for number in range(24):
        time = np.arange(2 * RATE) / RATE
        sounds.append(np.sin(2 * np.pi * (300 + 900 * (number % 2)) * time) + 0.1 * rng.standard_normal(2 * RATE))
        clips.append(Clip(f"{number}.wav", number % 2, 1 + number // 2 % 3, "development", str(number), 2 * RATE))
    write_store(
        folder / "own.h5", dataset="own", sample_rate=RATE, classes=["low", "high"], clips=clips,
        features=(extract(0.3 * sound, RATE, views) for sound in sounds), software={}, views=views,
        about=About("own", validation_sources=2),
    )  # fmt: skip
    quick = {"width": 1 / 32, "epochs": 2, "window": 1, "warm_up_epochs": 0, "views": ",".join(views)}
    store = Store(folder / "own.h5")
    yield train(store, make_settings(store, "multiview", 1, "demo", **quick), folder / "multiview" / "fold1")
    registry.restore(before)
    plugins.forget()


def test_view_without_a_graph(
    own_view: Run, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture
) -> None:
    """The export takes views alone, says so, answers as the run does, and names its plugin where that is missing."""
    path, live = export(own_view.path, tmp_path), multiview.load(own_view.path)
    assert capsys.readouterr().err.count("no graph for two_numbers") == 1
    assert set(tf.saved_model.load(str(path)).signatures) == {"views"}
    assert "takes no waveforms" in (path / "MODEL_CARD.md").read_text()
    record = json.loads((path / "export.json").read_text())
    assert record["plugins"] == {"two_numbers.py": {"view": ["two_numbers"]}} and record["largest_difference"] < 1e-5
    replayed = tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests"))
    assert len(list(replayed)) == 1

    waveform, loaded = 0.1 * rng.standard_normal(5 * RATE), multiview.load(tmp_path)
    assert loaded.views == live.views == ["mel", "two_numbers"] and loaded.size == live.size
    here, there = live.predict(waveform, RATE), loaded.predict(waveform, RATE)
    assert set(here.branches) == set(there.branches) == {"mel", "two_numbers", "multiview"}
    np.testing.assert_allclose(here.probabilities, there.probabilities, atol=1e-5)

    entry, before = VIEWS["two_numbers"], registry.snapshot()
    before["view"].remove("two_numbers")
    registry.restore(before)
    try:
        for place in (own_view.path, path):
            with pytest.raises(InputError, match=f"{place} needs the view 'two_numbers' of the plugin two_numbers.py"):
                multiview.load(place)
    finally:
        VIEWS.register(entry)


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_view_without_a_graph_in_other_formats(
    form: str, own_view: Run, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture
) -> None:
    """The network on views alone, which says so and answers as the run does."""
    path, live = export(own_view.path, tmp_path, form), multiview.load(own_view.path)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "no graph for two_numbers: the export takes segments of views, not waveforms"
    assert [each.stem for each in path.iterdir() if each.suffix not in (".json", ".md")] == ["network"]
    assert "**Segments of views only**: two_numbers cannot" in (path / "MODEL_CARD.md").read_text()
    waveform = 0.1 * rng.standard_normal(3 * RATE)
    here, there = (each.predict(waveform, RATE).probabilities for each in (live, multiview.load(tmp_path)))
    np.testing.assert_allclose(here, there, atol=1e-5)


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        (lambda sound: MEL.graph(sound)[:, 1:], r"found float32 \[1, {less}, 64\]"),
        (lambda sound: tf.cast(MEL.graph(sound), tf.float64), "found float64"),
        (lambda sound: 1 / 0, "found ZeroDivisionError: division by zero; mend it"),
    ],
)
def test_graph_that_is_not_as_declared(graph: Callable, found: str) -> None:
    before, size = registry.snapshot(), geometry(RATE)
    frames = size.frames("mel", size.segment_samples)
    try:
        VIEWS.register(dataclasses.replace(MEL, name="own", paper=False, graph=graph))
        message = rf"view own: field graph: expected float32 \[1, {frames}, 64\], {found.format(less=frames - 1)}"
        with pytest.raises(InputError, match=message):
            check_graphs(["mel", "own"], size)
    finally:
        registry.restore(before)


def test_one_graph_for_all_real_clips(exported: Path, live: Predictor, real_audio: Callable[[str], Path]) -> None:
    """Waveforms in, against the views of the stores: the same top class, probabilities within 0.01."""
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    for path in sorted((real_audio("esc10") / "audio").iterdir())[::20]:
        waveform = read_audio(path, RATE)
        found = signature(waveforms=tf.constant(waveform[np.newaxis]))["class_probabilities"].numpy()[0]
        wanted = live.predict(waveform, RATE).probabilities
        assert found.argmax() == wanted.argmax()
        np.testing.assert_allclose(found, wanted, atol=0.01)


def test_keras_on_jax_cannot_export(tiny_trained: Run, tmp_path: Path) -> None:
    """But says what to do."""
    command = [sys.executable, "-m", "multiview.cli", "export", str(tiny_trained.path), "--to", str(tmp_path / "x")]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "expected KERAS_BACKEND=tensorflow to export, found jax" in done.stderr
    assert not (tmp_path / "x").exists()

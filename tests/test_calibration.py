"""Temperatures: that they tell clips best, stay sane on few clips, change no answer, and go with runs and exports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.special import softmax

import multiview
from multiview.calibration import Calibration, fit_temperature, reliability, tempered
from multiview.evaluation import accuracy, average_by_clip, predict_segments, self_ensemble
from multiview.experiment.evaluate import evaluate
from multiview.experiment.predictions import Predictions
from multiview.experiment.results import collect
from multiview.experiment.run import Run
from multiview.export.service import Service, in_float32
from multiview.predict.saved import of_run
from multiview.report import report
from multiview.report.calibration import calibrated_rows
from multiview.segments import Segments, cut, test_segments
from multiview.splits import make_split
from multiview.support.errors import InputError
from multiview.views import excerpts
from tests.helpers.results import write_runs


def drawn(rng: np.random.Generator, clips: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that were drawn from them at another temperature."""
    logits = 3 * rng.standard_normal((clips, 6))
    labels = (softmax(logits / temperature, axis=1).cumsum(axis=1) > rng.uniform(size=(clips, 1))).argmax(axis=1)
    return softmax(logits, axis=1).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_labels_is_found(rng: np.random.Generator, temperature: float) -> None:
    probabilities, labels = drawn(rng, 20_000, temperature)
    assert fit_temperature(probabilities, labels) == pytest.approx(temperature, rel=0.04)


def test_at_a_temperature_by_hand() -> None:
    """Powers 1 / T of the probabilities, as shares: at T = 2 of (0.64, 0.36) the roots 0.8 and 0.6."""
    values = np.array([[0.64, 0.36, 0.0]], np.float32)
    np.testing.assert_allclose(tempered(values, 2.0), [[0.8 / 1.4, 0.6 / 1.4, 0]], atol=1e-6)
    np.testing.assert_array_equal(tempered(values, 1.0), values)
    np.testing.assert_allclose(tempered(values, 0.5), [[0.64**2 / 0.5392, 0.36**2 / 0.5392, 0]], atol=1e-6)


def test_few_clips_move_it_little(rng: np.random.Generator) -> None:
    """All right, or all wrong: the likelihood alone would go to 0 or without end; the prior holds it by a few clips."""
    sure, labels = softmax(5 * np.eye(4)[np.zeros(6, int)], axis=1), np.zeros(6, int)
    assert 0.5 < fit_temperature(sure, labels) < 1
    assert 1 / 8 <= fit_temperature(np.repeat(sure, 200, axis=0), np.zeros(1200, int)) < 0.5
    assert 1 < fit_temperature(sure[:1], np.ones(1, int)) < 3
    assert 4 < fit_temperature(np.repeat(sure, 200, axis=0), np.ones(1200, int)) <= 8
    one_hot = np.eye(4, dtype=np.float32)[labels]
    for truth in (labels, np.ones(6, int)):
        assert 1 / 8 <= fit_temperature(one_hot, truth) <= 8
    uniform = np.full((6, 4), 0.25, np.float32)
    assert fit_temperature(uniform, labels) == pytest.approx(1, abs=1e-3)  # nothing to be learned


def test_calibration_error_by_hand() -> None:
    """Two bins of width 1/15 are met: 0.6 (in (8/15, 9/15], two clips, one right) and 0.95 (three, all right).

    |0.5 - 0.6| * 2/5 + |1 - 0.95| * 3/5 = 0.07.
    """
    sure = np.array([0.6, 0.6, 0.95, 0.95, 0.95])
    probabilities = np.stack([sure, 1 - sure], axis=1)
    found = reliability(probabilities, np.array([0, 1, 0, 0, 0]))
    assert found.error == pytest.approx(0.07)
    assert found.clips.sum() == 5 and found.clips[8] == 2 and found.clips[14] == 3
    assert reliability(np.array([[1.0, 0.0]]), np.array([0])).error == 0  # 1 belongs to the last bin


def test_calibration_error_of_a_calibrated_source_is_small(rng: np.random.Generator) -> None:
    honest, sharper = (reliability(*drawn(rng, 50_000, temperature)).error for temperature in (1.0, 2.5))
    assert honest < 0.01 and sharper > 0.1


def test_run_has_the_temperatures_of_its_validation_clips(tiny_trained: Run) -> None:
    """Fitted anew here from the kept model; and Eq. (6) is of raw probabilities, as the paper has it."""
    store, settings, model = tiny_trained.store(), tiny_trained.settings(), tiny_trained.load_model()
    rows = make_split(store, settings.fold, settings.seed).validation
    segments = test_segments(rows, store.samples[rows], store.size)
    outputs = predict_segments(model, store, segments)
    means = {branch: average_by_clip(values, segments.clips) for branch, values in outputs.items()}
    found = tiny_trained.calibration()
    for branch, values in means.items():
        assert found.branches[branch] == pytest.approx(fit_temperature(values, store.labels[rows]), rel=1e-3)
    fused = self_ensemble(means, model.weights_by_branch())
    assert found.self_ensemble == pytest.approx(fit_temperature(fused, store.labels[rows]), rel=1e-3)


def test_predictions_are_calibrated_unless_they_are_to_be_raw(tiny_trained: Run, clips: list[Path]) -> None:
    """The file of the run and its accuracies stay raw; answers are those at the temperatures, of the same classes."""
    stored, found = Predictions.read(tiny_trained.predictions), tiny_trained.calibration()
    fused = self_ensemble(stored.probabilities, stored.weights)
    answers = list(multiview.load(tiny_trained.path).predict_files(clips))
    for branch, values in stored.probabilities.items():
        told = np.stack([each.branches[branch] for each in answers])
        np.testing.assert_allclose(told, tempered(values, found.branches[branch]), atol=1e-4)
        assert accuracy(told, stored.labels) == accuracy(values, stored.labels)
    told = np.stack([each.probabilities for each in answers])
    np.testing.assert_allclose(told, tempered(fused, found.self_ensemble), atol=1e-4)
    assert (told.argmax(axis=1) == fused.argmax(axis=1)).all()
    (raw,) = multiview.load(tiny_trained.path, calibrated=False).predict_files(clips[:1])
    np.testing.assert_allclose(raw.probabilities, fused[0], atol=1e-5)


def test_run_and_server_agree(tiny_trained: Run, exported: Path, rng: np.random.Generator) -> None:
    """Clips are calibrated in the graph, segments of views are not; and the record has the run's temperatures."""
    waveform = (0.1 * rng.standard_normal(3 * 22050)).astype(np.float32)
    signatures = tf.saved_model.load(str(exported)).signatures
    answer = signatures["serving_default"](waveforms=tf.constant(waveform[np.newaxis]))
    for predictor in (multiview.load(tiny_trained.path), multiview.load(exported)):
        prediction = predictor.predict(waveform, 22050)
        np.testing.assert_allclose(answer["class_probabilities"].numpy()[0], prediction.probabilities, atol=1e-4)
        np.testing.assert_allclose(answer["cqt"].numpy()[0], prediction.branches["cqt"], atol=1e-4)
        assert predictor.calibration == tiny_trained.calibration()
    text = (exported / "MODEL_CARD.md").read_text()
    assert "not calibrated" not in text and f"temperature of {tiny_trained.calibration().self_ensemble:.2f}" in text


def test_temperatures_in_the_graph(tiny_trained: Run, rng: np.random.Generator) -> None:
    """Of clips, at temperatures that move probabilities far; segments of views stay as the network gives them."""
    model = tiny_trained.load_model()
    for branch in model.branches:  # larger weights, so that it is sure of something
        model.get_layer(f"{branch}_fc3").kernel.assign(100 * model.get_layer(f"{branch}_fc3").kernel)
    live, branches = of_run(tiny_trained, model), dict.fromkeys(model.branches, 0.5) | {"mel": 3.0, "cqt": 1.0}
    live.calibration = Calibration(branches, 0.4)
    network = in_float32(model, tiny_trained.settings())
    signatures = Service(network, live.classes, live.size, live.calibration).signatures()
    waveform = (0.1 * rng.standard_normal(2 * 22050)).astype(np.float32)
    answer = signatures["serving_default"](waveforms=tf.constant(waveform[np.newaxis]))
    told = live.predict(waveform, 22050)
    np.testing.assert_allclose(answer["class_probabilities"].numpy()[0], told.probabilities, atol=3e-3)
    for branch, values in told.branches.items():
        np.testing.assert_allclose(answer[branch].numpy()[0], values, atol=3e-3)
    live.calibration = None
    assert np.abs(live.predict(waveform, 22050).branches["mel"] - told.branches["mel"]).max() > 0.01
    start = np.zeros(1, np.int64)
    segments = cut(next(excerpts([waveform], live.size, live.views)), Segments(start, start), live.views)
    answer = signatures["views"](**{view: tf.constant(values[..., 0]) for view, values in segments.items()})
    for branch, values in live.network(segments).items():
        np.testing.assert_allclose(answer[branch].numpy(), values, atol=1e-3)


def changed(run: Run, folder: Path, change: Callable[[dict], object]) -> Run:
    """A copy of a run with another record."""
    copy = Run(folder / "fold1")
    shutil.copytree(run.path, copy.path)
    record = run.read()
    change(record)
    copy.record.write_text(json.dumps(record))
    return copy


def test_run_made_before(tiny_trained: Run, clips: list[Path], tmp_path: Path) -> None:
    """Answers as they were; `evaluate` gives it the temperatures, the same as training does, and changes no more."""
    record = tiny_trained.read()
    record["store"]["path"] = str(tiny_trained.store().path)
    old = changed(tiny_trained, tmp_path, lambda found: (found.clear(), found.update(record), found.pop("calibration")))
    stored = Predictions.read(tiny_trained.predictions)
    (answer,) = multiview.load(old.path).predict_files(clips[:1])
    np.testing.assert_allclose(answer.probabilities, self_ensemble(stored.probabilities, stored.weights)[0], atol=1e-5)
    metrics = json.loads(old.metrics.read_text())
    assert evaluate(old) == metrics
    assert old.calibration().branches == pytest.approx(tiny_trained.calibration().branches, rel=1e-3)
    assert Predictions.read(old.predictions).probabilities.keys() == stored.probabilities.keys()


@pytest.mark.parametrize(
    "bad", [[], 1, {"branches": {}},
            {"branches": [], "self_ensemble": 1}, {"branches": {"mel": -1}, "self_ensemble": 1},
            {"branches": {"mel": float("nan")}, "self_ensemble": 1}, {"branches": {}, "self_ensemble": "hot"},
            {"branches": {"mel": None}, "self_ensemble": 1}],
)  # fmt: skip
def test_damaged_temperatures_are_named(tiny_trained: Run, tmp_path: Path, bad: object) -> None:
    copy = changed(tiny_trained, tmp_path, lambda record: record.update(calibration=bad))
    with pytest.raises(InputError, match="run.json is damaged"):
        multiview.load(copy.path)


def test_report_says_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Two folds of four clips: raw's by hand, and late fusion, which has no temperature.

    Fold 1, WRONG: sure 0.6, none right. Fold 2, HALF: sure 0.9, 0.8, 0.9, 0.8; the two of 0.9 are right. The bins of
    0.6, 0.8 and 0.9 have 4, 2 and 2 clips: (4 * 0.6 + 2 * 0.8 + 2 * 0.1) / 8 = 0.525.
    """
    write_runs(tmp_path)
    for fold in (1, 2):
        for system, branches in (("raw", ["raw"]), ("multiview", ["mel", "gammatone", "cqt", "raw", "multiview"])):
            path = tmp_path / system / f"fold{fold}" / "run.json"
            calibration = {"branches": dict.fromkeys(branches, 2.0), "self_ensemble": 4.0}
            path.write_text(json.dumps({**json.loads(path.read_text()), "calibration": calibration}))
    rows = calibrated_rows(collect(tmp_path))
    assert rows["raw"].before.error == pytest.approx(0.525, abs=1e-6) and rows["raw"].temperatures == (2.0, 2.0)
    # The roots of 0.6, 0.8 and 0.9 as shares: 0.5505, 2/3 and 3/4.
    third = (4 * 0.550510 + 2 * 2 / 3 + 2 * 0.25) / 8
    assert rows["raw"].after.error == pytest.approx(third, abs=1e-5)
    assert rows["self_ensemble"].temperatures == (4.0, 4.0) and rows["multiview"].temperatures == (2.0, 2.0)
    assert rows["late_fusion"].after is None and rows["mel"].after is None
    report(tmp_path)
    table = pd.read_csv(tmp_path / "calibration.csv").set_index("system")
    assert table.loc["raw", "ece"] == pytest.approx(0.525) and np.isnan(table.loc["mel", "ece_calibrated"])
    assert (tmp_path / "reliability.png").stat().st_size > 10_000
    assert "52.50" in capsys.readouterr().out and "Calibration" in (tmp_path / "report.html").read_text()

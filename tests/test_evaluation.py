"""Clip-level evaluation, on figures that can be worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from multiview import evaluation
from multiview.experiment.evaluate import scores_of
from multiview.experiment.predictions import Predictions
from multiview.segments import MONITOR_SEGMENTS, test_segments
from multiview.store import Store
from multiview.systems import find_system
from multiview.views import VIEWS, geometry


def test_average_by_clip() -> None:
    probabilities = np.array([[1, 0], [0, 1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6]])
    clips = np.array([7, 7, 7, 3, 3])
    expected = [[0.5, 0.5], [0.3, 0.7]]
    np.testing.assert_allclose(evaluation.average_by_clip(probabilities, clips), expected, atol=1e-6)


def test_segments_of_which_nothing_is_said_do_not_count() -> None:
    """All classes alike to the last bit: out of the mean of a clip, unless it has no others."""
    third = np.full(3, 1, np.float32) / np.float32(3)
    some, other = np.array([0.5, 0.3, 0.2], np.float32), np.array([0.1, 0.2, 0.7], np.float32)
    found = evaluation.average_by_clip(np.stack([some, third, third, other, third]), np.array([4, 4, 4, 4, 9]))
    np.testing.assert_allclose(found, [(some + other) / 2, third], atol=2e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    nearly = third + np.array([0, 1e-6, -1e-6], np.float32)
    np.testing.assert_allclose(
        evaluation.average_by_clip(np.stack([some, nearly]), np.zeros(2)), [(some + nearly) / 2], rtol=1e-6
    )


@pytest.mark.parametrize("skip_silence", [False, True])
def test_losses_may_leave_silence_out(skip_silence: bool) -> None:
    """Of clips of 2 s, two segments: silent for all but its end, silent as a whole, and sounding."""
    rate, size = 22050, geometry(22050)
    sound = np.full((3, 2 * rate), 99, np.int16)
    sound[0, :-100], sound[1] = 0, 0
    store = SimpleNamespace(samples=np.full(3, 2 * rate), size=size, sample_rate=rate, labels=np.array([0, 1, 0]))
    store.values, store.offsets = {"raw": sound.ravel()}, {"raw": np.arange(4) * 2 * rate}

    def predict_on_batch(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        heard = (batch["raw"] != 0).any(axis=1)
        return {"raw": np.where(heard, [0.8, 0.2], 0.5).astype(np.float32)}

    model = SimpleNamespace(input={"raw": None}, predict_on_batch=predict_on_batch)
    split = SimpleNamespace(monitor=np.arange(3), validation=np.arange(3))
    found = evaluation.Monitor(store, split, 64, skip_silence)(model)
    # Without: half, sound; half, half; sound, sound.
    expected = [0.8, 0.5, 0.5, 0.8, 0.8] if skip_silence else [0.5, 0.8, 0.5, 0.5, 0.8, 0.8]
    assert found.train["raw"] == found.validation["raw"] == pytest.approx(-np.log(expected).mean())


def test_what_is_no_number_is_not_left_out() -> None:
    probabilities = np.array([[0.5, 0.5], [np.nan, np.nan], [0.2, 0.8]], np.float32)
    assert np.isnan(evaluation.average_by_clip(probabilities, np.array([0, 0, 0]))).all()


def test_cross_entropy_is_equation_1() -> None:
    probabilities, labels = np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])
    expected = -(np.log(0.5) + np.log(0.75)) / 2
    assert evaluation.cross_entropy(probabilities, labels) == pytest.approx(expected)
    assert np.isnan(evaluation.cross_entropy(np.array([[np.nan, 1]]), np.array([1])))


def test_accuracy_is_of_the_label_of_equation_7() -> None:
    """The most probable class of each clip; three of four are the true one."""
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.4], [0.2, 0.8]])
    assert evaluation.accuracy(probabilities, np.array([0, 1, 0, 0])) == 0.75


def test_who_says_nothing_is_not_right() -> None:
    """Not even where the true class is the first; among one class alone there is nothing to decide."""
    probabilities = np.array([[0.25] * 4, [0.25] * 4, [0.1, 0.2, 0.3, 0.4]], np.float32)
    assert evaluation.decisions(probabilities).tolist() == [evaluation.NO_CLASS] * 2 + [3]
    assert evaluation.accuracy(probabilities, np.array([0, 2, 3])) == pytest.approx(1 / 3)
    assert evaluation.accuracy(probabilities[:, :1], np.array([0, 0, 0])) == 1
    found = Predictions(list("xyz"), np.array([1, 2, 2]), list("abcd"), {"mel": probabilities}, {"mel": 1.0})
    assert scores_of(found, find_system("mel")) == {"mel": 0}
    assert scores_of(found, find_system("mel"), [2, 1]) == {"mel": pytest.approx(1 / 3)}


def test_self_ensemble_is_equation_6() -> None:
    probabilities = {"mel": np.array([[0.8, 0.2]]), "raw": np.array([[0.1, 0.9]])}
    fused = evaluation.self_ensemble(probabilities, {"mel": 0.25, "raw": 0.75})
    np.testing.assert_allclose(fused, [[0.25 * 0.8 + 0.75 * 0.1, 0.25 * 0.2 + 0.75 * 0.9]])


def test_late_fusion_is_the_mean() -> None:
    fused = evaluation.late_fusion([np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])])
    np.testing.assert_allclose(fused, [[0.75, 0.25]])


class OnsetModel:
    """Stands in for a network: the 'probability' of a segment tells where it was cut."""

    input = dict.fromkeys(VIEWS)

    def predict_on_batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"mel": np.stack([batch["mel"][:, 0].mean(axis=(1, 2)), batch["raw"][:, 0, 0]], axis=1)}


def test_segments_of_the_test_span_each_clip(tiny_store: Store) -> None:
    clips = np.array([4, 11])
    segments = test_segments(clips, tiny_store.samples[clips], tiny_store.size)
    assert segments.clips.tolist() == [4, 4, 11, 11]  # 2 s, so 2 segments
    last = 44100 - 33330
    mel_last = (1 + (44100 - 882) // 441 - 75 + 1) * 441 - 1
    assert segments.starts.tolist() == [0, min(last, mel_last)] * 2
    outputs = evaluation.predict_segments(OnsetModel(), tiny_store, segments, batch_size=3)["mel"]
    for row, (clip, start) in enumerate(zip(segments.clips, segments.starts, strict=True)):
        sample = tiny_store.values["raw"][tiny_store.offsets["raw"][clip] + start] / 32768
        frame = tiny_store.values["mel"][tiny_store.offsets["mel"][clip] + start // 441].mean()
        np.testing.assert_allclose(outputs[row], [frame, sample], rtol=1e-5)


def test_long_clips_are_monitored_on_five_segments() -> None:
    lengths, size = np.array([30, 5, 2]) * 22050, geometry(22050)
    assert np.bincount(test_segments(np.arange(3), lengths, size, most=MONITOR_SEGMENTS).clips).tolist() == [5, 5, 2]
    assert np.bincount(test_segments(np.arange(3), lengths, size).clips).tolist() == [30, 5, 2]


@pytest.mark.parametrize("weights", [[0.5, 0.502], [1.5, -0.5], [1e30, 0.0], [0.0, 0.0]])
def test_weights_that_are_no_shares_are_refused(weights: list[float]) -> None:
    evaluation.check_weights({"a": float(np.float32(1 / 3)), "b": float(np.float32(2 / 3))})
    with pytest.raises(ValueError, match="expected weights of the branches from 0 that sum to 1, found a sum of"):
        evaluation.check_weights(dict(zip("ab", weights, strict=True)))

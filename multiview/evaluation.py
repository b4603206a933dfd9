"""Clip-level probabilities and accuracy (Secs. 2.3 and 3.1.3): branches, self-ensemble, late fusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from multiview.history import Losses
from multiview.segments import MONITOR_SEGMENTS, Features, Segments, cut, test_segments, without_silence
from multiview.splits import Split
from multiview.store import Store

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 64
NO_CLASS = -1  # which no label is: who says nothing is not right
UNDECIDED = 1e-6  # weight in a mean of what says nothing, so that a clip of nothing else has one
PROBABILITY_FLOOR = 1e-7  # as in Keras's cross-entropy, so that one sure mistake costs 16, not infinity


def predict_segments(
    model: keras.Model, features: Features, segments: Segments, batch_size: int = BATCH_SIZE
) -> dict[str, np.ndarray]:
    """Probabilities of every branch of `model` in inference mode; float32 [segments, classes] each."""
    outputs = []
    for begin in range(0, len(segments), batch_size):
        inputs = cut(features, segments[begin : begin + batch_size], list(model.input))
        outputs.append(model.predict_on_batch(inputs))
    return {branch: np.concatenate([output[branch] for output in outputs]) for branch in outputs[0]}


def weights_in_mean(probabilities: np.ndarray) -> np.ndarray:
    """What segments count in means over them, float32 [..., 1] of probabilities [..., classes].

    1, but next to nothing where all classes are alike to the last bit, as networks with `skip_silence` have them of a
    segment without sound.
    """
    return np.where(undecided(probabilities)[..., np.newaxis], UNDECIDED, 1).astype(np.float32)


def undecided(probabilities: np.ndarray) -> np.ndarray:
    """Whether all classes are alike to the last bit, so none is the most probable; bool [...] of [..., classes]."""
    several = probabilities.shape[-1] > 1
    return several & (probabilities.max(axis=-1) == probabilities.min(axis=-1))  # not of NaN


def average_by_clip(probabilities: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Mean of each clip, weighted by `weights_in_mean`: [segments, classes] to [clips, classes], in their order."""
    begins, weights = np.flatnonzero(np.diff(clips, prepend=-1)), weights_in_mean(probabilities)
    total = np.add.reduceat(weights.astype(np.float64), begins, axis=0)
    return (np.add.reduceat(probabilities * weights, begins, axis=0) / total).astype(np.float32)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Eq. (1): mean of -log of the probability of the true class; NaN if any probability is."""
    if not np.isfinite(probabilities).all():
        return float("nan")
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, PROBABILITY_FLOOR)).mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose most probable class, Eq. (7), is the true one."""
    return float(np.mean(decisions(probabilities) == labels))


def decisions(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of clips, Eq. (7), int [clips] of [clips, classes]; `NO_CLASS` of those `undecided`."""
    return np.where(undecided(probabilities), NO_CLASS, probabilities.argmax(axis=1))


def self_ensemble(probabilities: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Eq. (6): branch probabilities weighted with the weights of the kept model; [clips, classes].

    The weights sum to 1, so the result is a distribution; the paper's factor 1/5 would only scale it.
    """
    return sum((weights[branch] * values for branch, values in probabilities.items()), start=np.float32(0))


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise a ValueError where the weights of Eq. (6) that a file has do not sum to 1, as closely as float32 does."""
    total = sum(weights.values())
    if not (min(weights.values()) >= 0 and math.isclose(total, 1, abs_tol=5e-4)):
        raise ValueError(f"expected weights of the branches from 0 that sum to 1, found a sum of {total:g}")


def late_fusion(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the probabilities of separately trained single-view networks; [clips, classes]."""
    return np.mean(probabilities, axis=0)


class Monitor:
    """Measures the losses that steer the blending: monitor and validation clips of a split, in inference mode.

    The segments are evenly spaced and the same every time, with `skip_silence` those that hold sound, but for clips
    without any; the accuracy is that of clips.
    """

    def __init__(self, store: Store, split: Split, batch_size: int, skip_silence: bool = False) -> None:
        self.store, self.split, self.batch_size, self.skip_silence = store, split, batch_size, skip_silence

    def __call__(self, model: keras.Model) -> Losses:
        """Losses and accuracy of every branch of the model, as it is now."""
        train, _ = self._measure(model, self.split.monitor)
        validation, scores = self._measure(model, self.split.validation)
        return Losses(train=train, validation=validation, accuracy=scores)

    def _measure(self, model: keras.Model, clips: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
        segments = test_segments(clips, self.store.samples[clips], self.store.size, most=MONITOR_SEGMENTS)
        if self.skip_silence:
            segments = without_silence(self.store, segments, list(model.input))
        labels, losses, scores = self.store.labels, {}, {}
        for branch, probabilities in predict_segments(model, self.store, segments, self.batch_size).items():
            losses[branch] = cross_entropy(probabilities, labels[segments.clips])
            scores[branch] = accuracy(average_by_clip(probabilities, segments.clips), labels[clips])
        return losses, scores

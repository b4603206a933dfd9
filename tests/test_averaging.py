"""The exponential average of the weights: that of a loop in NumPy, with statistics of its own."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from multiview.averaging import AveragedNetwork
from multiview.networks import build_network
from multiview.optimizer import Adam
from multiview.training import statistics_segments
from multiview.views import geometry

DECAY = 0.8


def values(variables: list) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(each)) for each in variables]


@given(classes=st.integers(1, 12), clips=st.integers(1, 60))
def test_statistics_are_of_all_training_clips(classes: int, clips: int) -> None:
    """256 of the segments, all where there are fewer, as far apart as they can be: each class has its share."""
    size, labels = geometry(22050), np.repeat(np.arange(classes), clips)  # sorted, as a folder's are
    store = SimpleNamespace(samples=np.full(len(labels), 5 * 22050), size=size)
    segments = statistics_segments(store, np.arange(len(labels)))
    assert len(segments) == min(5 * len(labels), 256)
    places = 5 * segments.clips + segments.starts // (size.last_start(5 * 22050) // 4)
    gaps = np.diff(places)
    assert places[0] == 0 and places[-1] == 5 * len(labels) - 1
    assert gaps.max(initial=1) - gaps.min(initial=gaps.max(initial=1)) <= 1 and gaps.min(initial=1) >= 1
    of_class = np.bincount(labels[segments.clips], minlength=classes)
    assert of_class.max() - of_class.min() <= 2


def test_statistics_may_leave_silence_out() -> None:
    """The second of three clips is silent but for its last 0.8 s; the network never answers for the rest."""
    rate = 22050
    size, sound = geometry(rate), np.ones(3 * 5 * rate, np.int16) * 99
    sound[5 * rate : round(9.2 * rate)] = 1
    sound[5 * rate : round(9.2 * rate) : 2] = -1  # dither
    offsets = np.arange(4) * 5 * rate
    store = SimpleNamespace(
        samples=np.full(3, 5 * rate), size=size, sample_rate=rate, values={"raw": sound}, offsets={"raw": offsets}
    )
    every = statistics_segments(store, np.arange(3))
    segments = statistics_segments(store, np.arange(3), heard_by=["raw"])
    assert np.bincount(every.clips).tolist() == [5, 5, 5] and np.bincount(segments.clips).tolist() == [5, 1, 5]
    assert segments.starts[5] == every.starts[9]  # from 3.49 s to the end
    sound[:] = 0
    assert len(statistics_segments(store, np.arange(3), heard_by=["raw"])) == 15  # there are no others


@given(clips=st.integers(1, 400), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_statistics_are_of_sound_from_all_over(clips: int, share: float, seed: int) -> None:
    """256 of those that hold sound where there are so many, all of them where there are fewer; each once."""
    rate, size = 22050, geometry(22050)
    silent = np.random.default_rng(seed).random(clips) < share
    length = size.segment_samples
    store = SimpleNamespace(samples=np.full(clips, rate), size=size, sample_rate=rate)  # of one segment each
    store.values = {"raw": np.repeat(np.where(silent, 0, 99).astype(np.int16), length)}
    store.offsets = {"raw": np.arange(clips + 1) * length}
    found = statistics_segments(store, np.arange(clips), most=32, heard_by=["raw"]).clips
    assert (np.diff(found) > 0).all()
    if silent.all():
        assert len(found) == min(clips, 32)
    else:
        assert len(found) == min((~silent).sum(), 32) and not silent[found].any()


@pytest.mark.backend
def test_averages_and_statistics_by_hand(rng: np.random.Generator) -> None:
    """a(1) = w(1), a(n) = 0.8 a(n - 1) + 0.2 w(n); and the mean of what conv1 gives for the segments."""
    model, other = (build_network("mel", 3, 22050, 1 / 32) for _ in range(2))
    model.compile(optimizer=Adam(0.01, use_ema=True, ema_momentum=DECAY))
    model.optimizer.build(model.trainable_variables)
    segments = {"mel": rng.normal(size=(8, 75, 64, 1)).astype("float32")}
    averaged = AveragedNetwork(other, segments)
    # Before the first step, the weights as they are.
    for mine, its in zip(averaged(model).trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(mine), ops.convert_to_numpy(its))

    # Whatever Keras does with averages when `fit` ends, evaluations come before.
    seen, found = [], []

    def evaluate(epoch: int, logs: dict) -> None:
        seen.append(values(model.trainable_variables))
        found.append(values(averaged(model).trainable_variables))
        for mine, its in zip(values(model.trainable_variables), seen[-1], strict=True):
            np.testing.assert_array_equal(mine, its)  # the network in training is as it was

    callback = keras.callbacks.LambdaCallback(on_epoch_end=evaluate)
    model.fit(segments, np.arange(8) % 3, epochs=3, verbose=0, callbacks=[callback])
    expected = seen[0]
    for mine, its in zip(found[0], expected, strict=True):
        np.testing.assert_array_equal(mine, its)  # a run of one step ends with its weights
    for weights, averages in zip(seen[1:], found[1:], strict=True):
        expected = [DECAY * old + (1 - DECAY) * new for old, new in zip(expected, weights, strict=True)]
        for mine, its in zip(averages, expected, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)

    network = averaged.network
    before = keras.Model(network.input, network.get_layer("mel_conv1").output)
    features = ops.convert_to_numpy(before(segments))
    norm = network.get_layer("mel_norm1")
    np.testing.assert_allclose(ops.convert_to_numpy(norm.moving_mean), features.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    variance = features.var((0, 1, 2))
    np.testing.assert_allclose(ops.convert_to_numpy(norm.moving_variance), variance, rtol=1e-3, atol=1e-5)

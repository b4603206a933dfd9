"""The exponential average of the weights: that of a loop in NumPy, with statistics of its own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from multiview.averaging import AveragedNetwork
from multiview.networks import build_network
from multiview.optimizer import Adam

DECAY = 0.8


def values(variables: list) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(each)) for each in variables]


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

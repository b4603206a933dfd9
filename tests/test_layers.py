"""Layers that are computed in less time against the stock ones that they stand for: outputs, gradients, statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from multiview import recurrence
from multiview.layers import (
    BatchNormalization,
    Classifier,
    Conv1D,
    Conv2D,
    Dropout,
    SeparableConv1D,
    SeparableConv2D,
)
from multiview.networks import cross_entropy
from multiview.optimizer import Adam
from multiview.recurrence import Recurrences


def derivatives(function: Callable, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Gradients of a function of arrays that gives a scalar, on the backend at hand."""
    if keras.backend.backend() == "jax":
        import jax

        return [np.asarray(each) for each in jax.grad(lambda arrays: function(*arrays))(arrays)]
    import tensorflow as tf

    tensors = [tf.constant(each) for each in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return [each.numpy() for each in tape.gradient(value, tensors)]


def run(layer: layers.Layer, inputs: list[np.ndarray], seed: int = 0, **options) -> tuple[list, list]:
    """Outputs of a layer, and gradients of a random weighting of them to its inputs and its trainable variables."""
    rng, one = np.random.default_rng(seed), len(inputs) == 1
    outputs = layer(inputs[0] if one else inputs, **options)
    outputs = [ops.convert_to_numpy(each) for each in (outputs if isinstance(outputs, list) else [outputs])]
    weighting = [rng.normal(size=each.shape).astype(each.dtype) for each in outputs]
    fixed = [ops.convert_to_numpy(each) for each in layer.non_trainable_variables]

    def loss(*arrays: Any) -> Any:
        if keras.backend.backend() == "jax":
            own = arrays[len(inputs) :]
            found, _ = layer.stateless_call(own, fixed, arrays[0] if one else list(arrays[: len(inputs)]), **options)
        else:
            found = layer(arrays[0] if one else list(arrays[: len(inputs)]), **options)
        found = found if isinstance(found, list) else [found]
        return sum(ops.sum(each * weights) for each, weights in zip(found, weighting, strict=True))

    if keras.backend.backend() == "jax":
        return outputs, derivatives(loss, [*inputs, *(ops.convert_to_numpy(v) for v in layer.trainable_variables)])
    import tensorflow as tf

    tensors, variables = [tf.constant(each) for each in inputs], [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = loss(*tensors)
    return outputs, [each.numpy() for each in tape.gradient(value, [*tensors, *variables])]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray], rtol: float = 1e-5) -> None:
    """Each array to a share of its largest value."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * np.abs(other).max())


def twins(ours: layers.Layer, stock: layers.Layer, shape: Any, rng: np.random.Generator) -> None:
    """Build both with the same random weights; their names must be the same, too."""
    for layer in (ours, stock):
        layer.build(shape)
    assert [variable.name for variable in ours.weights] == [variable.name for variable in stock.weights]
    values = [
        np.abs(rng.normal(0.3, 0.3, weight.shape)) if "variance" in weight.name else rng.normal(0, 0.3, weight.shape)
        for weight in stock.weights
    ]
    for layer in (ours, stock):
        layer.set_weights(values)


@pytest.mark.backend
@pytest.mark.parametrize(
    "shape",
    [(4, 30, 8, 3), (4, 16, 8, 1), (4, 83, 2), (4, 30, 8, 5), (4, 90, 6), (30, 6), (4, 5, 6, 3, 6)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_batch_normalisation_is_keras_own(shape: tuple, rng: np.random.Generator) -> None:
    ours, stock = BatchNormalization(momentum=0.9), layers.BatchNormalization(momentum=0.9)
    twins(ours, stock, shape, rng)
    x = rng.normal(0.5, 1, shape).astype("float32")
    for training in (False, True):
        (found, gradients), (expected, wanted) = run(ours, [x], training=training), run(stock, [x], training=training)
        assert_same(found, expected)
        assert_same(gradients, wanted, 2e-5)
    assert_same(*([ops.convert_to_numpy(v) for v in each.non_trainable_variables] for each in (ours, stock)))


@pytest.mark.backend
@pytest.mark.parametrize(
    ("samples", "channels", "filters", "size", "stride"),
    [(1000, 1, 4, 64, 2), (1003, 1, 2, 64, 2), (501, 3, 4, 16, 2), (501, 8, 4, 16, 2), (77, 2, 3, 5, 3)],
)
def test_convolution_of_a_sequence_is_keras_own(
    samples: int, channels: int, filters: int, size: int, stride: int, rng: np.random.Generator
) -> None:
    ours, stock = (kind(filters, size, stride, activation="relu") for kind in (Conv1D, layers.Conv1D))
    twins(ours, stock, (None, samples, channels), rng)
    x = rng.normal(size=(3, samples, channels)).astype("float32")
    for found, expected in zip(run(ours, [x]), run(stock, [x]), strict=True):
        assert_same(found, expected)


@pytest.mark.backend
@pytest.mark.parametrize(("width", "kernel"), [(1, (3, 3)), (2, (3, 3)), (2, (5, 3)), (2, (3, 5)), (4, (3, 3))])
def test_convolution_of_a_narrow_image_is_keras_own(width: int, kernel: tuple, rng: np.random.Generator) -> None:
    ours, stock = (kind(4, kernel, padding="same", activation="relu") for kind in (Conv2D, layers.Conv2D))
    twins(ours, stock, (None, 11, width, 3), rng)
    x = rng.normal(size=(3, 11, width, 3)).astype("float32")
    for found, expected in zip(run(ours, [x]), run(stock, [x]), strict=True):
        assert_same(found, expected)


@pytest.mark.backend
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_separable_convolutions_are_keras_own(padding: str, rng: np.random.Generator) -> None:
    for kinds, shape, kernel, stride in (
        ((SeparableConv1D, layers.SeparableConv1D), (40, 3), 4, 2),
        ((SeparableConv2D, layers.SeparableConv2D), (11, 8, 3), (5, 3), 1),
    ):
        ours, stock = (kind(4, kernel, stride, padding=padding, activation="relu") for kind in kinds)
        twins(ours, stock, (None, *shape), rng)
        x = rng.normal(size=(3, *shape)).astype("float32")
        for found, expected in zip(run(ours, [x]), run(stock, [x]), strict=True):
            assert_same(found, expected)


@pytest.mark.backend
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradient_of_a_bias_is_summed_in_float32(precision: str) -> None:
    """Of 19,200 and 9,600 ones, which bfloat16 would sum to 512."""
    policy = precision if precision == "float32" else f"mixed_{precision}"
    for layer, shape, count in (
        (Conv2D(3, (3, 3), padding="same", dtype=policy), (8, 75, 32, 2), 19200),
        (Conv2D(3, (3, 3), padding="same", dtype=policy), (64, 75, 2, 2), 9600),  # narrow
        (Conv1D(3, 4, 2, dtype=policy), (8, 2402, 1), 9600),
        (SeparableConv2D(3, (3, 3), padding="same", dtype=policy), (8, 75, 32, 2), 19200),
        (SeparableConv1D(3, 4, 2, dtype=policy), (8, 2402, 2), 9600),
    ):
        x = np.zeros(shape, "float32")
        layer.build(x.shape)
        bias = [variable.path for variable in layer.trainable_variables].index(layer.bias.path)
        values = [ops.convert_to_numpy(each) for each in layer.trainable_variables]

        def total(*values: Any, layer: Any = layer, x: Any = x) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(layer.trainable_variables, values, strict=True))):
                found = layer(x)
            assert keras.backend.standardize_dtype(found.dtype) == precision
            return ops.sum(ops.cast(found, "float32"))

        np.testing.assert_allclose(derivatives(total, values)[bias], count, rtol=0.005)


@pytest.mark.backend
@pytest.mark.parametrize("scale", [1.0, 2.0**20])
def test_a_classifier_hands_back_the_gradient_of_a_sure_mistake(scale: float) -> None:
    """Softmax minus label in each logit, whatever lies between them, also of a scaled loss."""
    layer = Classifier(3, activation="softmax")
    layer.build((None, 2))
    kernel = np.zeros((2, 3), "float32")
    for gap in (0, 10, 60, 90, 1000):
        bias = np.array([gap, 0, 0], "float32")

        def loss(kernel: Any, bias: Any) -> Any:
            p, _ = layer.stateless_call([kernel, bias], [], np.ones((4, 2), "float32"))
            return scale * ops.sum(cross_entropy(np.array([1, 1, 2, 1]), p))

        p = np.exp(bias - gap) / np.exp(bias - gap).sum()
        expected = 4 * p - np.array([0, 3, 1])
        np.testing.assert_allclose(derivatives(loss, [kernel, bias])[1] / scale, expected, atol=1e-5)


SEQUENCES = ((12, 7), (9, 7), (12, 5))  # steps and dimensions


def recurrences(units: int = 6) -> Recurrences:
    return Recurrences([layers.Bidirectional(layers.GRU(units, return_sequences=True)) for _ in SEQUENCES])


@pytest.mark.backend
def test_one_loop_gives_what_each_recurrence_gives(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where cuDNN serves Keras's own layers, which are used there: of each view exactly its own steps, both ways."""
    layer, xs = recurrences(), [rng.normal(size=(5, *shape)).astype("float32") for shape in SEQUENCES]
    layer.build([x.shape for x in xs])
    for weight in layer.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    monkeypatch.setattr(recurrence, "cudnn_serves", lambda: False)
    found, gradients = run(layer, xs)
    monkeypatch.setattr(recurrence, "cudnn_serves", lambda: True)
    expected, wanted = run(layer, xs)
    assert [each.shape for each in found] == [(5, steps, 12) for steps, _ in SEQUENCES]
    assert_same(found, expected)
    assert_same(gradients, wanted)
    assert_same(found, [ops.convert_to_numpy(birnn(x)) for birnn, x in zip(layer.birnns, xs, strict=True)])


@pytest.mark.backend
def test_recurrences_are_saved_with_their_layers(rng: np.random.Generator) -> None:
    inputs = [keras.Input(shape) for shape in SEQUENCES]
    model = keras.Model(inputs, recurrences()(inputs))
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    xs = [rng.normal(size=(2, *shape)).astype("float32") for shape in SEQUENCES]
    assert_same(copy.predict_on_batch(xs), model.predict_on_batch(xs))
    names = [variable.name for variable in model.trainable_variables]
    assert names == ["kernel", "recurrent_kernel", "bias"] * 6


@pytest.mark.backend
def test_dropout_drops_with_its_rate_and_scales() -> None:
    """Of half a million units over steps that use either threshold."""
    layer, x = Dropout(0.1, seed=7), np.ones((50, 64, 4), "float32")
    masks = np.stack([ops.convert_to_numpy(layer(x, training=True)) for _ in range(40)])
    assert set(np.unique(masks.round(4))) == {0, np.float32(1 / 0.9).round(4)}
    # Between steps the share moves by up to 1 / 256, so a mean of 40 is known to 0.0003.
    assert np.mean(masks == 0) == pytest.approx(0.1, abs=0.0015)
    by_unit = np.mean(masks == 0, axis=0)
    assert by_unit.std() == pytest.approx(np.sqrt(0.1 * 0.9 / 40), rel=0.05)  # of independent units
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x, training=False)), x)


@pytest.mark.backend
def test_dropout_follows_from_its_variable(rng: np.random.Generator) -> None:
    """The same seed the same numbers; a state put back goes on as if nothing had happened."""
    x = rng.normal(size=(3, 5, 7)).astype("float32")  # not a multiple of four units
    one, other = Dropout(0.3, seed=1), Dropout(0.3, seed=1)
    first = [ops.convert_to_numpy(one(x, training=True)) for _ in range(3)]
    assert not np.array_equal(first[0], first[1])
    state = [ops.convert_to_numpy(variable) for variable in one.variables]
    np.testing.assert_array_equal(ops.convert_to_numpy(other(x, training=True)), first[0])
    following = ops.convert_to_numpy(one(x, training=True))
    for variable, value in zip(other.variables, state, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(ops.convert_to_numpy(other(x, training=True)), following)


@pytest.mark.backend
def test_adam_is_keras_own(rng: np.random.Generator) -> None:
    """Variables, moments and names after some steps on a schedule; 1 - 0.999 is rounded in another place."""
    start, found = rng.normal(size=(4, 3)).astype("float32"), []
    gradients = rng.normal(size=(5, 4, 3)).astype("float32")
    for kind in (Adam, keras.optimizers.Adam):
        variable = keras.Variable(start, name="weight")
        optimizer = kind(keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01]))
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([ops.convert_to_tensor(gradient)])
        found.append([ops.convert_to_numpy(each) for each in (variable, *optimizer.variables)])
        found[-1].append([each.name for each in optimizer.variables])
    assert found[0].pop() == found[1].pop()
    assert_same(*found, rtol=2e-5)


@pytest.mark.backend
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_lower_precision(precision: str, rng: np.random.Generator) -> None:
    policy, x = f"mixed_{precision}", rng.normal(size=(2, 40, 2, 3)).astype("float32")
    parts = [
        Conv2D(4, 3, padding="same", dtype=policy),
        BatchNormalization(dtype=policy),
        Dropout(0.1, dtype=policy),
        layers.Reshape((40, 8), dtype=policy),
        Conv1D(4, 4, 2, dtype=policy),
        Recurrences([layers.Bidirectional(layers.GRU(3, return_sequences=True, dtype=policy))], dtype=policy),
    ]
    for layer in parts:
        options = {"training": True} if isinstance(layer, BatchNormalization | Dropout) else {}
        x = layer([x], **options)[0] if isinstance(layer, Recurrences) else layer(x, **options)
        assert keras.backend.standardize_dtype(x.dtype) == precision
        assert np.isfinite(ops.convert_to_numpy(ops.cast(x, "float32"))).all()

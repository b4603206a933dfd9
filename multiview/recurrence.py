"""The bidirectional GRUs of all views: Keras's own where cuDNN serves them, one loop for all of them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="multiview")
class Recurrences(layers.Layer):
    """Several `Bidirectional(GRU(...))` side by side, each on a sequence of its own.

    Not the layers one by one: their steps are so small that starting them costs more than computing them, so all views
    and directions take each step together. Where cuDNN serves Keras's own they are, which is on a GPU, but not on JAX.

    Parameters
    ----------
    birnns : list of keras.layers.Bidirectional
        With GRUs of one size that return sequences. They own the weights and keep their names.
    """

    def __init__(self, birnns: Sequence[layers.Bidirectional], **kwargs) -> None:
        super().__init__(**kwargs)
        self.birnns = list(birnns)

    def build(self, input_shape: list) -> None:
        for birnn, shape in zip(self.birnns, input_shape, strict=True):
            birnn.build(shape)

    def call(self, sequences: list) -> list:
        """[batch, steps, dimensions] each to [batch, steps, 2 units]; steps and dimensions may differ."""
        if cudnn_serves():
            return [birnn(x) for birnn, x in zip(self.birnns, sequences, strict=True)]
        return in_one_loop(self.birnns, sequences)

    def compute_output_shape(self, input_shape: list) -> list:
        return [birnn.compute_output_shape(shape) for birnn, shape in zip(self.birnns, input_shape, strict=True)]

    def get_config(self) -> dict:
        return {**super().get_config(), "birnns": [keras.saving.serialize_keras_object(each) for each in self.birnns]}

    @classmethod
    def from_config(cls, config: dict) -> Recurrences:
        birnns = [keras.saving.deserialize_keras_object(each) for each in config["birnns"]]
        return cls(**{**config, "birnns": birnns})


def without_cudnn(model: keras.Model) -> None:
    """Make the recurrences of a model such that its graph runs on any device."""
    for layer in model.layers:
        for each in getattr(layer, "birnns", [layer]):
            parts: list[Any] = [each, *(getattr(each, name, None) for name in ("forward_layer", "backward_layer"))]
            for part in (part for part in parts if hasattr(part, "use_cudnn")):
                part.use_cudnn = False


def cudnn_serves() -> bool:
    """Whether Keras hands its GRUs to cuDNN: on a GPU, by TensorFlow; JAX has none of cuDNN's GRUs."""
    return keras.backend.backend() == "tensorflow" and bool(keras.distribution.list_devices("gpu"))


def in_one_loop(birnns: Sequence[layers.Bidirectional], sequences: Sequence[Any]) -> list:
    """What the layers give, each for its sequence, of as many steps together as the longest has.

    Shorter ones are padded at their end, backward ones after they were turned round: what follows the last step of a
    sequence reaches none of its outputs, nor any gradient.
    """
    longest, projections, kernels, biases = max(x.shape[1] for x in sequences), [], [], []
    for birnn, x in zip(birnns, sequences, strict=True):
        forward = ops.transpose(x, (1, 0, 2))
        directions = ((birnn.forward_layer.cell, forward), (birnn.backward_layer.cell, ops.flip(forward, axis=0)))
        for cell, steps in directions:
            bias = cell.bias.value  # [2, 3 units]: of the input, of the state
            gates = ops.concatenate([bias[1, : 2 * cell.units], ops.zeros_like(bias[1, 2 * cell.units :])], axis=0)
            projection = ops.matmul(steps, cell.kernel) + (bias[0] + gates)
            projections.append(ops.pad(projection, ((0, longest - x.shape[1]), (0, 0), (0, 0))))
            kernels.append(cell.recurrent_kernel.value)
            biases.append(bias[1:, 2 * cell.units :])
    states = _gru(ops.stack(projections, axis=1), ops.stack(kernels), ops.stack(biases))
    outputs, states = [], ops.unstack(states, 2 * len(birnns), axis=1)
    for x, forward, backward in zip(sequences, states[::2], states[1::2], strict=True):
        own = (x.shape[1], *ops.shape(forward)[1:])
        forward, backward = (ops.slice(each, (0, 0, 0), own) for each in (forward, backward))
        both = [forward, ops.flip(backward, axis=0)]
        outputs.append(ops.transpose(ops.concatenate(both, axis=-1), (1, 0, 2)))
    return outputs


@ops.custom_gradient
def _gru(x: Any, kernel: Any, bias: Any) -> Any:
    """Keras's GRU with `reset_after`, from a state of zeros, for N of them.

    The gradient is written out, because that of the loop would multiply small matrices where one product after the
    loop does: the loop backwards carries the state's gradient alone.

    Parameters
    ----------
    x : [steps, N, batch, 3 units]
        Inputs times kernel with the biases, of z and r also those of the state.
    kernel : [N, units, 3 units]
    bias : [N, 1, units]
        The state's, of the candidate.

    Returns
    -------
    [steps, N, batch, units]
    """

    def gates(h: Any, x: Any) -> tuple:
        x_z, x_r, x_h = ops.split(x, 3, axis=-1)
        a_z, a_r, a_h = ops.split(ops.matmul(h, kernel), 3, axis=-1)
        z, r, a_h = ops.sigmoid(x_z + a_z), ops.sigmoid(x_r + a_r), a_h + bias
        return z, r, a_h, ops.tanh(x_h + r * a_h)

    def step(h: Any, at: list) -> tuple:
        z, _, _, candidate = gates(h, *at)
        h = candidate + z * (h - candidate)
        return h, h

    zeros = ops.zeros_like(x[0, ..., : kernel.shape[1]])
    _, states = _scan(step, zeros, [x])

    def gradient(*args: Any, upstream: Any = None) -> tuple:
        # Batches of any size leave TensorFlow without the shape of the gradient, which is that of the states.
        upstream = ops.reshape(args[0] if upstream is None else upstream, ops.shape(states))
        before = ops.concatenate([zeros[None], states[:-1]], axis=0)
        z, r, a_h, candidate = gates(before, x)
        # By how much each of the three sums of a step moves its new state.
        by_h = (1 - z) * (1 - candidate * candidate)
        by_z = (before - candidate) * z * (1 - z)
        by_r = by_h * a_h * r * (1 - r)
        through = ops.stack([by_z, by_r, by_h * r], axis=-2)  # [steps, N, batch, 3, units]
        back = ops.transpose(kernel, (0, 2, 1))

        def flat(d: Any, by: Any) -> Any:
            moved = ops.expand_dims(d, -2) * by
            return ops.reshape(moved, (*ops.shape(d)[:-1], 3 * d.shape[-1]))

        def step_back(d: Any, at: list) -> tuple:
            up, z, by = at
            d = d + up
            return ops.matmul(flat(d, by), back) + d * z, d

        _, d = _scan(step_back, zeros, [upstream, z, through], reverse=True)
        d_a = flat(d, through)
        d_x = ops.concatenate([d_a[..., : 2 * kernel.shape[1]], d * by_h], axis=-1)
        # No `ops.einsum`, which takes three times as long on TensorFlow.
        count, units, three_units = kernel.shape
        before = ops.reshape(ops.transpose(before, (1, 3, 0, 2)), (count, units, -1))
        d_kernel = ops.matmul(before, ops.reshape(ops.transpose(d_a, (1, 0, 2, 3)), (count, -1, three_units)))
        return d_x, d_kernel, ops.sum(d_a[..., 2 * units :], axis=(0, 2))[:, None]

    return states, gradient


def _scan(step: Callable, state: Any, inputs: list, reverse: bool = False) -> tuple:
    """`ops.scan`. On TensorFlow without its arrays, each of which would be a copy of the inputs."""
    if keras.backend.backend() != "tensorflow":
        return ops.scan(step, state, inputs, reverse=reverse)
    import tensorflow as tf

    length = inputs[0].shape[0]

    def body(i: Any, state: Any, outputs: Any) -> tuple:
        at = length - 1 - i if reverse else i
        state, output = step(state, [x[at] for x in inputs])
        return i + 1, state, outputs.write(at, output)

    outputs = tf.TensorArray(state.dtype, length, element_shape=state.shape)
    _, state, outputs = tf.while_loop(
        lambda i, *_: i < length, body, (tf.constant(0), state, outputs), maximum_iterations=length
    )
    return state, outputs.stack()

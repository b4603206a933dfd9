"""Layers of the networks: the paper's attention pooling, and stock layers computed in less time."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="multiview")
class AttentionPooling(keras.layers.Layer):
    """Reduce Z [batch, T, D] to one vector [batch, D] with temporal and spatial attention.

    With the rows z_t [D] and the columns Z[:, d] [T] of Z::

        a = softmax over t of u' tanh(W z_t + b)           W [units, D]
        s = softmax over d of v' tanh(V Z[:, d] + c)       V [units, T]
        x_d = D * sum_t a_t s_d Z[t, d]

    The factor D gives the spatial weights a mean of one; without it the output would be D times too
    small for the layers that follow.

    Parameters
    ----------
    units : int
        Attention size, 64 in Tables 1 and 2.
    """

    def __init__(self, units: int = 64, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple) -> None:
        _, steps, dimensions = input_shape
        self.W = self.add_weight(name="W", shape=(self.units, dimensions))
        self.b = self.add_weight(name="b", shape=(self.units,), initializer="zeros")
        self.u = self.add_weight(name="u", shape=(self.units,))
        self.V = self.add_weight(name="V", shape=(self.units, steps))
        self.c = self.add_weight(name="c", shape=(self.units,), initializer="zeros")
        self.v = self.add_weight(name="v", shape=(self.units,))

    def call(self, Z):
        temporal = ops.tanh(ops.matmul(Z, ops.transpose(self.W)) + self.b)  # [batch, T, units]
        spatial = ops.tanh(ops.matmul(ops.transpose(Z, (0, 2, 1)), ops.transpose(self.V)) + self.c)
        a = ops.softmax(ops.matmul(temporal, self.u), axis=-1)  # [batch, T]
        s = ops.softmax(ops.matmul(spatial, self.v), axis=-1)  # [batch, D]
        return Z.shape[-1] * s * ops.squeeze(ops.matmul(a[:, None, :], Z), axis=1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="multiview")
class Classifier(layers.Dense):
    """Keras's dense layer with a softmax.

    Not the plain one: where a probability rounds to 0, so does all that the softmax hands back of a gradient, and a
    network that is sure and wrong would never learn better. On TensorFlow the loss takes what went into the softmax.
    Elsewhere none falls below `FLOOR`.
    """

    FLOOR = 1e-30  # whose inverse float32 holds, also with a scaled loss

    def call(self, inputs: Any, sounding: Any = None, training: bool | None = None) -> Any:
        """[batch, dimensions] to probabilities [batch, units]; all alike where `sounding` [batch, 1] is 0, not 1."""
        x = ops.add(ops.matmul(inputs, self.kernel), self.bias)
        if sounding is not None:
            x = ops.where(sounding > 0, x, 0.0)
        return self.activation(x) if keras.backend.backend() == "tensorflow" else _floored_softmax(x)


@ops.custom_gradient
def _floored_softmax(x: Any) -> tuple:
    p = ops.maximum(ops.softmax(x), Classifier.FLOOR)

    def gradient(*args: Any, upstream: Any = None) -> Any:
        moved = p * (args[0] if upstream is None else upstream)
        return moved - p * ops.sum(moved, axis=-1, keepdims=True)

    return p, gradient


@keras.saving.register_keras_serializable(package="multiview")
class Sounding(keras.layers.Layer):
    """Segments of a view [batch, steps, ...] to 1 where they hold sound and 0 where they hold none, [batch, 1].

    Parameters
    ----------
    silence, quiet : float
        The value of silence, and how far from it values may be that hold no sound, as a `View` declares them.
    """

    def __init__(self, silence: float, quiet: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.silence, self.quiet = silence, quiet

    def call(self, inputs: Any) -> Any:
        farthest = ops.max(ops.abs(inputs - self.silence), axis=tuple(range(1, len(inputs.shape))))
        return ops.cast(farthest[:, None] > self.quiet, "float32")

    def get_config(self) -> dict:
        return {**super().get_config(), "silence": self.silence, "quiet": self.quiet}


@keras.saving.register_keras_serializable(package="multiview")
class StopGradient(keras.layers.Layer):
    """What goes in comes out, and no gradient goes back."""

    def call(self, inputs: Any) -> Any:
        return ops.stop_gradient(inputs)


def on_cpu_of_tensorflow() -> bool:
    """Whether operations run one by one on a CPU, where it pays to choose them."""
    return keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")


def shifted(kernel: Any, copies: int, stride: int, span: int) -> Any:
    """A kernel [size, ...] written out for neighbouring outputs: [copies, span, ...], each a stride after the last.

    The copies follow one another with a period that is one stride longer than a row.
    """
    rest = kernel.shape[1:]
    kernel = ops.pad(kernel, ((0, span + stride - kernel.shape[0]), *[(0, 0)] * len(rest)))
    return ops.reshape(ops.tile(kernel, (copies, *[1] * len(rest)))[: copies * span], (copies, span, *rest))


@keras.saving.register_keras_serializable(package="multiview")
class Conv1D(layers.Conv1D):
    """Keras's layer without padding, for long sequences of few channels.

    Not the plain one: its gradients take three times as long with a stride and one or a few channels as without and
    with eight or more. So the samples of a stride, or of several, become the channels of one step; where it is several,
    the kernel is written out for each of the outputs that share a step.
    """

    CHANNELS = 8  # of a step, at least

    def call(self, inputs: Any) -> Any:
        """[batch, samples, channels] to [batch, steps, filters]."""
        if not on_cpu_of_tensorflow() or self.padding != "valid" or self.dilation_rate != (1,) or self.groups != 1:
            return _stock(self, inputs)
        (stride,), (size, channels, filters) = self.strides, self.kernel.shape
        steps = (inputs.shape[1] - size) // stride + 1
        block = math.ceil(self.CHANNELS / (channels * stride))  # outputs
        samples = block * stride
        taps = math.ceil((size + samples - stride) / samples)
        blocks = math.ceil(steps / block)
        length = (blocks + taps - 1) * samples
        spare = inputs.shape[1] - length
        x = inputs[:, :length] if spare > 0 else ops.pad(inputs, ((0, 0), (0, -spare), (0, 0))) if spare else inputs
        x = ops.reshape(x, (-1, 1, length // samples, samples * channels))
        kernel = shifted(ops.convert_to_tensor(self.kernel), block, stride, taps * samples)
        kernel = ops.reshape(ops.transpose(kernel, (1, 2, 0, 3)), (1, taps, samples * channels, block * filters))
        x = ops.reshape(_convolved(self, x, kernel, block), (-1, blocks * block, filters))
        # No slice in brackets, whose gradient is slow.
        return ops.slice(x, (0, 0, 0), (ops.shape(x)[0], steps, filters)) if steps % block else x


@keras.saving.register_keras_serializable(package="multiview")
class Conv2D(layers.Conv2D):
    """Keras's layer with padding, for images that may be narrow.

    Not the plain one for its bias, see `_convolved`; and because an image two pixels wide takes twice as long as a
    sequence of twice the channels. So it becomes one, and the kernel a matrix of what each pixel of a row gives each.
    """

    WIDTH = 2  # of a narrow image, at most

    def call(self, inputs: Any) -> Any:
        """[batch, steps, width, channels] to [batch, steps, width, filters]."""
        plain = self.padding != "same" or self.strides != (1, 1) or self.dilation_rate != (1, 1) or self.groups != 1
        (_, size, channels, filters), width = self.kernel.shape, inputs.shape[2]
        if not on_cpu_of_tensorflow() or plain or size < 3 or size % 2 == 0:
            return _stock(self, inputs)
        if width > self.WIDTH:
            return _convolved(self, inputs, self.kernel, 1)
        # From each pixel of a row to each: the tap between them.
        taps, ends = ops.unstack(ops.convert_to_tensor(self.kernel), axis=1), range(width)
        rows = [ops.concatenate([taps[size // 2 + start - end] for end in ends], axis=-1) for start in ends]
        kernel = ops.expand_dims(ops.concatenate(rows, axis=1), 0)
        x = ops.reshape(inputs, (-1, 1, inputs.shape[1], width * channels))
        return ops.reshape(_convolved(self, x, kernel, width), (-1, inputs.shape[1], width, filters))


@keras.saving.register_keras_serializable(package="multiview")
class SeparableConv1D(layers.SeparableConv1D):
    """Keras's layer for sequences, with our gradient of the bias."""

    def call(self, inputs: Any) -> Any:
        """[batch, samples, channels] to [batch, steps, filters]."""
        return _separable(self, inputs)


@keras.saving.register_keras_serializable(package="multiview")
class SeparableConv2D(layers.SeparableConv2D):
    """Keras's layer for images, with our gradient of the bias."""

    def call(self, inputs: Any) -> Any:
        """[batch, steps, width, channels] to [batch, steps, width, filters]."""
        return _separable(self, inputs)


@ops.custom_gradient
def _biased(x: Any, bias: Any) -> Any:
    """The sum; `ops.add` would make it a biased convolution, whose gradient takes up to three times as long.

    The gradient of the bias is a sum of many numbers and needs float32 at least: in bfloat16 it stops at 512 ones.
    """

    def gradient(*args: Any, upstream: Any = None) -> tuple:
        upstream = args[0] if upstream is None else upstream
        rows = ops.reshape(upstream, (-1, bias.shape[0]))
        rows = ops.cast(rows, keras.backend.result_type(rows.dtype, "float32"))
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return upstream, ops.cast(tf.raw_ops.BiasAddGrad(out_backprop=rows), bias.dtype)
        return upstream, ops.cast(ops.sum(rows, axis=0), bias.dtype)

    return x + bias, gradient


def _stock(layer: Any, inputs: Any) -> Any:
    """What Keras's convolution gives, with our gradient of the bias."""
    return _activated(layer, layer.convolution_op(inputs, layer.kernel), 1)


def _separable(layer: Any, inputs: Any) -> Any:
    """What Keras's depthwise separable convolution gives, with our gradient of the bias."""
    how = {"strides": layer.strides, "padding": layer.padding, "dilation_rate": layer.dilation_rate}
    x = ops.separable_conv(inputs, layer.depthwise_kernel, layer.pointwise_kernel, data_format="channels_last", **how)
    return _activated(layer, x, 1)


def _convolved(layer: Any, x: Any, kernel: Any, outputs: int) -> Any:
    """`x` with a kernel for several outputs of `layer`, its bias and its activation."""
    x = ops.conv(x, kernel, strides=1, padding=layer.padding, data_format="channels_last")
    return _activated(layer, x, outputs)


def _activated(layer: Any, x: Any, outputs: int) -> Any:
    """`x` with the bias of `layer`, for several outputs of it, and its activation."""
    if layer.use_bias:
        x = _biased(x, ops.tile(ops.convert_to_tensor(layer.bias), (outputs,)))
    return layer.activation(x)


@keras.saving.register_keras_serializable(package="multiview")
class BatchNormalization(layers.BatchNormalization):
    """Keras's layer over the last axis.

    Not the plain one: Keras computes it from a dozen operations that each pass over the whole tensor. TensorFlow has
    one operation for all of it, and one for its gradient; but for a few channels both are five times slower than plain
    operations on rows of many pixels.
    """

    FEW = 3  # channels, at most

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise; the statistics of the batch in training."""
        frozen, few = training and not self.trainable, inputs.shape[-1] <= self.FEW
        stock = frozen or mask is not None or self.gamma is None or self.beta is None
        stock = stock or self.axis not in (-1, len(inputs.shape) - 1) or len(inputs.shape) not in (3, 4)
        stock = stock or (few and not training)
        if stock or keras.backend.backend() != "tensorflow" or self.compute_dtype != "float32":
            return super().call(inputs, training=training, mask=mask)
        rows = few and None not in inputs.shape[1:]
        outputs, mean, variance = self._by_rows(inputs) if rows else self._fused(inputs, bool(training))
        if training:
            for kept, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                kept.assign(kept * self.momentum + new * (1 - self.momentum))
        return ops.reshape(outputs, ops.shape(inputs))

    def _fused(self, inputs: Any, training: bool) -> tuple:
        """Outputs, mean and variance, by the one operation."""
        import tensorflow as tf

        # A sequence is an image one pixel high.
        x = inputs if len(inputs.shape) == 4 else ops.expand_dims(inputs, 1)
        known = {} if training else {"mean": self.moving_mean.value, "variance": self.moving_variance.value}
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x, self.gamma.value, self.beta.value, **known, epsilon=self.epsilon, is_training=training
        )
        # That operation gives the variance of a sample, Keras keeps that of the batch itself.
        count = ops.cast(ops.size(x) // x.shape[-1], "float32")
        return outputs, mean, variance * ((count - 1) / count)

    def _by_rows(self, inputs: Any) -> tuple:
        """Outputs, mean and variance, of rows of up to 32 pixels."""
        pixels, channels = math.gcd(math.prod(inputs.shape[1:-1]), 32), inputs.shape[-1]

        def mean(x: Any) -> Any:
            return ops.mean(ops.reshape(ops.mean(x, axis=0), (pixels, channels)), axis=0)

        def row(x: Any) -> Any:
            return ops.tile(x, (pixels,))

        x = ops.reshape(inputs, (-1, pixels * channels))
        average = mean(x)
        x = x - row(average)
        variance = mean(x * x)
        return x * row(self.gamma * ops.rsqrt(variance + self.epsilon)) + row(self.beta), average, variance


@keras.saving.register_keras_serializable(package="multiview")
class Dropout(layers.Dropout):
    """Keras's layer, which draws other random numbers.

    Not the plain one: drawing a float for each unit costs as much as a convolution on TensorFlow, and compiling how it
    is drawn half of the whole step's time on JAX. Here it is a byte, below a threshold that is 25 or 26 of 256 for a
    rate of 0.1, by chance in each step, so that each unit is dropped with exactly the rate. What is drawn follows from
    the same state as Keras's.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Set units to zero in training, and scale the others."""
        if not training or not self.rate or self.noise_shape or keras.backend.backend() not in ("tensorflow", "jax"):
            return super().call(inputs, training=training)
        first, units = (_jax_bits if keras.backend.backend() == "jax" else _tensorflow_bits)(self, inputs)
        rate, chance = 256 * self.rate, ops.cast(first, "float32") / 2.0**32
        threshold = ops.cast(ops.where(chance < rate % 1, int(rate) + 1, int(rate)), "uint8")
        return inputs * (ops.cast(units >= threshold, inputs.dtype) * (1 / (1 - self.rate)))


def _tensorflow_bits(layer: Any, x: Any) -> tuple:
    """A random number from 0 to 2^32 - 1, and random bytes like x."""
    import tensorflow as tf

    size, seed = tf.size(x), tf.cast(layer.seed_generator.next() % (2**31 - 2), tf.int32)
    words = tf.raw_ops.StatelessRandomUniformFullInt(shape=[(size + 3) // 4 + 1], seed=seed, dtype=tf.int32)
    units = tf.reshape(tf.reshape(tf.bitcast(words[1:], tf.uint8), [-1])[:size], tf.shape(x))
    return tf.cast(words[0], tf.float32) + 2.0**31, units


def _jax_bits(layer: Any, x: Any) -> tuple:
    """The same. No bytes of JAX's own, which take twice as long to compile as words."""
    import jax

    size, key = math.prod(x.shape), jax.random.wrap_key_data(ops.cast(layer.seed_generator.next(), "uint32"))
    words = jax.random.bits(key, ((size + 3) // 4 + 1,), "uint32")
    units = ops.reshape(jax.lax.bitcast_convert_type(words[1:], "uint8"), (-1,))[:size]
    return words[0], ops.reshape(units, x.shape)

"""Spatio-temporal attention pooling, the paper's reference [8]."""

from __future__ import annotations

import keras
from keras import ops


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

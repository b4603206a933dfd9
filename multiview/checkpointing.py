"""Gradient checkpointing: layers whose activations are computed again in the gradient instead of kept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="multiview")
class Checkpointed(layers.Layer):
    """Several layers in a row, of which a training step keeps the input and no activation.

    Not Keras's `RematScope`: that computes each layer again by itself, so the inputs of all of them are kept, and
    dropout draws anew, and batch normalisation counts the batch twice. Here the layers are a function of their input
    and their variables; what it says of the variables (statistics, random states) is assigned once.

    Parameters
    ----------
    inner : list of keras.layers.Layer
        They own the weights and keep their names.
    """

    def __init__(self, inner: Sequence[layers.Layer], **kwargs) -> None:
        super().__init__(**kwargs)
        self.inner = list(inner)

    def build(self, input_shape: tuple) -> None:
        for layer in self.inner:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """What the layers give, one after the other."""
        if not training:
            for layer in self.inner:
                inputs = layer(inputs, training=False)
            return inputs
        trained, others = self.trainable_variables, self.non_trainable_variables
        assigned: list[keras.Variable] = []

        def function(x: Any, *values: Any) -> tuple:
            with keras.StatelessScope(state_mapping=list(zip([*trained, *others], values, strict=True))) as scope:
                for layer in self.inner:
                    x = layer(x, training=True)
            now = [scope.get_current_value(each) for each in others]
            # Not the weights of frozen layers, which in mixed precision are rounded here.
            new = [each is not given for each, given in zip(now, values[len(trained) :], strict=True)]
            assigned[:] = itertools.compress(others, new)
            return x, *itertools.compress(now, new)

        values = [keras.ops.convert_to_tensor(each) for each in (*trained, *others)]
        values[len(trained) :] = map(keras.ops.stop_gradient, values[len(trained) :])
        output, *changed = keras.remat(function)(inputs, *values)
        for variable, value in zip(assigned, changed, strict=True):
            variable.assign(value)
        return output

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        for layer in self.inner:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "inner": [keras.saving.serialize_keras_object(each) for each in self.inner]}

    @classmethod
    def from_config(cls, config: dict) -> Checkpointed:
        inner = [keras.saving.deserialize_keras_object(each) for each in config["inner"]]
        return cls(**{**config, "inner": inner})

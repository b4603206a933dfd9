"""The exponential average of a network's weights, as a network of its own that is evaluated, kept and saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from multiview.networks import BlendedModel

STATISTICS_SEGMENTS = 256  # from which the statistics of batch normalisation are taken anew


class InTraining(keras.Model):
    """A network in training mode for Keras's compiled prediction; the call of a model would not be compiled."""

    def __init__(self, network: BlendedModel) -> None:
        super().__init__(dtype="float32")  # inputs as the network takes them, not rounded before it
        self.network = network

    def call(self, inputs: Any) -> Any:
        return self.network(inputs, training=True)


def averages_of(model: BlendedModel) -> list[tuple[Any, Any]]:
    """Each variable that the optimizer of a compiled model may train, and its average; none where it keeps none."""
    optimizer: Any = model.optimizer
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales losses
    if not optimizer.use_ema:
        return []
    # Keras has no public way to read them.
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True))


def copy(target: Any, source: Any) -> None:
    """Assign a copy of the value: JAX takes the arrays of a network for its own, and deletes them, when it computes."""
    target.assign(np.array(keras.ops.convert_to_numpy(source)))


class AveragedNetwork:
    """A network with the averaged weights that the optimizer of another one keeps.

    The averages are variables of the optimizer, so a checkpoint has them. The statistics of batch normalisation are not
    averaged, as those of an average of weights are not the average of statistics: they are taken anew, each time,
    from segments of training clips, without dropout.

    Parameters
    ----------
    network : BlendedModel
        Of the same build as the one in training; it is changed for this purpose, and not to be saved.
    segments : mapping
        Views of training segments, as the network takes them.
    """

    def __init__(self, network: BlendedModel, segments: Mapping[str, np.ndarray]) -> None:
        self.network, self.segments = network, dict(segments)
        for layer in network._flatten_layers():  # a user's backbone may nest models
            if isinstance(layer, layers.Dropout):
                layer.rate = 0.0
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = 0.0  # what a batch says replaces what there was
        self._averaged = network.trainable_variables
        self._in_training = InTraining(network)

    def __call__(self, model: BlendedModel) -> BlendedModel:
        """The averaged network as it is now, of a compiled `model` in training."""
        averages = averages_of(model)
        for target, source in zip(self.network.variables, model.variables, strict=True):
            copy(target, source)
        if int(keras.ops.convert_to_numpy(model.optimizer.iterations)):
            for target, (_, average) in zip(self._averaged, averages, strict=True):
                copy(target, average)
        self._freeze_as(model)
        self.renew()
        return self.network

    def renew(self) -> None:
        """Take the statistics of batch normalisation anew."""
        self._in_training.predict_on_batch(self.segments)

    def _freeze_as(self, model: BlendedModel) -> None:
        """Leave alone the statistics of layers that are frozen in training, where they are not taken from batches."""
        pairs = list(zip(self.network._flatten_layers(), model._flatten_layers(), strict=True))
        if any(ours.trainable != theirs.trainable for ours, theirs in pairs):
            for ours, theirs in pairs:
                ours.trainable = theirs.trainable
            self._in_training.make_predict_function(force=True)

"""What a network takes from a trained one: the networks of its views and their statistics; freezing."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from multiview.checkpointing import Checkpointed
from multiview.networks import standardising_layer
from multiview.support.errors import InputError


def statistics_of(model: keras.Model, views: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation in dB, float64 [64] each, with which a network standardises those views it does."""
    names, found = {layer.name for layer in model.layers}, {}
    for view in views:
        if standardising_layer(view) in names:
            layer = model.get_layer(standardising_layer(view))
            mean, variance = (
                ops.convert_to_numpy(part).astype(np.float64).ravel() for part in (layer.mean, layer.variance)
            )
            found[view] = mean, np.sqrt(variance)
    return found


def encoder(model: keras.Model, view: str) -> dict[str, layers.Layer]:
    """The layers with weights between a view and its embedding, by name."""
    inputs = [tensor.name for tensor in model.inputs]

    def is_own(layer: layers.Layer) -> bool:
        views = [each for each in inputs if layer.name.startswith(f"{each}_")]
        own = max(views, key=len, default=None) == view and not layer.name.startswith(f"{view}_fc")
        return own and bool(layer.weights) and not isinstance(layer, Checkpointed)  # whose inner layers are listed

    return {layer.name: layer for layer in model._flatten_layers() if is_own(layer)}


def take_over(model: keras.Model, source: keras.Model, views: Sequence[str]) -> None:
    """Give the networks of `views` the weights that they have in `source`.

    Raises
    ------
    InputError
        If a layer is not of the same shape there.
    """
    for view in views:
        theirs = encoder(source, view)
        for name, layer in encoder(model, view).items():
            expected, found = _shapes(layer), _shapes(theirs.get(name))
            if expected != found:
                raise InputError(
                    f"layer {name}: expected weights of shapes {expected}, found {found or 'no such layer'}; "
                    "start from a network of the same width, sample rate and backbones"
                )
            layer.set_weights(theirs[name].get_weights())


def _shapes(layer: layers.Layer | None) -> list[tuple]:
    return [tuple(each.shape) for each in layer.weights] if layer else []


def freeze(model: keras.Model, views: Sequence[str], frozen: bool) -> None:
    """Keep the networks of `views` as they are in training, statistics of batch normalisation included, or not.

    For the next compilation of the step.
    """
    for view in views:
        for layer in encoder(model, view).values():
            layer.trainable = not frozen

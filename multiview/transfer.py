"""What a network takes from a trained one: the networks of its views and their statistics; freezing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import layers, ops

from multiview.networks import encoder, standardising_layer
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


def freeze(model: keras.Model, views: Sequence[str]) -> dict[layers.Layer, bool]:
    """Keep the networks of `views` as they are in training, statistics of batch normalisation included.

    For the next compilation of the step, as `thaw` is.

    Returns
    -------
    dict
        The layers, and whether each was trained before: a backbone may have some that never are.
    """
    frozen = [layer for view in views for layer in encoder(model, view).values()]
    before = {layer: layer.trainable for outer in frozen for layer in outer._flatten_layers()}  # of any names within
    for layer in before:
        layer.trainable = False
    return before


def thaw(before: Mapping[layers.Layer, bool]) -> None:
    """Train again what `freeze` has found trained."""
    for layer, trainable in before.items():  # the outer ones first, which set those within
        layer.trainable = trainable

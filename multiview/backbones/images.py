"""The image networks of `keras.applications` on spectrograms, trained anew or from weights for images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

from multiview.crnn import BATCH_NORM_MOMENTUM
from multiview.support.errors import InputError
from multiview.support.hdf5 import check_all

IMAGENET = "imagenet"
PREPROCESSING = {"MobileNetV3Small", "EfficientNetV2B0"}  # those that would scale pixels, unless they are told not to


def _network(application: str, shape: tuple, weights: str | None = None) -> keras.Model:
    """The network without its classifier; global averages of its last layer."""
    options = {"include_preprocessing": False} if application in PREPROCESSING else {}
    build = getattr(keras.applications, application)
    return build(include_top=False, weights=weights, input_shape=shape, pooling="avg", **options)


def image_network(application: str, x: Any, view: str) -> Any:
    """[batch, frames, bands, 1] to [batch, channels]; the network is one layer, `VIEW_APPLICATION`.

    Its three channels are copies of the one that a spectrogram has, which is standardised bin by bin, as the images are
    over which its weights were trained.
    """
    network = _network(application, (*x.shape[1:3], 3))
    network = keras.Model(network.input, network.output, name=layer_name(application, view))  # some refuse a name
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return network(layers.Concatenate(name=f"{view}_channels")([x, x, x]))


def layer_name(application: str, view: str) -> str:
    """Name of the layer that is a view's network."""
    return f"{view}_{application.lower()}"


def load_weights(application: str, model: keras.Model, view: str, weights: str) -> None:
    """Put weights into the network of a view.

    Parameters
    ----------
    weights : str
        `imagenet`, which Keras downloads once, or a file of weights of the same network without its classifier, as
        Keras publishes and saves them (`.h5`, `.weights.h5`).

    Raises
    ------
    InputError
        If they cannot be had, or do not fit.
    """
    network = model.get_layer(layer_name(application, view))
    if weights == IMAGENET:
        try:
            trained = _network(application, network.input_shape[1:], weights=IMAGENET)
        except Exception as error:  # of urllib, of the hash, of the disk
            raise InputError(
                f"expected the weights of {application} from Keras's download, found none ({_line(error)}); "
                "name a file of them as --pretrained FILE"
            ) from error
        network.set_weights(trained.get_weights())
        return
    if not Path(weights).is_file():
        raise InputError(f"expected --pretrained {IMAGENET} or a file of weights, found none at {weights}")
    for variable in network.variables:
        variable.assign(np.full(variable.shape, np.nan))  # so that what Keras skips with a warning is seen
    try:
        with h5py.File(weights, "r") as file:
            check_all(file, Path(weights).stat().st_size)  # before Keras reads as much as it says
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.load_weights(weights)
        for layer in network.layers:
            if any(np.isnan(values).any() for values in layer.get_weights()):
                raise ValueError(f"Layer '{layer.name}' is not among them.")
    except Exception as error:  # of HDF5, of zip files, of Keras for what differs
        raise InputError(
            f"expected weights of {application} without its classifier in {weights}, found others ({_line(error)}); "
            "name the file of that network"
        ) from error


def _line(error: Exception) -> str:
    """What Keras says of the first layer that does not fit, where it lists several."""
    text = " ".join(str(error).split())
    of_one = text.partition("message for object ")[2].partition(" List of objects")[0]
    return of_one or text or type(error).__name__

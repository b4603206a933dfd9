"""The one builder of all trained systems (Fig. 1): a backbone a view, the heads, and the loss of Eq. (2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import keras
import numpy as np
from keras import layers, ops

from multiview import backbones
from multiview.backbones import BACKBONES
from multiview.checkpointing import Checkpointed
from multiview.crnn import DROPOUT
from multiview.devices import divided, whole
from multiview.layers import Classifier, Dropout, Sounding, StopGradient
from multiview.support.errors import InputError
from multiview.systems import find_system
from multiview.views import VIEWS, geometry, sounding_view

# The rows fc1 and fc2 of Tables 1 and 2, and those of the multi-view branch (Sec. 2.1).
HEAD = ("fc1", "fc2", "fc3")
FC_UNITS = 1024
MULTIVIEW_FC_UNITS = 4096


@keras.saving.register_keras_serializable(package="multiview")
class BlendedModel(keras.Model):
    """A functional model with named softmax outputs whose loss is the blend of Eq. (2).

    The weights w(k) are the model's own state, `branch_weights` float32 [branches] in the order of
    the outputs: the compiled step reads them, so assigning them takes effect without recompiling,
    and they are saved and restored with the model. They start uniform.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        self.branches = tuple(outputs)
        self.branch_weights = self.add_weight(
            name="branch_weights",
            shape=(len(self.branches),),
            initializer=keras.initializers.Constant(1 / len(self.branches)),
            trainable=False,
            dtype="float32",
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Probabilities of the branches; of several devices, each computes those of its share of the batch."""
        return whole(super().call(divided(inputs), training=training, mask=mask))

    def weights_by_branch(self) -> dict[str, float]:
        """w(k) by branch, as they are now."""
        return dict(zip(self.branches, ops.convert_to_numpy(self.branch_weights).tolist(), strict=True))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Eq. (2): sum over the branches k of w(k) times the cross-entropy of Eq. (1).

        `y` holds int labels [batch], or shares of the classes, float32 [batch, classes].
        """
        losses = [ops.mean(cross_entropy(y, y_pred[branch])) for branch in self.branches]
        return ops.sum(self.branch_weights * ops.stack(losses))


def cross_entropy(y: Any, p: Any) -> Any:
    """Cross-entropy of Eq. (1), [batch], of probabilities [batch, classes] that a softmax gave.

    Keras's, which on TensorFlow goes back to what went into the softmax. Elsewhere it stops at a probability of 1e-7,
    and so does its gradient: a network that is sure and wrong would never learn better. There it stops where
    float32 does, below what a `Classifier` gives.
    """
    soft = len(y.shape) == 2 and y.shape[1] != 1
    if keras.backend.backend() == "tensorflow":
        entropy = keras.losses.categorical_crossentropy if soft else keras.losses.sparse_categorical_crossentropy
        return entropy(y, p)
    shares = y if soft else ops.one_hot(ops.reshape(y, (-1,)), p.shape[-1])
    return -ops.sum(ops.cast(shares, p.dtype) * ops.log(ops.maximum(p, np.finfo("float32").tiny)), axis=-1)


def _classifier(x: Any, branch: str, units: int, classes: int, sounding: Any) -> Any:
    """fc1, fc2, fc3: two fully connected layers and the softmax, which stays in float32."""
    *hidden, last = (f"{branch}_{row}" for row in HEAD)
    for name in hidden:
        x = layers.Dense(units, activation="relu", name=name)(x)
        x = Dropout(DROPOUT)(x)
    return Classifier(classes, activation="softmax", dtype="float32", name=last)(x, sounding)


def build_network(
    system: str,
    classes: int,
    sample_rate: int,
    width: float = 1.0,
    statistics: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    *,
    views: Sequence[str] | None = None,
    backbone: str | None = None,
    joint_gradient: bool = True,
    view_dropout: float = 0.0,
    skip_silence: bool = False,
    gradient_checkpointing: bool = False,
) -> BlendedModel:
    """Build one of the trained systems.

    Parameters
    ----------
    system : str
        A name of `multiview.systems.system_names()`, which gives its views (inputs) and branches (outputs).
    classes : int
        Number of classes.
    sample_rate : int
        44100 or 22050 Hz; sets the length of the segments.
    width : float
        Factor on the width of every layer; 1 is the paper's network.
    statistics : mapping, optional
        View name to mean and standard deviation in dB, each float [64], with which the network
        standardises the frequency bins of that view.
    views : sequence of str, optional
        The views of a system on several; the paper's four by default.
    backbone : str, optional
        `NAME` for all views or `VIEW=NAME,...` for some; the paper's CRNN by default.
    joint_gradient : bool
        Whether the joint branch trains the networks of the views, as in the paper, or itself alone where these have
        branches of their own.
    view_dropout : float
        With which probability a branch on several views misses each of them in training, the others scaled up for it.
    skip_silence : bool
        Whether all branches have all classes alike of a segment without sound, which means over segments leave out; if
        one of its views tells silence.
    gradient_checkpointing : bool
        Whether the backbones' activations are computed again in the gradient instead of kept: less memory, more time.

    Returns
    -------
    BlendedModel
        Inputs by view: `mel`, `gammatone` float32 [batch, 75, 64, 1] and `cqt` [batch, 65, 64, 1]
        in dB, `raw` [batch, samples, 1] in [-1, 1]. Outputs by branch: probabilities float32
        [batch, classes].

    Raises
    ------
    InputError
        For an unknown system, view or backbone, a backbone that cannot do without its activations, or whose layers are
        not named after their view, or where Keras is set to images with their channels first.
    ValueError
        For another sample rate.
    """
    if (layout := keras.config.image_data_format()) != "channels_last":
        raise InputError(
            f"expected Keras's image_data_format channels_last, found {layout}; change it in ~/.keras/keras.json"
        )
    chosen = find_system(system, views)
    size, networks = geometry(sample_rate, chosen.views), backbones.choose(backbone, chosen.views)

    def wide(units: int) -> int:
        return max(1, round(units * width))

    inputs: dict[str, Any] = {}
    features: dict[str, Any] = {}
    embeddings: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for view in chosen.views:
        x = inputs[view] = keras.Input((*size.segment_shape(view), 1), name=view)
        if statistics and view in statistics:
            mean, deviation = (np.asarray(part, "float32") for part in statistics[view])
            x = layers.Normalization(
                axis=2, mean=mean, variance=deviation**2, dtype="float32", name=standardising_layer(view)
            )(x)
        features[view] = x
    # Keras lists layers as it meets them from the outputs, sorted by name; so must those that serve several views.
    order = sorted(chosen.views) if set(chosen.views) <= set(chosen.branches) else chosen.views
    for name in dict.fromkeys(networks[view] for view in chosen.views):
        of_this = {view: features[view] for view in order if networks[view] == name}
        embeddings |= BACKBONES[name].embed(of_this, sample_rate, wide, gradient_checkpointing)

    sounding = None
    if skip_silence and (told_by := sounding_view(chosen.views)):
        silence, quiet = cast(float, VIEWS[told_by].silence), VIEWS[told_by].quiet
        sounding = Sounding(silence, quiet, dtype="float32", name="sounding")(inputs[told_by])
    for branch in chosen.branches:
        if branch in embeddings:
            outputs[branch] = _classifier(embeddings[branch], branch, wide(FC_UNITS), classes, sounding)
        else:
            heard = [embeddings[view] for view in chosen.views]
            if view_dropout:
                heard = [layers.Dropout(view_dropout, noise_shape=(None, 1))(embedding) for embedding in heard]
            joint = layers.Concatenate(name=f"{branch}_embedding")(heard)
            if not joint_gradient and len(chosen.branches) > 1:
                joint = StopGradient(name=f"{branch}_stop")(joint)
            outputs[branch] = _classifier(joint, branch, wide(MULTIVIEW_FC_UNITS), classes, sounding)
    model = BlendedModel(inputs, outputs, name=system)
    for view in chosen.views:
        # Those that share work have layers of several views.
        if not BACKBONES[networks[view]].together:
            _check_names(model, view, keras.Model(inputs[view], embeddings[view]))
    return model


def standardising_layer(view: str) -> str:
    """Name of the layer that holds the statistics of a view."""
    return f"{view}_standardise"


def encoder(model: keras.Model, view: str) -> dict[str, layers.Layer]:
    """The layers with weights between a view and its embedding, by name; outer ones before those within."""
    inputs = [tensor.name for tensor in model.inputs]

    def is_own(layer: layers.Layer) -> bool:
        views = [each for each in inputs if layer.name.startswith(f"{each}_")]
        own = max(views, key=len, default=None) == view and layer.name not in {f"{view}_{row}" for row in HEAD}
        return own and bool(layer.weights) and not isinstance(layer, Checkpointed)  # whose inner layers are listed

    return {layer.name: layer for layer in model._flatten_layers() if is_own(layer)}


def _check_names(model: BlendedModel, view: str, network: keras.Model) -> None:
    """Whether all weights of the network of a view are in its `encoder`, by which they are frozen and taken over."""
    owned = {id(weight) for layer in encoder(model, view).values() for weight in layer.weights}
    for layer in network.layers:
        if any(id(weight) not in owned for weight in layer.weights):
            raise InputError(
                f"expected a backbone whose layers' names begin with their view's, as {view}_conv1, "
                f"found {layer.name}; name it so"
            )

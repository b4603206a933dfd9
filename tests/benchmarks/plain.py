"""The plain twin: the same tables in stock Keras layers, as one would first write them, to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from multiview.crnn import ATTENTION_UNITS, BATCH_NORM_MOMENTUM, DROPOUT, GRU_UNITS, TABLE_1, TABLE_2, table_2_raw
from multiview.layers import AttentionPooling
from multiview.networks import FC_UNITS, MULTIVIEW_FC_UNITS, BlendedModel, standardising_layer
from multiview.systems import find_system
from multiview.views import VIEWS, geometry


def _block(x: Any, row: Any, view: str, filters: int, dropout: float) -> Any:
    if len(row.kernel) == 1:
        conv, pooling = layers.Conv1D, layers.MaxPooling1D
    else:
        conv, pooling = layers.Conv2D, layers.MaxPooling2D
    x = conv(filters, row.kernel, row.stride, row.padding, activation="relu", name=f"{view}_{row.name}")(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{view}_{row.name.replace('conv', 'norm')}")(x)
    if row.pool:
        x = pooling(row.pool, row.pool, name=f"{view}_{row.name.replace('conv', 'pool')}")(x)
    return layers.Dropout(dropout)(x)


def _embedding(x: Any, view: str, sample_rate: int, wide: Any, dropout: float) -> Any:
    waveform = VIEWS[view].bands is None
    if waveform:
        for row in table_2_raw(sample_rate):
            x = _block(x, row, view, wide(row.filters) if row.scaled else row.filters, dropout)
        x = layers.Reshape((*x.shape[1:], 1), name=f"{view}_image")(x)
    for row in TABLE_2 if waveform else TABLE_1:
        x = _block(x, row, view, wide(row.filters), dropout)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name=f"{view}_reshape")(x)
    x = layers.Bidirectional(layers.GRU(wide(GRU_UNITS), return_sequences=True), name=f"{view}_birnn")(x)
    x = layers.Dropout(dropout)(x)
    return AttentionPooling(wide(ATTENTION_UNITS), dtype="float32", name=f"{view}_attention")(x)


def _classifier(x: Any, branch: str, units: int, classes: int, dropout: float) -> Any:
    for row in ("fc1", "fc2"):
        x = layers.Dense(units, activation="relu", name=f"{branch}_{row}")(x)
        x = layers.Dropout(dropout)(x)
    return layers.Dense(classes, activation="softmax", dtype="float32", name=f"{branch}_fc3")(x)


def plain_network(
    system: str,
    classes: int,
    sample_rate: int,
    width: float = 1.0,
    statistics: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    dropout: float = DROPOUT,
) -> BlendedModel:
    """`build_network` in stock layers: the same variables in the same order."""
    chosen, size = find_system(system), geometry(sample_rate)

    def wide(units: int) -> int:
        return max(1, round(units * width))

    inputs, embeddings, outputs = {}, {}, {}
    for view in chosen.views:
        x = inputs[view] = keras.Input((*size.segment_shape(view), 1), name=view)
        if statistics and view in statistics:
            mean, deviation = (np.asarray(part, "float32") for part in statistics[view])
            x = layers.Normalization(
                axis=2, mean=mean, variance=deviation**2, dtype="float32", name=standardising_layer(view)
            )(x)
        embeddings[view] = _embedding(x, view, sample_rate, wide, dropout)
    for branch in chosen.branches:
        if branch in embeddings:
            outputs[branch] = _classifier(embeddings[branch], branch, wide(FC_UNITS), classes, dropout)
        else:
            joint = layers.Concatenate(name=f"{branch}_embedding")([embeddings[view] for view in chosen.views])
            outputs[branch] = _classifier(joint, branch, wide(MULTIVIEW_FC_UNITS), classes, dropout)
    return BlendedModel(inputs, outputs, name=system)

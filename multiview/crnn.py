"""Tables 1 and 2 as data, and the paper's CRNN, which turns a view into its embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from keras import layers

from multiview.checkpointing import Checkpointed
from multiview.layers import (
    AttentionPooling,
    BatchNormalization,
    Conv1D,
    Conv2D,
    Dropout,
    SeparableConv1D,
    SeparableConv2D,
)
from multiview.recurrence import Recurrences
from multiview.views import VIEWS

DROPOUT = 0.1
# Keras's default of 0.99 leaves the moving averages behind for hundreds of the few steps an epoch
# has here, and the losses measured in inference mode, which steer the blending, would be noise.
BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class Conv:
    """A convolution and its pooling: two rows of Table 1 or 2. Sizes are (time, frequency)."""

    name: str
    filters: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str
    pool: tuple[int, ...] | None  # kernel and stride
    scaled: bool = True  # whether a narrower preset narrows it


def _conv(index: int, filters: int) -> Conv:
    return Conv(f"conv{index}", filters, (3, 3), (1, 1), "same", pool=(1, 2))


# Table 1: the 2-D CRNNs, input (T, 64, 1). Rows conv-l and pool-l with their F_l.
TABLE_1 = (
    _conv(1, 32),
    _conv(2, 64),
    _conv(3, 128),
    _conv(4, 128),
    _conv(5, 256),
    _conv(6, 512),
)

# Table 2: the 1-D CRNN, input (66650, 1). The filters of conv02 become the frequency axis of what
# follows, 64 of them whatever the preset.
POOL02_WIDTH = 64  # at 44.1 kHz
TABLE_2_RAW = (
    Conv("conv01", 32, (64,), (2,), "valid", pool=None),
    Conv("conv02", 64, (16,), (2,), "valid", pool=(POOL02_WIDTH,), scaled=False),
)
TABLE_2 = (
    Conv("conv1", 32, (5, 3), (1, 1), "same", pool=(4, 2)),
    *TABLE_1[1:],
)

# The rows below the convolutions, the same in both tables.
GRU_UNITS = 256  # a direction
ATTENTION_UNITS = 64


def _block(x: Any, row: Conv, view: str, filters: int, checkpointing: bool, separable: bool) -> Any:
    """Convolution, ReLU, batch normalisation, max pooling, dropout. `separable`: where there are several channels."""
    waveform = len(row.kernel) == 1
    pooling = layers.MaxPooling1D if waveform else layers.MaxPooling2D
    conv = Conv1D if waveform else Conv2D
    if separable and x.shape[-1] > 1:
        conv = SeparableConv1D if waveform else SeparableConv2D
    norm, pool, block = (f"{view}_{row.name.replace('conv', part)}" for part in ("norm", "pool", "block"))
    inner = [conv(filters, row.kernel, row.stride, row.padding, activation="relu", name=f"{view}_{row.name}")]
    inner.append(BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=norm))
    if row.pool:
        # Views of fewer than 64 bands reach one band earlier.
        lengths = inner[0].compute_output_shape(x.shape)[1:]
        size = tuple(min(kernel, length) for kernel, length in zip(row.pool, lengths, strict=False))
        inner.append(pooling(size, size, padding="valid", name=pool))
    inner.append(Dropout(DROPOUT))
    for layer in [Checkpointed(inner, name=block)] if checkpointing else inner:
        x = layer(x)
    return x


def table_2_raw(sample_rate: int) -> tuple[Conv, ...]:
    """The first rows of Table 2; pool02 is 64 wide at 44.1 kHz and half that at 22.05 kHz."""
    conv01, conv02 = TABLE_2_RAW
    width = POOL02_WIDTH * sample_rate // 44100
    return conv01, replace(conv02, pool=(width,))


def _sequence(x: Any, view: str, sample_rate: int, wide: Callable[[int], int], **how: bool) -> Any:
    """The convolutions of Table 1 for a view with frequency bins, of Table 2 for a waveform; to [batch, T, 512]."""
    waveform = VIEWS[view].bands is None
    if waveform:
        for row in table_2_raw(sample_rate):
            x = _block(x, row, view, wide(row.filters) if row.scaled else row.filters, **how)
        x = layers.Reshape((*x.shape[1:], 1), name=f"{view}_image")(x)  # (260, 64, 1)
    for row in TABLE_2 if waveform else TABLE_1:
        x = _block(x, row, view, wide(row.filters), **how)
    return layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name=f"{view}_reshape")(x)


def crnns(
    inputs: Mapping[str, Any],
    sample_rate: int,
    wide: Callable[[int], int],
    checkpointing: bool = False,
    separable: bool = False,
) -> dict[str, Any]:
    """The paper's CRNNs of several views up to their embeddings; the views meet in the loop of their recurrences alone.

    [batch, frames, 64, 1] or [batch, samples, 1] to [batch, 512] at full width, by view, in the order in which the
    network shall list the layers. With `checkpointing` the activations of the convolutions are not kept.
    `separable`, which is not the paper's, gives each convolution of several channels as one over time and frequency for
    each channel and one over the channels.
    """
    # A seed draws the first values of layers in the order in which they are made and built: view by view.
    parts = {}
    for view in (each for each in VIEWS if each in inputs):
        x = _sequence(inputs[view], view, sample_rate, wide, checkpointing=checkpointing, separable=separable)
        birnn = layers.Bidirectional(layers.GRU(wide(GRU_UNITS), return_sequences=True), name=f"{view}_birnn")
        dropout = Dropout(DROPOUT)
        attention = AttentionPooling(wide(ATTENTION_UNITS), dtype="float32", name=f"{view}_attention")
        attention.build(birnn.compute_output_shape(x.shape))
        parts[view] = x, birnn, dropout, attention
    sequences, birnns, dropouts, attentions = zip(*(parts[view] for view in inputs), strict=True)
    # A network may have both kinds.
    states = Recurrences(birnns, name="separable_birnn" if separable else "birnn")(list(sequences))
    return {
        view: attention(dropout(x))
        for view, x, dropout, attention in zip(inputs, states, dropouts, attentions, strict=True)
    }

"""A 1-D network for waveforms: convolutions with strides to the end, no image of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers

from multiview.crnn import BATCH_NORM_MOMENTUM
from multiview.layers import BatchNormalization, Conv1D

# Filters, kernel and stride at 44.1 kHz. Strides in place of pooling, and a first kernel of 1.5 ms, as in networks
# that learn from waveforms (EnvNet-v2: Tokozume et al., ICLR 2018); the last step covers about 50 ms.
ROWS = ((64, 64, 8), (128, 16, 8), (256, 8, 4), (512, 8, 2))


def strided(x: Any, view: str, sample_rate: int, wide: Callable[[int], int]) -> Any:
    """[batch, samples, 1] to [batch, 1024] at full width: mean and maximum over time of the last layer.

    At 22.05 kHz the first stride is half as long, so that later layers have the same steps of time.
    """
    for number, (filters, kernel, stride) in enumerate(ROWS, start=1):
        if number == 1:
            stride = stride * sample_rate // 44100
        x = Conv1D(wide(filters), kernel, stride, activation="relu", name=f"{view}_strided{number}")(x)
        x = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{view}_strided_norm{number}")(x)
    both = [
        layers.GlobalAveragePooling1D(name=f"{view}_mean")(x),
        layers.GlobalMaxPooling1D(name=f"{view}_maximum")(x),
    ]
    return layers.Concatenate(name=f"{view}_embedding")(both)

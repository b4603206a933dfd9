"""The raw waveform (Sec. 3.1.2), which stores hold in 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from multiview.views.base import VIEWS, Grid, Sound, View, level_of_power

FULL_SCALE = 32768  # of int16: -32768 is -1.0
SEGMENTS = {44100: 66650, 22050: 33330}  # samples, Sec. 3.1.3


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """A waveform in [-1, 1] as int16 [samples]; what is louder is clipped."""
    return np.clip(np.rint(waveform * float(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def from_int16(waveform: np.ndarray) -> np.ndarray:
    """int16 samples as float32 in [-1, 1]."""
    return waveform.astype(np.float32) / FULL_SCALE


def _in_graph(sound: Sound) -> Any:
    import tensorflow as tf

    rounded = tf.round(sound.waveform * float(FULL_SCALE))
    return tf.clip_by_value(rounded, -float(FULL_SCALE), FULL_SCALE - 1.0) / float(FULL_SCALE)


RAW = VIEWS.register(
    View(
        name="raw",
        label="Raw",
        unit="full scale",
        grid=lambda sample_rate: Grid(hop=1, window=1, segment=SEGMENTS[sample_rate]),
        extract=lambda sound: to_int16(sound.waveform),
        graph=_in_graph,
        parameters=lambda sample_rate: {
            "scale": f"int16, full scale {FULL_SCALE}",
            "segment": SEGMENTS[sample_rate],
        },
        bands=None,
        dtype=np.int16,
        scale=1 / FULL_SCALE,
        standardised=False,
        amplify=lambda values, gain: np.clip(values * np.float32(10) ** (np.float32(gain) / 20), -1, 1),
        mix=lambda one, other, factor, other_factor: np.clip(factor * one + other_factor * other, -1, 1),
        level=lambda values: level_of_power(np.square(values)),
        silence=0.0,
        quiet=1 / FULL_SCALE,
        paper=True,
        colour="#CC79A7",
        line=":",
    )
)

"""Aligned segments of about 1.5 s: a random one a clip for training, evenly spaced ones for test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.views import Geometry


def cut(
    values: Mapping[str, np.ndarray],
    offsets: Mapping[str, np.ndarray],
    size: Geometry,
    views: Sequence[str],
    clips: np.ndarray,
    starts: np.ndarray,
) -> dict[str, np.ndarray]:
    """Segments of several views that begin at the same sample.

    Mel and gammatone begin at frame floor(start / hop), CQT at frame floor(start / CQT hop).

    Parameters
    ----------
    values, offsets : mapping by view
        As in `multiview.store.Store`.
    clips, starts : int arrays [segments]
        Row of each segment's clip, and its first sample.

    Returns
    -------
    dict
        By view: float32 [segments, frames, 64, 1] in dB; `raw` float32 [segments, samples, 1].
    """
    batch = {}
    for view in views:
        length = size.segment(view)
        begins = offsets[view][clips] + starts // size.view_hop(view)
        segments = np.empty((len(clips), length, *values[view].shape[1:]), np.float32)
        for row, begin in enumerate(begins):
            segments[row] = values[view][begin : begin + length]
        if view == "raw":
            segments *= np.float32(1 / 32768)
        batch[view] = segments[..., np.newaxis]
    return batch


def random_starts(lasts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One start a clip, uniform from 0 to its last possible one; int64 [clips]."""
    return rng.integers(0, lasts, endpoint=True)


def even_starts(last: int, count: int) -> np.ndarray:
    """`count` starts evenly spaced from 0 to `last`, int64 [count]."""
    return np.linspace(0, last, count).astype(np.int64)


def test_count(samples: int, sample_rate: int) -> int:
    """Segments of a clip at test: S for a clip of S seconds (Sec. 3.1.3), at least one."""
    return max(1, round(int(samples) / sample_rate))

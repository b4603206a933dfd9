"""Aligned segments of about 1.5 s: a random one a clip for training, S evenly spaced ones for test (Sec. 3.1.3)."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from multiview.audio import read_audio
from multiview.views import VIEWS, Geometry, excerpts, geometry, paper_views, sounding_view

# Segments of a clip when training is monitored: all of a 5 s clip, and as many of a longer one, where
# S of them would take longer than the epoch itself.
MONITOR_SEGMENTS = 5


class Features(Protocol):
    """Views of clips, end to end along time: a store, or an excerpt of a recording."""

    @property
    def sample_rate(self) -> int:
        """44100 or 22050 Hz."""

    @property
    def values(self) -> Mapping[str, np.ndarray]:
        """By view: the clips end to end."""

    @property
    def offsets(self) -> Mapping[str, np.ndarray]:
        """By view: where each clip begins, and the end; int64 [clips + 1]."""


@dataclass(frozen=True)
class Segments:
    """Rows of the clips and first samples of segments, int64 [segments] each, clip by clip."""

    clips: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, part: Any) -> Segments:
        return Segments(self.clips[part], self.starts[part])


def cut(features: Features, segments: Segments, views: Sequence[str]) -> dict[str, np.ndarray]:
    """Segments of several views that begin at the same sample.

    Mel and gammatone begin at frame floor(start / hop), CQT at frame floor(start / CQT hop). What is before the first
    step of a clip or after its last one is silence.

    Returns
    -------
    dict
        By view: float32 [segments, frames, 64, 1] in dB; `raw` float32 [segments, samples, 1] in [-1, 1].
    """
    batch = {}
    for name in views:
        view, values = VIEWS[name], features.values[name]
        grid = view.grid(features.sample_rate)
        offsets = features.offsets[name]
        begins = offsets[segments.clips] + segments.starts // grid.hop
        firsts = np.maximum(begins, offsets[segments.clips])
        ends = np.minimum(begins + grid.segment, offsets[segments.clips + 1])
        if isinstance(values, np.memmap):
            _expect(values, firsts, grid.segment)
        parts = np.zeros((len(segments), grid.segment, *values.shape[1:]), np.float32)
        for row in range(len(segments)):
            begin, first, end = begins[row], firsts[row], ends[row]
            parts[row, first - begin : end - begin] = values[first:end]
        batch[name] = view.for_network(parts)[..., np.newaxis]
        for over in np.flatnonzero(ends - firsts < grid.segment):
            batch[name][over, : firsts[over] - begins[over]] = view.silence
            batch[name][over, ends[over] - begins[over] :] = view.silence
    return batch


def _expect(values: np.memmap, begins: np.ndarray, rows: int) -> None:
    """Let the system read these parts of a file side by side; one after the other, each would wait for the disk."""
    mapped, row = values.base, values.strides[0]
    if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):  # not on Windows
        first = int(values.offset) % mmap.ALLOCATIONGRANULARITY  # of the values in the map
        for begin in (first + row * begins).tolist():
            page = begin - begin % mmap.PAGESIZE
            with contextlib.suppress(OSError):  # it is no more than advice
                mapped.madvise(mmap.MADV_WILLNEED, page, begin + row * rows - page)


def cut_in_graph(values: Mapping[str, Any], sample_rate: int, segments: Segments) -> dict[str, Any]:
    """`cut` of TensorFlow's tensors [clips, steps, ...] with what the network takes, clips of one length.

    `segments` holds int64 tensors.
    """
    import tensorflow as tf

    batch = {}
    for name, value in values.items():
        grid, steps = VIEWS[name].grid(sample_rate), tf.shape(value, tf.int64)[1]
        rows = tf.reshape(value, [-1, *value.shape[2:]])
        begins = segments.clips * steps + segments.starts // grid.hop
        places = begins[:, tf.newaxis] + tf.range(grid.segment, dtype=tf.int64)
        batch[name] = tf.gather(rows, places)[..., tf.newaxis]
    return batch


def without_silence(features: Features, segments: Segments, views: Sequence[str]) -> Segments:
    """Those that hold sound, and all of a clip that has none."""
    found = sounding(features, segments, views)
    return segments[found | ~np.isin(segments.clips, segments.clips[found])]


def random_starts(lasts: np.ndarray, rng: np.random.Generator, over_ends: int | np.ndarray = 0) -> np.ndarray:
    """One start a clip, uniform from 0 to its last possible one, and `over_ends` further both ways; int64 [clips]."""
    return rng.integers(-over_ends, lasts + over_ends, endpoint=True)


def sounding(features: Features, segments: Segments, views: Sequence[str]) -> np.ndarray:
    """Which segments hold sound for a network on some views, which one of them tells; bool [segments]."""
    view = sounding_view(views)
    assert view is not None  # as settings have it with `skip_silence`
    grid, values = VIEWS[view].grid(features.sample_rate), features.values[view]
    begins = features.offsets[view][segments.clips] + segments.starts // grid.hop
    return np.array([VIEWS[view].sounding(values[begin : begin + grid.segment]) for begin in begins], bool)


def even_starts(last: Any, count: Any, ops: Any = np) -> Any:
    """`count` starts evenly spaced from 0 to `last`, float64 [count] of whole numbers after truncation.

    `ops` is NumPy, or TensorFlow for tensors.
    """
    places = np.arange(count, dtype=np.float64) if ops is np else ops.range(count, dtype=ops.float64)
    starts = places * (last / ops.maximum(count - 1.0, 1.0))
    # The last one exactly, where there are two.
    return ops.where((places > 0) & (places == count - 1.0), last, starts)


def test_starts(samples: Any, size: Geometry, most: int | None = None) -> np.ndarray:
    """First samples of the S segments of a clip of S seconds, at least one; int64 [S].

    Evenly spaced from the first possible start to the last (Sec. 3.1.3): the rule of test, prediction and inspection;
    `test_starts_in_graph` is the same on tensors.

    Parameters
    ----------
    samples : int
        Length of the clip before any padding.
    most : int, optional
        Segments at most, as when training is monitored.
    """
    samples = int(samples)
    count = max(1, round(samples / size.sample_rate))
    last = size.last_start(max(samples, size.segment_samples))
    return even_starts(last, min(count, most or count)).astype(np.int64)


def test_starts_in_graph(samples: Any, size: Geometry) -> Any:
    """`test_starts` of an int64 tensor [] that is at least a segment; int64 [S]."""
    import tensorflow as tf

    last = tf.cast(size.last_start(samples, tf.minimum), tf.float64)
    count = tf.maximum(tf.round(tf.cast(samples, tf.float64) / size.sample_rate), 1.0)
    return tf.cast(even_starts(last, count, tf), tf.int64)


def test_segments(clips: np.ndarray, samples: np.ndarray, size: Geometry, most: int | None = None) -> Segments:
    """The test segments of several clips: rows `clips`, lengths `samples` before padding, int64 [clips] each."""
    starts = [test_starts(length, size, most) for length in samples]
    return Segments(np.repeat(clips, [len(each) for each in starts]), np.concatenate(starts))


def segments_of(path: str | Path, sample_rate: int, views: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The test segments of a sound file, as the networks take them: S of S seconds, evenly spaced, at least one.

    `evaluation.average_by_clip` of a network's probabilities is what `Predictor.predict_files` says of its branches
    before calibration: their mean, without those of silence where the network has none.

    Parameters
    ----------
    path : path
        A sound file of any format, rate, number of channels and length; what is shorter than a segment is padded
        with silence.
    sample_rate : int
        44100 or 22050 Hz, that of the store which the network was trained on.
    views : sequence of str, optional
        The paper's four by default.

    Returns
    -------
    dict
        By view: float32 [segments, frames, 64, 1] in dB; `raw` float32 [segments, samples, 1] in [-1, 1].

    Raises
    ------
    AudioError
        If the file gives no usable waveform.
    ValueError
        For another rate.
    """
    views = paper_views() if views is None else views
    size, parts = geometry(sample_rate, views), []
    waveform = read_audio(path, sample_rate)
    starts = test_starts(len(waveform), size)
    for excerpt in excerpts([waveform], size, views):
        here = starts[(excerpt.begin <= starts) & (starts < excerpt.end)]
        parts.append(cut(excerpt, Segments(np.zeros_like(here), here - excerpt.offset), views))
    return {view: np.concatenate([part[view] for part in parts]) for view in views}


_rules: tuple[Any, ...] = (test_starts, test_starts_in_graph, test_segments)
for _rule in _rules:
    _rule.__test__ = False  # no test of pytest's

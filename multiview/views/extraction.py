"""The views of a clip, and of a recording of any length in constant memory."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.views.base import VIEWS, Geometry, Sound, geometry, paper_views

EXCERPT_BLOCKS = 12  # of 10.24 s

# The order of summation, and so the last bits, would depend on the number of threads of BLAS. That
# number belongs to the process, so one thread at a time computes views.
_LOCK = threading.Lock()


@functools.cache
def _blas() -> Any:
    import scipy.fft  # noqa: F401  what it loads is limited, too
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def extract(waveform: np.ndarray, sample_rate: int, views: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Views of one clip.

    Parameters
    ----------
    waveform : float array [samples]
        Mono, in [-1, 1], at least one sample. Padded with silence up to the length of a segment.
    sample_rate : int
        44100 or 22050 Hz.
    views : sequence of str, optional
        The paper's four by default.

    Returns
    -------
    dict
        `mel`, `gammatone`, `cqt`: float32 [frames, 64] in dB; `raw`: int16 [samples].

    Raises
    ------
    ValueError
        If the waveform is not one-dimensional, empty, or not finite.
    InputError
        If a user's own view gives something else than it declares.
    """
    views = paper_views() if views is None else views
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    if waveform.ndim != 1 or waveform.size == 0:
        raise ValueError(f"expected a mono waveform [samples], found shape {waveform.shape}")
    if not np.isfinite(waveform).all():
        raise ValueError("the waveform holds NaN or infinite samples")
    waveform = padded(waveform, geometry(sample_rate, views).segment_samples)
    sound = Sound(waveform, sample_rate)
    with _LOCK, _blas().limit(limits=1, user_api="blas"):
        values = {view: VIEWS[view].extract(sound) for view in views}
    for view in views:
        if not VIEWS[view].paper:
            _check(view, values[view], sample_rate, len(waveform))
    return values


def padded(waveform: np.ndarray, samples: int) -> np.ndarray:
    """The waveform, with silence at its end up to `samples`."""
    return np.pad(waveform, (0, max(0, samples - len(waveform))))


def _check(name: str, values: Any, sample_rate: int, samples: int) -> None:
    """Refuse what is not as the view declares it."""
    view = VIEWS[name]
    grid = view.grid(sample_rate)
    expected, dtype = (grid.frames(samples), *view.band_shape), np.dtype(view.dtype)
    found = getattr(values, "shape", None), getattr(values, "dtype", type(values).__name__)
    plugin = plugins.origin("view", name)
    where = f"{f'plugin {plugin}: ' if plugin else ''}view {name}"
    mend = f"for {samples} samples at {sample_rate} Hz; mend extract or the declaration"
    if found[0] is None or len(found[0]) != len(expected) or found[0][1:] != expected[1:]:
        raise InputError(f"{where}: field bands: expected values {list(expected)}, found {list(found[0] or ())} {mend}")
    if found[0] != expected:
        raise InputError(f"{where}: field grid: expected {expected[0]} steps, found {found[0][0]} {mend}")
    if found[1] != dtype:
        raise InputError(f"{where}: field dtype: expected {dtype}, found {found[1]} {mend}")
    if not np.isfinite(values).all():
        raise InputError(f"{where}: field extract: expected finite numbers, found NaN or infinite ones {mend}")


@dataclass(frozen=True)
class Excerpt:
    """Views of a part of a recording, with what they need to the left and right of it.

    Segments that start from sample `begin` to before sample `end` of the recording are to be cut from
    here; `offset` is the sample at which the views begin, and `final` tells the last excerpt.
    """

    sample_rate: int
    values: dict[str, np.ndarray]
    offset: int
    begin: int
    end: int
    final: bool

    @property
    def offsets(self) -> dict[str, np.ndarray]:
        """Where its only clip begins, by view, as in a store."""
        return {view: np.array([0, len(values)]) for view, values in self.values.items()}


def excerpts(pieces: Iterable[np.ndarray], size: Geometry, views: Sequence[str]) -> Iterator[Excerpt]:
    """The views of a recording of any length in constant memory, about two minutes at a time.

    A recording of up to that length is one excerpt, with the views of `extract`. Longer ones are cut where the
    frames of all views fall together, with 10.24 s more on both sides, several times what the longest
    filter sees, so the views in the middle are those of the whole.

    Parameters
    ----------
    pieces : iterable of float arrays [samples]
        The mono waveform in parts of any length.
    size : Geometry
        Sizes at the waveform's rate.
    views : sequence of str
        The views to compute.

    Raises
    ------
    ValueError
        As `extract`.
    """

    def excerpt(part: np.ndarray, end: int, final: bool) -> Excerpt:
        values = extract(padded(part, size.segment_samples), size.sample_rate, views)
        return Excerpt(size.sample_rate, values, offset, begin, end, final)

    length, context = EXCERPT_BLOCKS * size.block, size.block
    pieces, waiting, offset, begin = iter(pieces), np.empty(0, np.float32), 0, 0
    while True:
        wanted = begin - offset + length + context
        parts, found = [waiting], len(waiting)
        while found <= wanted:
            piece = next(pieces, None)
            if piece is None:
                break
            parts.append(piece)
            found += len(piece)
        if len(parts) > 1:
            waiting = np.concatenate(parts)
        if found <= wanted:
            last = size.last_start(max(found, size.segment_samples))
            yield excerpt(waiting, offset + last + 1, final=True)
            return
        yield excerpt(waiting[:wanted], begin + length, final=False)
        begin += length
        waiting, offset = waiting[begin - context - offset :], begin - context

"""What a view is, and the sizes that follow: hops, frames and segments of all views at one sample rate."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multiview.support.errors import InputError
from multiview.support.registry import Registry

SAMPLE_RATES = (44100, 22050)  # Hz
BANDS = 64  # F of Sec. 3.1.2
FLOOR = 1e-10  # power below which decibels stop
FLOOR_DB = -100.0
SILENT_DB, SILENT = -90.0, 0.25  # a bin with a mean below, and less than this share of the view's largest deviation
RESERVED = ("multiview", "concat", "late_fusion", "self_ensemble")  # rows of Table 3 beside the views


@dataclass(frozen=True)
class Grid:
    """How a view samples time at one sample rate; in samples unless named otherwise.

    Step i covers the `window` samples from i * hop on, or is `centred` on sample i * hop.
    """

    hop: int
    window: int
    segment: int  # steps
    centred: bool = False

    def __post_init__(self) -> None:
        for field in ("hop", "window", "segment"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"field grid: expected a whole {field} of at least 1, found {value!r}; mend it")

    def frames(self, samples: Any) -> Any:
        """Steps of a clip of `samples` samples, a number or a tensor."""
        return 1 + (samples if self.centred else samples - self.window) // self.hop

    def last_start(self, samples: Any) -> Any:
        """Last sample at which a segment may start so that all of its steps are there."""
        return (self.frames(samples) - self.segment + 1) * self.hop - 1

    @property
    def span(self) -> int:
        """Samples that a segment covers; the shortest clip that holds one."""
        return (self.segment - 1) * self.hop + (0 if self.centred else self.window)

    @property
    def middle(self) -> float:
        """Middle of the first step, in samples from the start."""
        return 0.0 if self.centred else self.window / 2


class Sound:
    """A mono waveform whose views are to be computed, with what several of them share.

    Attributes
    ----------
    waveform : float32 [samples]
        In [-1, 1], at least a segment long; a tensor [batch, samples] in a graph.
    sample_rate : int
        44100 or 22050 Hz.
    fft : bool
        Whether a graph may transform by FFT, which few runtimes but TensorFlow have.
    """

    def __init__(self, waveform: Any, sample_rate: int, fft: bool = True) -> None:
        self.waveform, self.sample_rate, self.fft = waveform, sample_rate, fft
        self._shared: dict[Callable, Any] = {}

    def once(self, function: Callable[[Any, int], Any]) -> Any:
        """`function(waveform, sample_rate)`, computed by the first view that asks for it."""
        if function not in self._shared:
            self._shared[function] = function(self.waveform, self.sample_rate)
        return self._shared[function]


@dataclass(frozen=True)
class View:
    """A view: all that is known about it.

    Parameters
    ----------
    name, label : str
        In files and options, and for people.
    unit : str
        Of what the network takes: `dB` or `full scale`, or whatever a user's own view has.
    grid : callable
        Sample rate in Hz to `Grid`.
    extract : callable
        `Sound` to the values of a clip as stores hold them: `dtype` [frames, bands], or [samples] without `bands`.
    parameters : callable
        Sample rate to every parameter that decides the values, as JSON types; stores record them.
    bands : int or None
        Frequency bins of a step; None for a waveform, which has none.
    dtype, scale
        Of stored values; times `scale` they are what the network takes.
    standardised : bool
        Whether the network takes away each band's mean and divides by its deviation over the training clips.
    graph : callable, optional
        As `extract` on TensorFlow's tensors, `Sound` of float32 [batch, samples] to what the network takes; without
        one, exports have no signature that takes waveforms.
    amplify : callable, optional
        (values as the network takes them, gain in dB) to the values of the louder sound.
    mix : callable, optional
        (values, values, factor, factor) to the values of the sum of two sounds, each with a factor on its amplitude.
    level : callable, optional
        Values of several segments to the level of each, dB float64 [segments], up to a constant of the view.
    silence : float, optional
        The value that silence has.
    quiet : float
        How far from `silence` values may be that hold no sound, in the view's unit.
    frequencies : callable, optional
        Sample rate to the middle of each band in Hz, float [bands], rising: the axis of pictures.
    paper : bool
        Whether it is one of the paper's four, which are the default.
    colour, line
        Of its curves.
    """

    name: str
    label: str
    unit: str
    grid: Callable[[int], Grid]
    extract: Callable[[Sound], np.ndarray]
    parameters: Callable[[int], dict]
    bands: int | None = BANDS
    dtype: type = np.float32
    scale: float = 1.0
    standardised: bool = True
    graph: Callable[[Sound], Any] | None = None
    amplify: Callable[[np.ndarray, Any], np.ndarray] | None = None
    mix: Callable[[np.ndarray, np.ndarray, Any, Any], np.ndarray] | None = None
    level: Callable[[np.ndarray], np.ndarray] | None = None
    silence: float | None = None
    quiet: float = 0.01  # more than rounding
    frequencies: Callable[[int], np.ndarray] | None = None
    paper: bool = False
    colour: str | None = None
    line: Any = "-"

    def __post_init__(self) -> None:
        if self.name in RESERVED:
            raise InputError(f"view {self.name}: field name: expected another than {', '.join(RESERVED)}; rename it")
        if self.bands is not None and (not isinstance(self.bands, int) or self.bands < 1):
            raise InputError(f"view {self.name}: field bands: expected a whole number or None, found {self.bands!r}")
        if np.dtype(self.dtype).kind not in "fi":
            raise InputError(f"view {self.name}: field dtype: expected floats or integers, found {self.dtype!r}")
        for rate in SAMPLE_RATES:
            if not isinstance(grid := self.grid(rate), Grid):
                raise InputError(f"view {self.name}: field grid: expected a Grid at {rate} Hz, found {grid!r}; mend it")

    @property
    def decibels(self) -> bool:
        """Whether values are decibels, which end at -100."""
        return self.unit == "dB"

    def silent_bands(self, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """Which bins of a view in dB stay silent, of means and standard deviations [bins] over all clips; bool [bins].

        Those whose mean is within 10 dB of the floor, with less than a quarter of the largest deviation: recordings at
        a lower rate end below them.
        """
        return self.decibels & (means < SILENT_DB) & (deviations < SILENT * deviations.max())

    def sounding(self, values: np.ndarray) -> bool:
        """Whether stored values hold sound."""
        return bool((np.abs(self.for_network(values) - np.float32(self.silence)) > np.float32(self.quiet)).any())

    def segment_shape(self, sample_rate: int) -> tuple[int, ...]:
        """Shape of one segment: (frames, bands), or (samples,) of a waveform."""
        return (self.grid(sample_rate).segment, *self.band_shape)

    @property
    def band_shape(self) -> tuple[int, ...]:
        """Shape of one step: (bands,), or () of a waveform."""
        return () if self.bands is None else (self.bands,)

    def for_network(self, values: np.ndarray) -> np.ndarray:
        """Stored values as the network takes them, float32."""
        values = np.array(values, np.float32)
        if self.scale != 1:
            values *= np.float32(self.scale)
        return values


VIEWS: Registry[View] = Registry("view")


def paper_views() -> tuple[str, ...]:
    """The paper's four, in its order."""
    return tuple(name for name, view in VIEWS.items() if view.paper)


def sounding_view(names: Iterable[str]) -> str | None:
    """The view of several that tells silence: a waveform, or else the first that declares it; None if none does."""
    known = [name for name in names if VIEWS[name].silence is not None]
    return min(known, key=lambda name: VIEWS[name].bands is not None, default=None)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Views that a user named, each once and in the order of the registry.

    Raises
    ------
    InputError
        For an unknown name, or none.
    """
    wanted = {VIEWS.find(name).name for name in names}
    if not wanted:
        raise InputError(f"expected views of {','.join(VIEWS)}; found none")
    return tuple(name for name in VIEWS if name in wanted)


@dataclass(frozen=True)
class Geometry:
    """Sizes of Secs. 3.1.2 and 3.1.3 at one sample rate, over the views that are aligned.

    These are the paper's four, so that segments are the same whichever of them a store holds, and a user's own.
    """

    sample_rate: int
    views: tuple[str, ...]

    def grid(self, view: str) -> Grid:
        """How `view` samples time."""
        return VIEWS[view].grid(self.sample_rate)

    def frames(self, view: str, samples: Any) -> Any:
        """Length along time of `view` for a clip of `samples` samples."""
        return self.grid(view).frames(samples)

    def view_hop(self, view: str) -> int:
        """Samples from one time step of `view` to the next."""
        return self.grid(view).hop

    def segment(self, view: str) -> int:
        """Time steps of `view` in one segment."""
        return self.grid(view).segment

    def segment_shape(self, view: str) -> tuple[int, ...]:
        """Shape of one segment of `view`: (frames, bands), or (samples,) of a waveform."""
        return VIEWS[view].segment_shape(self.sample_rate)

    @functools.cached_property
    def block(self) -> int:
        """Shortest time, 10.24 s, after which the frames of all views begin at the same sample again."""
        return math.lcm(*(self.view_hop(view) for view in self.views))

    @functools.cached_property
    def segment_samples(self) -> int:
        """Shortest clip that holds one segment of every view."""
        return max(self.grid(view).span for view in self.views)

    def last_start(self, samples: Any, least: Callable[[Any, Any], Any] = min) -> Any:
        """Last sample at which a segment may start so that every view holds all of it.

        `samples` may be a tensor, with `least` the operation that gives the smaller of two.
        """
        return functools.reduce(least, (self.grid(view).last_start(samples) for view in self.views))


@functools.cache
def _geometry(sample_rate: int, views: tuple[str, ...]) -> Geometry:
    return Geometry(sample_rate, views)


def geometry(sample_rate: int, views: Iterable[str] = ()) -> Geometry:
    """Sizes at `sample_rate` Hz, over the paper's views and those of `views`.

    Raises
    ------
    ValueError
        Unless `sample_rate` is 44100 or 22050.
    """
    if sample_rate not in SAMPLE_RATES:
        raise ValueError(f"views are defined at {sorted(SAMPLE_RATES)} Hz, not at {sample_rate} Hz")
    return _geometry(sample_rate, in_order({*paper_views(), *views}))


def parameters(sample_rate: int, views: Sequence[str] | None = None) -> dict[str, dict]:
    """Every parameter of every view (the paper's where None), as a store records them (JSON types only)."""
    geometry(sample_rate)
    return {view: VIEWS[view].parameters(sample_rate) for view in views or paper_views()}


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10(max(power, 1e-10)), float32, without clipping at the top."""
    return (10.0 * np.log10(np.maximum(power, FLOOR))).astype(np.float32, copy=False)


def amplify_decibels(values: np.ndarray, gain: Any) -> np.ndarray:
    """Decibels of a sound that is `gain` dB louder; what was at the floor may have been anything below and stays."""
    return np.where(values > FLOOR_DB, np.maximum(values + gain, FLOOR_DB), values)


def power(values: np.ndarray) -> np.ndarray:
    """What `decibels` gives back; of float32 by `exp`, which takes a fraction of the time of a power of 10."""
    return np.exp(values * values.dtype.type(np.log(10) / 10))


def mix_decibels(one: np.ndarray, other: np.ndarray, factor: Any, other_factor: Any) -> np.ndarray:
    """Decibels of the sum of two sounds with factors on their amplitudes: powers add, as they do on average."""
    return decibels(np.square(factor) * power(one) + np.square(other_factor) * power(other))


def level_of_power(values: np.ndarray) -> np.ndarray:
    """Mean over all but the first axis, in dB; float64."""
    return 10 * np.log10(np.maximum(values.mean(axis=tuple(range(1, values.ndim)), dtype=np.float64), FLOOR))


def level_of_decibels(values: np.ndarray) -> np.ndarray:
    """Level of segments in dB by their mean power; float64 [segments]."""
    return level_of_power(power(values))


def graph_decibels(power: Any) -> Any:
    """`decibels` of a TensorFlow tensor."""
    import tensorflow as tf

    return (10.0 / np.log(10.0)) * tf.math.log(tf.maximum(power, FLOOR))


def fourier(samples: int, size: int) -> np.ndarray:
    """The real FFT of `samples` samples and zeros up to `size` as a matrix, complex128 [samples, size / 2 + 1]."""
    # The product first, in whole numbers: the sine of a large angle would have few digits.
    turns = np.outer(np.arange(samples), np.arange(size // 2 + 1)) % size
    return np.exp(-2j * np.pi * turns / size)


# A view in decibels, with what all of them have in common.
decibel_view = functools.partial(
    View,
    unit="dB",
    amplify=amplify_decibels,
    mix=mix_decibels,
    level=level_of_decibels,
    silence=FLOOR_DB,
    quiet=SILENT_DB - FLOOR_DB,
)
DECIBEL_PARAMETERS = {"scale": "10 log10(max(power, floor))", "floor": FLOOR, "bands": BANDS}
BLOCK = 2048  # frames that are transformed at a time, which bounds the memory of long clips


def by_blocks(function: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> np.ndarray:
    """`function` of [frames, ...], computed a block of frames at a time."""
    blocks = [function(frames[begin : begin + BLOCK]) for begin in range(0, len(frames), BLOCK)]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

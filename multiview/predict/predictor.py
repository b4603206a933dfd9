"""Classes of sounds of any length."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from multiview.audio import AudioError, check_rate, check_samples, decode, to_rate
from multiview.evaluation import BATCH_SIZE, self_ensemble
from multiview.segments import Segments, cut, test_starts
from multiview.support.errors import InputError
from multiview.views import Excerpt, excerpts, geometry
from multiview.views.raw import from_int16

READ_AHEAD = 4  # sound files that wait for the network
Outputs = dict[str, np.ndarray]
Network = Callable[[Outputs], Mapping[str, np.ndarray]]
Answer = tuple[Any, int, Outputs]
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Prediction:
    """What the network says of a sound.

    `probabilities` float32 [classes] is the self-ensemble of Eq. (6) over the branches of
    `branches`, float32 [classes] each, which are means over segments.
    """

    classes: Sequence[str]
    probabilities: np.ndarray
    branches: Outputs

    def top(self, count: int | None = None, branch: str | None = None) -> list[tuple[str, float]]:
        """The `count` most probable classes (all where None) with their probabilities, the first the most probable."""
        values = self.probabilities if branch is None else self.branches[branch]
        return [(self.classes[i], float(values[i])) for i in np.argsort(-values, kind="stable")[:count]]

    @property
    def disagreement(self) -> float:
        """How much the branches differ, from 0, where all say the same, to 1, where each is sure of another class.

        The Jensen-Shannon divergence of the branches as a share of its maximum, log K of K branches.
        """
        from scipy.stats import entropy  # takes a while to load, and few ask

        rows = np.stack(list(self.branches.values())).astype(np.float64)
        if len(rows) == 1:
            return 0.0
        spread = entropy(rows.mean(axis=0)) - entropy(rows, axis=1).mean()
        return float(np.clip(spread / np.log(len(rows)), 0.0, 1.0))


class Batches:
    """Collects segments of several recordings into full batches for a network.

    Parameters
    ----------
    network : callable
        As in `Predictor`.
    views : sequence of str
        The views that it takes.
    """

    def __init__(self, network: Network, views: Sequence[str]) -> None:
        self.network, self.views = network, views
        self._owners: list[tuple[Any, int]] = []  # of the segments that wait: key and start
        self._parts: list[Outputs] = []  # those segments by view, some at a time

    def add(self, key: Any, excerpt: Excerpt, starts: np.ndarray) -> Iterator[Answer]:
        """Take segments, and give what the network says of those whose batch is full.

        Parameters
        ----------
        key
            Of the recording; comes back with each of its segments.
        starts : int64 [segments]
            First samples in the recording of segments to be cut from the excerpt.

        Yields
        ------
        tuple
            Key and start of a segment, and its probabilities by branch, float32 [classes]; in the order in which the
            segments came.
        """
        for first in range(0, len(starts), BATCH_SIZE):
            some = starts[first : first + BATCH_SIZE]
            self._parts.append(cut(excerpt, Segments(np.zeros_like(some), some - excerpt.offset), self.views))
            self._owners += [(key, int(start)) for start in some]
            if len(self._owners) >= BATCH_SIZE:
                yield from self._run(BATCH_SIZE)

    def rest(self) -> Iterator[Answer]:
        """What the network says of the segments that still wait."""
        if self._owners:
            yield from self._run(len(self._owners))

    def _run(self, count: int) -> Iterator[Answer]:
        rows = {view: np.concatenate([part[view] for part in self._parts]) for view in self.views}
        owners, self._owners = self._owners[:count], self._owners[count:]
        self._parts = [{view: values[count:] for view, values in rows.items()}]
        outputs = self.network({view: values[:count] for view, values in rows.items()})
        for row, (key, start) in enumerate(owners):
            yield key, start, {branch: values[row] for branch, values in outputs.items()}


class Predictor:
    """A network with all that it takes to answer for sounds; `multiview.load` makes one.

    Parameters
    ----------
    network : callable
        Probabilities by branch, float32 [segments, classes], of the views of segments as `segments.cut` gives them.
    classes : sequence of str
        Class names.
    sample_rate : int
        44100 or 22050 Hz, the rate of the views.
    views : sequence of str
        The views that `network` takes; no others are computed.
    weights : dict
        Weight of each branch in Eq. (6).
    store_views : sequence of str, optional
        The views of the store that the network was trained on, over which its segments are aligned; the paper's four
        by default.
    """

    def __init__(
        self,
        network: Network,
        classes: Sequence[str],
        sample_rate: int,
        views: Sequence[str],
        weights: dict[str, float],
        store_views: Sequence[str] = (),
    ) -> None:
        self.network = network
        self.classes = list(classes)
        self.sample_rate = sample_rate
        self.views = list(views)
        self.weights = weights
        self.size = geometry(sample_rate, {*views, *store_views})

    def batches(self) -> Batches:
        """For segments of any recordings, to be cut and put to the network in full batches."""
        return Batches(self.network, self.views)

    def predict(self, waveform: np.ndarray, sample_rate: int) -> Prediction:
        """Classes of a sound, averaged over S segments of S seconds as at test, and fused by Eq. (6).

        Parameters
        ----------
        waveform : array [samples] or [samples, channels]
            Float in [-1, 1], or int16. Channels are averaged, another rate is resampled, and what is
            shorter than a segment is padded with silence.
        sample_rate : int
            Of the waveform, in Hz.

        Raises
        ------
        InputError
            If the waveform is of another shape, empty, longer across than along, of an absurd rate, or
            holds NaN, infinite or absurdly large samples.
        """
        mono = to_rate(mono_waveform(waveform, sample_rate), sample_rate, self.sample_rate)
        (prediction,) = self._predict_all([mono])
        assert isinstance(prediction, Prediction)  # a waveform gives no other
        return prediction

    def predict_files(self, paths: Iterable[str | Path]) -> Iterator[Prediction | AudioError]:
        """As `predict`, for each of some sound files of any rate and number of channels, in their order.

        A file that cannot be read gives its error instead. The network works on full batches, whatever the clips'
        lengths, while the next files are read.
        """

        def read(path: str | Path) -> np.ndarray | AudioError:
            try:
                return to_rate(*decode(path), self.sample_rate)
            except AudioError as error:
                return error

        return self._predict_all(ahead(read, paths))

    def _predict_all(self, waveforms: Iterable[np.ndarray | AudioError]) -> Iterator[Prediction | AudioError]:
        """The prediction for each waveform at the model's rate; errors are passed on in their places."""
        batches, waiting = self.batches(), deque[_Waiting | AudioError]()
        for waveform in waveforms:
            if isinstance(waveform, AudioError):
                waiting.append(waveform)
            else:
                starts = test_starts(len(waveform), self.size)
                sound = _Waiting(len(starts))
                waiting.append(sound)
                for excerpt in excerpts([waveform], self.size, self.views):
                    here = starts[(excerpt.begin <= starts) & (starts < excerpt.end)]
                    _deliver(batches.add(sound, excerpt, here))
                    yield from self._finished(waiting)
            yield from self._finished(waiting)
        _deliver(batches.rest())
        yield from self._finished(waiting)

    def _finished(self, waiting: deque[_Waiting | AudioError]) -> Iterator[Prediction | AudioError]:
        """Take from the left what needs to wait no longer."""
        while waiting:
            first = waiting[0]
            if isinstance(first, _Waiting) and len(first.outputs) < first.segments:
                return
            waiting.popleft()
            yield self._mean(first.outputs) if isinstance(first, _Waiting) else first

    def _mean(self, segments: Sequence[Outputs]) -> Prediction:
        branches = {branch: np.mean([each[branch] for each in segments], axis=0) for branch in segments[0]}
        return Prediction(self.classes, self_ensemble(branches, self.weights), branches)


@dataclass(eq=False)
class _Waiting:
    """A sound some of whose segments are not answered yet."""

    segments: int
    outputs: list[Outputs] = field(default_factory=list)


def _deliver(answers: Iterable[Answer]) -> None:
    for sound, _, outputs in answers:
        sound.outputs.append(outputs)


def mono_waveform(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """A user's waveform, checked, with its channels averaged; float32 [samples].

    Parameters
    ----------
    waveform, sample_rate
        As `Predictor.predict` takes them.

    Raises
    ------
    InputError
        As there.
    """
    waveform = np.asarray(waveform)
    if waveform.dtype == np.int16:
        waveform = from_int16(waveform)
    if waveform.ndim not in (1, 2) or not waveform.size or not np.issubdtype(waveform.dtype, np.floating):
        raise InputError(
            "expected a waveform of floats or int16, [samples] or [samples, channels]; "
            f"found {waveform.dtype} {list(waveform.shape)}"
        )
    if waveform.ndim == 2 and waveform.shape[1] > waveform.shape[0]:
        raise InputError(f"expected [samples, channels], found {list(waveform.shape)}; transpose the waveform")
    waveform = waveform.astype(np.float32)
    try:
        check_samples(waveform)
        check_rate(sample_rate)
    except AudioError as error:
        raise InputError(f"expected samples in [-1, 1] and their rate, found {error}") from error
    return waveform.mean(axis=1) if waveform.ndim == 2 else waveform


def ahead(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """`function` of each item in order, computed in a thread a few items before it is asked for."""
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        futures = deque(pool.submit(function, item) for item in itertools.islice(items, READ_AHEAD))
        while futures:
            result = futures.popleft().result()
            futures.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield result

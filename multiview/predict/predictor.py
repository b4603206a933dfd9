"""Classes of sounds of any length, from a run or an export."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import entropy

from data_prep.audio import AudioError, check_rate, check_samples, decode, to_rate
from data_prep.views import Excerpt, excerpts, geometry
from multiview.errors import InputError
from multiview.evaluation import BATCH_SIZE, self_ensemble
from multiview.runs import Run
from multiview.segments import cut, even_starts, test_count

if TYPE_CHECKING:
    from multiview.networks import BlendedModel

READ_AHEAD = 4  # sound files that wait for the network
Outputs = dict[str, np.ndarray]


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
        rows = np.stack(list(self.branches.values())).astype(np.float64)
        if len(rows) == 1:
            return 0.0
        spread = entropy(rows.mean(axis=0)) - entropy(rows, axis=1).mean()
        return float(np.clip(spread / np.log(len(rows)), 0.0, 1.0))


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
        The views that `network` takes.
    weights : dict
        Weight of each branch in Eq. (6).
    """

    def __init__(
        self,
        network: Callable[[Outputs], Outputs],
        classes: Sequence[str],
        sample_rate: int,
        views: Sequence[str],
        weights: dict[str, float],
    ) -> None:
        self.network = network
        self.classes = list(classes)
        self.sample_rate = sample_rate
        self.views = list(views)
        self.weights = weights

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
        waveform = np.asarray(waveform)
        if waveform.dtype == np.int16:
            waveform = waveform.astype(np.float32) / 32768
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
        mono = waveform.mean(axis=1) if waveform.ndim == 2 else waveform
        return next(self._predict_all([to_rate(mono, sample_rate, self.sample_rate)]))

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

        return self._predict_all(_ahead(read, paths))

    def predict_at(
        self, requests: Iterable[tuple[object, Excerpt, np.ndarray]]
    ) -> Iterator[tuple[object, int, Outputs]]:
        """Probabilities of single segments, in batches that run across recordings.

        Parameters
        ----------
        requests : iterable of (key, excerpt, starts)
            First samples, int64 [segments] in the recording, of segments to be cut from an excerpt.

        Yields
        ------
        tuple
            Key and start of a segment, and its probabilities by branch, float32 [classes]; in the order of the
            requests.
        """
        size, waiting, parts = geometry(self.sample_rate), [], []

        def run(count: int) -> Iterator[tuple[object, int, Outputs]]:
            nonlocal parts
            rows = {view: np.concatenate([part[view] for part in parts]) for view in self.views}
            parts = [{view: values[count:] for view, values in rows.items()}]
            outputs = self.network({view: values[:count] for view, values in rows.items()})
            for row in range(count):
                yield *waiting[row], {branch: values[row] for branch, values in outputs.items()}
            del waiting[:count]

        for key, excerpt, starts in requests:
            begins = {view: np.zeros(1, np.int64) for view in self.views}
            for first in range(0, len(starts), BATCH_SIZE):
                some = starts[first : first + BATCH_SIZE]
                clips = np.zeros_like(some)
                parts.append(cut(excerpt.views, begins, size, self.views, clips, some - excerpt.offset))
                waiting += [(key, int(start)) for start in some]
                if len(waiting) >= BATCH_SIZE:
                    yield from run(BATCH_SIZE)
        if waiting:
            yield from run(len(waiting))

    def _predict_all(self, waveforms: Iterable[np.ndarray | AudioError]) -> Iterator[Prediction | AudioError]:
        """The prediction for each waveform at the model's rate; errors are passed on in their places."""
        waiting: deque[tuple[int, list[Outputs]] | AudioError] = deque()  # segments to come, segments that came

        def requests() -> Iterator[tuple[object, Excerpt, np.ndarray]]:
            for waveform in waveforms:
                if isinstance(waveform, AudioError):
                    waiting.append(waveform)
                    continue
                size = geometry(self.sample_rate)
                last = size.last_start(max(len(waveform), size.segment_samples))
                starts = even_starts(last, test_count(len(waveform), self.sample_rate))
                found: list[Outputs] = []
                waiting.append((len(starts), found))
                for excerpt in excerpts([waveform], self.sample_rate):
                    yield found, excerpt, starts[(excerpt.begin <= starts) & (starts < excerpt.end)]

        def finished() -> Iterator[Prediction | AudioError]:
            while waiting:
                if isinstance(waiting[0], AudioError):
                    yield waiting.popleft()
                    continue
                count, found = waiting[0]
                if len(found) < count:
                    return
                waiting.popleft()
                yield self._mean(found)

        for found, _, outputs in self.predict_at(requests()):
            found.append(outputs)
            yield from finished()
        yield from finished()

    def _mean(self, segments: Sequence[Outputs]) -> Prediction:
        branches = {branch: np.mean([each[branch] for each in segments], axis=0) for branch in segments[0]}
        return Prediction(self.classes, self_ensemble(branches, self.weights), branches)


def _ahead(function: Callable, items: Iterable) -> Iterator:
    """`function` of each item in order, computed in a thread a few items before it is asked for."""
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        futures = deque(pool.submit(function, item) for item in itertools.islice(items, READ_AHEAD))
        while futures:
            result = futures.popleft().result()
            futures.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield result


def of_run(run: Run, model: BlendedModel) -> Predictor:
    """The kept model of a run, ready for sounds."""
    store = run.read()["store"]
    weights = model.weights_by_branch()
    return Predictor(model.predict_on_batch, store["classes"], store["sample_rate"], list(model.input), weights)


def load(path: str | Path) -> Predictor:
    """The network of a run or of an export, ready for sounds.

    Parameters
    ----------
    path : path
        A run directory; or the directory of an export, of which the newest version is taken, or one version of it.

    Raises
    ------
    InputError
        If there is neither, or it is damaged.
    """
    path = Path(path)
    if not (path / "run.json").is_file():
        from multiview.serving import Export

        if (export := Export.find(path)) is None:
            raise InputError(f"expected a run or an export, found none at {path}; check the path")
        return export.load()
    run = Run(path)
    return of_run(run, run.load_model())

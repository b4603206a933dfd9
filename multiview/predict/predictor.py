"""Classes of sounds of any length."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from multiview.audio import AudioError, check_rate, check_samples
from multiview.calibration import Calibration, tempered
from multiview.evaluation import self_ensemble, undecided, weights_in_mean
from multiview.predict.batches import BATCH_SIZE, Answer, Network, Outputs, Part, answers
from multiview.predict.sounds import Heard, hear, of_waveform
from multiview.segments import test_starts
from multiview.support.errors import InputError
from multiview.views import excerpts, geometry
from multiview.views.raw import from_int16

UNKNOWN = "unknown"  # where no class is probable enough, or more than the others


@dataclass(frozen=True)
class Prediction:
    """What the network says of a sound.

    `probabilities` float32 [classes] is the self-ensemble of Eq. (6) over the branches of
    `branches`, float32 [classes] each, which are means over segments; all calibrated where the network has
    temperatures, see `multiview.calibration`. `notes` says what one should know of the sound, a sentence by its word:
    `silent`, `truncated`.
    """

    classes: Sequence[str]
    probabilities: np.ndarray
    branches: Outputs
    notes: Mapping[str, str] = field(default_factory=dict)

    def top(self, count: int | None = None, branch: str | None = None) -> list[tuple[str, float]]:
        """The `count` most probable classes (all where None) with their probabilities, the first the most probable."""
        values = self.probabilities if branch is None else self.branches[branch]
        return [(self.classes[i], float(values[i])) for i in np.argsort(-values, kind="stable")[:count]]

    def best(self, threshold: float = 0.0, branch: str | None = None) -> str:
        """The most probable class; `unknown` where its probability is below a threshold, or all are alike."""
        ((name, probability),) = self.top(1, branch)
        return UNKNOWN if probability < threshold or self.undecided(branch) else name

    def undecided(self, branch: str | None = None) -> bool:
        """Whether all classes are alike, as networks with `skip_silence` have them of silence."""
        return bool(undecided(self.probabilities if branch is None else self.branches[branch]))

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
    calibration : Calibration, optional
        The temperatures of its answers; as the network gives them where None.
    """

    def __init__(
        self,
        network: Network,
        classes: Sequence[str],
        sample_rate: int,
        views: Sequence[str],
        weights: dict[str, float],
        store_views: Sequence[str] = (),
        calibration: Calibration | None = None,
    ) -> None:
        self.network = network
        self.classes = list(classes)
        self.sample_rate = sample_rate
        self.views = list(views)
        self.weights = weights
        self.size = geometry(sample_rate, {*views, *store_views})
        self.calibration = calibration

    def answers(self, parts: Iterable[Part | None]) -> Iterator[list[Answer]]:
        """What the network says of segments of any recordings, as `batches.answers`."""
        return answers(self.network, self.views, parts)

    def fused(self, branches: Outputs) -> tuple[np.ndarray, Outputs]:
        """Eq. (6) of what the branches say, [..., classes] each, and what they say, both calibrated."""
        ensemble = self_ensemble(branches, self.weights)
        if self.calibration is None:
            return ensemble, branches
        temperatures = self.calibration.branches
        calibrated = {branch: tempered(values, temperatures[branch]) for branch, values in branches.items()}
        return tempered(ensemble, self.calibration.self_ensemble), calibrated

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
        mono = mono_waveform(waveform, sample_rate)
        (prediction,) = self._predict_all([of_waveform(mono, sample_rate, self.sample_rate)])
        assert isinstance(prediction, Prediction)  # a waveform gives no other
        return prediction

    def predict_files(self, paths: Iterable[str | Path]) -> Iterator[Prediction | AudioError]:
        """As `predict`, for each of some sound files of any rate, number of channels and length, in their order.

        A file that cannot be read gives its error instead. The network works on full batches, whatever the clips'
        lengths, while the next files are read; memory grows with neither their number nor their length.
        """

        def read(path: str | Path) -> Heard | AudioError:
            try:
                return hear(path, self.sample_rate)
            except AudioError as error:
                return error

        return self._predict_all(map(read, paths))

    def _predict_all(self, sounds: Iterable[Heard | AudioError]) -> Iterator[Prediction | AudioError]:
        """The prediction for each sound, in their order; errors are passed on in their places."""
        waiting = deque[_Mean]()  # filled by the thread that reads
        for answered in self.answers(self._parts(sounds, waiting)):
            for mean, _, outputs in answered:
                mean.add(outputs)
            yield from self._finished(waiting)
        yield from self._finished(waiting)

    def _parts(self, sounds: Iterable[Heard | AudioError], waiting: deque[_Mean]) -> Iterator[Part | None]:
        """Where to cut the test segments of each sound; every sound is put into `waiting` first."""
        errors = 0
        for sound in sounds:
            if isinstance(sound, AudioError):
                waiting.append(_Mean(0, {}, error=sound))
                errors += 1
                if errors % BATCH_SIZE == 0:  # which nobody would hear of until there is a full batch
                    yield None
                continue
            errors = 0
            starts = test_starts(sound.samples, self.size)
            mean = _Mean(len(starts), sound.notes)
            waiting.append(mean)
            try:
                for excerpt in excerpts(sound.pieces(), self.size, self.views):
                    yield mean, excerpt, starts[(excerpt.begin <= starts) & (starts < excerpt.end)]
            except AudioError as error:  # changed since its length was taken
                mean.error = error

    def _finished(self, waiting: deque[_Mean]) -> Iterator[Prediction | AudioError]:
        """Take from the left what needs to wait no longer."""
        while waiting and waiting[0].finished:
            mean = waiting.popleft()
            yield mean.error or Prediction(self.classes, *self.fused(mean.branches()), mean.notes)


@dataclass(eq=False)
class _Mean:
    """The running mean over the segments of a sound, weighted as `evaluation.average_by_clip`."""

    segments: int
    notes: Mapping[str, str]
    error: AudioError | None = None
    count: int = 0
    sums: dict[str, np.ndarray] = field(default_factory=dict)  # of [probabilities and their weight]

    def add(self, outputs: Outputs) -> None:
        for branch, values in outputs.items():
            weight = weights_in_mean(values).astype(np.float64)
            self.sums[branch] = self.sums.get(branch, 0.0) + np.append(weight * values, weight)
        self.count += 1

    @property
    def finished(self) -> bool:
        return self.error is not None or self.count == self.segments

    def branches(self) -> Outputs:
        return {branch: (each[:-1] / each[-1]).astype(np.float32) for branch, each in self.sums.items()}


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

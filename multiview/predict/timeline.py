"""Classes over time of a recording of any length: a table and a picture, in constant memory."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from multiview.audio import opened, stream
from multiview.predict.batches import Part
from multiview.predict.predictor import Predictor
from multiview.predict.sounds import stated_seconds
from multiview.support.errors import UsageError
from multiview.support.files import leftovers, locked, replacing
from multiview.views import BANDS, MEL, RAW, Excerpt, excerpts
from multiview.views.spectrogram import mel_frequencies

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 1000  # of the picture, at least, where the recording is long enough
CLASSES = 12  # in the picture


class Strip:
    """Columns [rows] of a picture that grows in time; where there are too many, each pair becomes their mean.

    Parameters
    ----------
    rows : int
        Values a column.
    """

    def __init__(self, rows: int) -> None:
        self.columns = np.empty((2 * COLUMNS, rows), np.float32)
        self.count = 0
        self.merged = 1  # values a column
        self._sum, self._summed = np.zeros(rows), 0

    def add(self, values: np.ndarray) -> None:
        """Append values [times, rows]."""
        for value in values:
            self._sum += value
            self._summed += 1
            if self._summed == self.merged:
                self._append(self._sum / self.merged)
                self._sum, self._summed = np.zeros_like(self._sum), 0

    def _append(self, column: np.ndarray) -> None:
        self.columns[self.count] = column
        self.count += 1
        if self.count == len(self.columns):
            self.columns[:COLUMNS] = (self.columns[0::2] + self.columns[1::2]) / 2
            self.count, self.merged = COLUMNS, 2 * self.merged

    def image(self) -> np.ndarray:
        """What there is, [columns, rows]; a last column of fewer values with it."""
        rest = [self._sum / self._summed] if self._summed else []
        return np.stack([*self.columns[: self.count], *rest])


def timeline(predictor: Predictor, recording: Path, directory: Path, hop_seconds: float, name: str) -> None:
    """Write `timeline.csv` and `timeline.png` of a recording into `directory`.

    The table has a row a hop: first and last second of a segment of 1.5 s, and the probability of each class in it by
    Eq. (6), calibrated like a sound of that length. Memory does not grow with the length of the recording.

    Parameters
    ----------
    hop_seconds : float
        Time from one segment to the next, of at least one sample.
    name : str
        What the recording is called in the picture.

    Raises
    ------
    InputError
        For a hop below one sample, or if another process writes there.
    AudioError
        If the recording cannot be read to its end.
    """
    rate = predictor.sample_rate
    hop = round(hop_seconds * rate) if 0 < hop_seconds < 86400 else 0
    if hop < 1:
        raise UsageError(f"expected --hop of one sample to a day, found {hop_seconds:g} s")
    spectrogram, answers = Strip(BANDS), Strip(len(predictor.classes))
    rows_to, picture = directory / "timeline.csv", directory / "timeline.png"
    with (
        opened(recording) as file,
        # The folder may be anyone's: other names than these are left alone.
        locked(directory / "timeline.lock", f"{rows_to} is being written", leftovers(rows_to), leftovers(picture)),
        replacing(rows_to) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as table,
        tqdm(total=stated_seconds(file), unit="s", unit_scale=True, desc=name, disable=None) as bar,
    ):
        rows = csv.writer(table)
        rows.writerow(["start_seconds", "end_seconds", *predictor.classes])
        # The picture's view, too, where the network does not take it.
        pieces = excerpts(stream(file, rate), predictor.size, sorted({*predictor.views, MEL.name}))
        parts = _parts(pieces, hop, spectrogram, MEL.grid(rate).hop)
        for _, start, outputs in itertools.chain.from_iterable(predictor.answers(parts)):
            probabilities, _ = predictor.fused(outputs)
            answers.add(probabilities[np.newaxis])
            times = (start / rate, (start + RAW.grid(rate).segment) / rate)
            rows.writerow([*(f"{time:.3f}" for time in times), *(f"{value:.5f}" for value in probabilities)])
            bar.update(start / rate - bar.n)
        table.flush()
        draw(picture, name, predictor, spectrogram, answers, hop)


def _parts(pieces: Iterable[Excerpt], hop: int, spectrogram: Strip, mel_hop: int) -> Iterator[Part]:
    """A segment every `hop` samples; the mel frames that go by are added to a strip."""
    for excerpt in pieces:
        first, last = ((sample - excerpt.offset) // mel_hop for sample in (excerpt.begin, excerpt.end))
        spectrogram.add(excerpt.values[MEL.name][first : None if excerpt.final else last])
        yield None, excerpt, np.arange(-(-excerpt.begin // hop) * hop, excerpt.end, hop)


def draw(path: Path, title: str, predictor: Predictor, spectrogram: Strip, answers: Strip, hop: int) -> None:
    """Write the picture: log mel spectrogram above, most probable classes below, on one axis of time.

    Parameters
    ----------
    spectrogram, answers : Strip
        Mel frames, and probabilities of all classes every `hop` samples.
    """
    from multiview.support import plots  # answers without a picture need no matplotlib

    rate, grid = predictor.sample_rate, MEL.grid(predictor.sample_rate)
    frames, probabilities = spectrogram.image(), answers.image()
    shown = np.sort(np.argsort(-probabilities.max(axis=0), kind="stable")[:CLASSES])

    def show(axes: Axes, image: np.ndarray, first: float, step: float, **options: Any) -> Any:
        begin, end = first / rate, (first + len(image) * step) / rate
        return plots.spectrogram(axes, image, begin, end, interpolation="nearest", **options)

    figure = plots.plt.figure(figsize=(12, 3.2 + 0.25 * len(shown)), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, max(1.2, 0.35 * len(shown))))
    top, step = float(frames.max()), grid.hop * spectrogram.merged
    levels = {"vmin": top - plots.DYNAMICS_DB, "vmax": top}
    shades = show(above, frames, (grid.window - grid.hop) / 2, step, frequencies=mel_frequencies(rate), **levels)
    above.set_title(title.encode("utf-8", "backslashreplace").decode())  # a name of a file may be no text
    figure.colorbar(shades, ax=above, label="mel, dB", pad=0.01)
    # Around the middle of each segment.
    middle, levels = (RAW.grid(rate).segment - hop) / 2, {"vmin": 0, "vmax": 1}
    shades = show(below, probabilities[:, shown[::-1]], middle, hop * answers.merged, cmap="viridis", **levels)
    below.set_yticks(range(len(shown)), [predictor.classes[index].replace("_", " ") for index in shown[::-1]])
    below.set(xlabel="seconds", ylabel="", xlim=(0, (grid.window + len(frames) * step) / rate))
    figure.colorbar(shades, ax=below, label="probability", pad=0.01)
    plots.save(figure, path)

"""Classes over time of a recording of any length: a table and a picture, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from multiview.audio import Sound, opened, stream
from multiview.evaluation import self_ensemble
from multiview.predict.predictor import Answer, Predictor
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.views import BANDS, MEL, RAW, Excerpt, excerpts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 1000  # of the picture, at least, where the recording is long enough
CLASSES = 12  # in the picture
DYNAMICS_DB = 80.0


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
    Eq. (6). Memory does not grow with the length of the recording.

    Parameters
    ----------
    hop_seconds : float
        Time from one segment to the next, of at least one sample.
    name : str
        What the recording is called in the picture.

    Raises
    ------
    InputError
        For a hop below one sample.
    AudioError
        If the recording cannot be read to its end.
    """
    rate = predictor.sample_rate
    hop = round(hop_seconds * rate) if 0 < hop_seconds < 86400 else 0
    if hop < 1:
        raise InputError(f"expected --hop of one sample to a day, found {hop_seconds:g} s")
    spectrogram, answers = Strip(BANDS), Strip(len(predictor.classes))
    with (
        opened(recording) as file,
        replacing(directory / "timeline.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as table,
        tqdm(total=_seconds(file), unit="s", unit_scale=True, desc=name, disable=None) as bar,
    ):
        rows = csv.writer(table)
        rows.writerow(["start_seconds", "end_seconds", *predictor.classes])
        # The picture's view, too, where the network does not take it.
        pieces = excerpts(stream(file, rate), predictor.size, sorted({*predictor.views, MEL.name}))
        for _, start, outputs in _answers(predictor, pieces, hop, spectrogram):
            probabilities = self_ensemble(outputs, predictor.weights)
            answers.add(probabilities[np.newaxis])
            times = (start / rate, (start + RAW.grid(rate).segment) / rate)
            rows.writerow([*(f"{time:.3f}" for time in times), *(f"{value:.5f}" for value in probabilities)])
            bar.update(start / rate - bar.n)
        table.flush()
        draw(directory / "timeline.png", name, predictor, spectrogram, answers, hop)


def _answers(predictor: Predictor, pieces: Iterable[Excerpt], hop: int, spectrogram: Strip) -> Iterator[Answer]:
    """What the network says of a segment every `hop` samples; the mel frames that go by are added to a strip."""
    batches, mel_hop = predictor.batches(), MEL.grid(predictor.sample_rate).hop
    for excerpt in pieces:
        first, last = ((sample - excerpt.offset) // mel_hop for sample in (excerpt.begin, excerpt.end))
        spectrogram.add(excerpt.values[MEL.name][first : None if excerpt.final else last])
        yield from batches.add(None, excerpt, np.arange(-(-excerpt.begin // hop) * hop, excerpt.end, hop))
    yield from batches.rest()


def _seconds(file: Sound) -> float | None:
    """Length that a header states; None where it states none."""
    seconds = file.frames / file.samplerate
    return seconds if 0 < seconds < 1e7 else None


def draw(path: Path, title: str, predictor: Predictor, spectrogram: Strip, answers: Strip, hop: int) -> None:
    """Write the picture: log mel spectrogram above, most probable classes below, on one axis of time.

    Parameters
    ----------
    spectrogram, answers : Strip
        Mel frames, and probabilities of all classes every `hop` samples.
    """
    from multiview.support.plots import plt, save  # answers without a picture need no matplotlib

    rate, grid = predictor.sample_rate, MEL.grid(predictor.sample_rate)
    frames, probabilities = spectrogram.image(), answers.image()
    shown = np.sort(np.argsort(-probabilities.max(axis=0), kind="stable")[:CLASSES])

    def show(axes: Axes, image: np.ndarray, first: float, step: float, **options: Any) -> Any:
        extent = (first / rate, (first + len(image) * step) / rate, image.shape[1] - 0.5, -0.5)
        return axes.imshow(image.T, aspect="auto", interpolation="nearest", extent=extent, **options)

    figure = plt.figure(figsize=(12, 3.2 + 0.25 * len(shown)), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, max(1.2, 0.35 * len(shown))))
    top, step = float(frames.max()), grid.hop * spectrogram.merged
    levels = {"cmap": "magma", "vmin": top - DYNAMICS_DB, "vmax": top}
    shades = show(above, frames, (grid.window - grid.hop) / 2, step, **levels)
    above.invert_yaxis()
    above.set(ylabel="mel band", title=title)
    figure.colorbar(shades, ax=above, label="dB", pad=0.01)
    # Around the middle of each segment.
    middle, levels = (RAW.grid(rate).segment - hop) / 2, {"cmap": "viridis", "vmin": 0, "vmax": 1}
    shades = show(below, probabilities[:, shown], middle, hop * answers.merged, **levels)
    below.set_yticks(range(len(shown)), [predictor.classes[index].replace("_", " ") for index in shown])
    below.set(xlabel="seconds", xlim=(0, (grid.window + len(frames) * step) / rate))
    figure.colorbar(shades, ax=below, label="probability", pad=0.01)
    save(figure, path)

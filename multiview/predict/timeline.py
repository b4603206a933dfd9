"""Classes over time of a recording of any length: a table and a picture, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from tqdm import tqdm

from data_prep.audio import opened, stream
from data_prep.views import BANDS, Excerpt, excerpts, geometry
from multiview.errors import InputError
from multiview.evaluation import self_ensemble
from multiview.figures import save
from multiview.files import replacing
from multiview.prediction import Predictor

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


def _draw(path: Path, title: str, predictor: Predictor, sound: Strip, answers: Strip, hop: int) -> None:
    """Log mel spectrogram above, most probable classes below, on one axis of time."""
    size = geometry(predictor.sample_rate)
    rate, spectrogram, probabilities = size.sample_rate, sound.image(), answers.image()
    shown = np.sort(np.argsort(-probabilities.max(axis=0), kind="stable")[:CLASSES])
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(12, 3.2 + 0.25 * len(shown)), height_ratios=(3, max(1.2, 0.35 * len(shown))),
        layout="constrained",
    )  # fmt: skip

    def show(axes: plt.Axes, image: np.ndarray, first: float, step: float, **options):
        extent = (first / rate, (first + len(image) * step) / rate, image.shape[1] - 0.5, -0.5)
        return axes.imshow(image.T, aspect="auto", interpolation="nearest", extent=extent, **options)

    top = float(spectrogram.max())
    shades = show(above, spectrogram, (size.window - size.hop) / 2, size.hop * sound.merged, cmap="magma",
                  vmin=top - DYNAMICS_DB, vmax=top)  # fmt: skip
    above.invert_yaxis()
    above.set(ylabel="mel band", title=title)
    figure.colorbar(shades, ax=above, label="dB", pad=0.01)
    # Around the middle of each segment.
    shades = show(below, probabilities[:, shown], (size.raw_segment - hop) / 2, hop * answers.merged, cmap="viridis",
                  vmin=0, vmax=1)  # fmt: skip
    below.set_yticks(range(len(shown)), [predictor.classes[index].replace("_", " ") for index in shown])
    below.set(xlabel="seconds", xlim=(0, (size.window + len(spectrogram) * size.hop * sound.merged) / rate))
    figure.colorbar(shades, ax=below, label="probability", pad=0.01)
    save(figure, path)


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
    rate, size = predictor.sample_rate, geometry(predictor.sample_rate)
    hop = round(hop_seconds * rate) if 0 < hop_seconds < 86400 else 0
    if hop < 1:
        raise InputError(f"expected --hop of one sample to a day, found {hop_seconds:g} s")
    sound, answers = Strip(BANDS), Strip(len(predictor.classes))

    with (
        opened(recording) as file,
        replacing(directory / "timeline.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as table,
        tqdm(total=_seconds(file), unit="s", unit_scale=True, desc=name, disable=None) as bar,
    ):
        rows = csv.writer(table)
        rows.writerow(["start_seconds", "end_seconds", *predictor.classes])

        def requests() -> Iterator[tuple[None, Excerpt, np.ndarray]]:
            for excerpt in excerpts(stream(file, rate), rate):
                frames = slice((excerpt.begin - excerpt.offset) // size.hop, (excerpt.end - excerpt.offset) // size.hop)
                sound.add(excerpt.views["mel"][frames.start : None if excerpt.final else frames.stop])
                yield None, excerpt, np.arange(-(-excerpt.begin // hop) * hop, excerpt.end, hop)

        for _, start, outputs in predictor.predict_at(requests()):
            probabilities = self_ensemble(outputs, predictor.weights)
            answers.add(probabilities[np.newaxis])
            times = (start / rate, (start + size.raw_segment) / rate)
            rows.writerow([*(f"{time:.3f}" for time in times), *(f"{value:.5f}" for value in probabilities)])
            bar.update(start / rate - bar.n)
        table.flush()
        _draw(directory / "timeline.png", name, predictor, sound, answers, hop)


def _seconds(file: soundfile.SoundFile) -> float | None:
    """Length that a header states; None where it states none."""
    seconds = file.frames / file.samplerate
    return seconds if 0 < seconds < 1e7 else None

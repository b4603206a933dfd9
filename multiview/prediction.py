"""Classes of a sound from the kept model of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.audio import AudioError, read_audio
from data_prep.views import extract, geometry
from multiview.errors import InputError
from multiview.evaluation import Segments, predict_segments, self_ensemble
from multiview.runs import Run
from multiview.segments import even_starts, test_count


@dataclass(frozen=True)
class OneClip:
    """The views of a single clip, in the place of a store."""

    values: dict[str, np.ndarray]
    sample_rate: int

    @property
    def offsets(self) -> dict[str, np.ndarray]:
        """Where the clip begins."""
        return {view: np.zeros(1, dtype=np.int64) for view in self.values}


class Predictor:
    """The kept model of a run, ready for sounds.

    Parameters
    ----------
    path : path
        A run directory.
    """

    def __init__(self, path: str | Path) -> None:
        run = Run(path)
        store = run.read()["store"]
        self.classes: list[str] = store["classes"]
        self.sample_rate: int = store["sample_rate"]
        self.model = run.load_model()

    def predict(self, waveform: np.ndarray) -> dict[str, float]:
        """Probability of each class by Eq. (6), averaged over segments as at test.

        Parameters
        ----------
        waveform : float array [samples]
            Mono at `self.sample_rate`, in [-1, 1].
        """
        clip = OneClip(extract(waveform, self.sample_rate), self.sample_rate)
        last = geometry(self.sample_rate).last_start(len(clip.values["raw"]))
        starts = even_starts(last, test_count(len(waveform), self.sample_rate))
        segments = Segments(np.zeros_like(starts), starts)
        outputs = predict_segments(self.model, clip, segments)
        mean = {branch: probabilities.mean(axis=0) for branch, probabilities in outputs.items()}
        return dict(zip(self.classes, self_ensemble(mean, self.model.weights_by_branch()).tolist(), strict=True))

    def predict_file(self, path: str | Path) -> dict[str, float]:
        """As `predict`, for a sound file of any rate and number of channels.

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        try:
            return self.predict(read_audio(path, self.sample_rate))
        except AudioError as error:
            raise InputError(f"{path}: {error}; expected a sound file that libsndfile reads") from error

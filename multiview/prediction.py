"""Classes of a sound from the kept model of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.audio import AudioError, read_audio
from data_prep.views import extract, geometry
from multiview.errors import InputError
from multiview.evaluation import BATCH_SIZE, self_ensemble
from multiview.runs import Run
from multiview.segments import cut, even_starts, test_count


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
        size, values = geometry(self.sample_rate), extract(waveform, self.sample_rate)
        last = size.last_start(len(values["raw"]))
        starts = even_starts(last, test_count(len(waveform), self.sample_rate))
        offsets = {view: np.array([0]) for view in values}
        outputs = []
        for begin in range(0, len(starts), BATCH_SIZE):
            some = starts[begin : begin + BATCH_SIZE]
            clips = np.zeros(len(some), dtype=np.int64)
            batch = cut(values, offsets, size, list(self.model.input), clips, some)
            outputs.append(self.model.predict_on_batch(batch))
        mean = {
            branch: np.concatenate([output[branch] for output in outputs]).mean(axis=0)
            for branch in self.model.branches
        }
        weights = dict(zip(self.model.branches, np.array(self.model.branch_weights).tolist(), strict=True))
        return dict(zip(self.classes, self_ensemble(mean, weights).tolist(), strict=True))

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

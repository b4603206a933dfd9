"""Probabilities that mean what they say: a temperature a branch and one for Eq. (6), and how far off they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from multiview.evaluation import average_by_clip, decisions, predict_segments, self_ensemble
from multiview.segments import test_segments
from multiview.store import Store
from multiview.support import records

if TYPE_CHECKING:
    from multiview.networks import BlendedModel

MAX_TEMPERATURE = 8.0  # and its inverse is the least
PRIOR_LOG_DEVIATION = float(np.log(2))  # of a temperature around 1, before any clip is seen
LEAST = float(np.finfo(np.float32).tiny)  # below it the probabilities of a softmax are 0
BINS = 15
_TEMPERATURE = records.number(1 / MAX_TEMPERATURE, MAX_TEMPERATURE)
RECORD = records.fields({"branches": records.mapping(_TEMPERATURE), "self_ensemble": _TEMPERATURE})


@dataclass(frozen=True)
class Calibration:
    """The temperatures of a network: of each branch, and of the self-ensemble of Eq. (6).

    Eq. (6) fuses the probabilities as the branches give them, as in the paper, and what it gives has a temperature of
    its own: so no temperature changes the most probable class of a branch or of the ensemble, nor any accuracy.
    """

    branches: Mapping[str, float]
    self_ensemble: float

    @classmethod
    def of_record(cls, record: Mapping | None) -> Calibration | None:
        """That of a record as `RECORD` wants it; None where there is none, as in runs and exports made before."""
        return None if record is None else cls(record["branches"], record["self_ensemble"])


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature: softmax(log p / T) over the last axis; float32.

    Above 1 they are less sure, below 1 surer; the order of classes stays. `export.service` has the same in a graph.
    """
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, LEAST).astype(np.float64)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature at which clips are best told by their probabilities (Guo et al., ICML 2017).

    The negative log-likelihood of the labels is minimised over log T, with a prior on it: normal around 0 with a
    deviation of log 2, which counts as little as a few clips do. So a handful of clips moves T little, clips that are
    all right do not make it fall without end, and it lies between 1/8 and 8.

    Parameters
    ----------
    probabilities : float array [clips, classes]
    labels : int array [clips]

    Returns
    -------
    float
    """
    from scipy.optimize import minimize_scalar  # takes a while to load, and only training asks
    from scipy.special import log_softmax

    logits = np.log(np.maximum(probabilities, LEAST).astype(np.float64))
    rows = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        told = log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].sum()
        return (log_temperature / PRIOR_LOG_DEVIATION) ** 2 / 2 - told

    bound = float(np.log(MAX_TEMPERATURE))
    return float(np.exp(minimize_scalar(cost, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}).x))


def calibrate(model: BlendedModel, store: Store, clips: np.ndarray) -> Calibration:
    """Temperatures of a network's branches and of their Eq. (6), on the means over the test segments of some clips.

    Parameters
    ----------
    clips : int64 [clips]
        Rows of the store that the network was not trained on: those of validation.
    """
    segments = test_segments(clips, store.samples[clips], store.size)
    outputs = predict_segments(model, store, segments)
    means = {branch: average_by_clip(values, segments.clips) for branch, values in outputs.items()}
    labels = store.labels[clips]
    return Calibration(
        {branch: fit_temperature(values, labels) for branch, values in means.items()},
        fit_temperature(self_ensemble(means, model.weights_by_branch()), labels),
    )


@dataclass(frozen=True)
class Reliability:
    """Clips by how sure the most probable class is, in `BINS` bins of equal width; float64 [bins] each.

    `clips` is how many are in a bin, `confidence` is the mean probability of their most probable class, and `accuracy`
    the share of them that is right; both are NaN in empty bins.
    """

    clips: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over clips of |accuracy - confidence| of their bin.

        Naeini, Cooper, and Hauskrecht, *Obtaining Well Calibrated Probabilities Using Bayesian Binning*, AAAI 2015,
        with the 15 bins of Guo, Pleiss, Sun, and Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017,
        eqs. (2), (3) and (5): bin m of M holds the clips whose probability is in ((m - 1) / M, m / M].
        """
        return float(np.nansum(self.clips * np.abs(self.accuracy - self.confidence)) / self.clips.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray | float = 1.0) -> Reliability:
    """How well the probabilities [clips, classes] of the most probable class say how often it is right.

    Each row counts as much of a clip as `shares` [clips] says, all as a whole one by default.
    """
    sure, right = probabilities.max(axis=1).astype(np.float64), decisions(probabilities) == labels
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    shares = np.broadcast_to(shares, len(bins))
    count, confidence, accuracy = (np.bincount(bins, shares * each, BINS) for each in (1, sure, right))
    with np.errstate(invalid="ignore"):
        return Reliability(count, confidence / count, accuracy / count)

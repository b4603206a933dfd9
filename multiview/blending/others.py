"""Rules that are not Algorithm 1: by slopes, by training losses alone, and by validation losses as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiview.blending.algorithm_1 import EPSILON
from multiview.blending.base import Rule


def slope(losses: np.ndarray) -> np.ndarray:
    """Least-squares slope of losses [evaluations, K] over evaluations; float64 [K], 0 for fewer than two."""
    t = np.arange(len(losses)) - (len(losses) - 1) / 2
    return t @ losses / (t @ t or 1.0)


class Slopes(Rule):
    """Slopes against the steepest so far, as in the code of the paper's first author for XSleepNet 2.

    With s the least-squares slopes of the last W smoothed losses and s* those at which validation fell most steeply,

        G = s_validation - s*_validation,
        O = (s_validation - s_train) - (s*_validation - s*_train),
        w = max(G, 0) / (O^2 + epsilon) / Z,  floored at 1e-5.

    Both s* start as the slopes of evaluation W - 1 and move, after the weight is computed, when s_validation gets
    below s*_validation. G grows as a loss flattens: the sign is that code's, not Eq. (3)'s. It is 0 only where
    validation falls as never before. That code floors positive weights alone, leaves one of 0 at 0, and has its first
    weights at evaluation W + 1, not W. At W = 1 there are no slopes, and the weights stay uniform.
    """

    epsilon, floor = EPSILON, 1e-5

    def __init__(self, branches: Sequence[str], window: int = 20) -> None:
        super().__init__(branches, window)
        self.references: dict[str, np.ndarray] = {}

    def slopes(self, n: int) -> dict[str, np.ndarray]:
        """Slopes at evaluation n of the training and validation losses, float64 [K] each."""
        W, ends = self.window, range(max(n + 2 - self.window, 1), n + 2)
        return {
            part: slope(np.array([np.mean(losses[max(end - W, 0) : end], axis=0) for end in ends]))
            for part, losses in self.history.items()
        }

    def measure(self) -> np.ndarray:
        """What is before Z; nothing in the first W evaluations."""
        n = len(self.history["train"]) - 1
        if n < self.window:
            return np.zeros(len(self.branches))
        best, now = self.references or self.slopes(n - 1), self.slopes(n)
        G = now["validation"] - best["validation"]
        O = G - (now["train"] - best["train"])  # noqa: E741
        self.references = {part: np.where(G < 0, now[part], best[part]) for part in now}
        raw = np.maximum(G, 0) / (O**2 + self.epsilon)
        return np.maximum(raw / raw.sum(), self.floor) if raw.any() else raw


class DynamicWeightAverage(Rule):
    """Dynamic weight averaging (Liu et al., CVPR 2019) on smoothed training losses L: what falls slower gets more.

    w(n) = exp(r / T) / Z with r = L(n) / L(n - 1) and T = 2. Losses below 1e-6 count as 1e-6 in the denominator.
    """

    temperature = 2.0

    def measure(self) -> np.ndarray:
        """The exponentials, the largest being 1."""
        now = self.smooth("train")
        earlier = self.history["train"][-self.window - 1 : -1]
        before = np.mean(earlier, axis=0) if earlier else now
        ratio = now / np.maximum(before, EPSILON) / self.temperature
        return np.exp(ratio - ratio.max())


class InverseLoss(Rule):
    """w = 1 / L^2 / Z with L the smoothed validation losses: what predicts unseen clips better counts for more.

    Changes of L are small beside L, so the weights move slowly, and those of Eq. (6) follow what the branches are
    worth to the ensemble. Losses below 1e-6 count as 1e-6.
    """

    power = 2

    def measure(self) -> np.ndarray:
        """The smallest loss by each, to the power; the largest is 1."""
        losses = np.maximum(self.smooth("validation"), EPSILON)
        return (losses.min() / losses) ** self.power

"""Algorithm 1 read in other ways, or kept from extremes. What is not in the paper says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiview.blending.algorithm_1 import Algorithm1
from multiview.systems import JOINT


class Signed(Algorithm1):
    """Eq. (5) without a clamp at 0: w = |G| / (O^2 + epsilon) / Z.

    Where all G have one sign, that is Eq. (5) to the letter: with all G negative so is Z, the ratios are
    positive, and of two branches that lost alike the one that overfits more gets less. With mixed signs Eq. (5)
    has negative weights, or a Z near 0; there the magnitude counts: how far a branch is from its best, on
    either side.
    """

    def measure(self) -> np.ndarray:
        """Eq. (5) before Z, by magnitude."""
        G, O = self.gains()  # noqa: E741
        return np.abs(G) / (O**2 + self.epsilon)


class Damped(Signed):
    """`Signed` with 0.01 for epsilon: O counts only where it is well above 0.1, the noise of ESC-10's losses."""

    epsilon = 1e-2


class Scaled(Algorithm1):
    """Algorithm 1 with epsilon = 1e-6 + s^2 / W, branch by branch: an O below its own noise does not count.

    s^2 is the variance of the noise of L_validation - L_train, whose mean over W is what changes in O.
    The second differences D of a straight line with independent noise have the variance 6 s^2, so
    s = median |D| / 0.6745 / sqrt(6) over all evaluations so far, which single spikes leave alone.
    """

    def measure(self) -> np.ndarray:
        """Eq. (5) before Z."""
        G, O = self.gains()  # noqa: E741
        return np.maximum(G, 0) / (O**2 + self.epsilon + self.noise() ** 2 / self.window)

    def noise(self) -> np.ndarray:
        """The standard deviation s, float64 [K]; 0 before there are three losses."""
        gap = np.subtract(self.history["validation"], self.history["train"])
        if len(gap) < 3:
            return np.zeros(len(self.branches))
        return np.median(np.abs(np.diff(gap, n=2, axis=0)), axis=0) / 0.6745 / np.sqrt(6)


class Averaged(Algorithm1):
    """The weights of Algorithm 1, averaged over the last W evaluations."""

    def __init__(self, branches: Sequence[str], window: int = 20) -> None:
        super().__init__(branches, window)
        self._weights: list[np.ndarray] = []

    def settle(self, weights: np.ndarray) -> np.ndarray:
        """The mean over the window."""
        self._weights.append(weights)
        return np.mean(self._weights[-self.window :], axis=0)


class DampedAveraged(Averaged, Damped):
    """The weights of `Damped`, averaged over the last W evaluations."""


class Floored(Algorithm1):
    """The weights w of Algorithm 1, averaged and mixed with uniform ones: (1 - a) m + a / K, a = 0.5.

    m(n) = 0.9 m(n - 1) + 0.1 w(n) from uniform weights on. No branch has less than a / K.
    """

    decay, share = 0.9, 0.5

    def __init__(self, branches: Sequence[str], window: int = 20) -> None:
        super().__init__(branches, window)
        self._mean = self.uniform

    def settle(self, weights: np.ndarray) -> np.ndarray:
        """The mixture."""
        self._mean = self.decay * self._mean + (1 - self.decay) * weights
        return (1 - self.share) * self._mean + self.share * self.uniform


class JointFixed(Averaged):
    """A constant 0.4 for the branch on all views; the rest to the views by `Averaged`, whose Z is over them alone.

    The average runs over the uniform weights of the start, too, so the joint branch goes from 1 / K to 0.4
    within the first W evaluations at which weights move. Without such a branch, and with it alone, it is `Averaged`.
    """

    share = 0.4

    def measure(self) -> np.ndarray:
        """The weights, which sum to 1."""
        raw = super().measure()
        if JOINT not in self.branches or len(self.branches) == 1:
            return raw
        joint = np.array(self.branches) == JOINT
        raw[joint] = 0
        raw = raw if raw.any() else np.where(joint, 0.0, 1.0)
        return np.where(joint, self.share, (1 - self.share) * raw / raw.sum())

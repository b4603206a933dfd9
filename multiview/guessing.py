"""What an accuracy is worth: what guessing gives without a look at the sounds, and how sure a share of clips is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Guessing:
    """Accuracies of who does not listen, as fractions.

    Parameters
    ----------
    chance : float
        Of any of the K classes at random: 1 / K.
    frequent : float
        Of one class for every clip, the most frequent one of those that are tested: no constant answer is better.
    """

    chance: float
    frequent: float

    @classmethod
    def of(cls, labels: np.ndarray, classes: int) -> Guessing:
        """That of test clips with these labels, int [clips]."""
        return cls(1 / classes, float(np.bincount(labels).max() / len(labels)))

    def __str__(self) -> str:
        return f"chance gives {100 * self.chance:.2f} %, the most frequent class for all {100 * self.frequent:.2f} %"


@dataclass(frozen=True)
class Share:
    """So many right of so many clips."""

    right: int
    clips: int

    @classmethod
    def of(cls, accuracy: float, clips: int) -> Share:
        """From an accuracy as a fraction."""
        return cls(round(accuracy * clips), clips)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, fractions; clips count as independent."""
        from scipy.stats import binomtest  # takes a while to load

        found = binomtest(self.right, self.clips).proportion_ci(CONFIDENCE, "wilson")
        return float(found.low), float(found.high)

    def beats(self, guessing: Guessing) -> bool:
        """Whether the whole interval lies above what guessing gives."""
        return self.interval[0] > max(guessing.chance, guessing.frequent)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * low:.2f} to {100 * high:.2f}"

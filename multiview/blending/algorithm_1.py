"""Algorithm 1 as it is read here, and with the references of the paper's [17, 18]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiview.blending.base import Rule

EPSILON = 1e-6  # keeps Eq. (5) finite where nothing overfits


class Algorithm1(Rule):
    """Algorithm 1: the gain over the best smoothed losses so far, by the square of the overfitting.

    Attributes
    ----------
    references : dict
        `train` and `validation`: what gains are measured against, float64 [K]; empty at the start.
    """

    references_move = True
    epsilon = EPSILON

    def __init__(self, branches: Sequence[str], window: int = 20) -> None:
        super().__init__(branches, window)
        self.references: dict[str, np.ndarray] = {}

    def gains(self) -> tuple[np.ndarray, np.ndarray]:
        """G and O of Eqs. (3) and (4) on smoothed losses, float64 [K] each; then the references move."""
        smooth = {part: self.smooth(part) for part in self.history}  # lines 8 and 9
        self.references = self.references or dict(smooth)
        gain = {part: self.references[part] - smooth[part] for part in smooth}
        G = gain["validation"]  # line 10, Eq. (3)
        O = gain["train"] - gain["validation"]  # noqa: E741  line 11, Eq. (4)
        if self.references_move:  # lines 13 and 14, which nothing of this evaluation sees any more
            self.references = {part: np.minimum(self.references[part], smooth[part]) for part in smooth}
        return G, O

    def measure(self) -> np.ndarray:
        """Eq. (5) before Z, where G counts as 0 below it."""
        G, O = self.gains()  # noqa: E741
        return np.maximum(G, 0) / (O**2 + self.epsilon)  # line 12, Eq. (5)


class FixedReferences(Algorithm1):
    """Gains over the losses of evaluation 0."""

    references_move = False

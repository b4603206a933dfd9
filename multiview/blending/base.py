"""What all rules for the weights share, and how one is declared."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from multiview.support.errors import InputError
from multiview.support.registry import Registry


class DivergedError(ArithmeticError):
    """A loss is NaN, infinite or exploded; the message says which, and when."""


class Rule(abc.ABC):
    """How the weights of all branches follow from their losses; subclasses say what `measure` is.

    At each evaluation n = 0, 1, 2, ..., where 0 is before the first update, `update` takes the losses
    of every branch on the monitor clips and on the validation clips.

    Parameters
    ----------
    branches : sequence of str
        Names, in the order of the weights.
    window : int
        W, the number of evaluations that are averaged, and during which the weights stay uniform.

    Attributes
    ----------
    history : dict
        `train` and `validation`: every loss so far, lists of K floats.
    """

    def __init__(self, branches: Sequence[str], window: int = 20) -> None:
        if window < 1:
            raise ValueError(f"expected a window of at least 1 evaluation, found {window}")
        self.branches = tuple(branches)
        self.window = window
        self.history: dict[str, list[list[float]]] = {"train": [], "validation": []}

    @property
    def uniform(self) -> np.ndarray:
        """1/K for each branch, float64 [K]."""
        return np.full(len(self.branches), 1 / len(self.branches))

    def smooth(self, part: str) -> np.ndarray:
        """Mean of the last W losses, fewer at the start; float64 [K]. Lines 8 and 9 of Algorithm 1."""
        return np.mean(self.history[part][-self.window :], axis=0)

    def update(self, train: Mapping[str, float], validation: Mapping[str, float], warm_up: bool = False) -> np.ndarray:
        """Take the losses of evaluation n and return the weights w(n) for the steps that follow.

        Parameters
        ----------
        train, validation : mapping
            Branch to cross-entropy, Eq. (1).
        warm_up : bool
            Keep the weights uniform, as during the warm-up epochs.

        Returns
        -------
        float64 [K]
            Non-negative, summing to 1.

        Raises
        ------
        DivergedError
            If a loss is NaN or infinite; the state is then unchanged.
        """
        n = len(self.history["train"])
        for name, losses in (("training", train), ("validation", validation)):
            for branch in self.branches:
                if not np.isfinite(losses[branch]):
                    raise DivergedError(f"the {name} loss of branch {branch} is {losses[branch]} at evaluation {n}")
        for part, losses in (("train", train), ("validation", validation)):
            self.history[part].append([float(losses[branch]) for branch in self.branches])
        raw = np.asarray(self.measure(), np.float64)
        if raw.shape != self.uniform.shape or not (np.isfinite(raw) & (raw >= 0)).all():
            raise InputError(
                f"blending {type(self).__module__}.{type(self).__name__}: field measure: expected "
                f"{len(self.branches)} finite numbers from 0, found {raw.tolist()}; mend it"
            )
        keep_uniform = warm_up or n < self.window or not raw.any()
        return self.settle(self.uniform if keep_uniform else raw / raw.sum())  # the sum is Z of Eq. (5)

    @abc.abstractmethod
    def measure(self) -> np.ndarray:
        """What the weights are proportional to, after the latest losses; non-negative, float64 [K]. All 0: uniform."""

    def settle(self, weights: np.ndarray) -> np.ndarray:
        """The weights to use, where they are not those of this evaluation alone."""
        return weights


class Uniform(Rule):
    """The same weight for every branch, throughout."""

    def measure(self) -> np.ndarray:
        """Nothing, which gives uniform weights."""
        return np.zeros(len(self.branches))


@dataclass(frozen=True)
class Blending:
    """A rule that training may follow: its name, what it does in half a sentence, and its class.

    `rule` takes the names of the branches and W, as `Rule` does.
    """

    name: str
    text: str
    rule: type[Rule]

    def __post_init__(self) -> None:
        if not (isinstance(self.rule, type) and issubclass(self.rule, Rule)) or inspect.isabstract(self.rule):
            raise InputError(
                f"blending {self.name}: field rule: expected a subclass of Rule that defines measure, "
                f"found {self.rule!r}; mend it"
            )


BLENDINGS: Registry[Blending] = Registry("blending")

"""The paper's claims as questions with numbers: differences between rows of Table 3, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from multiview.experiment.results import by_fold
from multiview.experiment.run import Trial
from multiview.report.section import Section
from multiview.support.registry import Registry
from multiview.systems import CONCAT, JOINT, LATE_FUSION, label
from multiview.views import VIEWS

LEVEL = 0.05  # of the test, and of the interval
DRAWS = 10_000  # of the bootstrap
MIN_FOLDS, MIN_CLIPS = 2, 100  # with fewer, the data support nothing
SEED = 0

# Whether each test clip was right, by row of Table 3 and trial; the clips of a fold in the same order.
Correct = Mapping[str, Mapping[Trial, np.ndarray]]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, as a question.

    Parameters
    ----------
    name, question : str
        In files, and in words.
    row : str
        The row of Table 3 that it is about.
    baselines : tuple of str
        The rows of which the best is what it is compared with.
    single_views : bool
        Whether every view by itself is such a baseline, too.
    """

    name: str
    question: str
    row: str
    baselines: tuple[str, ...] = ()
    single_views: bool = False

    @property
    def candidates(self) -> tuple[str, ...]:
        """All baselines."""
        return (*self.baselines, *(VIEWS if self.single_views else ()))


CLAIMS: Registry[Claim] = Registry("claim")
CLAIMS.register(
    Claim(
        "joint",
        "Is the multi-view network better than the best baseline?",
        JOINT,
        baselines=(LATE_FUSION, CONCAT.name),
        single_views=True,
    )
)
CLAIMS.register(
    Claim(
        "ensemble",
        "Is the self-ensemble of its branches better than its joint branch?",
        "self_ensemble",
        baselines=(JOINT,),
    )
)
CLAIMS.register(
    Claim("concatenation", "Is concatenation better than the best single view?", CONCAT.name, single_views=True)
)
CLAIMS.register(Claim("fusion", "Is late fusion better than the best single view?", LATE_FUSION, single_views=True))


@dataclass(frozen=True)
class Comparison:
    """One row of Table 3 against another, on the folds and seeds that both have.

    `difference` is the mean over folds of the difference in accuracy, `low` and `high` bound its 95 %
    interval, and `deviation` is its standard deviation over folds (n - 1), all in points; `better` and
    `worse` count the answers of `seeds` networks to each of `clips` that only one of the two has right, and `p` is of
    the exact sign test over clips, McNemar's where there is one seed.
    """

    row: str
    against: str
    folds: int
    clips: int
    difference: float
    low: float
    high: float
    deviation: float
    better: int
    worse: int
    p: float
    seeds: int = 1

    @property
    def verdict(self) -> str:
        """A sentence that says what the data support."""
        row, against = label(self.row), label(self.against)
        if self.folds < MIN_FOLDS or self.clips < MIN_CLIPS:
            folds = "1 fold" if self.folds == 1 else f"{self.folds} folds"
            return f"{folds} with {self.clips} clips support nothing about {row} and {against}."
        if self.p < LEVEL and self.low > 0:
            return f"{row} is better than {against}."
        if self.p < LEVEL and self.high < 0:
            return f"{row} is worse than {against}."
        return f"The data do not tell {row} and {against} apart."

    def cells(self) -> dict[str, str]:
        """What tables for people say of it, by column."""
        return {
            "points, 95 % interval": f"{self.difference:+.2f} ({self.low:+.2f} to {self.high:+.2f})",
            "folds, clips": f"{self.folds}, {self.clips}" + (f", {self.seeds} seeds" if self.seeds > 1 else ""),
            "only this / only that right": f"{self.better} / {self.worse}",
            "p": f"{self.p:.3f}" if self.p >= 0.001 else "< 0.001",
            "what the data say": self.verdict,
        }


def sign_test(sums: np.ndarray) -> float:
    """Two-sided p of the sum of `sums`, int [clips], if each had either sign with probability 1/2; exact.

    McNemar's exact test where they are -1, 0 or 1. All answers to a clip keep one sign, as they are not independent.
    """
    chances = np.ones(1)  # of the sum of the signs so far, from its least value up, in steps of 2
    for size, count in zip(*np.unique(np.abs(sums[sums != 0]), return_counts=True), strict=True):
        of_this = np.zeros(int(size * count) + 1)
        of_this[:: int(size)] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, of_this)
    possible = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return float(min(1.0, chances[np.abs(possible) >= abs(int(sums.sum()))].sum()))


def bootstrap(differences: Mapping[int, np.ndarray]) -> tuple[float, float]:
    """Interval of the mean over folds of the mean difference of a fold, clips drawn anew within each fold.

    Parameters
    ----------
    differences : mapping by fold
        Of each clip, in [-1, 1], the mean over seeds.
    """
    rng = np.random.default_rng(SEED)
    means = np.zeros(DRAWS)
    for each in differences.values():
        # How often each value is drawn is all that matters.
        values, counts = np.unique(each, return_counts=True)
        means += rng.multinomial(len(each), counts / len(each), size=DRAWS) @ values / len(each)
    low, high = np.quantile(means / len(differences), [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _exact(points: float) -> float:
    """Without the rounding errors of sums of fractions, by which a tie would have a sign."""
    return round(float(points), 9) + 0.0


def compare(correct: Correct, row: str, against: str) -> Comparison | None:
    """`row` against `against`, None where they have no trial in common."""
    trials = set(correct.get(row, ())) & set(correct.get(against, ()))
    if not trials:
        return None
    folds = by_fold({trial: correct[row][trial].astype(int) - correct[against][trial] for trial in trials})
    points = 100 * np.array([each.mean() for each in folds.values()])
    every = np.concatenate([each.ravel() for each in folds.values()])
    low, high = bootstrap({fold: each.mean(axis=0) for fold, each in folds.items()})
    common = math.lcm(*map(len, folds.values()))  # as whole numbers what the seeds of a clip say on average
    return Comparison(
        row=row,
        against=against,
        folds=len(folds),
        clips=sum(each.shape[1] for each in folds.values()),
        difference=_exact(points.mean()),
        low=_exact(100 * low),
        high=_exact(100 * high),
        deviation=float(points.std(ddof=1)) if len(folds) > 1 else float("nan"),
        better=int((every > 0).sum()),
        worse=int((every < 0).sum()),
        p=sign_test(np.concatenate([each.sum(axis=0) * (common // len(each)) for each in folds.values()])),
        seeds=max(len(each) for each in folds.values()),
    )


def best_of(correct: Correct, row: str, candidates: tuple[str, ...]) -> str | None:
    """The candidate with the highest mean accuracy, of those that share the most trials with `row`."""
    trials = {name: set(correct.get(row, ())) & set(correct.get(name, ())) for name in candidates}
    most = max(map(len, trials.values()))
    scores = {
        name: np.mean([each.mean() for each in by_fold({trial: correct[name][trial] for trial in shared}).values()])
        for name, shared in trials.items()
        if shared and len(shared) == most
    }
    return max(scores, key=scores.__getitem__) if scores else None


def claims(correct: Correct) -> dict[str, Comparison]:
    """The paper's claims by name, of which every row is there."""
    found = {}
    for name, claim in CLAIMS.items():
        best = best_of(correct, claim.row, claim.candidates)
        comparison = compare(correct, claim.row, best) if best else None
        if comparison:
            found[name] = comparison
    return found


def _test(comparisons: Iterable[Comparison]) -> str:
    if max(each.seeds for each in comparisons) == 1:
        return "McNemar's exact test over all clips"
    return "the exact sign test over all clips, the answers of all seeds to a clip counting as one"


def claims_section(correct: Correct) -> Section | None:
    """The claims, with how to read them; None where no row has anything to be compared with."""
    found = claims(correct)
    if not found:
        return None
    cells = [
        {"question": f"{label(each.row)} against {label(each.against)}", **each.cells()} for each in found.values()
    ]
    data = [
        {**vars(each), "verdict": each.verdict, "claim": name, "question": CLAIMS[name].question}
        for name, each in found.items()
    ]
    note = (
        "Points are the mean over folds of the difference in clip-level accuracy. The interval is a percentile "
        f"bootstrap over clips within folds ({DRAWS} draws), p that of {_test(found.values())}, each "
        "question by itself. Both take clips as independent and the trained networks as given: another seed can "
        "move a row by more. The best baseline is chosen on these same clips, which favours it."
    )
    return Section(
        "Claims",
        pd.DataFrame(cells),
        (note,),
        lead=(" ".join(CLAIMS[name].question for name in found),),
        file="claims",
        data=pd.DataFrame(data),
    )

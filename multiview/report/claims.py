"""The paper's claims as questions with numbers: differences between rows of Table 3, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from multiview.report.section import Section
from multiview.support.registry import Registry
from multiview.systems import CONCAT, JOINT, LATE_FUSION, label
from multiview.views import VIEWS

LEVEL = 0.05  # of the test, and of the interval
DRAWS = 10_000  # of the bootstrap
MIN_FOLDS, MIN_CLIPS = 2, 100  # with fewer, the data support nothing
SEED = 0

# Whether each test clip was right, by row of Table 3 and fold; the clips of a fold in the same order.
Correct = Mapping[str, Mapping[int, np.ndarray]]


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
    """One row of Table 3 against another, on the folds that both have.

    `difference` is the mean over folds of the difference in accuracy, `low` and `high` bound its 95 %
    interval, and `deviation` is its standard deviation over folds (n - 1), all in points; `better` and
    `worse` count the clips that only one of the two has right, and `p` is of McNemar's exact test.
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
            "folds, clips": f"{self.folds}, {self.clips}",
            "only this / only that right": f"{self.better} / {self.worse}",
            "p": f"{self.p:.3f}" if self.p >= 0.001 else "< 0.001",
            "what the data say": self.verdict,
        }


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p of McNemar's exact test: `better` of `better + worse` fair coins."""
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def bootstrap(differences: Mapping[int, np.ndarray]) -> tuple[float, float]:
    """Interval of the mean over folds of the mean difference of a fold, clips drawn anew within each fold.

    Parameters
    ----------
    differences : mapping by fold
        -1, 0 or 1 for each clip.
    """
    rng = np.random.default_rng(SEED)
    means = np.zeros(DRAWS)
    for each in differences.values():
        # How often each of the three values is drawn is all that matters.
        counts = rng.multinomial(len(each), [np.mean(each == value) for value in (-1, 0, 1)], size=DRAWS)
        means += (counts[:, 2] - counts[:, 0]) / len(each)
    low, high = np.quantile(means / len(differences), [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def compare(correct: Correct, row: str, against: str) -> Comparison | None:
    """`row` against `against`, None where they have no fold in common."""
    folds = sorted(set(correct.get(row, ())) & set(correct.get(against, ())))
    if not folds:
        return None
    differences = {fold: correct[row][fold].astype(int) - correct[against][fold] for fold in folds}
    by_fold = 100 * np.array([each.mean() for each in differences.values()])
    every = np.concatenate(list(differences.values()))
    better, worse = int((every > 0).sum()), int((every < 0).sum())
    low, high = bootstrap(differences)
    return Comparison(
        row=row,
        against=against,
        folds=len(folds),
        clips=len(every),
        difference=float(by_fold.mean()),
        low=100 * low,
        high=100 * high,
        deviation=float(by_fold.std(ddof=1)) if len(folds) > 1 else float("nan"),
        better=better,
        worse=worse,
        p=mcnemar(better, worse),
    )


def best_of(correct: Correct, row: str, candidates: tuple[str, ...]) -> str | None:
    """The candidate with the highest mean accuracy, of those that share the most folds with `row`."""
    folds = {name: set(correct.get(row, ())) & set(correct.get(name, ())) for name in candidates}
    most = max(map(len, folds.values()))
    scores = {
        name: np.mean([correct[name][fold].mean() for fold in shared])
        for name, shared in folds.items()
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
        f"bootstrap over clips within folds ({DRAWS} draws), p that of McNemar's exact test over all clips, each "
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

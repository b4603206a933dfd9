"""The paper's claims as questions with numbers: differences between rows of Table 3, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from multiview.names import JOINT, LABELS, VIEWS

LEVEL = 0.05  # of the test, and of the interval
DRAWS = 10_000  # of the bootstrap
MIN_FOLDS, MIN_CLIPS = 2, 100  # with fewer, the data support nothing
SEED = 0

# Whether each test clip was right, by row of Table 3 and fold; the clips of a fold in the same order.
Correct = Mapping[str, Mapping[int, np.ndarray]]

# A row, and the baselines of which the best is what it is compared with.
QUESTIONS = (
    (JOINT, ("late_fusion", "concat", *VIEWS)),
    ("self_ensemble", (JOINT,)),
    ("concat", VIEWS),
    ("late_fusion", VIEWS),
)


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
        row, against = LABELS[self.row], LABELS[self.against]
        if self.folds < MIN_FOLDS or self.clips < MIN_CLIPS:
            folds = "1 fold" if self.folds == 1 else f"{self.folds} folds"
            return f"{folds} with {self.clips} clips support nothing about {row} and {against}."
        if self.p < LEVEL and self.low > 0:
            return f"{row} is better than {against}."
        if self.p < LEVEL and self.high < 0:
            return f"{row} is worse than {against}."
        return f"The data do not tell {row} and {against} apart."


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
    return max(scores, key=scores.get) if scores else None


def claims(correct: Correct) -> list[Comparison]:
    """The paper's claims, of which every row is there."""
    found = [
        compare(correct, row, best)
        for row, candidates in QUESTIONS
        for best in [best_of(correct, row, candidates)]
        if best is not None
    ]
    return [comparison for comparison in found if comparison]


def claims_table(comparisons: list[Comparison]) -> pd.DataFrame:
    """One line a claim, as `claims.csv` has it."""
    return pd.DataFrame([{**vars(each), "verdict": each.verdict} for each in comparisons])


def claims_markdown(comparisons: list[Comparison]) -> str:
    """The claims as Markdown, with how to read them."""
    lines = [
        "| question | points, 95 % interval | folds, clips | only this / only that right | p | what the data say |",
        "|---|---|---|---|---|---|",
    ]
    for each in comparisons:
        lines.append(
            f"| {LABELS[each.row]} against {LABELS[each.against]} | {each.difference:+.2f} "
            f"({each.low:+.2f} to {each.high:+.2f}) | {each.folds}, {each.clips} | {each.better} / {each.worse} | "
            f"{each.p:.3g} | {each.verdict} |"
        )
    lines += [
        "",
        "Points are the mean over folds of the difference in clip-level accuracy. The interval is a percentile "
        f"bootstrap over clips within folds ({DRAWS} draws), p that of McNemar's exact test over all clips, each "
        "question by itself. Both take clips as independent and the trained networks as given: another seed can "
        "move a row by more. The best baseline is chosen on these same clips, which favours it.",
    ]
    return "\n".join(lines) + "\n"

"""Statistics of the claims against closed forms and plain resampling."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiview.experiment.run import Trial
from multiview.report import claims
from multiview.report.claims import best_of, bootstrap, compare, sign_test


@given(better=st.integers(0, 30), worse=st.integers(0, 30))
def test_of_one_seed_the_sign_test_is_mcnemars(better: int, worse: int) -> None:
    """Twice the smaller tail of a fair coin, at most 1: the coin is symmetric."""
    n, k = better + worse, min(better, worse)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert sign_test(answers(better, worse)) == pytest.approx(min(1, 2 * tail))


def answers(better: int, worse: int) -> np.ndarray:
    return np.repeat([1, -1, 0], [better, worse, 5])


def test_sign_test_by_hand() -> None:
    assert sign_test(answers(1, 8)) == pytest.approx(2 * (1 + 9) / 512)
    assert sign_test(answers(0, 0)) == 1
    assert sign_test(np.array([2, 1])) == pytest.approx(2 / 4)  # of +-3, +-1 two are as far out


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_sign_test_counts_all_signs(sums: list[int]) -> None:
    """Every choice of signs is as likely as any other."""
    totals = [abs(sum(np.multiply(signs, sums))) for signs in itertools.product((-1, 1), repeat=len(sums))]
    assert sign_test(np.array(sums)) == pytest.approx(np.mean(np.array(totals) >= abs(sum(sums))))


def test_bootstrap_agrees_with_drawing_clips(rng: np.random.Generator) -> None:
    differences = {fold: rng.choice([-1, 0, 0, 0, 1, 1], 60 + 10 * fold) for fold in (1, 2, 3)}
    draws = [np.mean([rng.choice(each, len(each)).mean() for each in differences.values()]) for _ in range(4000)]
    np.testing.assert_allclose(bootstrap(differences), np.quantile(draws, [0.025, 0.975]), atol=0.008)


def test_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator, monkeypatch) -> None:
    monkeypatch.setattr(claims, "DRAWS", 1000)
    values, probabilities = [-1, 0, 1], [0.1, 0.7, 0.2]
    covered = 0
    for _ in range(300):
        low, high = bootstrap({fold: rng.choice(values, 80, p=probabilities) for fold in (1, 2)})
        covered += low <= 0.1 <= high
    assert 0.90 < covered / 300 < 0.99


def right(share: float, clips: int, shift: int = 0) -> np.ndarray:
    return np.roll(np.arange(clips) < share * clips, shift)


def trials(folds: Mapping[int, np.ndarray], seed: int = 0) -> dict[Trial, np.ndarray]:
    return {Trial(fold, seed): each for fold, each in folds.items()}


def test_comparison_by_hand() -> None:
    """Fold 1: 8 of 10 against 5 of 10, nested: +30 points; fold 2: 6 against 7: -10; mean +10."""
    correct = {
        "concat": trials({1: right(0.8, 10), 2: right(0.6, 10), 3: right(1, 10)}),
        "mel": trials({1: right(0.5, 10), 2: right(0.7, 10)}),
    }
    found = compare(correct, "concat", "mel")
    assert (found.folds, found.clips, found.better, found.worse) == (2, 20, 3, 1)
    assert found.difference == pytest.approx(10) and found.deviation == pytest.approx(np.std([30, -10], ddof=1))
    assert found.p == pytest.approx(2 * (1 + 4) / 16)
    assert found.low < 10 < found.high
    assert compare(correct, "concat", "raw") is None


@pytest.mark.parametrize("only", [((1, 0), (3, 2), (3, 0)), ((1, 1), (2, 0), (3, 0))])
def test_an_interval_that_ends_at_zero_does_so_exactly(only: tuple[tuple[int, int], ...]) -> None:
    """By fold of 10 clips, how many only the first and only the second has right; the 2.5 % quantile is a draw of 0.

    As a sum of tenths and thirds it may be 1e-17 to either side, and above 0 would count as better.
    """
    places = np.arange(10)
    correct = {
        "a": {Trial(fold): places < better for fold, (better, _) in enumerate(only, 1)},
        "b": {
            Trial(fold): (better <= places) & (places < better + worse) for fold, (better, worse) in enumerate(only, 1)
        },
    }
    found = compare(correct, "a", "b")
    assert str(found.low) == str(compare(correct, "b", "a").high) == "0.0"
    assert found.difference == pytest.approx(10 * sum(better - worse for better, worse in only) / 3)


def test_seeds_are_no_more_clips() -> None:
    """A second seed that answers the same changes nothing but the count of answers; one that differs, the mean."""
    one = {
        "concat": trials({1: right(0.8, 40), 2: right(0.6, 40)}),
        "mel": trials({1: right(0.5, 40), 2: right(0.7, 40)}),
    }
    same = {row: each | {Trial(fold, 1): clips for (fold, _), clips in each.items()} for row, each in one.items()}
    once, twice = (compare(correct, "concat", "mel") for correct in (one, same))
    assert (twice.folds, twice.clips, twice.seeds) == (2, 80, 2)
    assert (twice.difference, twice.low, twice.high) == pytest.approx((once.difference, once.low, once.high))
    assert twice.p == pytest.approx(once.p)
    assert (twice.better, twice.worse) == (2 * once.better, 2 * once.worse)
    uneven = {row: each | {Trial(1, 1): each[Trial(1, 0)]} for row, each in one.items()}  # on one fold alone
    partly = compare(correct=uneven, row="concat", against="mel")
    assert (partly.difference, partly.low, partly.high) == pytest.approx((once.difference, once.low, once.high))
    assert partly.p == pytest.approx(once.p)

    other = {"concat": one["concat"] | trials({1: right(0.6, 40), 2: right(0.6, 40)}, seed=1),
             "mel": one["mel"] | trials({1: right(0.5, 40), 2: right(0.5, 40)}, seed=1)}  # fmt: skip
    # Fold 1: +30 and +10, fold 2: -10 and +10 points.
    assert compare(other, "concat", "mel").difference == pytest.approx((20 + 0) / 2)
    lonely = {**other, "mel": one["mel"]}  # only the trials that both have count
    assert compare(lonely, "concat", "mel") == once
    assert "2, 80, 2 seeds" in claims.claims_section(other).markdown()


@pytest.mark.parametrize(
    ("row", "against", "folds", "verdict"),
    [
        (0.9, 0.5, (1, 2, 3), "Multi-view is better than Mel."),
        (0.5, 0.9, (1, 2, 3), "Multi-view is worse than Mel."),
        (0.72, 0.7, (1, 2, 3), "The data do not tell Multi-view and Mel apart."),
        (0.9, 0.1, (1,), "1 fold with 80 clips support nothing about Multi-view and Mel."),
    ],
)
def test_verdicts(row: float, against: float, folds: tuple[int, ...], verdict: str) -> None:
    correct = {
        "multiview": trials({fold: right(row, 80) for fold in folds}),
        "mel": trials({fold: right(against, 80, shift=8) for fold in folds}),  # each has some that the other has not
    }
    assert compare(correct, "multiview", "mel").verdict == verdict


def test_few_clips_support_nothing() -> None:
    correct = {
        name: trials({fold: right(share, 20) for fold in (1, 2)}) for name, share in (("concat", 1.0), ("mel", 0.0))
    }
    assert compare(correct, "concat", "mel").verdict.startswith("2 folds with 40 clips support nothing")


def test_questions_take_the_best_baseline_on_common_folds() -> None:
    correct = {
        "multiview": trials({1: right(0.8, 50), 2: right(0.8, 50)}),
        "mel": trials({1: right(0.6, 50), 2: right(0.6, 50)}),
        "raw": trials({2: right(0.5, 50), 3: right(1.0, 50)}),  # best in a fold that is not compared
        "self_ensemble": trials({1: right(0.9, 50), 2: right(0.7, 50)}),
    }
    # Raw and concat have one fold in common with it, in which they are better.
    with_concat = {**correct, "concat": trials({1: right(1.0, 50)})}
    assert best_of(with_concat, "multiview", ("mel", "raw", "concat")) == "mel"
    section = claims.claims_section(correct)
    assert section.data[["claim", "row", "against"]].to_numpy().tolist() == [
        ["joint", "multiview", "mel"],
        ["ensemble", "self_ensemble", "multiview"],
    ]
    assert section.data["difference"].round(6).tolist() == [20, 0]
    text = re.sub(" +", " ", section.markdown())
    assert "| Multi-view against Mel | +20.00 (" in text and "2, 100 | 20 / 0 |" in text


def test_without_baselines_there_are_no_claims() -> None:
    assert claims.claims_section({"multiview": trials({1: right(0.8, 50)})}) is None

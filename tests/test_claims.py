"""Statistics of the claims against closed forms and plain resampling."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiview.report import claims
from multiview.report.claims import best_of, bootstrap, compare, mcnemar


@given(better=st.integers(0, 30), worse=st.integers(0, 30))
def test_mcnemar_is_the_two_sided_binomial(better: int, worse: int) -> None:
    """Twice the smaller tail of a fair coin, at most 1: the coin is symmetric."""
    n, k = better + worse, min(better, worse)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar(better, worse) == pytest.approx(min(1, 2 * tail))


def test_mcnemar_by_hand() -> None:
    assert mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 512)
    assert mcnemar(0, 0) == 1


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


def test_comparison_by_hand() -> None:
    """Fold 1: 8 of 10 against 5 of 10, nested: +30 points; fold 2: 6 against 7: -10; mean +10."""
    correct = {
        "concat": {1: right(0.8, 10), 2: right(0.6, 10), 3: right(1, 10)},
        "mel": {1: right(0.5, 10), 2: right(0.7, 10)},
    }
    found = compare(correct, "concat", "mel")
    assert (found.folds, found.clips, found.better, found.worse) == (2, 20, 3, 1)
    assert found.difference == pytest.approx(10) and found.deviation == pytest.approx(np.std([30, -10], ddof=1))
    assert found.p == pytest.approx(2 * (1 + 4) / 16)
    assert found.low < 10 < found.high
    assert compare(correct, "concat", "raw") is None


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
        "multiview": {fold: right(row, 80) for fold in folds},
        "mel": {fold: right(against, 80, shift=8) for fold in folds},  # each has some that the other has not
    }
    assert compare(correct, "multiview", "mel").verdict == verdict


def test_few_clips_support_nothing() -> None:
    correct = {name: {fold: right(share, 20) for fold in (1, 2)} for name, share in (("concat", 1.0), ("mel", 0.0))}
    assert compare(correct, "concat", "mel").verdict.startswith("2 folds with 40 clips support nothing")


def test_questions_take_the_best_baseline_on_common_folds() -> None:
    correct = {
        "multiview": {1: right(0.8, 50), 2: right(0.8, 50)},
        "mel": {1: right(0.6, 50), 2: right(0.6, 50)},
        "raw": {2: right(0.5, 50), 3: right(1.0, 50)},  # best in a fold that is not compared
        "self_ensemble": {1: right(0.9, 50), 2: right(0.7, 50)},
    }
    # Raw and concat have one fold in common with it, in which they are better.
    with_concat = {**correct, "concat": {1: right(1.0, 50)}}
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
    assert claims.claims_section({"multiview": {1: right(0.8, 50)}}) is None

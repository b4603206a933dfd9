"""Splits: no source on two sides, the paper's sizes, the same for the same seed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.datasets import esc10
from data_prep.datasets.base import ClipFile, Index
from multiview.splits import EVERY_CLIP, folds, make_split
from multiview.support.errors import InputError
from tests import trees


def table(dataset: str, rows: list[tuple[int, int, str]], evaluation: int = 0) -> SimpleNamespace:
    """A store's table of clips: (label, fold, source) each, the last ones for evaluation."""
    splits = ["development"] * (len(rows) - evaluation) + ["evaluation"] * evaluation
    clips = [ClipFile(Path(), "", label, source, fold, split) for (label, fold, source), split in zip(rows, splits)]
    classes = [str(label) for label in range(max(label for label, *_ in rows) + 1)]
    return trees.table(dataset, Index(classes, clips))


@st.composite
def tables(draw) -> SimpleNamespace:
    """Classes with several sources a fold, sources of one to three clips."""
    rows = []
    for label in range(draw(st.integers(2, 5))):
        for fold in range(1, draw(st.integers(2, 4)) + 1 if label else 3):
            for source in range(draw(st.integers(2, 6))):
                rows += [(label, fold, f"{label}-{fold}-{source}")] * draw(st.integers(1, 3))
    dataset = draw(st.sampled_from(["esc50", "gtzan", "folder"]))
    return table(dataset, rows)


@settings(max_examples=60, deadline=None)
@given(store=tables(), seed=st.integers(0, 100))
def test_sides_are_disjoint_in_sources_and_cover_everything(store: SimpleNamespace, seed: int) -> None:
    for fold in folds(store):
        split = make_split(store, fold, seed)
        sides = [split.train, split.validation, split.test]
        np.testing.assert_array_equal(np.sort(np.concatenate(sides)), np.arange(len(store.labels)))
        sources = [set(store.sources[side]) for side in sides]
        assert not (sources[0] & sources[1] or sources[0] & sources[2] or sources[1] & sources[2])
        classes = set(store.labels)
        assert set(store.labels[split.train]) == set(store.labels[split.validation]) == classes
        assert set(split.monitor) <= set(split.train)
        again = make_split(store, fold, seed)
        for name in ("train", "monitor", "validation", "test"):
            np.testing.assert_array_equal(getattr(split, name), getattr(again, name))


def test_esc_validates_on_two_sources_a_class(real_audio) -> None:
    clips = esc10.index(real_audio("esc10")).clips
    store = table("esc10", [(clip.label, clip.fold, clip.source) for clip in clips])
    for fold in range(1, 6):
        split = make_split(store, fold, seed=0)
        assert len(split.test) == 80
        for label in range(10):
            rows = split.validation[store.labels[split.validation] == label]
            assert len(set(store.sources[rows])) == 2
        assert len(split.monitor) == len(split.validation)


def test_gtzan_validates_on_a_tenth_of_the_clips() -> None:
    rows = [(label, number % 10 + 1, f"{label}.{number}") for label in range(10) for number in range(100)]
    split = make_split(table("gtzan", rows), 3, seed=0)
    assert [len(side) for side in (split.train, split.validation, split.test)] == [810, 90, 100]


def test_evaluation_set_is_the_test_set() -> None:
    rows = [(label, number % 4 + 1, f"{label}-{number // 2}") for label in range(3) for number in range(40)]
    rows += [(label, 0, f"evaluation-{label}-{number}") for label in range(3) for number in range(5)]
    store = table("dcase2016", rows, evaluation=15)
    assert folds(store) == [1]
    split = make_split(store, 1, seed=0)
    np.testing.assert_array_equal(split.test, np.arange(120, 135))
    assert [(store.labels[split.validation] == label).sum() for label in range(3)] == [4, 4, 4]


def test_seed_and_fold_change_the_draw() -> None:
    rows = [(label, number % 5 + 1, f"{label}-{number}") for label in range(3) for number in range(100)]
    store = table("gtzan", rows)
    draws = {tuple(make_split(store, 1, seed).validation) for seed in range(5)}
    assert len(draws) == 5


@settings(max_examples=20, deadline=None)
@given(store=tables(), seed=st.integers(0, 100))
def test_every_clip_trains_or_validates(store: SimpleNamespace, seed: int) -> None:
    split = make_split(store, EVERY_CLIP, seed)
    assert len(split.test) == 0
    np.testing.assert_array_equal(
        np.sort(np.concatenate([split.train, split.validation])), np.arange(len(store.labels))
    )
    assert not set(store.sources[split.train]) & set(store.sources[split.validation])


def test_every_clip_takes_the_evaluation_set_too() -> None:
    rows = [(label, number % 4 + 1, f"{label}-{number // 2}") for label in range(3) for number in range(40)]
    store = table("dcase2016", [*rows, (0, 0, "evaluation-0"), (1, 0, "evaluation-1")], evaluation=2)
    split = make_split(store, EVERY_CLIP, seed=0)
    assert len(split.train) + len(split.validation) == 122 and len(split.test) == 0


@pytest.mark.parametrize("fold", [9, -1])
def test_unknown_fold_names_the_known_ones(fold: int) -> None:
    store = table("esc10", [(0, 1, "a"), (0, 2, "b"), (1, 1, "c"), (1, 2, "d")])
    with pytest.raises(InputError, match=f"has the folds 1, 2, not fold {fold}"):
        make_split(store, fold, 0)


def test_source_in_two_folds_is_refused() -> None:
    rows = [(0, 1, "a"), (0, 2, "a"), (0, 2, "b"), (1, 1, "c"), (1, 2, "d"), (1, 2, "e")]
    with pytest.raises(InputError, match="source 'a' is both in the test and in the training"):
        make_split(table("esc10", rows), 1, 0)


def test_class_without_training_clips_is_named() -> None:
    rows = [(0, 1, "a"), (0, 2, "b"), (0, 2, "c"), (1, 1, "d")]
    with pytest.raises(InputError, match="class '1' has no clip to train on in fold 1"):
        make_split(table("esc10", rows), 1, 0)

"""Datasets in their official layouts: what is found, how it is labelled, on which side it falls."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import prepare as command
from data_prep.checks import check_index
from data_prep.datasets import dcase2016, esc10, esc50, gtzan
from data_prep.datasets.base import Index
from multiview.splits import folds, make_split
from multiview.support.errors import InputError
from tests import trees


def check_splits(dataset: str, index: Index, seed: int = 0) -> dict[int, list[int]]:
    """Sizes of the sides by fold, after what has to hold for every dataset."""
    check_index(dataset, index)
    store, sizes = trees.table(dataset, index), {}
    for fold in folds(store):
        split = make_split(store, fold, seed)
        sides = [split.train, split.validation, split.test]
        sources = [set(store.sources[side]) for side in sides]
        assert not (sources[0] & sources[1] or sources[0] & sources[2] or sources[1] & sources[2])
        assert all(set(store.labels[side]) == set(range(len(index.classes))) for side in sides)
        np.testing.assert_array_equal(np.sort(np.concatenate(sides)), np.arange(len(index.clips)))
        sizes[fold] = [len(side) for side in sides]
    return sizes


# ESC-50


def test_divided_recordings_of_esc50_stay_in_their_official_folds(tmp_path: Path) -> None:
    root = trees.esc50(tmp_path / "ESC-50-master")
    path = root / "meta" / "esc50.csv"
    rows = pd.read_csv(path)
    rows.loc[(rows["category"] == "cow") & (rows["fold"] == 2), "src_file"] = 1  # dog's of fold 1
    rows.to_csv(path, index=False)
    index = esc50.index(root)
    assert {clip.source for clip in index.clips if clip.source.startswith("1-")} == {"1-fold1", "1-fold2"}
    assert [sizes[2] for sizes in check_splits("esc50", index).values()] == [6] * 5
    assert "1" in {clip.source for clip in esc10.index(root).clips}  # undivided there


@pytest.mark.parametrize(
    ("module", "name", "clips", "classes"), [(esc10, "esc10", 400, 10), (esc50, "esc50_16k", 2000, 50)]
)
def test_every_official_fold_of_the_real_table_can_be_run(
    real_audio: Callable[[str], Path], module: ModuleType, name: str, clips: int, classes: int
) -> None:
    index = module.index(real_audio(name))
    assert len(index.clips) == index.published == clips and len(index.classes) == classes
    tests = pd.crosstab([clip.label for clip in index.clips], [clip.fold for clip in index.clips])
    assert tests.shape == (len(index.classes), 5) and tests.eq(8).all(axis=None)
    for train, validation, test in check_splits("esc50", index).values():
        assert test == 8 * len(index.classes)
        # Two sources a class, of one to seven or so clips.
        assert 2 * len(index.classes) <= validation <= 7 * len(index.classes) < train


def test_other_copies_are_refused_and_esc10_is_no_esc50(tmp_path: Path) -> None:
    full = trees.esc50(tmp_path / "data" / "a")
    only_esc10 = tmp_path / "data" / "ESC-10"
    shutil.copytree(full, only_esc10)
    rows = pd.read_csv(only_esc10 / "meta" / "esc50.csv")
    rows[rows["esc10"]].to_csv(only_esc10 / "meta" / "esc50.csv", index=False)
    assert len(esc50.index(tmp_path / "data").clips) == 30  # ESC-10 comes first, and is not taken
    with pytest.raises(InputError, match="expected one copy of ESC-50, found none"):
        esc50.index(only_esc10)
    with pytest.raises(InputError, match="expected one copy of ESC-10 or ESC-50, found .*ESC-10 and .*a; check"):
        esc10.index(tmp_path / "data")
    shutil.copytree(full, tmp_path / "data" / "b")
    with pytest.raises(InputError, match="expected one copy of ESC-50, found .*a and .*b; check --audio"):
        esc50.index(tmp_path / "data")


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6 - 1))
def test_any_seed_splits_the_official_sizes(full_gtzan: Path, full_dcase: Path, seed: int) -> None:
    assert set(map(tuple, check_splits("gtzan", gtzan.index(full_gtzan, seed=seed), seed).values())) == {(810, 90, 100)}
    assert check_splits("dcase2016", dcase2016.index(full_dcase), seed) == {1: [1080, 90, 390]}


def test_folders_closed_to_us_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.esc50(tmp_path / "x" / "ESC-50")
    (tmp_path / "lost+found").mkdir()
    listed = Path.iterdir

    def iterdir(path: Path):
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert len(esc50.index(tmp_path).clips) == 30


def test_case_suffix_and_depth_do_not_matter(tmp_path: Path) -> None:
    root = trees.esc50(tmp_path / "official")
    expected = [(clip.label, clip.fold, clip.source) for clip in esc50.index(root).clips]
    other = tmp_path / "a" / "b" / "ESC-50"
    shutil.copytree(root, other)
    (other / "audio").rename(other / "Audio")
    (other / "meta").rename(other / "META")
    for number, path in enumerate(sorted((other / "Audio").iterdir())):
        path.rename(path.with_name(path.stem.upper() + (".WAV", ".flac", ".au")[number % 3]))
    index = esc50.index(tmp_path / "a")
    assert [(clip.label, clip.fold, clip.source) for clip in index.clips] == expected
    assert all(clip.path.is_file() and clip.id == clip.path.name for clip in index.clips)


# DCASE2016


@pytest.fixture(scope="module")
def full_dcase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1,560 names, with empty files."""
    scenes = [f"scene_{number:02}" for number in range(15)]
    return trees.dcase2016(
        tmp_path_factory.mktemp("dcase"), trees.touch, scenes, recordings=13, segments=6, evaluation=26
    )


def test_dcase_trains_on_the_development_and_tests_on_the_evaluation_set(full_dcase: Path) -> None:
    index = dcase2016.index(full_dcase)
    assert len(index.clips) == index.published == 1560 and len(index.classes) == 15
    assert Counter(clip.split for clip in index.clips) == {"development": 1170, "evaluation": 390}
    clip = index.clips[7]
    assert (clip.id, clip.source, clip.fold) == ("a001_30_60.wav", "a001", 2)
    assert {clip.fold for clip in index.clips if clip.split == "evaluation"} == {0}
    # A tenth of each scene's 13 recordings is one, of 6 clips.
    assert check_splits("dcase2016", index) == {1: [1170 - 90, 90, 390]}


def test_dcase_development_folds_are_the_official_ones(full_dcase: Path) -> None:
    index = dcase2016.index(full_dcase, development_folds=True)
    assert len(index.clips) == index.published == 1170
    sizes = check_splits("dcase2016_development_folds", index)
    # Recordings 0, 4, 8 and 12 of each scene are in fold 1, and three in each of the others.
    assert [sizes[fold][2] for fold in (1, 2, 3, 4)] == [15 * 4 * 6] + [15 * 3 * 6] * 3


@settings(max_examples=20, deadline=None)
@given(
    recordings=st.integers(8, 16),
    segments=st.integers(1, 4),
    evaluation=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_dcase_splits_keep_recordings_whole(
    tmp_path_factory: pytest.TempPathFactory, recordings: int, segments: int, evaluation: int, seed: int
) -> None:
    root = trees.dcase2016(
        tmp_path_factory.mktemp("d"), trees.touch, recordings=recordings, segments=segments, evaluation=evaluation
    )
    (sizes,) = check_splits("dcase2016", dcase2016.index(root), seed).values()
    assert sizes[1:] == [3 * segments * max(1, round(recordings / 10)), 3 * evaluation]
    check_splits("dcase2016_development_folds", dcase2016.index(root, development_folds=True), seed)


def test_dcase_nested_and_in_capitals(tmp_path: Path) -> None:
    root = trees.dcase2016(tmp_path / "data", trees.touch)
    expected = [(c.label, c.fold, c.split, c.source) for c in dcase2016.index(root).clips]
    development = root / "TUT-acoustic-scenes-2016-development"
    inner = root / "x" / development.name
    inner.parent.mkdir()
    development.rename(inner)
    (inner / "meta.txt").rename(inner / "META.TXT")
    (inner / "evaluation_setup").rename(inner / "Evaluation_Setup")
    (inner / "audio").rename(inner / "AUDIO")
    for path in (inner / "AUDIO").iterdir():
        path.rename(path.with_suffix(".FLAC"))
    clips = dcase2016.index(root).clips
    assert [(c.label, c.fold, c.split, c.source) for c in clips] == expected
    assert all(clip.path.is_file() for clip in clips)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d, e: shutil.rmtree(e), "found none; check --audio, or test on the development set with --dev"),
        (lambda d, e: shutil.rmtree(d), "expected one folder TUT-acoustic-scenes-2016-development"),
        (lambda d, e: shutil.copytree(d, d.with_name(f"{d.name} (1)")), "-development and "),
        (lambda d, e: (d / "meta.txt").write_text("audio/a.wav beach\n"), "expected lines of file, tab, scene"),
        (lambda d, e: (d / "meta.txt").write_text(""), "expected lines of file, tab, scene"),
        (lambda d, e: (d / "meta.txt").write_text("audio/a.wav\tbeach\n\tbus\n"), "line 2"),
        (
            lambda d, e: shutil.copy(
                d / "evaluation_setup" / "fold1_evaluate.txt", d / "evaluation_setup" / "fold2_evaluate.txt"
            ),
            "is a test clip of fold 1, too",
        ),
    ],
)
def test_bad_dcase_is_one_line(tmp_path: Path, spoil, message: str, capsys: pytest.CaptureFixture) -> None:
    root = trees.dcase2016(tmp_path / "data", trees.touch)
    spoil(*(root / f"TUT-acoustic-scenes-2016-{part}" for part in ("development", "evaluation")))
    arguments = ["dcase2016", "--audio", str(root), "--store", str(tmp_path / "s.h5")]
    assert command.main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert message in error.replace(f"{root}/", "") and "\n" not in error


def test_dcase_clip_without_a_development_fold(tmp_path: Path) -> None:
    root = trees.dcase2016(tmp_path, trees.touch)
    (root / "TUT-acoustic-scenes-2016-development" / "evaluation_setup" / "fold3_evaluate.txt").unlink()
    assert len(dcase2016.index(root).clips) == 18  # the paper's protocol does not need them
    with pytest.raises(InputError, match="expected every clip in one of evaluation_setup/fold1"):
        dcase2016.index(root, development_folds=True)


# GTZAN


@pytest.fixture(scope="module")
def full_gtzan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1,000 names, with empty files."""
    return trees.gtzan(tmp_path_factory.mktemp("gtzan") / "genres", trees.touch, gtzan.GENRES, range(100))


def test_gtzan_has_ten_stratified_folds(full_gtzan: Path) -> None:
    index = gtzan.index(full_gtzan)
    assert len(index.clips) == index.published == 1000 and tuple(index.classes) == gtzan.GENRES
    assert index.clips[0].id == "blues.00000.au"
    assert check_splits("gtzan", index) == {fold: [810, 90, 100] for fold in range(1, 11)}
    counts = pd.crosstab([clip.label for clip in index.clips], [clip.fold for clip in index.clips])
    assert counts.shape == (10, 10) and counts.eq(10).all(axis=None)


def test_gtzan_without_faulty_keeps_the_folds_of_the_others(full_gtzan: Path) -> None:
    fold_of = {clip.id: clip.fold for clip in gtzan.index(full_gtzan).clips}
    index = gtzan.index(full_gtzan, without_faulty=True)
    assert len(index.clips) == index.published == 930  # 443 + 197 + 290
    assert all(fold_of[clip.id] == clip.fold for clip in index.clips)
    assert not {"jazz.00054.au", "blues.00000.au"} - {clip.id for clip in index.clips}
    assert not {"classical.00042.au", "reggae.00086.au", "pop.00015.au"} & {clip.id for clip in index.clips}
    check_splits("gtzan_without_faulty", index)


def test_gtzan_folds_follow_the_seed_and_not_the_format(full_gtzan: Path, tmp_path: Path) -> None:
    def drawn(root: Path, **options) -> list[int]:
        return [clip.fold for clip in gtzan.index(root, **options).clips]

    spread = trees.gtzan(tmp_path / "Data" / "genres_original", trees.touch, gtzan.GENRES, range(100), ".WAV")
    (spread / "blues").rename(spread / "Blues")
    for genre in gtzan.GENRES:  # pictures of the spread copy
        trees.touch(tmp_path / "Data" / "images_original" / genre / f"{genre}00000.png")
    assert drawn(tmp_path) == drawn(full_gtzan) == drawn(full_gtzan, seed=0) != drawn(full_gtzan, seed=1)


def test_gtzan_without_some_clips_keeps_the_folds_of_the_others(full_gtzan: Path, tmp_path: Path) -> None:
    fold_of = {clip.source: clip.fold for clip in gtzan.index(full_gtzan).clips}
    root = trees.gtzan(tmp_path / "a" / "b" / "genres", trees.touch, gtzan.GENRES, range(100))
    (root / "jazz" / "jazz.00054.au").unlink()
    trees.touch(root / "rock" / "rock.00001.wav")  # in two formats
    clips = gtzan.index(tmp_path).clips
    assert len(clips) == 999 and all(fold_of[clip.source] == clip.fold for clip in clips)


def test_dcase_of_another_year_beside_it(tmp_path: Path) -> None:
    root = trees.dcase2016(tmp_path, trees.touch)
    development = root / "TUT-acoustic-scenes-2016-development"
    shutil.copytree(development, root / "TUT-acoustic-scenes-2017-development")
    assert all("2016" in str(clip.path) for clip in dcase2016.index(root).clips)


def test_bad_gtzan_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sub-folder for each genre \(blues, .*found none; check --audio"):
        gtzan.index(tmp_path)
    trees.gtzan(tmp_path / "genres", trees.touch, clips=range(9))
    with pytest.raises(InputError, match="at least 10 clips of each genre, one for each fold, found 9 of blues"):
        gtzan.index(tmp_path)
    trees.gtzan(tmp_path / "genres_original", trees.touch)
    with pytest.raises(InputError, match="found .*genres and .*genres_original"):
        gtzan.index(tmp_path)

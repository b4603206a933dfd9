"""Which runs a report finds on disk, and what follows from them: late fusion and the rows of Table 3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from multiview.experiment.predictions import Predictions
from multiview.experiment.results import collect, correct
from multiview.experiment.run import Trial
from multiview.support.errors import InputError
from multiview.systems import table_rows
from tests.helpers.results import HALF, PAPER_BRANCHES, RIGHT, WRONG, write_multiview, write_run, write_runs


def test_rows_come_in_the_order_of_the_paper(tmp_path: Path) -> None:
    assert list(collect(write_runs(tmp_path)).rows) == list(table_rows())


def test_clips_are_compared_by_their_names() -> None:
    """Clip a is right and b and c are wrong, in whatever order the clips come."""
    truth = {"a.wav": [0.9, 0.1], "b.wav": [0.2, 0.8], "c.wav": [0.3, 0.7]}
    rows = {}
    for row, names in (("mel", ["a.wav", "b.wav", "c.wav"]), ("raw", ["c.wav", "a.wav", "b.wav"])):
        scores = np.array([truth[name] for name in names], np.float32)
        rows[row] = {Trial(1): Predictions(names, np.zeros(3, int), ["yes", "no"], {row: scores}, {row: 1.0})}
    assert correct(rows)["mel"][Trial(1)].tolist() == correct(rows)["raw"][Trial(1)].tolist() == [True, False, False]


def test_run_in_the_wrong_place_is_named(tmp_path: Path) -> None:
    write_runs(tmp_path)
    (tmp_path / "mel" / "fold1").rename(tmp_path / "mel" / "fold1_old")
    with pytest.raises(InputError, match="fold1_old; found mel, fold1; move it away"):
        collect(tmp_path)


def test_seeds_are_trials_of_a_fold(tmp_path: Path) -> None:
    """Folders name the seed; that of the first, whatever it is, need not be named, and no trial is there twice."""
    for name, seed in (("fold1", 7), ("fold1_seed3", 3), ("fold2", 7)):
        write_run(tmp_path / "mel" / name, "mel", int(name[4]), {"mel": RIGHT}, seed=seed)
    assert list(collect(tmp_path).runs["mel"]) == [Trial(1, 3), Trial(1, 7), Trial(2, 7)]
    write_run(tmp_path / "mel" / "fold1_seed7", "mel", 1, {"mel": RIGHT}, seed=7)
    with pytest.raises(InputError, match=r"fold1 and \S+fold1_seed7 are both of fold 1 with seed 7; move one away"):
        collect(tmp_path)
    shutil.rmtree(tmp_path / "mel" / "fold1_seed7")
    write_run(tmp_path / "mel" / "fold1_seed7", "mel", 1, {"mel": RIGHT}, seed=5)
    with pytest.raises(InputError, match="fold1_seed7; found mel, fold1_seed5; move it away"):
        collect(tmp_path)
    write_run(tmp_path / "other/mel/fold1", "mel", 1, {"mel": RIGHT}, seed=1)
    write_run(tmp_path / "other/mel/fold1_seed0", "mel", 1, {"mel": RIGHT}, seed=0)  # as `--seed 1,0` calls it
    assert list(collect(tmp_path / "other").runs["mel"]) == [Trial(1, 0), Trial(1, 1)]


def test_a_folder_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    write_runs(tmp_path)
    (tmp_path / "mel").rename(tmp_path / "mel_with_another_seed")
    (tmp_path / "notes").mkdir()
    assert "mel" not in collect(tmp_path).runs


def test_late_fusion_only_of_folds_with_all_views(tmp_path: Path) -> None:
    write_runs(tmp_path)
    (tmp_path / "cqt" / "fold1" / "metrics.json").unlink()
    assert set(collect(tmp_path).rows["late_fusion"]) == {Trial(2)}


def test_late_fusion_of_different_clips_is_refused(tmp_path: Path) -> None:
    write_runs(tmp_path)
    with h5py.File(tmp_path / "raw" / "fold1" / "predictions.h5", "a") as file:
        file["clip"][0] = "other.wav"
    with pytest.raises(InputError, match="mel and raw were tested on different clips"):
        _ = collect(tmp_path).rows


def test_runs_on_different_stores_are_not_mixed(tmp_path: Path) -> None:
    write_runs(tmp_path)
    path = tmp_path / "raw" / "fold1" / "run.json"
    path.write_text(path.read_text().replace('"f"', '"g"'))
    with pytest.raises(InputError, match="expected runs on one store"):
        collect(tmp_path)


def fused(directory: Path) -> tuple[tuple[str, ...], list[float]]:
    """Views of late fusion, and its probability of class 0 for the clips of fold 1."""
    results = collect(directory)
    return results.fused_views, results.rows["late_fusion"][Trial(1)].probabilities["late_fusion"][:, 0].tolist()


def test_late_fusion_takes_the_views_of_the_multiview_network(tmp_path: Path) -> None:
    for view, values in {"mel": RIGHT, "cqt": HALF, "raw": WRONG}.items():
        write_run(tmp_path / view / "fold1", view, 1, {view: values})
    write_multiview(tmp_path / "multiview" / "fold1", 1, ("mel", "cqt"))
    views, probabilities = fused(tmp_path)
    assert views == ("mel", "cqt")
    np.testing.assert_allclose(probabilities, np.mean([RIGHT, HALF], axis=0), atol=1e-6)


def test_late_fusion_without_a_multiview_network(tmp_path: Path) -> None:
    """Of the two views that were trained; of one there is none."""
    write_run(tmp_path / "mel" / "fold1", "mel", 1, {"mel": RIGHT})
    assert "late_fusion" not in collect(tmp_path).rows
    write_run(tmp_path / "raw" / "fold1", "raw", 1, {"raw": WRONG})
    views, probabilities = fused(tmp_path)
    assert views == ("mel", "raw")
    np.testing.assert_allclose(probabilities, np.mean([RIGHT, WRONG], axis=0), atol=1e-6)


def test_folds_on_different_views_are_refused(tmp_path: Path) -> None:
    write_multiview(tmp_path / "multiview" / "fold1", 1)
    write_multiview(tmp_path / "multiview" / "fold2", 2, ("mel", "cqt"))
    with pytest.raises(InputError, match=r"found mel,gammatone,cqt,raw in \S+ and mel,cqt in \S+fold2; keep"):
        collect(tmp_path)


def test_missing_plugin_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "mfcc" / "fold1", "mfcc", 1, {"mfcc": RIGHT})
    path = tmp_path / "mfcc" / "fold1" / "run.json"
    record = json.loads(path.read_text()) | {"plugins": {"mine.py": {"view": ["mfcc"]}}}
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"needs the view 'mfcc' of the plugin mine.py, found none; say --plugin"):
        collect(tmp_path)


def test_predictions_on_disk(tmp_path: Path) -> None:
    """The file as others may read it."""
    write_runs(tmp_path)
    with h5py.File(tmp_path / "multiview" / "fold2" / "predictions.h5") as file:
        assert file["clip"].asstr()[()].tolist() == [f"2-{i}.wav" for i in range(4)]
        assert file["label"][()].tolist() == [0, 0, 1, 1]
        assert file["classes"].asstr()[()].tolist() == ["yes", "no"]
        assert set(file["probability"]) == set(PAPER_BRANCHES)
        assert file["probability/mel"].dtype == np.float32 and file["probability/mel"].shape == (4, 2)
        assert list(file["weight"].attrs["branches"]) == list(PAPER_BRANCHES)
        np.testing.assert_allclose(file["weight"][()], [0.7, 0, 0, 0, 0.3], atol=1e-6)

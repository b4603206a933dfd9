"""Ablations in the report, on figures that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from multiview.experiment.results import collect
from multiview.experiment.run import Trial
from multiview.report import report
from multiview.report.ablation_figures import ablation_picture
from multiview.report.ablations import ablation_table, stability
from multiview.views import paper_views
from tests.helpers.results import HALF, RIGHT, WRONG, squeezed, write_multiview


def test_baseline_of_ablations_is_named_after_its_own_rule(tmp_path: Path) -> None:
    """Where the preset's weights are uniform, the paper's are the ablation."""
    for fold in (1, 2):
        write_multiview(tmp_path / f"multiview/fold{fold}", fold, joint=RIGHT, blending="uniform")
        write_multiview(tmp_path / f"ablations/paper/fold{fold}", fold, joint=HALF, blending="paper")
    report(tmp_path)
    table = pd.read_csv(tmp_path / "ablations.csv").set_index("ablation")
    assert table["difference"].to_dict() == {"uniform": 0, "paper": -50}
    assert "against uniform, points" in (tmp_path / "ablations.md").read_text()
    (points,) = ablation_picture(collect(tmp_path)).axes  # no weight moves
    assert [text.get_text() for text in points.get_yticklabels()] == ["paper"]
    (dot,) = points.get_lines()[0].get_xdata()
    assert dot == -50 and points.get_xlabel().endswith("against uniform, 95 % interval; 2 folds, 8 clips")


def test_picture_of_ablations_has_the_weights_that_move(tmp_path: Path) -> None:
    moved = [[0.2] * 5, [0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.6, 0.1, 0.1, 0.1]]
    for fold in (1, 2):
        write_multiview(tmp_path / f"multiview/fold{fold}", fold, weights=moved)
        joint = [0.9, 0.9, 0.1, 0.8]  # one clip more than HALF
        write_multiview(
            tmp_path / f"ablations/uniform/fold{fold}", fold, joint=joint, weights=[[0.2] * 5] * 3, blending="uniform"
        )
    points, weights = ablation_picture(collect(tmp_path)).axes
    assert [text.get_text() for text in points.get_yticklabels()] == ["uniform"]
    row = ablation_table(collect(tmp_path)).set_index("ablation").loc["uniform"]
    assert row["difference"] - row["low"] < row["high"] - row["difference"]
    (interval,) = points.collections[0].get_segments()
    assert interval[:, 0].tolist() == pytest.approx([row["low"], row["high"]])
    assert weights.get_title(loc="left") == "paper"
    drawn = np.array([line.get_ydata() for line in weights.get_lines()])
    np.testing.assert_allclose(drawn.T, moved)


def test_seeds_of_a_fold_count_once(tmp_path: Path) -> None:
    """Fold 1 with two seeds, fold 2 with one: (100 + 50) / 2 and 50 are 62.5, not the 66.7 of three runs."""
    for name, seed, joint, weight in (("fold1", 0, RIGHT, 0.9), ("fold1_seed1", 1, HALF, 0.7), ("fold2", 0, HALF, 0.4)):
        moved = [[0.2] * 5, *[[weight, 1 - weight, 0, 0, 0]] * 2]
        write_multiview(tmp_path / "multiview" / name, int(name[4]), joint=joint, weights=moved, seed=seed)
        write_multiview(tmp_path / "ablations/uniform" / name, int(name[4]), joint=WRONG, blending="uniform", seed=seed)
    row = ablation_table(collect(tmp_path)).set_index("ablation").loc["paper"]
    assert row["multiview"] == pytest.approx(62.5) and row["folds"] == 2
    assert row["largest"] == pytest.approx((0.8 + 0.6) / 2)


def test_ablations_by_hand(tmp_path: Path) -> None:
    """W = 1, so evaluations 1 and 2 count. The paper's weights go from (0.95, 0.05) to (0.05, 0.95): 0.9 of
    the weight moves, and both times one is above 0.9. Uniform stays at 0.2."""
    uniform, one, other = [0.2] * 5, [0.95, 0, 0, 0, 0.05], [0.05, 0, 0, 0, 0.95]
    for fold in (1, 2):
        write_multiview(tmp_path / f"ablations/uniform/fold{fold}", fold, weights=[uniform] * 3, blending="uniform")
    write_multiview(tmp_path / "multiview/fold1", 1, weights=[uniform, one, other])
    table = ablation_table(collect(tmp_path)).set_index("ablation")
    calm = ["largest", "one_hot", "uniform", "change"]
    assert table.loc["paper", calm].tolist() == pytest.approx([0.95, 1, 0, 0.9])
    assert table.loc["uniform", calm].tolist() == pytest.approx([0.2, 0, 1, 0])
    # One fold: the paper's has no other.
    assert table.loc["uniform", ["blending", "evaluation_interval", "folds"]].tolist() == ["uniform", "epoch", 1]
    history = pd.read_csv(collect(tmp_path).runs["multiview"][Trial(1)].history)
    assert np.isnan(stability(history, SimpleNamespace(window=3, warm_up_epochs=0))["largest"])
    one_left = SimpleNamespace(window=1, warm_up_epochs=2)
    assert np.isnan(stability(history, one_left)["largest"])
    # The joint branch has half of the clips right in both; the ensemble at (0.05, 0.95) follows it.
    assert table.loc["uniform", ["multiview", "difference"]].tolist() == [50, 0]
    assert table.loc["paper", "self_ensemble"] == 50


def test_ablations_of_views_by_hand(tmp_path: Path) -> None:
    """On all views all clips are right. Without mel the joint branch is wrong everywhere, and without CQT
    half right: 100 and 50 points less."""
    for fold in (1, 2):
        write_multiview(tmp_path / f"multiview/fold{fold}", fold, joint=RIGHT)
        for view, joint in (("mel", WRONG), ("cqt", HALF)):
            kept = [each for each in paper_views() if each != view]
            write_multiview(tmp_path / f"ablations/without_{view}/fold{fold}", fold, kept, joint)
        write_multiview(tmp_path / f"ablations/uniform/fold{fold}", fold, blending="uniform")
    report(tmp_path)
    table = pd.read_csv(tmp_path / "ablations.csv").set_index("ablation")
    assert table.loc["without_mel", ["views", "difference", "better", "worse"]].tolist() == [
        "gammatone,cqt,raw", -100, 0, 8
    ]  # fmt: skip
    assert table.loc["without_cqt", ["views", "difference"]].tolist() == ["mel,gammatone,raw", -50]
    assert table.loc["without_mel", "largest"] == 0.25  # of four branches
    text, page = squeezed((tmp_path / "ablations.md").read_text()), (tmp_path / "report.html").read_text()
    assert "| Mel | -100.00 (-100.00 to -100.00) | 2, 8 | 0 / 8 |" in text and "| CQT | -50.00 (" in text
    assert "| without_mel | paper | 1 | epoch | gammatone, cqt, raw | 2 | 0.00 | -100.00 |" in text
    for part in ("<h2>Views left out</h2>", "<td>Mel</td><td>-100.00 (-100.00 to -100.00)</td>", "without_cqt"):
        assert part in page
    assert text.count("2 folds with 8 clips support nothing") == 2  # uniform leaves no view out

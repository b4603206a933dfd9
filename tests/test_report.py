"""The report, on figures that can be worked out by hand."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from multiview.experiment.predictions import Predictions
from multiview.experiment.results import collect, right
from multiview.experiment.run import Trial
from multiview.guessing import Share
from multiview.history import columns
from multiview.report import report
from multiview.report.calibration import calibrated_rows
from multiview.report.class_figures import draw_confusion, per_class
from multiview.report.classes import Confusion, class_accuracies, confused_section, confusion, count
from multiview.report.curves import branch_losses, folds_said, mean_curve, system_losses
from multiview.report.paper import PAPER_TABLE_3
from multiview.report.section import Section
from multiview.report.tables import interval_in_words, runs_section, table_3
from multiview.support import registry
from multiview.systems import table_rows
from multiview.views import MEL, VIEWS, paper_views
from tests.helpers.results import HALF, RIGHT, WRONG, record, squeezed, write_multiview, write_run, write_runs


@pytest.fixture
def fifth_view() -> Iterator[str]:
    """A user's own view beside the paper's."""
    before = registry.snapshot()
    yield VIEWS.register(dataclasses.replace(MEL, name="mfcc", label="My MFCCs", paper=False, colour=None)).name
    registry.restore(before)


def test_paper_figures_are_of_rows_that_there_are() -> None:
    assert list(PAPER_TABLE_3) == list(table_rows())


def test_table_3_by_hand(tmp_path: Path) -> None:
    """Late fusion, fold 1: the second clip gets (0.9 + 0.2 + 0.2 + 0.4) / 4 = 0.425, so wrong, as is
    the fourth; the first and third are right: 50 %. Fold 2: (0.9 + 3 x 0.2) / 4 = 0.375: 50 %.
    Self-ensemble: 0.7 x 0.9 + 0.3 x 0.2 = 0.69 is right: 100 %.
    """
    table = table_3(collect(write_runs(tmp_path))).set_index("system")
    assert list(table.index) == list(PAPER_TABLE_3)
    expected = {
        "self_ensemble": (100, 0),
        "multiview": (75, np.std([50, 100], ddof=1)),
        "late_fusion": (50, 0),
        "concat": (50, 0),
        "mel": (100, 0),
        "gammatone": (50, 0),
        "cqt": (50, 0),
        "raw": (25, np.std([0, 50], ddof=1)),
    }
    for system, (mean, deviation) in expected.items():
        assert table.loc[system, "accuracy_mean"] == pytest.approx(mean), system
        assert table.loc[system, "accuracy_std"] == pytest.approx(deviation), system
    assert table["folds"].eq(2).all()
    assert table.loc["late_fusion", "paper_accuracy"] == 85.80


def test_report_writes_table_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report(write_runs(tmp_path))
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["system", "folds", "accuracy_mean", "accuracy_std", "paper_accuracy"]
    assert (rows[1]["system"], rows[1]["accuracy_mean"], rows[1]["paper_accuracy"]) == ("multiview", "75.00", "86.65")
    for name in ("figure2a.png", "figure2b.png", "figure2c.png", "confusion.png"):
        data = (tmp_path / name).read_bytes()
        assert data[:4] == b"\x89PNG" and len(data) > 10_000
    # Wilson's interval of 6 of 8; that of mel, 8 of 8, begins at 8 / (8 + 1.96^2) = 67.56 %, and guessing gives 50 %.
    text = squeezed((tmp_path / "table.md").read_text())
    assert "| Multi-view | 2 | 75.00 ± 35.36 | 40.93 to 92.85 | 86.65 |" in text
    assert "| Mel | 2 | 100.00 ± 0.00 | 67.56 to 100.00 | 80.15 |" in text
    assert "Without listening, chance gives 50.00 %, the most frequent class for all 50.00 %." in text
    assert "**Not shown to be better than that: Multi-view, Late fusion, Concat. fusion, Gammatone, CQT, Raw**" in text
    printed = squeezed(capsys.readouterr().out)
    assert printed.index("A fold has few clips") < printed.index("Without listening")  # Table 3 is last
    assert "| Multi-view | 2 |" in printed and "figure2b.png" in printed


def test_accuracy_by_class_by_hand(tmp_path: Path) -> None:
    """Mel is right everywhere; CQT's `half` has one clip of each class right, in both folds."""
    table = class_accuracies(collect(write_runs(tmp_path)).rows)
    assert list(table.index) == ["yes", "no"] and list(table.columns) == list(PAPER_TABLE_3)
    assert table["mel"].tolist() == [100, 100] and table["cqt"].tolist() == [50, 50]
    # Raw is wrong everywhere in fold 1 and half right in fold 2.
    assert table["raw"].tolist() == [25, 25]


def test_folds_by_hand(tmp_path: Path) -> None:
    """Raw has none of four clips right in fold 1 and two in fold 2; Wilson's interval of 0 of 4 ends at
    z^2 / (4 + z^2) = 48.99 %."""
    report(write_runs(tmp_path))
    table = pd.read_csv(tmp_path / "folds.csv").set_index(["system", "fold"])
    assert table.loc[("raw", 1)].tolist() == [4, 0, 0, 0, 48.99, 50, 50, 0]
    assert table.loc[("raw", 2), ["right", "accuracy"]].tolist() == [2, 50]
    text = squeezed((tmp_path / "folds.md").read_text())
    assert "| accuracy, % | fold 1 | fold 2 |" in text and "| Raw | 0.00 | 50.00 |" in text
    assert "| Most frequent class | 50.00 | 50.00 |" in text and "| Test clips | 4 | 4 |" in text


def test_a_fold_that_a_row_lacks_is_empty(tmp_path: Path) -> None:
    write_runs(tmp_path)
    shutil.rmtree(tmp_path / "mel" / "fold2")
    report(tmp_path)
    text, page = squeezed((tmp_path / "folds.md").read_text()), (tmp_path / "report.html").read_text()
    assert "| Mel | 100.00 | |" in text and "| Late fusion | 50.00 | |" in text
    assert "Mel: fold 1; Gammatone, CQT, Raw, Concat. fusion, Multi-view: mean of folds 1, 2" in page
    assert "Accuracy by class and system, the test clips of fold 1<" in page


def test_what_is_taken_for_what_by_hand(tmp_path: Path) -> None:
    """The joint branch of fold 1 takes a yes for a no, and a no for a yes; that of fold 2 is right."""
    results = collect(write_runs(tmp_path))
    found = confusion(results)
    assert (found.system, found.trials) == ("multiview", (Trial(1), Trial(2)))
    assert found.counts.to_numpy().tolist() == [[3, 1], [1, 3]]
    assert found.pairs().to_numpy().tolist() == [["yes", "no", 1, 4, 1], ["no", "yes", 1, 4, 1]]
    section = confused_section(results)
    assert section.table.to_numpy()[0].tolist() == ["yes", "no", "1 of 4", "25", "1"]
    assert section.notes == ("Multi-view, 2 wrong of 8 answers to test clips. The whole matrix: `confusion.png`.",)


def test_a_clip_of_which_nothing_is_said_is_taken_for_nothing() -> None:
    """All classes alike, as of silence: in no cell of the matrix, and right in no row."""
    values = np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]], np.float32)
    part = Predictions(["a", "b", "c"], np.array([0, 1, 1]), ["yes", "no"], {"mel": values}, {"mel": 1.0})
    counts, totals = count([part], "mel")
    assert counts.to_numpy().tolist() == [[0, 0], [1, 0]] and totals.tolist() == [1, 2]
    found = Confusion("mel", (Trial(1),), counts, totals)
    assert found.pairs().to_numpy().tolist() == [["no", "yes", 1, 2, 0]]
    shown = draw_confusion(counts, totals, "").axes[0].images[0].get_array()
    assert np.asarray(shown).tolist() == [[0, 0], [50, 0]]
    assert class_accuracies({"mel": {Trial(1): part}})["mel"].tolist() == [0, 0]
    assert right(part, "mel").tolist() == [False, False, False]


def write_many_classes(path: Path, system: str = "mel", classes: int = 50) -> None:
    """Two clips a class; class 0 is taken for class 1 twice, class 2 for class 3 once, and all others are right."""
    write_run(path, system, 1, {system: RIGHT})
    labels = np.repeat(np.arange(classes), 2)
    said = np.where(labels == 0, 1, labels)
    said[4] = 3
    names = [f"class_{number}" for number in range(classes)]
    probabilities = {system: np.eye(classes, dtype=np.float32)[said]}
    Predictions([f"{n}.wav" for n in range(len(labels))], labels, names, probabilities, {system: 1.0}).write(
        path / "predictions.h5"
    )
    content = json.loads((path / "run.json").read_text())
    content["store"]["classes"] = names
    (path / "run.json").write_text(json.dumps(content))


def test_fifty_classes_are_readable_on_the_page(tmp_path: Path) -> None:
    """On the page are the pairs that are confused; the whole matrix is a file."""
    write_many_classes(tmp_path / "mel" / "fold1")
    report(tmp_path)
    assert pd.read_csv(tmp_path / "confused.csv").to_numpy().tolist() == [
        ["class_0", "class_1", 2, 2, 0], ["class_2", "class_3", 1, 2, 0]
    ]  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "<td>class 0</td><td>class 1</td><td>2 of 2</td><td>100</td>" in page
    assert (tmp_path / "confusion.png").is_file() and "Confusion matrix of" not in page
    assert page.count("data:image/png;base64,") == 3  # losses, accuracy by class, and reliability
    # One system: dots that fill a page's width, not a strip.
    picture = per_class(collect(tmp_path))
    width, height = picture.get_size_inches()
    assert width == 7 and 0.5 < width / height < 2
    assert picture.axes[0].get_title(loc="left") == "esc50: accuracy of each class, fold 1"
    assert [tick.get_text() for tick in picture.axes[0].get_yticklabels()][:2] == ["class 0", "class 2"]  # the worst


def test_few_classes_have_their_matrix_on_the_page(tmp_path: Path) -> None:
    report(write_runs(tmp_path))
    assert "Confusion matrix of Multi-view, the test clips of folds 1, 2" in (tmp_path / "report.html").read_text()
    assert len(per_class(collect(tmp_path)).axes) == 2  # eight rows: a table in colours, and its scale


def test_losses_that_leave_the_axis_say_so(tmp_path: Path) -> None:
    """Of 40 evaluations at 1 one is 30: above 1.1 times the first, which is higher than the 95th percentile."""
    write_runs(tmp_path)
    for fold in (1, 2):
        history = pd.DataFrame(1.0, index=range(40), columns=columns(["mel"]))
        history["evaluation"] = history["step"] = range(40)
        history.loc[7, "val_loss_mel"] = 30
        history.to_csv(tmp_path / "mel" / f"fold{fold}" / "history.csv", index=False)
    axes = system_losses(collect(tmp_path)).axes[0]
    assert axes.get_ylim() == (0, pytest.approx(2.2))  # of the others, which begin at 2
    assert axes.get_xlabel() == "training step\nabove the axis: Mel up to 30.0"
    assert axes.get_title() == "esc50: the multi-view network and the baselines, mean of folds 1, 2"
    assert branch_losses(collect(tmp_path)).axes[0].get_xlabel() == "training step"


@pytest.mark.parametrize(
    ("folds", "seeds", "said"),
    [
        ([3], [0], "fold 3"),
        ([2, 1], [0], "folds 1, 2"),
        ([1, 2, 3, 4], [5], "folds 1 to 4"),
        ([1, 2, 3], [0, 1], "folds 1 to 3, 2 seeds"),
    ],
)
def test_folds_as_people_say_them(folds: list[int], seeds: list[int], said: str) -> None:
    assert folds_said([Trial(fold, seed) for fold in folds for seed in seeds]) == said


def test_seeds_are_averaged_before_folds(tmp_path: Path) -> None:
    """Fold 1: right with one seed, wrong with the other; fold 2, with one seed, right: 75 %, of 50 and 100."""
    for name, fold, seed, values in (("fold1", 1, 0, RIGHT), ("fold1_seed1", 1, 1, WRONG), ("fold2", 2, 0, RIGHT)):
        write_run(tmp_path / "mel" / name, "mel", fold, {"mel": values}, seed=seed)
    (row,) = table_3(collect(tmp_path)).to_dict("records")
    assert (row["folds"], row["accuracy_mean"]) == (2, 75)
    assert row["accuracy_std"] == pytest.approx(np.std([50, 100], ddof=1))
    report(tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "seed 0, 1. The mean over seeds comes first." in table
    assert str(Share(6, 8)) in table  # twelve answers, but eight clips
    assert "fold1_seed1" in (tmp_path / "report.html").read_text()
    assert "mean of folds 1, 2, 2 seeds" in (tmp_path / "report.html").read_text()
    assert class_accuracies(collect(tmp_path).rows)["mel"].tolist() == [75, 75]
    # Six clips are told with 0.9, all right, and two with 0.6, all wrong.
    found = pd.read_csv(tmp_path / "calibration.csv").iloc[0]
    assert found["clips"] == 8 and found["ece"] == pytest.approx((6 * 0.1 + 2 * 0.6) / 8)
    assert found["loss"] == pytest.approx(-(6 * np.log(0.9) + 2 * np.log(0.4)) / 8, abs=1e-4)
    # Folds of 5 and of 6 steps an evaluation.
    assert mean_curve(collect(tmp_path), "mel", "val_loss_mel").index.tolist() == [0, 5.5, 11]


def test_temperatures_of_seeds_are_averaged_by_fold(tmp_path: Path) -> None:
    """0.5 and 1 in fold 1, of networks that are right and wrong, 2 in fold 2; 0.9 becomes 0.81 / 0.82 and 3 / 4."""
    for name, seed, values, temperature in (
        ("fold1", 0, RIGHT, 0.5),
        ("fold1_seed1", 1, WRONG, 1),
        ("fold2", 0, RIGHT, 2),
    ):
        write_run(tmp_path / "mel" / name, "mel", int(name[4]), {"mel": values}, seed=seed)
        path = tmp_path / "mel" / name / "run.json"
        calibration = {"branches": {"mel": temperature}, "self_ensemble": temperature}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"calibration": calibration}))
    (found,) = calibrated_rows(collect(tmp_path)).values()
    assert found.temperatures == (0.75, 2)
    losses = -np.log([0.81 / 0.82, 0.4, 0.75])
    assert found.loss_after == pytest.approx(np.average(losses, weights=[2, 2, 4]))


def test_claims_are_written_and_say_that_few_clips_support_nothing(tmp_path: Path) -> None:
    report(write_runs(tmp_path))
    claims = pd.read_csv(tmp_path / "claims.csv").set_index("row")
    assert claims.loc["multiview", "against"] == "mel" and claims.loc["multiview", "difference"] == -25
    assert claims.loc["self_ensemble", ["better", "worse"]].tolist() == [2, 0]
    assert claims["verdict"].str.contains("2 folds with 8 clips support nothing").all()
    assert claims.loc["multiview", "verdict"] in (tmp_path / "claims.md").read_text()


def test_list_of_runs_says_once_what_all_share() -> None:
    table = pd.DataFrame({"run": ["mel/fold1", "raw/fold1"], "seed": [0, 0], "epochs": [60, 30], "commit": [None, "a"]})
    section = runs_section(table)
    assert section.table.to_dict("list") == {
        "run": ["mel/fold1", "raw/fold1"],
        "epochs": ["60", "30"],
        "commit": ["", "a"],
    }
    assert section.notes == ("All runs: seed 0.",)
    assert "seed" in runs_section(table[:1]).table


def test_cells_cannot_break_a_table() -> None:
    section = Section("", pd.DataFrame([["a|b", "1.50"]], columns=["x|y", "z"]), ("note",))
    assert squeezed(section.markdown()).splitlines()[::2] == [r"| x\|y | z |", r"| a\|b | 1.50 |", "note"]


@pytest.mark.parametrize(
    ("steps", "epochs", "words"), [(None, 1, "epoch"), (None, 5, "5 epochs"), (40, 1, "40 steps"), (40, 5, "40 steps")]
)
def test_how_often_a_run_is_evaluated(steps: int | None, epochs: int, words: str) -> None:
    assert interval_in_words(SimpleNamespace(evaluation_interval=steps, evaluation_epochs=epochs)) == words


def test_a_users_own_view_is_in_everything(tmp_path: Path, fifth_view: str, capsys: pytest.CaptureFixture) -> None:
    """Late fusion is of the five views of the multi-view network: (0.9 + 4 x 0.2) / 5 = 0.34 for the second clip."""
    views = (*paper_views(), fifth_view)
    for view in views:
        write_run(tmp_path / view / "fold1", view, 1, {view: RIGHT if view == fifth_view else HALF})
    write_multiview(tmp_path / "multiview/fold1", 1, views)
    write_multiview(tmp_path / "ablations/without_mfcc/fold1", 1)
    table = report(tmp_path).set_index("system")
    assert list(table.index) == ["self_ensemble", "multiview", "late_fusion", *views]
    assert table.loc[fifth_view, "accuracy_mean"] == 100 and np.isnan(table.loc[fifth_view, "paper_accuracy"])
    text = squeezed((tmp_path / "table.md").read_text())
    assert "| My MFCCs | 1 | 100.00 | 51.01 to 100.00 | |" in text
    assert "On the views mel, gammatone, cqt, raw, mfcc: Self-ensemble, Multi-view, Late fusion." in text
    fused = collect(tmp_path).rows["late_fusion"][Trial(1)].probabilities["late_fusion"]
    assert fused[1, 0] == pytest.approx(0.34)
    assert "| My MFCCs |" in squeezed((tmp_path / "ablations.md").read_text())
    claims = pd.read_csv(tmp_path / "claims.csv").set_index("row")
    assert claims.loc["multiview", "against"] == fifth_view  # the best single view
    assert "not there yet: Concat. fusion\n" in capsys.readouterr().out


def test_a_store_of_two_views(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """What the store has no view for is not missed."""
    for view in ("mel", "raw"):
        write_run(tmp_path / view / "fold1", view, 1, {view: RIGHT})
    write_multiview(tmp_path / "multiview/fold1", 1, ("mel", "raw"))
    for path in tmp_path.glob("*/fold1/run.json"):
        record = json.loads(path.read_text())
        record["store"]["views"] = ["mel", "raw"]
        path.write_text(json.dumps(record))
    table = report(tmp_path)
    assert table["system"].tolist() == ["self_ensemble", "multiview", "late_fusion", "mel", "raw"]
    assert "not there yet: Concat. fusion\n" in capsys.readouterr().out


def test_report_is_one_page_that_needs_no_network(tmp_path: Path) -> None:
    write_multiview(tmp_path / "ablations/uniform/fold1", 1, blending="uniform")
    write_runs(tmp_path)
    failed = tmp_path / "raw" / "fold3"
    failed.mkdir()
    (failed / "run.json").write_text(
        json.dumps({**record(system="raw"), "status": "failed", "reason": "the loss of <raw> is nan"})
    )
    (tmp_path / "cqt" / "fold4").mkdir()
    (tmp_path / "cqt" / "fold4" / "run.json").write_text("{")
    report(tmp_path)
    assert "cqt/fold4" in (tmp_path / "table.md").read_text()  # damaged, and named
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page) and "http" not in page
    assert page.count("data:image/png;base64,") == 7 and page.count("<table") == 7
    assert "Not shown to be better than that" in page
    for caption in (
        "the multi-view network, mean of folds 1, 2",
        "in fold 1, one of 2;",
        "in each ablation, over the folds",
    ):
        assert caption in page
    for text in ("<td>Multi-view</td>", "Multi-view against Mel", "ablations/uniform/fold1", "CQT is more accurate"):
        assert text in page
    assert "the loss of &lt;raw&gt; is nan" in page and "failed:" in (tmp_path / "table.md").read_text()


def test_one_fold_has_no_deviation_and_other_datasets_no_paper_figure(tmp_path: Path) -> None:
    write_runs(tmp_path, dataset="esc10")
    for path in tmp_path.glob("*/fold2"):
        shutil.rmtree(path)
    report(tmp_path)
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["accuracy_std"].isna().all() and table["paper_accuracy"].isna().all()
    assert "The paper reports no figures on this dataset." in (tmp_path / "table.md").read_text()


def test_curves_are_averaged_by_evaluation(tmp_path: Path) -> None:
    """Folds of 5 and 6 steps an epoch: three points, at the mean steps, as in each fold."""
    curve = mean_curve(collect(write_runs(tmp_path)), "mel", "val_loss_mel")
    assert curve.index.tolist() == [0, 5.5, 11]
    np.testing.assert_allclose(curve, [2, 1, 2 / 3])


def test_unfinished_systems_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_runs(tmp_path)
    shutil.rmtree(tmp_path / "raw")
    shutil.rmtree(tmp_path / "concat")
    (tmp_path / "mel" / "fold2" / "metrics.json").unlink()
    table = report(tmp_path).set_index("system")
    assert "not there yet: Late fusion, Concat. fusion, Raw" in capsys.readouterr().out
    assert table.loc["mel", "folds"] == 1


def test_what_there_are_no_results_for_any_more_goes(tmp_path: Path) -> None:
    """A report of other results than before; what is the user's stays."""
    write_many_classes(tmp_path / "mel" / "fold1")
    report(tmp_path)
    (tmp_path / "notes.md").write_text("mine")
    before = {path.name for path in tmp_path.iterdir() if path.is_file()}
    found = Predictions.read(tmp_path / "mel" / "fold1" / "predictions.h5")
    right_ones = {"mel": np.eye(50, dtype=np.float32)[found.labels]}
    Predictions(found.clips, found.labels, found.classes, right_ones, found.weights).write(
        tmp_path / "mel" / "fold1" / "predictions.h5"
    )
    report(tmp_path)
    assert before - {path.name for path in tmp_path.iterdir()} == {"confused.md", "confused.csv"}
    with pytest.raises(ValueError, match="expected a file of table, .*, found 'else'"):  # which would stay for ever
        Section("Else", file="else")

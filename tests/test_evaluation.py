"""Clip-level evaluation and the report, on figures that can be worked out by hand."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from data_prep.views import VIEWS
from multiview import evaluation
from multiview.errors import InputError
from multiview.figures import class_accuracies, mean_curve
from multiview.names import BRANCHES, PAPER_TABLE_3
from multiview.report import ablation_table, fold_accuracies, report, runs_markdown, stability, table_3
from multiview.results import collect, correct
from multiview.store import Store


def test_average_by_clip() -> None:
    probabilities = np.array([[1, 0], [0, 1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6]])
    clips = np.array([7, 7, 7, 3, 3])
    expected = [[0.5, 0.5], [0.3, 0.7]]
    np.testing.assert_allclose(evaluation.average_by_clip(probabilities, clips), expected, atol=1e-6)


def test_cross_entropy_by_hand() -> None:
    probabilities, labels = np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])
    expected = -(np.log(0.5) + np.log(0.75)) / 2
    assert evaluation.cross_entropy(probabilities, labels) == pytest.approx(expected)
    assert np.isnan(evaluation.cross_entropy(np.array([[np.nan, 1]]), np.array([1])))


def test_self_ensemble_is_equation_6() -> None:
    probabilities = {"mel": np.array([[0.8, 0.2]]), "raw": np.array([[0.1, 0.9]])}
    fused = evaluation.self_ensemble(probabilities, {"mel": 0.25, "raw": 0.75})
    np.testing.assert_allclose(fused, [[0.25 * 0.8 + 0.75 * 0.1, 0.25 * 0.2 + 0.75 * 0.9]])


def test_late_fusion_is_the_mean() -> None:
    fused = evaluation.late_fusion([np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])])
    np.testing.assert_allclose(fused, [[0.75, 0.25]])


class OnsetModel:
    """Stands in for a network: the 'probability' of a segment tells where it was cut."""

    input = dict.fromkeys(VIEWS)

    def predict_on_batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"mel": np.stack([batch["mel"][:, 0].mean(axis=(1, 2)), batch["raw"][:, 0, 0]], axis=1)}


def test_segments_of_the_test_span_each_clip(tiny_store: Store) -> None:
    clips = np.array([4, 11])
    segments = evaluation.even_segments(tiny_store, clips)
    assert segments.clips.tolist() == [4, 4, 11, 11]  # 2 s, so 2 segments
    last = 44100 - 33330
    mel_last = (1 + (44100 - 882) // 441 - 75 + 1) * 441 - 1
    assert segments.starts.tolist() == [0, min(last, mel_last)] * 2
    outputs = evaluation.predict_segments(OnsetModel(), tiny_store, segments, batch_size=3)["mel"]
    for row, (clip, start) in enumerate(zip(segments.clips, segments.starts, strict=True)):
        sample = tiny_store.values["raw"][tiny_store.offsets["raw"][clip] + start] / 32768
        frame = tiny_store.values["mel"][tiny_store.offsets["mel"][clip] + start // 441].mean()
        np.testing.assert_allclose(outputs[row], [frame, sample], rtol=1e-5)


def test_long_clips_are_monitored_on_five_segments(tiny_store: Store) -> None:
    from types import SimpleNamespace

    seconds = np.array([30, 5, 2])
    lengths = seconds * 22050
    long = SimpleNamespace(
        sample_rate=22050, samples=lengths, offsets={"raw": np.concatenate([[0], np.cumsum(lengths)])}
    )
    segments = evaluation.even_segments(long, np.arange(3), most=evaluation.MONITOR_SEGMENTS)
    assert np.bincount(segments.clips).tolist() == [5, 5, 2]
    assert np.bincount(evaluation.even_segments(long, np.arange(3)).clips).tolist() == [30, 5, 2]


def write_run(
    directory: Path, system: str, fold: int, rows: dict[str, list], weights: dict[str, float], dataset: str
) -> None:
    """A finished run with given probabilities; four clips of two classes, labels 0 0 1 1."""
    path = directory / system / f"fold{fold}"
    path.mkdir(parents=True)
    labels = np.array([0, 0, 1, 1])
    probabilities = {branch: np.array([[p, 1 - p] for p in values], np.float32) for branch, values in rows.items()}
    evaluation.Predictions([f"{fold}-{i}.wav" for i in range(4)], labels, ["yes", "no"], probabilities, weights).write(
        path / "predictions.h5"
    )
    scores = {branch: evaluation.accuracy(values, labels) for branch, values in probabilities.items()}
    if system == "multiview":
        scores["self_ensemble"] = evaluation.accuracy(evaluation.self_ensemble(probabilities, weights), labels)
    metrics = {"system": system, "dataset": dataset, "fold": fold, "clips": 4, "accuracy": scores}
    (path / "metrics.json").write_text(json.dumps(metrics))
    settings = {"preset": "small", "sample_rate": 22050, "epochs": 2, "seed": 0, "window": 1}
    settings |= {"batch_size": 32, "learning_rate": 1e-3, "warm_up_epochs": 0}
    store = {"dataset": dataset, "sample_rate": 22050, "fingerprint": "f"}
    (path / "run.json").write_text(json.dumps({"settings": settings, "store": store}))
    columns = ["evaluation", "epoch", "step", "learning_rate"]
    columns += [f"{c}_{b}" for b in rows for c in ("train_loss", "val_loss", "val_accuracy", "weight")]
    with (path / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for n in range(3):
            writer.writerow(
                [n, n, (4 + fold) * n, 0.1] + [1.0 / (n + 1), 2.0 / (n + 1), 0.5, 1 / len(rows)] * len(rows)
            )


def write_runs(directory: Path, dataset: str = "esc50") -> Path:
    """Two folds of all systems; `p` is the probability of class 0 for the clips 0 0 1 1."""
    right, half, wrong = [0.9, 0.9, 0.1, 0.1], [0.9, 0.2, 0.1, 0.8], [0.4, 0.4, 0.6, 0.6]
    for fold in (1, 2):
        singles = {"mel": right, "gammatone": half, "cqt": half, "raw": wrong if fold == 1 else half}
        for view, values in singles.items():
            write_run(directory, view, fold, {view: values}, {view: 1.0}, dataset)
        write_run(directory, "concat", fold, {"multiview": half}, {"multiview": 1.0}, dataset)
        weights = dict.fromkeys(BRANCHES, 0.0) | {"mel": 0.7, "multiview": 0.3}
        rows = {**singles, "multiview": half if fold == 1 else right}
        write_run(directory, "multiview", fold, rows, weights, dataset)
    return directory


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
    assert "| Multi-view | 2 | 75.00 ± 35.36 | 86.65 |" in (tmp_path / "table.md").read_text()
    printed = capsys.readouterr().out
    assert "| Multi-view | 2 |" in printed and "figure2b.png" in printed


def test_clips_are_compared_by_their_names() -> None:
    """Clip a is right and b and c are wrong, in whatever order the clips come."""
    truth = {"a.wav": [0.9, 0.1], "b.wav": [0.2, 0.8], "c.wav": [0.3, 0.7]}
    rows = {}
    for row, names in (("mel", ["a.wav", "b.wav", "c.wav"]), ("raw", ["c.wav", "a.wav", "b.wav"])):
        scores = np.array([truth[name] for name in names], np.float32)
        rows[row] = {1: evaluation.Predictions(names, np.zeros(3, int), ["yes", "no"], {row: scores}, {row: 1.0})}
    assert correct(rows)["mel"][1].tolist() == correct(rows)["raw"][1].tolist() == [True, False, False]


def test_accuracy_by_class_by_hand(tmp_path: Path) -> None:
    """Mel is right everywhere; CQT's `half` has one clip of each class right, in both folds."""
    table = class_accuracies(collect(write_runs(tmp_path)).rows())
    assert list(table.index) == ["yes", "no"] and list(table.columns) == list(PAPER_TABLE_3)
    assert table["mel"].tolist() == [100, 100] and table["cqt"].tolist() == [50, 50]
    # Raw is wrong everywhere in fold 1 and half right in fold 2.
    assert table["raw"].tolist() == [25, 25]


def test_claims_are_written_and_say_that_few_clips_support_nothing(tmp_path: Path) -> None:
    report(write_runs(tmp_path))
    claims = pd.read_csv(tmp_path / "claims.csv").set_index("row")
    assert claims.loc["multiview", "against"] == "mel" and claims.loc["multiview", "difference"] == -25
    assert claims.loc["self_ensemble", ["better", "worse"]].tolist() == [2, 0]
    assert claims["verdict"].str.contains("2 folds with 8 clips support nothing").all()
    assert claims.loc["multiview", "verdict"] in (tmp_path / "claims.md").read_text()


def write_ablation(directory: Path, name: str, fold: int, weights: list[list[float]], **settings) -> None:
    """A multi-view run of which mel alone is right, with given weights at each evaluation."""
    rows = {branch: [0.9, 0.9, 0.1, 0.1] if branch == "mel" else [0.9, 0.2, 0.1, 0.8] for branch in BRANCHES}
    write_run(directory, "multiview", fold, rows, dict(zip(BRANCHES, weights[-1], strict=True)), "esc50")
    path = directory / "multiview" / f"fold{fold}"
    record = json.loads((path / "run.json").read_text())
    record["settings"] |= {"window": 1, "blending": "paper", "evaluation_interval": None, **settings}
    (path / "run.json").write_text(json.dumps(record))
    history = pd.read_csv(path / "history.csv")
    history[[f"weight_{branch}" for branch in BRANCHES]] = weights
    history.to_csv(path / "history.csv", index=False)
    if name != "paper":
        (directory / "ablations" / name).mkdir(parents=True, exist_ok=True)
        path.rename(directory / "ablations" / name / f"fold{fold}")


def test_list_of_runs_says_once_what_all_share() -> None:
    table = pd.DataFrame({"run": ["mel/fold1", "raw/fold1"], "seed": [0, 0], "epochs": [60, 30], "commit": [None, "a"]})
    assert runs_markdown(table).splitlines() == [
        "| run | epochs | commit |",
        "|---|---|---|",
        "| mel/fold1 | 60 |  |",
        "| raw/fold1 | 30 | a |",
        "",
        "All runs: seed 0.",
    ]
    assert "seed" in runs_markdown(table[:1]).splitlines()[0]


def test_ablations_by_hand(tmp_path: Path) -> None:
    """W = 1, so evaluations 1 and 2 count. The paper's weights go from (0.95, 0.05) to (0.05, 0.95): 0.9 of
    the weight moves, and both times one is above 0.9. Uniform stays at 0.2."""
    uniform, one, other = [0.2] * 5, [0.95, 0, 0, 0, 0.05], [0.05, 0, 0, 0, 0.95]
    for fold in (1, 2):
        write_ablation(tmp_path, "uniform", fold, [uniform] * 3, blending="uniform")
    write_ablation(tmp_path, "paper", 1, [uniform, one, other])
    table = ablation_table(collect(tmp_path)).set_index("ablation")
    calm = ["largest", "one_hot", "uniform", "change"]
    assert table.loc["paper", calm].tolist() == pytest.approx([0.95, 1, 0, 0.9])
    assert table.loc["uniform", calm].tolist() == pytest.approx([0.2, 0, 1, 0])
    # One fold: the paper's has no other.
    assert table.loc["uniform", ["blending", "evaluation_interval", "folds"]].tolist() == ["uniform", "epoch", 1]
    history = pd.read_csv(collect(tmp_path).runs["multiview"][1].history)
    assert np.isnan(stability(history, {"window": 3, "warm_up_epochs": 0})["largest"])
    assert np.isnan(stability(history, {"window": 1, "warm_up_epochs": 2})["largest"])  # one evaluation is left
    # The joint branch has half of the clips right in both; the ensemble at (0.05, 0.95) follows it.
    assert table.loc["uniform", ["multiview", "difference"]].tolist() == [50, 0]
    assert table.loc["paper", "self_ensemble"] == 50


def test_report_is_one_page_that_needs_no_network(tmp_path: Path) -> None:
    write_ablation(tmp_path, "uniform", 1, [[0.2] * 5] * 3, blending="uniform")
    write_runs(tmp_path)
    failed = tmp_path / "raw" / "fold3"
    failed.mkdir()
    (failed / "run.json").write_text(
        json.dumps({"settings": {}, "store": {}, "status": "failed", "reason": "the loss of <raw> is nan"})
    )
    (tmp_path / "cqt" / "fold4").mkdir()
    (tmp_path / "cqt" / "fold4" / "run.json").write_text("{")
    report(tmp_path)
    assert "cqt/fold4" in (tmp_path / "table.md").read_text()  # damaged, and named
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page) and "http" not in page
    assert page.count("data:image/png;base64,") == 6 and page.count("<table") == 4
    for text in ("<td>Multi-view</td>", "Multi-view against Mel", "ablations/uniform/fold1", "CQT is more accurate"):
        assert text in page
    assert "the loss of &lt;raw&gt; is nan" in page and "failed:" in (tmp_path / "table.md").read_text()


def test_one_fold_has_no_deviation_and_other_datasets_no_paper_figure(tmp_path: Path) -> None:
    import shutil

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


def test_run_in_the_wrong_place_is_named(tmp_path: Path) -> None:
    write_runs(tmp_path)
    (tmp_path / "mel" / "fold1").rename(tmp_path / "mel" / "fold1_old")
    with pytest.raises(InputError, match="fold1_old; found mel, fold1; move it away"):
        collect(tmp_path)


def test_unfinished_systems_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import shutil

    write_runs(tmp_path)
    shutil.rmtree(tmp_path / "raw")
    shutil.rmtree(tmp_path / "concat")
    (tmp_path / "mel" / "fold2" / "metrics.json").unlink()
    table = report(tmp_path).set_index("system")
    assert "not there yet: Late fusion, Concat. fusion, Raw" in capsys.readouterr().out
    assert table.loc["mel", "folds"] == 1


def test_late_fusion_only_of_folds_with_all_views(tmp_path: Path) -> None:
    write_runs(tmp_path)
    (tmp_path / "cqt" / "fold1" / "metrics.json").unlink()
    assert set(fold_accuracies(collect(tmp_path))["late_fusion"]) == {2}


def test_late_fusion_of_different_clips_is_refused(tmp_path: Path) -> None:
    write_runs(tmp_path)
    with h5py.File(tmp_path / "raw" / "fold1" / "predictions.h5", "a") as file:
        file["clip"][0] = "other.wav"
    with pytest.raises(InputError, match="mel and raw were tested on different clips"):
        fold_accuracies(collect(tmp_path))


def test_runs_on_different_stores_are_not_mixed(tmp_path: Path) -> None:
    write_runs(tmp_path)
    path = tmp_path / "raw" / "fold1" / "run.json"
    path.write_text(path.read_text().replace('"f"', '"g"'))
    with pytest.raises(InputError, match="expected runs on one store"):
        collect(tmp_path)


def test_predictions_on_disk(tmp_path: Path) -> None:
    """The file as others may read it."""
    write_runs(tmp_path)
    with h5py.File(tmp_path / "multiview" / "fold2" / "predictions.h5") as file:
        assert file["clip"].asstr()[()].tolist() == [f"2-{i}.wav" for i in range(4)]
        assert file["label"][()].tolist() == [0, 0, 1, 1]
        assert file["classes"].asstr()[()].tolist() == ["yes", "no"]
        assert set(file["probability"]) == set(BRANCHES)
        assert file["probability/mel"].dtype == np.float32 and file["probability/mel"].shape == (4, 2)
        assert list(file["weight"].attrs["branches"]) == list(BRANCHES)
        np.testing.assert_allclose(file["weight"][()], [0.7, 0, 0, 0, 0.3], atol=1e-6)

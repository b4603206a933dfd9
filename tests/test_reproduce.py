"""`run_experiments.sh`, and so `multiview reproduce`, as users call it, in a copy of the project of its own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multiview.report.paper import PAPER_TABLE_3
from tests import trees
from tests.helpers.paper import SYSTEMS, TABLE_3

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files with an environment that is there already: the one the tests run in."""
    copy = tmp_path_factory.mktemp("project") / "multiview"
    copy.mkdir()
    for name in ("multiview", "data_prep"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run_experiments.sh", "environment.sh", "setup.py"):
        shutil.copy(ROOT / name, copy / name)
    (copy / ".venv").mkdir()
    (copy / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    version = subprocess.run(["cksum"], input=(ROOT / "setup.py").read_bytes(), capture_output=True, check=True)
    (copy / ".venv" / "installed").write_bytes(version.stdout)
    return copy


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(
        ["./run_experiments.sh", *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_demo_from_sounds_to_the_table(project: Path) -> None:
    """The main job: all eight rows, the multi-view network at 90 % or more, weights that move."""
    begin = time.monotonic()
    result = run(project, "demo")
    seconds = time.monotonic() - begin
    assert result.returncode == 0, result.stderr[-2000:]
    results = project / "results" / "demo" / "demo"
    with (results / "table.csv").open() as file:
        table = {row["system"]: float(row["accuracy_mean"]) for row in csv.DictReader(file)}
    assert tuple(table) == TABLE_3
    assert table["multiview"] >= 90
    assert min(table.values()) > 100 / 6
    assert "| Multi-view" in result.stdout and "figure2b.png" in result.stdout
    with (results / "multiview" / "fold1" / "history.csv").open() as file:
        weights = [float(row["weight_mel"]) for row in csv.DictReader(file)]
    assert max(weights) - min(weights) > 0.3
    print(f"demo took {seconds:.0f} s")
    # What is done is skipped.
    begin = time.monotonic()
    again = run(project, "demo")
    assert again.returncode == 0 and time.monotonic() - begin < max(60, 0.3 * seconds)
    assert f"{len(SYSTEMS)} runs: {len(SYSTEMS)} done" in again.stderr


def test_one_failing_run_does_not_stop_the_others(project: Path) -> None:
    taken = project / "results" / "demo" / "small" / "mel" / "fold1"
    taken.mkdir(parents=True)
    (taken / "run.json").write_text("{")
    result = run(project, "demo", "--preset", "small", "--epochs", "1", "--systems", "mel,cqt", "--jobs", "2")
    assert result.returncode == 1
    assert f"failed: mel/fold1, see {taken / 'train.log'}" in result.stderr
    assert "is damaged" in (taken / "train.log").read_text()
    assert "| CQT " in result.stdout


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("dcase2016", trees.dcase2016, ["18 clips, 3 classes, 22050 Hz, 9.0 minutes", "0 clips left out"]),
        (
            "gtzan",
            trees.gtzan,
            ["left out: jazz.00054.au: unreadable (", "29 clips, 3 classes", "1 clips left out"],
        ),
    ],
)
def test_official_layouts_from_sounds_to_the_table(
    project: Path, tmp_path: Path, name: str, make, said: list[str]
) -> None:
    """30 s binaural at 24 bit, and .au of uneven length with a damaged clip; two epochs."""
    make(tmp_path / "genres")
    call = (name, "--audio", str(tmp_path), "--preset", "demo", "--epochs", "2", "--systems", "mel")
    result = run(project, *call, "--folds", "1")
    assert result.returncode == 0, result.stderr[-2000:]
    for text in said:
        assert text in result.stdout + result.stderr
    table = (project / "results" / name / "demo" / "table.md").read_text()
    assert "| Mel " in table and str(PAPER_TABLE_3["mel"][name]) in table
    metrics = json.loads((project / "results" / name / "demo" / "mel" / "fold1" / "metrics.json").read_text())
    assert metrics["dataset"] == name and metrics["clips"] == {"dcase2016": 6, "gtzan": 3}[name]


def test_all_names_each_dataset(project: Path, tmp_path: Path) -> None:
    call = ["bash", "run_experiments.sh", "all", "--audio", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    result = subprocess.run(call, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("==")] == [
        "== esc50",
        "== dcase2016",
        "== gtzan",
    ]
    for missing in ("esc50.csv", "TUT-acoustic-scenes-2016-development", "a sub-folder for each genre"):
        assert missing in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("birds",), "birds"),
        (("demo", "--preset", "huge"), "invalid choice: 'huge'"),
        (("demo", "--folds"), "expected one argument"),
        (("demo", "--folds", "one"), "argument --folds: invalid"),
        (("demo", "--fast"), "--fast"),
        (("demo", "--systems", "mel,video"), "found 'video'"),
        (("demo", "--ablations", "windows"), "found 'windows'"),
        (("demo", "--views", "mel,video"), "found 'video'"),
        (("demo", "--augmentations", "noise"), "expected an augmentation of"),
        (("demo", "--backbone", "huge"), "expected a backbone of"),
        (("demo", "--epochs", "0"), "expected --epochs above 0, found 0"),
        (("demo", "--ablations", "window5"), "is what preset demo does anyway"),
        (("demo", "--status"), "expected the store"),
        (("esc10", "--preset", "small", "--sample-rate", "44100"), "for --sample-rate 22050, found 44100"),
        (("esc50", "--without-faulty"), "--without-faulty does not go with esc50"),
        (("all", "--csv", "setup.py"), "all runs each dataset as the paper does"),
        (("demo", "--download"), "--download does not go with demo"),
        (("all", "--folds", "1"), "all runs each dataset as the paper does"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(project: Path, arguments: tuple, message: str) -> None:
    before = {path.name for path in project.iterdir()}
    result = run(project, *arguments)
    assert result.returncode == 2 and message in result.stderr
    assert {path.name for path in project.iterdir()} == before  # nothing was written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("esc10", "--audio", "nowhere", "--preset", "small"), "found none at nowhere; check --audio"),
        (("folder", "--csv", "none.csv", "--preset", "small"), "found no file"),
        (("esc50", "--preset", "small"), "expected --audio DIR"),
    ],
)
def test_missing_things_are_one_line_and_status_1(project: Path, arguments: tuple, message: str) -> None:
    before = {path.name for path in project.iterdir()}
    result = run(project, *arguments)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert {path.name for path in project.iterdir()} == before


def test_other_views_stand_apart(project: Path) -> None:
    """Store, results and systems of two views; and what leaving one out costs."""
    call = ["demo", "--views", "raw,mel", "--epochs", "1", "--preset", "demo", "--systems", "mel,concat"]
    result = run(project, *call)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (project / "stores" / "demo_22050_mel-raw.h5").is_file()
    record = json.loads((project / "results/demo/demo_mel-raw/concat/fold1/run.json").read_text())
    assert record["settings"]["views"] == "mel,raw" and record["store"]["views"] == ["mel", "raw"]
    assert "| Concat. fusion" in result.stdout


def test_help_names_datasets_and_an_example(project: Path, tmp_path: Path) -> None:
    """Before any environment is made."""
    shutil.copy(project / "run_experiments.sh", tmp_path)
    for words, status in ((["--help"], 0), ([], 2)):
        call = [str(tmp_path / "run_experiments.sh"), *words]
        result = subprocess.run(call, capture_output=True, text=True, check=False)
        assert result.returncode == status
        assert "example: ./run_experiments.sh" in result.stdout and "esc10" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["run_experiments.sh"]

"""`run_experiments.sh`, and so `multiview reproduce`, as users call it, in a copy of the project of its own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from multiview.report.paper import PAPER_TABLE_3
from tests import trees
from tests.helpers.paper import SYSTEMS, TABLE_3
from tests.helpers.project import copied, run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files with an environment that is there already: the one the tests run in."""
    return copied(tmp_path_factory.mktemp("project") / "multiview")


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
    # A part of a published dataset is another protocol, beside which the paper's figures do not stand.
    part = {"dcase2016": "dcase2016_18_of_1560", "gtzan": "gtzan_29_of_1000"}[name]
    results = project / "results" / part / "demo"
    assert not (project / "results" / name).exists()
    table, page = ((results / file).read_text() for file in ("table.md", "report.html"))
    assert "| Mel " in table and f"| {part} " in table and part in page
    assert str(PAPER_TABLE_3["mel"][name]) not in table and "paper, %" not in table
    metrics = json.loads((results / "mel" / "fold1" / "metrics.json").read_text())
    assert metrics["dataset"] == part and metrics["clips"] == {"dcase2016": 6, "gtzan": 3}[name]
    record = json.loads((results / "mel" / "fold1" / "run.json").read_text())
    label = {"dcase2016": "DCASE2016, 18 of 1560 clips", "gtzan": "GTZAN, 29 of 1000 clips"}[name]
    assert record["store"]["about"]["label"] == label


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
        (("demo", "--folds", "one"), "argument --folds: expected a whole number"),
        (("demo", "--fast"), "--fast"),
        (("demo", "--systems", "mel,video"), "found 'video'"),
        (("demo", "--ablations", "windows"), "found 'windows'"),
        (("demo", "--views", "mel,video"), "found 'video'"),
        (("demo", "--augmentations", "noise"), "expected an augmentation of"),
        (("demo", "--backbone", "huge"), "expected a backbone of"),
        (("demo", "--epochs", "0"), "expected --epochs above 0, found 0"),
        (("demo", "--ablations", "window5"), "is what preset demo does anyway"),
        (("demo", "--views", "mel,cqt", "--status"), "expected the store"),  # which no test makes
        (("esc10", "--preset", "small", "--sample-rate", "44100"), "for --sample-rate 22050, found 44100"),
        (("esc50", "--without-faulty"), "--without-faulty does not go with esc50"),
        (("all", "--csv", "setup.py"), "all runs each dataset as the paper does"),
        (("demo", "--download"), "--download does not go with demo"),
        (("all", "--folds", "1"), "all runs each dataset as the paper does"),
        (("esc50", "--preset", "small"), "expected --audio DIR"),
        (
            ("demo", "--backbone", "mobilenet", "--gradient-checkpointing"),
            "a backbone of crnn, separable, found mobilenet",
        ),
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


def own_sounds(folder: Path, classes: tuple[str, ...] = ("bell", "wind")) -> Path:
    for name in classes:
        for number in range(3):
            trees.write_tone(folder / name / f"{number}.wav", samples=40_000 + number)
    return folder


def test_two_datasets_of_one_s_own_never_meet(project: Path, tmp_path: Path) -> None:
    """By the names of their folders, or as they are called."""
    quick = ("--preset", "demo", "--epochs", "1", "--systems", "mel", "--folds", "1")
    birds, dogs = (own_sounds(tmp_path / name, (name, "wind")) for name in ("birds", "dogs"))
    for arguments in (("--audio", birds), ("--audio", dogs), ("--audio", dogs, "--name", "my dogs")):
        result = run(project, "folder", *map(str, arguments), *quick)
        assert result.returncode == 0, result.stderr[-2000:]
    for name, first in (("birds", "birds"), ("dogs", "dogs"), ("my dogs", "dogs")):
        assert (project / "stores" / f"{name}_22050.h5").is_file()
        record = json.loads((project / "results" / name / "demo" / "mel" / "fold1" / "run.json").read_text())
        assert record["store"]["classes"] == [first, "wind"] and record["store"]["about"]["label"] == name
        assert (project / "results" / name / "demo" / "table.md").read_text().startswith(f"| {name} ")
    # The name stands for the sounds, which are not needed again.
    again = run(project, "folder", "--name", "my dogs", *quick, "--status")
    assert again.returncode == 0 and "1 runs: 1 done" in again.stderr
    other = run(project, "folder", "--audio", str(birds), "--name", "dogs", *quick)
    assert other.returncode == 1 and "exists with other clips" in other.stderr and "another --name" in other.stderr
    twin = run(project, "folder", "--audio", str(birds), "--name", "Dogs", *quick)
    assert twin.returncode == 1 and "more than the case of letters" in twin.stderr
    assert not (project / "stores" / "Dogs_22050.h5").exists()


def test_a_refusal_comes_last_and_alone(project: Path, tmp_path: Path) -> None:
    call = ("folder", "--audio", str(own_sounds(tmp_path / "calm")), "--preset", "demo", "--systems", "mel")
    assert run(project, *call, "--folds", "1", "--epochs", "1").returncode == 0
    # Other settings, with runs that are there.
    refused = run(project, *call, "--epochs", "2")
    assert refused.returncode == 1 and refused.stdout.splitlines()[1:] == []  # what the store holds, and no old table
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("multiview: error:") and "holds another run: epochs 1 instead of 2" in last
    # A run that fails does not hide the others, and is named below them.
    spoilt = project / "results" / "calm" / "demo" / "mel" / "fold2"
    spoilt.mkdir(parents=True)
    (spoilt / "run.json").write_text("{")
    failed = run(project, *call, "--folds", "1,2", "--epochs", "1")
    assert failed.returncode == 1 and "| Mel " in failed.stdout
    assert failed.stderr.splitlines()[-1] == "multiview: error: the report is without mel/fold2; see above"
    status = run(project, *call, "--folds", "1,2,3", "--epochs", "1", "--status")
    assert "3 runs: 1 done, 0 running, 0 interrupted, 1 failed, 1 to do" in status.stderr


def test_missing_files_come_first_and_may_be_missing(project: Path, tmp_path: Path) -> None:
    root = trees.esc50(tmp_path / "ESC-50-master")
    for path in (root / "audio").glob("[45]-*"):
        path.unlink()
    call = ("esc10", "--audio", str(root), "--preset", "demo", "--epochs", "1", "--systems", "mel")
    refused = run(project, *call)
    line = refused.stderr.strip()
    assert refused.returncode == 1 and "\n" not in line and "fold column" not in line
    assert "esc10: 388 of its 400 sound files are missing, the first" in line and "--allow-missing" in line
    assert "all of fold 4, 5 among them" in line
    assert not (project / "stores" / "esc10_22050.h5").exists()
    allowed = run(project, *call, "--allow-missing")
    assert allowed.returncode == 0, allowed.stderr[-2000:]
    assert "12 of the 400 clips that are published: another protocol, named esc10_12_of_400" in allowed.stderr
    assert "| esc10_12_of_400 " in (project / "results" / "esc10_12_of_400" / "demo" / "table.md").read_text()


def test_help_names_datasets_and_an_example(project: Path, tmp_path: Path) -> None:
    """Before any environment is made."""
    shutil.copy(project / "run_experiments.sh", tmp_path)
    for words, status in ((["--help"], 0), ([], 2)):
        call = [str(tmp_path / "run_experiments.sh"), *words]
        result = subprocess.run(call, capture_output=True, text=True, check=False)
        assert result.returncode == status
        assert "example: ./run_experiments.sh" in result.stdout and "esc10" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["run_experiments.sh"]

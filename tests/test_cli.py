"""The command line: the whole path on a small store, and one clear line for each mistake."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import soundfile

from multiview.experiment.run import Run
from multiview.store import Store
from multiview.views import extract, geometry
from tests.helpers.commands import run


@pytest.fixture(scope="module")
def trained(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("cli") / "concat" / "fold2"
    arguments = ("--system", "concat", "--fold", 2, "--preset", "demo", "--epochs", 2, "--run", path)
    assert run("train", tiny_store.path, *arguments) == 0
    return Run(path)


def test_train_leaves_a_complete_run(trained: Run, tiny_store: Store) -> None:
    present = {path.name for path in trained.path.iterdir()} - {"run.lock"}
    assert present == {"run.json", "history.csv", "model.keras", "predictions.h5", "metrics.json"}
    metrics = json.loads(trained.metrics.read_text())
    assert {key: metrics[key] for key in ("system", "dataset", "fold", "clips")} == {
        "system": "concat",
        "dataset": "demo",
        "fold": 2,
        "clips": 12,
    }
    assert list(metrics["accuracy"]) == ["multiview"]
    with h5py.File(trained.predictions) as file:
        assert set(file["clip"].asstr()[()]) == set(tiny_store.ids[tiny_store.folds == 2])
        accuracy = (file["probability/multiview"][()].argmax(axis=1) == file["label"][()]).mean()
    assert metrics["accuracy"]["multiview"] == pytest.approx(accuracy)


def test_train_on_every_clip(tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A model for use: no test clips, no metrics, no report of it; it predicts."""
    path = tmp_path / "mel" / "all"
    arguments = ("--system", "mel", "--preset", "demo", "--epochs", 1, "--run", path)
    assert run("train", tiny_store.path, "--fold", "all", *arguments) == 0
    assert "trained for use, no clip is left to test on" in capsys.readouterr().out
    clips = Run(path).read()["clips"]
    assert clips["train"] + clips["validation"] == 60 and clips["test"] == 0
    assert not Run(path).metrics.exists() and Run(path).calibration()
    assert run("evaluate", path) == 1
    assert "was trained for use, no clip is left to test on; test a run of a fold" in capsys.readouterr().err
    assert run("report", tmp_path) == 1
    with pytest.raises(SystemExit, match="2"):
        run("train", tiny_store.path, "--fold", 0, *arguments)
    assert "expected a fold, counted from 1, or all; found 0" in capsys.readouterr().err


def test_evaluate_again_gives_the_same_metrics(trained: Run, capsys: pytest.CaptureFixture) -> None:
    before, record = trained.metrics.read_text(), trained.read()
    assert record["peak_memory_mib"] > 1
    trained.metrics.unlink()
    trained.record.write_text(json.dumps({**record, "peak_memory_mib": 1}))  # of training, not of what is done later
    assert run("evaluate", trained.path) == 0
    assert trained.read()["peak_memory_mib"] == 1
    assert trained.metrics.read_text() == before
    said = capsys.readouterr().out
    assert "12 test clips of fold 2: multiview" in said
    assert "without listening, chance gives 33.33 %, the most frequent class for all 33.33 %: multiview (95 %" in said


def test_predict_prints_the_top_classes(
    trained: Run, tiny_store: Store, demo_index, capsys: pytest.CaptureFixture
) -> None:
    """As text and as JSON, and the same numbers as the stored predictions and as plain Keras."""
    with h5py.File(trained.predictions) as file:
        name = file["clip"].asstr()[0]
        stored = dict(zip(tiny_store.classes, file["probability/multiview"][0].tolist(), strict=True))
    path = next(clip.path for clip in demo_index.clips if clip.id == name)
    assert run("predict", trained.path, path, "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(path) and len(lines) == 3
    assert lines[1].split()[1] == max(stored, key=stored.get)
    assert run("predict", trained.path, path, "--json", "--top", 3, "--raw-probabilities") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == str(path)
    assert answer["classes"] == pytest.approx(stored, abs=1e-5)

    model = keras.saving.load_model(trained.model)
    waveform, _ = soundfile.read(path, dtype="float32")
    views, size = extract(waveform, 22050), geometry(22050)
    first = {view: values[: size.segment(view)][None, ..., None] for view, values in views.items()}
    first["raw"] = first["raw"] / 32768
    assert model.predict(first, verbose=0)["multiview"].shape == (1, 3)


def test_predict_takes_any_length_and_rate(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name, samples, rate in (("short.wav", 1, 22050), ("long.flac", 48000 * 12, 48000)):
        soundfile.write(tmp_path / name, np.full((samples, 2), 0.1), rate)
        assert run("predict", trained.path, tmp_path / name, "--json") == 0
        assert sum(json.loads(capsys.readouterr().out)["classes"].values()) == pytest.approx(1, abs=1e-4)


def one_line(capsys: pytest.CaptureFixture) -> str:
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"--fold": 9}, 1, "has the folds 1, 2, 3, 4, 5, not fold 9"),
        ({"--preset": "huge"}, 2, "'paper', 'small', 'modern', 'demo'|paper, small, modern, demo"),
        ({"--system": "video"}, 2, "mel.*gammatone.*cqt.*raw.*concat.*multiview"),
        ({"--epochs": 0}, 2, "expected --epochs above 0, found 0"),
        ({"--window": -1}, 2, "expected --window above 0, found -1"),
        ({"--learning-rate": "nan"}, 2, "expected --learning-rate above 0, found nan"),
        ({"--averaging": 2}, 2, "expected --averaging from 0 to below 1, found 2"),
        ({"--backbone": "x"}, 2, "expected a backbone of crnn, .*; found 'x'"),
        ({"--views": "x,mel", "--system": "concat"}, 2, "expected a view of mel, .*; found 'x'"),
        ({"--evaluation-interval": 5000}, 1, "at most the .* steps of training, found 5000"),
        ({"--seed": -1}, 2, "expected --seed from 0 to 999999, found -1"),
    ],
)
def test_wrong_settings_are_one_line(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict, status: int, message: str
) -> None:
    options = {"--system": "mel", "--fold": 1, "--preset": "demo", "--run": tmp_path / "run", **changes}
    arguments = [part for pair in options.items() for part in pair]
    try:
        found = run("train", tiny_store.path, *arguments)
    except SystemExit as error:
        found = error.code
    assert found == status
    assert re.search(message, one_line(capsys))
    assert not (tmp_path / "run" / "run.json").exists()


def test_diverging_training_says_what_where_and_when(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ("--preset", "demo", "--epochs", 4, "--learning-rate", 1e30, "--run", tmp_path / "run")
    assert run("train", tiny_store.path, "--system", "mel", "--fold", 1, *options) == 1
    error = one_line(capsys)
    assert "the training loss of branch mel is nan at evaluation 2" in error  # the first after the warm-up
    assert f"the last good state is kept in {tmp_path / 'run'}" in error
    assert Run(tmp_path / "run").checkpoint.is_file()


def test_store_of_another_rate_is_named(tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from data_prep.datasets import demo
    from data_prep.prepare import prepare

    index = demo.index(tmp_path / "audio")
    few = type(index)(index.classes, index.clips[::10])
    prepare("demo", few, tmp_path / "high.h5", 44100)
    arguments = ("--system", "mel", "--fold", 1, "--preset", "small", "--run", tmp_path / "run")
    assert run("train", tmp_path / "high.h5", *arguments) == 1
    error = one_line(capsys)
    assert "22050 Hz" in error and "44100 Hz" in error and "--sample-rate 22050" in error


def test_directory_of_another_run_is_named(trained: Run, tiny_store: Store, capsys: pytest.CaptureFixture) -> None:
    before = trained.record.read_text()
    arguments = ("--system", "mel", "--fold", 2, "--preset", "demo", "--run", trained.path)
    assert run("train", tiny_store.path, *arguments) == 1
    assert "holds another run" in one_line(capsys)
    assert trained.record.read_text() == before


def test_missing_things_are_named(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cases = [
        (("train", tmp_path / "none.h5", "--system", "mel", "--fold", 1, "--preset", "demo", "--run", tmp_path / "r"),
         "found no file"),
        (("evaluate", tmp_path), "expected a run directory"),
        (("report", tmp_path), "expected evaluated runs"),
        (("predict", tmp_path, "a.wav"), "expected a run or an export"),
        (("predict", trained.path, tmp_path / "none.wav"), "no such file"),
    ]  # fmt: skip
    for arguments, message in cases:
        assert run(*arguments) == 1
        assert message in one_line(capsys)


def test_changed_store_is_noticed(
    trained: Run, tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = tmp_path / "concat" / "fold2"
    shutil.copytree(trained.path, copy)
    shutil.copy(tiny_store.path, tmp_path / "store.h5")
    with h5py.File(tmp_path / "store.h5", "a") as file:
        file.attrs["fingerprint"] = "0" * 64
    record = json.loads((copy / "run.json").read_text())
    record["store"]["path"] = "../../store.h5"
    (copy / "run.json").write_text(json.dumps(record))
    assert run("evaluate", copy) == 1
    assert "changed since" in one_line(capsys)


def test_damaged_model_is_named(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    copy = tmp_path / "fold2"
    shutil.copytree(trained.path, copy)
    (copy / "model.keras").write_bytes(trained.model.read_bytes()[:5000])
    assert run("predict", copy, "a.wav") == 1
    assert "cannot be loaded" in one_line(capsys)


@pytest.mark.parametrize("command", ["train", "grid", "evaluate", "report", "predict", "export"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(command, "--help")
    assert f"example:\n  multiview {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [[], ["bogus"], ["predict"], ["predict", "m", "a.wav", "--top", "0"], ["predict", "--plugin"], ["train", "s.h5"],
     ["report", "d", "--else"], ["report", "d", "--plug", "there_is_none.py"]],
)  # fmt: skip
def test_wrong_use_is_one_line_that_says_where_help_is(words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*words)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"multiview( [a-z]+)?: error: .+ \(multiview( [a-z]+)? --help\)", line), line

"""Interrupted training: what is continued ends as if nothing had happened, and nothing is lost."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from multiview.experiment import checkpoint, recorder
from multiview.experiment.evaluate import evaluate
from multiview.experiment.run import Run
from multiview.experiment.train import train
from multiview.history import Evaluation
from multiview.store import Store
from multiview.support import files
from multiview.support.errors import InputError
from tests.helpers.runs import kept_weights, rows


def stop_after(evaluations: int, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """Make the recorder raise once it has recorded that many evaluations."""
    record = recorder.Recorder.record

    def stopping(self: recorder.Recorder, *arguments: object) -> None:
        record(self, *arguments)
        if len(self.evaluations) == evaluations:
            raise error

    monkeypatch.setattr(recorder.Recorder, "record", stopping)


RECIPE = {"averaging": 0.9, "keep": "loss", "schedule": "cosine", "augmentations": "gain", "joint_gradient": False}


@pytest.mark.parametrize(
    ("system", "changes"),
    [
        ("multiview", {}),
        ("multiview", {"views": "mel,raw", "view_dropout": 0.25, **RECIPE}),
        pytest.param("cqt", {"evaluation_interval": 2, **RECIPE}, marks=pytest.mark.backend),
    ],
)
def test_continued_run_equals_an_undisturbed_one(
    tiny_store: Store, tiny_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, changes: dict
) -> None:
    settings = tiny_settings(system, batch_size=16, **changes)
    monkeypatch.setattr(recorder, "CHECKPOINT_SHARE", math.inf)
    whole = train(tiny_store, settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(3, patch, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_store, settings, tmp_path / "parts")
    parts = Run(tmp_path / "parts")
    assert parts.read()["status"] == "interrupted" and len(rows(parts)) == 3
    with parts.history.open("a") as file:
        file.write("4,4,")  # a row cut off half-way
    assert train(tiny_store, settings, parts.path).read()["status"] == "trained"
    assert parts.history.read_text() == whole.history.read_text()
    for one, other in zip(kept_weights(parts), kept_weights(whole), strict=True):
        np.testing.assert_array_equal(one, other)


QUIET = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}


def cqt_command(store: Store, run: Path) -> list[str]:
    command = [sys.executable, "-m", "multiview.cli", "train", str(store.path), "--system", "cqt", "--fold", "1"]
    return [*command, "--preset", "demo", "--epochs", "6", "--batch-size", "4", "--run", str(run)]


@pytest.fixture(scope="module")
def undisturbed(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of `cqt_command`, in a process of its own as those that are killed."""
    run = Run(tmp_path_factory.mktemp("undisturbed") / "run")
    subprocess.run(cqt_command(tiny_store, run.path), check=True, **QUIET)
    return run


def assert_equal_runs(one: Run, other: Run) -> None:
    """History, predictions, metrics and kept model, bit for bit; and the same files, none left over."""
    assert one.history.read_text() == other.history.read_text()
    assert one.predictions.read_bytes() == other.predictions.read_bytes()
    assert one.metrics.read_text() == other.metrics.read_text()
    for mine, its in zip(kept_weights(one), kept_weights(other), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert sorted(path.name for path in one.path.iterdir()) == sorted(path.name for path in other.path.iterdir())


@pytest.mark.long
def test_killed_at_eight_moments_equals_an_undisturbed_run(tiny_store: Store, tmp_path: Path, undisturbed: Run) -> None:
    """Each kill comes a random while after something new is on disk."""
    parts, draw = Run(tmp_path / "run"), random.Random(0)
    # At once, after each evaluation, and when the model is saved and tested.
    marks = [parts.record, *[parts.history] * 5, parts.model, parts.metrics]
    for number, mark in enumerate(marks):
        process = subprocess.Popen(cqt_command(tiny_store, parts.path), **QUIET)
        lines, deadline = max(2, number + 1), time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if mark.exists() and (mark != parts.history or len(mark.read_text().splitlines()) > lines):
                break
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.wait()
        assert mark.exists()
    subprocess.run(cqt_command(tiny_store, parts.path), check=True, **QUIET)
    assert_equal_runs(parts, undisturbed)


@pytest.mark.backend
def test_killed_run_continues_from_its_checkpoint(tiny_store: Store, tmp_path: Path, undisturbed: Run) -> None:
    """Kill -9 in the middle of training; the same command finishes the run, and nothing tells it was disturbed."""
    command, run = cqt_command(tiny_store, tmp_path / "run"), Run(tmp_path / "run")
    # With a checkpoint after every evaluation, however long one takes here.
    often = "import sys; from multiview.experiment import recorder; recorder.CHECKPOINT_SHARE = float('inf'); "
    often += "from multiview import cli; sys.exit(cli.main())"
    process = subprocess.Popen([sys.executable, "-c", often, *command[command.index("train") :]], **QUIET)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (run.history.exists() and len(run.history.read_text().split()) > 3):
        time.sleep(0.02)
    assert process.poll() is None and run.checkpoint.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not run.model.exists()
    with np.load(run.checkpoint) as state:
        done = len(json.loads(str(state["record"]))["rows"]) - 1
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and done > 0
    bars = [line for line in again.stderr.replace("\r", "\n").splitlines() if "step/s" in line or "s/step" in line]
    steps = int(rows(run)[1]["step"])
    assert f"{done * steps}/{6 * steps}" in bars[0]
    assert json.loads(run.metrics.read_text())["clips"] == 12
    assert_equal_runs(run, undisturbed)


def evaluation(number: int, accuracy: float, loss: float) -> Evaluation:
    values = {"mel": loss}
    return Evaluation(values, values, {"mel": accuracy}, number, number, number, 0.1, {"mel": 1.0})


@pytest.mark.parametrize(("rule", "kept"), [("first_best", 1), ("last_best", 3), ("end", 5), ("loss", 4)])
def test_which_model_is_kept(rule: str, kept: int) -> None:
    """Accuracies 0.2 0.8 0.5 0.8 0.7 0.7; losses 3 1 2 1 0.5 3, over two evaluations 3 2 1.5 1.5 0.75 1.75."""
    keeper, seen = recorder.Kept("mel", rule, window=2), []
    for number, (accuracy, loss) in enumerate([(0.2, 3), (0.8, 1), (0.5, 2), (0.8, 1), (0.7, 0.5), (0.7, 3)]):
        seen.append(evaluation(number, accuracy, loss))
        keeper.offer(seen, SimpleNamespace(variables=[np.array(number)]))
    assert keeper.place() == {"evaluation": kept, "epoch": kept}
    assert [int(each) for each in keeper.variables] == [kept]


class Crash(BaseException):
    """As a kill: nothing that handles errors handles it."""


def test_crash_at_every_rename_equals_an_undisturbed_run(
    tiny_store: Store, tiny_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file of a run is put into place by a rename; training and test are cut off at each in turn, and repeated."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SHARE", math.inf)
    settings = tiny_settings(epochs=1)

    def finish(path: Path) -> Run:
        run = train(tiny_store, settings, path)
        if not run.metrics.exists():
            evaluate(run)
        return run

    def crash_at(count: int, patch: pytest.MonkeyPatch) -> list[Path]:
        """Make the rename of that number crash, just before it is done; the names that are renamed to."""
        replace, seen = files.os.replace, []

        def crashing(source: Path, target: Path) -> None:
            seen.append(Path(target))
            if len(seen) == count:
                raise Crash
            replace(source, target)

        patch.setattr(files.os, "replace", crashing)
        return seen

    with monkeypatch.context() as patch:
        names = crash_at(0, patch)
        whole = finish(tmp_path / "whole")
    assert {path.name for path in names} == {
        "run.json", "history.csv", "checkpoint.npz", "model.keras", "predictions.h5", "metrics.json"
    }  # fmt: skip
    parts = Run(tmp_path / "parts")
    for count in range(1, len(names) + 1):
        with monkeypatch.context() as patch:
            seen = crash_at(count, patch)
            try:
                finish(parts.path)
            except Crash:
                continue
            break  # less is left to do than in an undisturbed run
    assert len(seen) < count
    finish(parts.path)
    for name in ("history.csv", "predictions.h5", "metrics.json"):
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert sorted(path.name for path in parts.path.iterdir()) == sorted(path.name for path in whole.path.iterdir())


def test_directory_in_use_is_refused(tiny_store: Store, tiny_settings, tmp_path: Path) -> None:
    with (
        Run(tmp_path / "run").locked(),
        pytest.raises(InputError, match="is being trained or tested by another process"),
    ):
        train(tiny_store, tiny_settings(), tmp_path / "run")


def test_checkpoints_cost_their_share_at_most(tiny_recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that tells a second an evaluation and half a second a checkpoint, which is 3 % of 17 seconds."""
    clock, written = [0.0], []
    monkeypatch.setattr(recorder.time, "monotonic", lambda: clock[0])
    _, recording, record = tiny_recorder()

    def write(model: object) -> None:
        clock[0] += 0.5
        written.append(len(recording.evaluations))

    monkeypatch.setattr(recording, "write_checkpoint", write)
    for _ in range(400):
        clock[0] += 1
        record(1)
    assert recording.checkpoint_seconds == 0.5 * len(written)
    assert recording.checkpoint_seconds <= 0.03 * recording.seconds + 0.5
    assert max(np.diff(written)) <= 17


def test_full_disk_keeps_the_last_checkpoint(
    tiny_store: Store, tiny_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHECKPOINT_SHARE", math.inf)
    savez, calls = np.savez, []

    def full(path: Path, **arrays: np.ndarray) -> None:
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        savez(path, **arrays)

    monkeypatch.setattr(checkpoint.np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        train(tiny_store, tiny_settings(), tmp_path / "run")
    run = Run(tmp_path / "run")
    monkeypatch.setattr(checkpoint.np, "savez", savez)
    assert not list(run.path.glob(".*tmp*"))
    assert train(tiny_store, tiny_settings(), run.path).read()["status"] == "trained"
    assert [row["evaluation"] for row in rows(run)] == [0, 1, 2, 3, 4]


def test_foreign_checkpoint_is_refused(tiny_store: Store, tiny_settings, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    np.savez(tmp_path / "run" / "checkpoint.npz", other=np.zeros(3))
    with pytest.raises(InputError, match="does not continue this run"):
        train(tiny_store, tiny_settings(), tmp_path / "run")
    shutil.rmtree(tmp_path / "run")

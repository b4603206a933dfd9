"""What `multiview predict` reads and prints: files, folders and pipes; text, JSON and CSV."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

from multiview.evaluation import self_ensemble
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import Run
from multiview.views import paper_views
from tests.helpers.commands import run

RATE = 22050


def test_folders_and_unreadable_files(
    tiny_trained: Run, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Found below a folder; what cannot be read is named, the others are answered, and the status says so."""
    (tmp_path / "sounds" / "more").mkdir(parents=True)
    for name in ("a.wav", "more/b.wav"):
        (tmp_path / "sounds" / name).write_bytes(clips[0].read_bytes())
    (tmp_path / "sounds" / "notes.txt").write_text("no sound")
    (tmp_path / "sounds" / "broken.flac").write_bytes(b"fLaC")
    assert run("predict", tiny_trained.path, tmp_path / "sounds", clips[1], "--json") == 1
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [Path(answer["file"]).name for answer in answers] == ["a.wav", "b.wav", clips[1].name]
    assert answers[0]["classes"] == answers[1]["classes"]
    errors = [line for line in err.splitlines() if "error:" in line]
    assert len(errors) == 1 and "broken.flac: unreadable" in errors[0]

    (tmp_path / "empty").mkdir()
    assert run("predict", tiny_trained.path, tmp_path / "empty", clips[1], "--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["file"] == str(clips[1]) and "empty: a folder without sound files" in err


def test_csv_has_all_classes(tiny_trained: Run, clips: list[Path], capsys: pytest.CaptureFixture) -> None:
    stored = Predictions.read(tiny_trained.predictions)
    assert run("predict", tiny_trained.path, *clips, "--csv", "--branches", "--raw-probabilities") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    fused = self_ensemble(stored.probabilities, stored.weights)
    np.testing.assert_allclose(table[stored.classes], fused, atol=1e-5)
    assert list(table["class"]) == [stored.classes[index] for index in fused.argmax(axis=1)]
    assert list(table["class_cqt"]) == [stored.classes[i] for i in stored.probabilities["cqt"].argmax(axis=1)]
    assert table["disagreement"].between(0, 1).all()


def test_branches_in_text_and_json(tiny_trained: Run, clips: list[Path], capsys: pytest.CaptureFixture) -> None:
    assert run("predict", tiny_trained.path, clips[0], "--branches", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["branches"]) == [*paper_views(), "multiview"] and 0 <= answer["disagreement"] <= 1
    assert run("predict", tiny_trained.path, clips[0], "--branches", "--top", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 1 + 5 and f"disagreement of the branches: {answer['disagreement']:.2f}" in lines[2]


def test_standard_input(
    tiny_trained: Run, clips: list[Path], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("predict", tiny_trained.path, clips[0], "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(clips[0].read_bytes())))
    assert run("predict", tiny_trained.path, "-", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**expected, "file": "-"}


@pytest.mark.parametrize("options", [["--hop", "1"], ["--to", "x"], ["--timeline", "--branches"], ["--top", "0"]])
def test_options_without_effect_are_refused(options: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("predict", "run", "a.wav", *options)
    assert "error:" in capsys.readouterr().err


def test_odd_names_and_pipes(
    tiny_trained: Run, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A name that is no text, and a pipe in which nobody can look around."""
    odd = tmp_path / os.fsdecode(b"a\xff.wav")
    odd.write_bytes(clips[0].read_bytes())
    reading, writing = os.pipe()
    content = io.BytesIO()
    sound, rate = soundfile.read(clips[0])
    soundfile.write(content, sound, rate, format="AU")
    thread = threading.Thread(target=lambda: os.fdopen(writing, "wb").write(content.getvalue()))
    thread.start()
    assert run("predict", tiny_trained.path, odd, clips[0], f"/dev/fd/{reading}", "--json") == 0
    thread.join()
    os.close(reading)
    answers = [json.loads(line)["classes"] for line in capsys.readouterr().out.splitlines()]
    for answer in answers[1:]:
        assert answer == pytest.approx(answers[0], abs=1e-4)

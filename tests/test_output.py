"""What `multiview predict` reads and prints: files, folders and pipes; text, JSON and CSV."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
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
from multiview.predict import Predictor
from multiview.predict.output import Wanted, print_answers
from multiview.predict.recordings import recordings
from multiview.predict.sounds import hear
from multiview.views import paper_views
from tests.helpers.commands import nobody, run

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
    assert [Path(answer["file"]).name for answer in answers] == ["a.wav", "broken.flac", "b.wav", clips[1].name]
    assert answers[0]["classes"] == answers[2]["classes"]
    assert list(answers[1]) == ["file", "error"] and "unreadable" in answers[1]["error"] and "error:" not in err

    (tmp_path / "empty").mkdir()
    assert run("predict", tiny_trained.path, tmp_path / "empty", clips[1], "--csv") == 1
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()] == ["file", str(clips[1])]
    errors = [line for line in err.splitlines() if "error:" in line]
    assert len(errors) == 1 and "empty: a folder without sound files" in errors[0]


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


def cut_file(path: Path, format: str, share: float = 0.5) -> Path:
    """A sound file of 4 s that ends before it should."""
    content = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(content, noise, RATE, format=format)
    path.write_bytes(content.getvalue()[: round(share * len(content.getvalue()))])
    return path


def test_notes_in_every_form(tiny_trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Silence, by its peak, and files that end too early, are answered and marked; others are not marked."""
    cuts = [cut_file(tmp_path / f"cut.{name}", name) for name in ("wav", "aiff", "mp3")]
    for name, peak in (("quiet", 0.9e-3), ("faint", 1.1e-3)):  # -60 dB of full scale is 1e-3
        soundfile.write(tmp_path / f"{name}.wav", peak * np.sin(np.arange(2 * RATE) / 5), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(2 * RATE), RATE)
    assert run("predict", tiny_trained.path, tmp_path / "nothing.wav", "--csv", "--branches") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(table.loc[0, ["class", *(f"class_{name}" for name in (*paper_views(), "multiview"))]]) == {"unknown"}
    assert run("predict", tiny_trained.path, tmp_path / "nothing.wav") == 0
    assert capsys.readouterr().out.splitlines()[1] == "  unknown: all classes are alike"
    assert run("predict", tiny_trained.path, tmp_path / "nothing.wav", "--branches") == 0
    assert capsys.readouterr().out.count("33.3%  unknown") == 5
    assert run("predict", tiny_trained.path, tmp_path / "nothing.wav", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["class"] == "unknown" and list(answer["notes"]) == ["silent", "unknown"]

    paths = [*cuts, tmp_path / "quiet.wav", tmp_path / "faint.wav", cut_file(tmp_path / "whole.wav", "wav", 1.0)]
    words = [["truncated"]] * 3 + [["silent"], [], []]

    assert run("predict", tiny_trained.path, *paths, "--json") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(answer["notes"]) for answer in answers] == words
    assert answers[0]["notes"]["truncated"] == "it ends after 2.0 of 4.0 seconds"
    assert answers[3]["notes"]["silent"] == "its peak is below -60 dB of full scale"
    assert run("predict", tiny_trained.path, *paths, "--csv") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False)
    assert [notes.split() for notes in table["notes"]] == words
    assert run("predict", tiny_trained.path, *paths, "--top", 1) == 0
    text = capsys.readouterr().out
    assert text.count("\n  truncated: it ends after") == 3 and text.count("\n  silent: its peak is below -60 dB") == 1


def test_lengths_that_nobody_knew_are_no_cut(tmp_path: Path) -> None:
    """As in a WAV file from a pipe, whose header says 4 GiB; one that says years is no reason for a note either."""
    content = bytearray(cut_file(tmp_path / "a.wav", "wav", 1.0).read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    (tmp_path / "piped.wav").write_bytes(content)
    assert hear(tmp_path / "piped.wav", RATE).notes == {}


def test_threshold(tiny_trained: Run, clips: list[Path], capsys: pytest.CaptureFixture) -> None:
    """`unknown` where the best probability is below, and only there; the probabilities stay."""
    assert run("predict", tiny_trained.path, *clips[:5], "--json") == 0
    before = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    middle = float(np.median([max(answer["classes"].values()) for answer in before]))
    assert run("predict", tiny_trained.path, *clips[:5], "--json", "--threshold", middle) == 0
    after = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for one, other in zip(before, after, strict=True):
        best, probability = next(iter(one["classes"].items()))
        assert one["class"] == best and other["classes"] == one["classes"]
        assert other["class"] == (best if probability >= middle else "unknown")
    assert sum(answer["class"] == "unknown" for answer in after) == 2
    assert run("predict", tiny_trained.path, clips[0], "--threshold", 1) == 0
    assert capsys.readouterr().out.splitlines()[1] == "  unknown: no class reaches 100.0%"
    assert run("predict", tiny_trained.path, clips[0], "--csv", "--threshold", 1) == 0
    assert pd.read_csv(io.StringIO(capsys.readouterr().out)).loc[0, ["class", "notes"]].tolist() == ["unknown"] * 2


def test_bad_paths_name_themselves(mel_meter: Predictor, clips: list[Path], capsys: pytest.CaptureFixture) -> None:
    """No permission, 300 characters, a pipe without a writer, folders that may not be read: the rest is answered."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path in ("a.wav", "locked.wav", "sounds/b.wav", "sounds/shut/c.wav", "closed/d.wav"):
            (folder / path).parent.mkdir(exist_ok=True, parents=True)
            (folder / path).write_bytes(clips[0].read_bytes())
        os.mkfifo(folder / "fifo.wav")
        for path in ("locked.wav", "sounds/shut", "closed"):
            (folder / path).chmod(0)
        places = [folder / "a.wav", folder / "locked.wav", "x" * 300, folder / "fifo.wav", folder / "sounds",
                  folder / "closed", "/dev/null", "nul\0.wav", folder / "closed" / "d.wav"]  # fmt: skip
        with nobody(), recordings([str(place) for place in places]) as sounds:
            assert print_answers(mel_meter, sounds, "json", Wanted(1)) == 8
        for path in ("sounds/shut", "closed"):
            (folder / path).chmod(0o755)
    answers = {Path(each["file"]).name: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert [name for name, answer in answers.items() if "class" in answer] == ["a.wav", "b.wav"]
    for name, reason in {
        "locked.wav": "unreadable (Permission denied)",
        "x" * 300: "unreadable (File name too long)",
        "fifo.wav": "a pipe or device and no file",
        "shut": "unreadable (Permission denied)",
        "closed": "unreadable (Permission denied)",
        "null": "a pipe or device and no file",
        "nul\0.wav": "unreadable (embedded null byte)",
        "d.wav": "unreadable (Permission denied)",
    }.items():
        assert answers[name]["error"].startswith(reason), name


@pytest.mark.parametrize(
    "options",
    [["--hop", "1"], ["--to", "x"], ["--timeline", "--branches"], ["--top", "0"], ["--timeline", "--threshold", "0.5"],
     ["--threshold", "1.5"], ["--threshold", "-0.1"], ["--threshold", "nan"], ["--threshold", "half"]],
)  # fmt: skip
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
    assert run("predict", tiny_trained.path, odd, "--csv") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{tmp_path}/a\\udcff.wav,")
    long = tmp_path / f"{'x' * 245}.wav"
    long.write_bytes(clips[0].read_bytes())
    places = [long, tmp_path / "gone.wav", odd]
    assert run("predict", tiny_trained.path, *places, "--timeline", "--to", tmp_path / "to") == 1
    out, err = capsys.readouterr()
    assert "its name is too long for a folder xxx" in err
    assert "a\\udcff.wav.timeline/timeline.csv" in out and "gone.wav: no such file" in err
    assert (tmp_path / "to" / f"{odd.name}.timeline" / "timeline.png").is_file()


def test_standard_error_may_be_closed(tiny_trained: Run, clips: list[Path]) -> None:
    """As a daemon's may: the answers are there, and nothing among them."""
    words = map(
        str, (sys.executable, "-m", "multiview.cli", "predict", tiny_trained.path, clips[0], "none.wav", "--csv")
    )
    command = f"{shlex.join(words)} 2>&-"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["file", str(clips[0])], done.stdout

"""The first hour of a new user with a phone's recordings: from an empty folder to answers, a page and an export.

As long as a phone's, in its format; what each step leaves is read as that user would read it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests import trees
from tests.helpers.project import copied, program, run

RATE = 48000
CLASSES = ("bell", "rain", "saw")


def recording(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Stereo with the noise of a room: strokes of a bell, rain, or a saw going to and fro."""
    time = np.arange(round(seconds * RATE)) / RATE
    if label == "bell":
        sound = sum(np.sin(2 * np.pi * pitch * time) for pitch in (880, 2210, 3540)) * np.exp(-3 * (time % 1.5)) / 3
    elif label == "rain":
        sound = rng.standard_normal(len(time)) / 4
    else:
        sound = rng.standard_normal(len(time)) * np.sin(2 * np.pi * 1.5 * time) ** 8 / 2
    return 0.4 * sound[:, None] * [1, 0.7] + 0.002 * rng.standard_normal((len(time), 2))


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten recordings in three classes, of 2 to 40 s, and two that nobody sorted."""
    folder, rng = tmp_path_factory.mktemp("phone"), np.random.default_rng(0)
    lengths = {"bell": (2, 5, 9, 40), "rain": (3, 6, 12), "saw": (2.5, 4, 8)}
    for label, seconds in lengths.items():
        for number, length in enumerate(seconds):
            path = folder / "workshop" / label / f"New Recording {number}.m4a"
            trees.write_encoded(path, recording(label, length, rng), RATE, "aac", "ipod")
    (folder / "workshop" / "notes.docx").write_bytes(b"PK\x03\x04 no sound")
    for label, length in (("bell", 4), ("rain", 30)):
        path = folder / "new" / f"{label}.m4a"
        trees.write_encoded(path, recording(label, length, rng), RATE, "aac", "ipod")
    return folder


def test_first_hour(phone: Path, tmp_path: Path) -> None:
    project = copied(tmp_path / "multiview")
    words = ("folder", "--audio", str(phone / "workshop"), "--systems", "mel,multiview")
    made = run(project, *words, "--folds", "1", "--epochs", "4")
    assert made.returncode == 0, made.stderr[-3000:]
    # What was used, what is coming, and that it is too little.
    assert "10 clips, 3 classes" in made.stdout + made.stderr and "notes.docx" in made.stderr, made.stderr
    assert re.search(r"\d training clips of 3 classes.*4 epochs of 1 step: 4 in all", made.stderr)
    assert "warning: 4 steps in all: preset modern was made for" in made.stderr and "--epochs" in made.stderr
    assert "warning: class" in made.stderr and "record more" in made.stderr
    # What came of it, beside guessing.
    results = project / "results" / "workshop" / "modern"
    table = (results / "table.md").read_text()
    assert table.startswith("| workshop ") and "chance" in table and "Paper" not in table.splitlines()[0]
    page = (results / "report.html").read_text()
    assert "workshop" in page and "fold 1" in page and "chance" in page

    model = results / "multiview" / "fold1"
    answered = program(project, "predict", str(model), str(phone / "new"), "--json", "--threshold", "0.99")
    found = [json.loads(line) for line in answered.stdout.splitlines()]
    assert answered.returncode == 0 and [Path(each["file"]).name for each in found] == ["bell.m4a", "rain.m4a"]
    for each in found:
        assert each["class"] in (*CLASSES, "unknown")
        assert sum(each["classes"].values()) == pytest.approx(1, abs=1e-3)
    timeline = program(
        project, "predict", str(model), str(phone / "new" / "rain.m4a"), "--timeline", "--to", str(tmp_path)
    )
    assert timeline.returncode == 0 and (tmp_path / "timeline.png").stat().st_size > 10_000

    exported = program(project, "export", str(model), "--to", str(tmp_path / "exports"))
    assert exported.returncode == 0, exported.stderr[-2000:]
    (card,) = (tmp_path / "exports").rglob("*.md")
    text = card.read_text()
    assert "workshop" in text and "chance" in text and not re.search(r"\bS seconds\b|\bS segments\b|\{\{|None", text)
    again = program(project, "predict", str(tmp_path / "exports"), str(phone / "new"), "--json")
    for one, other in zip(found, map(json.loads, again.stdout.splitlines()), strict=True):
        assert one["classes"] == pytest.approx(other["classes"], abs=1e-4)

"""What the documents say is run: every file of docs/extending.md, every snippet of docs/python.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from data_prep.prepare import main as prepare
from multiview.cli import main as multiview
from multiview.store import Store

ROOT = Path(__file__).parents[1]
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def snippets(document: str) -> list[str]:
    """The Python blocks of a document."""
    return re.findall(r"^```python\n(.*?)^```", document, re.DOTALL | re.MULTILINE)


FILES = {block.split(maxsplit=2)[1]: block for block in snippets(EXTENDING)}


def test_each_kind_has_one_short_file() -> None:
    assert list(FILES) == ["mfcc.py", "takes.py", "tiny.py", "falling.py", "silences.py"]
    assert max(len(block.splitlines()) for block in FILES.values()) <= 40


def test_front_pages_are_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
    assert len((ROOT / "run_experiments.sh").read_text(encoding="utf-8").splitlines()) <= 25


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def takes(folder: Path) -> None:
    """Two classes of three speakers with two takes each."""
    folder.mkdir()
    time = np.arange(2 * 22050) / 22050
    for label, pitch in (("low", 200), ("high", 2000)):
        for speaker in range(3):
            for take in range(2):
                sound = 0.3 * np.sin(2 * np.pi * (pitch + 20 * speaker + take) * time)
                soundfile.write(folder / f"{label}-{speaker}-{take}.wav", sound, 22050)


# By file: what prepare takes beside it, what train takes, and what the run's record says of it.
JOURNEYS = {
    "mfcc.py": (["demo", "--views", "mel,mfcc"], ["multiview", "--views", "mel,mfcc"], {"view": ["mfcc"]}),
    "takes.py": (["takes", "--audio", "takes"], ["cqt"], None),
    "tiny.py": (["demo"], ["multiview", "--views", "gammatone,raw", "--backbone", "tiny"], {"backbone": ["tiny"]}),
    "falling.py": (["demo"], ["multiview", "--views", "mel,cqt", "--blending", "falling"], {"blending": ["falling"]}),
    "silences.py": (["demo"], ["mel", "--augmentations", "silences,gain"], {"augmentation": ["silences"]}),
}


@pytest.mark.parametrize("name", JOURNEYS)
def test_extending_from_prepare_to_export(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    registries: None,
) -> None:
    """Prepare, two epochs, report, predict and export with the file alone."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(FILES[name], encoding="utf-8")
    takes(tmp_path / "takes")
    dataset, (system, *training), recorded = JOURNEYS[name]
    plugin, run = ["--plugin", name], f"results/{system}/fold1"
    assert prepare([*dataset, "--store", "s.h5", "--sample-rate", "22050", *plugin]) == 0
    options = ["--system", system, "--fold", "1", "--preset", "demo", "--epochs", "2", "--window", "1"]
    assert multiview(["train", "s.h5", *options, "--run", run, *training, *plugin]) == 0
    record = json.loads(Path(run, "run.json").read_text(encoding="utf-8"))
    assert record["plugins"] == ({} if recorded is None else {name: recorded})
    history = pd.read_csv(Path(run, "history.csv"))
    assert list(history["epoch"]) == [0, 1, 2] and np.isfinite(history.to_numpy()).all()
    assert multiview(["report", "results", *plugin]) == 0
    assert system in pd.read_csv("results/table.csv")["system"].tolist()
    assert multiview(["export", run, "--to", "export", *plugin]) == 0
    sound = next(Path().rglob("*.wav"))
    capsys.readouterr()
    answers = []
    for model in (run, "export"):
        assert multiview(["predict", model, str(sound), "--json", "--top", "9", *plugin]) == 0
        answers.append(json.loads(capsys.readouterr().out)["classes"])
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)
    assert sorted(answers[0]) == sorted(Store("s.h5").classes)


def test_python_from_prepare_to_the_callback(tmp_path: Path) -> None:
    """Every snippet of docs/python.md, one after the other."""
    code = "\n".join(snippets((ROOT / "docs" / "python.md").read_text(encoding="utf-8")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("240 [") and lines[1] == "(99, 64)"
    assert "'self_ensemble'" in lines[2] and "(6,)" in lines[4]
    assert lines[-2] == "(4, 6)" and "'multiview': 0." in lines[-1]

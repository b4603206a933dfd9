"""What the documents say is run: every file of docs/extending.md, every snippet of docs/python.md, every command line.

The commands of README and docs/ are read by the programs' own parsers, and those that need neither a download nor days
run in a folder with small sounds of the names that they use. The clients of docs/serving.md are run by test_serving.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from data_prep import arguments
from data_prep.prepare import main as prepare
from multiview import cli
from multiview.cli import main as multiview
from multiview.store import Store
from multiview.support import plugins
from tests import trees

ROOT = Path(__file__).parents[1]
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


PAGES = {page.name: page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
# Programs of others, which are not run: a server (test_serving.py has a stand-in for it) and an installer.
OTHERS = {"docker", "pip", "dask"}


def blocks(page: str) -> list[str]:
    """The shell snippets of a page: what is indented outside of other code, and what says to be bash."""
    text = PAGES[page].read_text(encoding="utf-8")
    fenced = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"(?:^    .*\n)+", plain, re.MULTILINE)
    return [*(re.sub("^    ", "", block, flags=re.MULTILINE) for block in indented), *fenced]


def command_lines() -> list[tuple[str, list[str]]]:
    """Every command of every page, as words, without assignments and redirections."""
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.startswith("("):  # a pipe of shell programs alone, which test_serving.py runs
                continue
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(re.sub(r"^[A-Z]+=\S+|< \S+", "", line), comments=True)
                found += [(page, words)] if words else []
    return found


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
    # The plain Keras model says of the segments of the file what the branch said of its waveform.
    assert code.count("  # the same\n") == 1
    code = code.replace("  # the same\n", "\nassert abs(alone - plain.branches['cqt']).max() < 1e-4\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("240 [") and lines[1] == "(99, 64)"
    assert [line.split()[0] for line in lines[2:4]] == ["0", "1"]  # what the callback says of two evaluations
    assert "'self_ensemble'" in lines[4] and "(6,)" in lines
    assert "(4, 6)" in lines[-2] and "'multiview': 0." in lines[-1]


@pytest.mark.parametrize(("page", "words"), command_lines(), ids=lambda value: " ".join(value)[:60])
def test_every_command_line_is_understood(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registries: None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    program, *rest = words
    plugins.load([word for flag, word in zip(rest, rest[1:], strict=False) if flag == "--plugin"])
    if program == "./run_experiments.sh":
        program, rest = "multiview", ["reproduce", *rest]
    if program == "multiview":
        args, others = cli.make_parser().parse_known_args(rest)
        assert args.command == rest[0]
        if others:  # those of the dataset
            arguments.parse([args.dataset, *others, "--plan"])
    elif program == "multiview-prepare":
        arguments.parse(rest)
    elif program == "python":
        assert rest[0] == "-m" and importlib.util.find_spec(rest[1])
    elif program != "tests/run":
        assert program in OTHERS


# A network learns for one epoch, a grid is one system on one fold, no page is served: all else is as printed.
SHORT = """#!/bin/sh
case $1 in
  train) exec "{program}" "$@" --epochs 1 ;;
  app) exec "{program}" "$@" --help ;;
  reproduce) exec "{program}" "$@" --epochs 1 --systems mel --folds 1 ;;
  *) exec "{program}" "$@" ;;
esac
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A folder with the sounds that the documents name, and with commands that train for one epoch."""
    programs, folder = tmp_path / "programs", tmp_path / "folder"
    programs.mkdir()
    for name, text in {
        "multiview": SHORT.format(program=Path(sys.executable).with_name("multiview")),
        "run_experiments.sh": '#!/bin/sh\nexec multiview reproduce "$@"\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for label in ("bell", "dog", "rain"):
        for take in range(5):
            trees.write_tone(folder / "my_sounds" / label / f"{label}{take}.wav", 16000)
    rows = [{"path": path, "label": path.parent.name} for path in sorted((folder / "my_sounds").rglob("*.wav"))]
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    for name in ("clip.wav", "recordings/one.wav", "other.flac", "night.flac"):
        trees.write_tone(folder / name)
    trees.esc50(folder / "ESC-50-master")
    (folder / "run_experiments.sh").symlink_to(programs / "run_experiments.sh")
    return folder


# What is done one after the other in one folder: page, how a snippet begins, and what is there when it has run.
STORIES = {
    "own sounds": [
        ("README.md", "multiview-prepare folder", ["stores/mine.h5", "exports/mine/1/MODEL_CARD.md"]),
        ("serving.md", "RUN=", ["out/timeline.png", "exports/mine/1/saved_model.pb"]),
        ("README.md", "./run_experiments.sh folder", ["results/*/modern/report.html"]),
    ],
    "a table of clips": [("datasets.md", "./run_experiments.sh folder --csv", ["results/*/modern/table.md"])],
    "the paper's": [("README.md", "./run_experiments.sh esc10", ["results/esc10*/small/mel/fold1/model.keras"])],
}


@pytest.mark.parametrize("story", STORIES)
def test_what_the_pages_say_to_do(story: str, sandbox: Path) -> None:
    """In bash, as printed, but for what would be downloaded or take days."""
    path = f"{sandbox.parent / 'programs'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for page, begin, expected in STORIES[story]:
        (block,) = (each for each in blocks(page) if each.startswith(begin))
        code = "\n".join(line for line in block.splitlines() if not re.search("--download|all --audio", line))
        done = subprocess.run(
            ["bash", "-euc", code], cwd=sandbox, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{page}: {begin}: {done.stderr[-2000:]}"
        for pattern in expected:
            assert list(sandbox.glob(pattern)), f"{page}: {begin}: no {pattern}"

"""The command `multiview-prepare`: its parsers of declarations, plans, a choice of views, and plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from data_prep import prepare as command
from data_prep.datasets import DATASETS, Dataset, Index, Option
from multiview.store import Store
from multiview.support.errors import InputError
from tests import trees


@pytest.fixture
def esc_tree(tmp_path: Path) -> Path:
    return trees.esc50(tmp_path / "ESC-50-master")


def run(*arguments: object) -> int:
    return command.main([str(argument) for argument in arguments])


def plan(capsys: pytest.CaptureFixture, *arguments: object) -> dict:
    assert run(*arguments, "--plan") == 0
    return json.loads(capsys.readouterr().out)


# Datasets


def test_a_dataset_s_help_has_its_own_options_and_no_others(capsys: pytest.CaptureFixture) -> None:
    for dataset in DATASETS.values():
        with pytest.raises(SystemExit, match="0"):
            run(dataset.name, "--help")
        text = capsys.readouterr().out
        assert " ".join(dataset.summary.split()) in " ".join(text.split())
        for other in DATASETS.values():
            for option in other.options:
                assert (f"  {option.flag}" in text) == (option.flag in [own.flag for own in dataset.options])
        assert ("--download" in text) == (dataset.source is not None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("esc50 --store s.h5 --without-faulty", "--without-faulty does not go with esc50; it is for gtzan"),
        ("esc10 --store s.h5 --seed 3", "--seed does not go with esc10; it is for gtzan and folder and demo"),
        ("esc10 --store s.h5 --views mel,smell", "expected a view of mel, gammatone, cqt, raw; found 'smell'"),
        ("esc10 --store s.h5 --views ,", "found none"),
        ("demo --store s.h5 --seed -1", "expected a whole number of at least 0, found -1"),
        ("demo --store s.h5 --jobs 0", "expected a whole number of at least 1, found 0"),
        ("demo --store s.h5 --to x", "--to does not go with a dataset"),
        ("demo --plan --rubbish", "found --rubbish"),
        ("esc10 --plan --down", "found --down"),  # programs that pass options on look for the whole word
        ("esc11 --store s.h5", "expected DATASET of esc10, esc50, dcase2016, gtzan, folder, demo; found esc11"),
        ("--jobs 2 demo --store s.h5", "DATASET first"),
        ("--list --to x", "expected --list alone, found --to with it"),
        ("--inspect s.h5 --json", "expected --inspect FILE.h5 alone, found --json with it"),
    ],
)
def test_misuse_is_told_with_status_2(arguments: str, message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*arguments.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("multiview-prepare") and message in line and line.endswith(" --help)")


def test_list_has_every_dataset(capsys: pytest.CaptureFixture) -> None:
    assert run("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert "GTZAN" in lines[3] and "for research" in lines[3] and "--without-faulty" in lines[3]
    assert run("--list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if row["paper"]] == ["esc50", "dcase2016", "gtzan"]
    assert rows[3] == {
        "name": "gtzan",
        "label": "GTZAN",
        "paper": True,
        "sample_rate": 22050,
        "options": ["--without-faulty", "--seed"],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "all"}, "field name"),
        ({"sample_rate": 48000}, "field sample_rate: expected 44100 or 22050 Hz, found 48000"),
        ({"index": 3}, "field index: expected a function, found 3"),
        ({"epochs": 0}, "field epochs"),
        ({"validation_sources": 1.5}, "field validation_sources"),
        ({"options": [Option("--folds", "")]}, "field options: expected that index takes folds"),
        ({"options": [Option("seed", "")]}, "field options: expected a flag that begins with --"),
    ],
)
def test_declaration_that_does_not_fit_names_the_field(changes: dict, message: str) -> None:
    def index(audio: Path | None, seed: int = 0) -> Index:
        return Index([], [])

    fields = {"name": "mine", "label": "Mine", "summary": "", "sample_rate": 22050, "index": index}
    with pytest.raises(InputError, match=f"dataset .*{message}"):
        Dataset(**(fields | changes))


def test_source_and_protocol_travel_with_the_store(esc_tree: Path, tmp_path: Path) -> None:
    assert run("esc50", "--audio", esc_tree, "--store", tmp_path / "s.h5", "--sample-rate", 22050, "--jobs", 1) == 0
    about = Store(tmp_path / "s.h5").about
    assert (about.label, about.epochs, about.validation_sources) == ("ESC-50, 30 of 2000 clips", 3000, 2)
    assert about.non_commercial and "BY-NC" in about.licence and about.page == "https://github.com/karoldvl/ESC-50"


# Plans


def test_plan_says_what_is_asked_for_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert plan(capsys, "demo") == {
        "dataset": "demo",
        "label": "demo",
        "sample_rate": 22050,
        "sample_rates_own": 22050,
        "preset": "demo",
        "folds": "1",
        "paper": False,
        "audio": None,
    }
    options = f"--without-faulty --sample-rate 44100 --download --store {tmp_path / 's.h5'}".split()
    found = plan(capsys, "gtzan", *options)
    assert (found["dataset"], found["label"]) == ("gtzan_without_faulty", "GTZAN without faulty")
    assert (found["sample_rate"], found["sample_rates_own"], found["paper"]) == (44100, 22050, True)
    assert found["audio"] == str(Path("audio/gtzan").absolute()) and not Path("audio").exists()
    assert plan(capsys, "demo", "--store", tmp_path / "s.h5")["audio"] == str(tmp_path / "s_audio")
    assert not list(tmp_path.iterdir())


def test_plan_of_sounds_that_are_there(esc_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = plan(capsys, "esc10", "--audio", os.path.relpath(esc_tree), "--store", tmp_path / "s.h5")
    assert found["audio"] == os.path.abspath(esc_tree) and not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("esc50 --audio nowhere", "expected a folder of sound files, found none at nowhere"),
        ("esc50 --audio .", "esc50.csv"),
        ("folder --csv none.csv", "expected a table at none.csv, found no file; check --csv"),
        ("esc50 --store none.h5", "expected --audio DIR"),
        ("gtzan --seed 3", "expected --audio with --seed"),
        ("esc50 --store demo.h5", "demo.h5 exists: expected dataset esc50, found demo"),
    ],
)
def test_plan_refuses_what_cannot_be_done(
    arguments: str,
    message: str,
    tiny_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.h5").symlink_to(tiny_store.path)
    assert run(*arguments.split(), "--plan") == (2 if "expected --audio" in message else 1)
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["demo.h5"]


# A choice of views


def test_store_holds_the_views_asked_for(esc_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    four, two = tmp_path / "four.h5", tmp_path / "two.h5"
    arguments = ("esc10", "--audio", esc_tree, "--sample-rate", 22050, "--jobs", 1)
    assert run(*arguments, "--store", four) == 0 == run(*arguments, "--store", two, "--views", "raw,mel")
    with h5py.File(two) as file:
        assert set(file["views"]) == set(json.loads(file.attrs["views"])) == {"mel", "raw"}
    assert Store(two).views == ("mel", "raw")  # in the order of the registry
    for view in ("mel", "raw"):
        assert (Store(two).values[view] == Store(four).values[view]).all()
    before = two.read_bytes()
    # More views than asked for will do, others will not.
    assert run(*arguments, "--store", four, "--views", "cqt") == 0
    capsys.readouterr()
    for views in ("mel,cqt", "mel,gammatone,cqt,raw"):
        for asked in (arguments, ("esc10",)):
            assert run(*asked, "--store", two, "--views", views) == 1
            assert f"expected views {views}, found mel,raw" in capsys.readouterr().err
    assert run(*arguments, "--store", two) == 1  # the four by default
    assert "expected views mel,gammatone,cqt,raw, found mel,raw" in capsys.readouterr().err
    assert run("esc10", "--store", two) == 0  # without the sounds, what is there
    assert two.read_bytes() == before


# Plugins, each in a process of its own, where they stay

VIEW = """
import numpy as np
from multiview.views import VIEWS, Grid, View

def extract(sound):
    frames = np.lib.stride_tricks.sliding_window_view(sound.waveform, 441)[::441]
    return np.log10(np.square(frames).mean(axis=1, keepdims=True) + 1e-10).astype(np.float32)

VIEWS.register(View(
    name="loudness", label="Loudness", unit="bel", grid=lambda rate: Grid(hop=441, window=441, segment=70),
    extract=extract, parameters=lambda rate: {"hop": 441}, bands=1,
))
"""
DATASET = """
from data_prep.datasets import DATASETS, ClipFile, Dataset, Index, Option

def index(audio, only=None):
    paths = sorted(path for path in audio.rglob("*.wav") if only in (None, path.parent.name))
    clips = [ClipFile(path, path.name, n % 2, path.name, n // 2 % 2 + 1) for n, path in enumerate(paths)]
    return Index(["even", "odd"], clips)

DATASETS.register(Dataset(
    name="mine", label="Mine", summary="Sounds of mine.", sample_rate=22050, index=index, validation_sources=1,
    options=[Option("--only", "of one folder", {"metavar": "NAME"}, variant=True)],
))
"""


def prepare(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    call = [sys.executable, "-m", "data_prep.prepare", *map(str, arguments)]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_view_and_a_dataset_of_one_s_own(esc_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "loudness.py").write_text(VIEW)
    (tmp_path / "mine.py").write_text(DATASET)
    own = ("--plugin", "loudness.py", "--plugin", tmp_path / "mine.py")
    options = "--store s.h5 --views mel,raw,loudness --only audio --jobs 2".split()
    done = prepare(tmp_path, "mine", "--audio", esc_tree, *options, *own)
    assert done.returncode == 0 and "30 clips, 2 classes" in done.stdout, done.stderr
    with h5py.File(tmp_path / "s.h5") as file:
        assert file.attrs["dataset"] == "mine_only"
        assert file["views/loudness/values"].shape[1:] == (1,) and file["views/loudness/values"].dtype == "f4"
        assert json.loads(file.attrs["plugins"]) == {"loudness.py": {"view": ["loudness"]}}
        assert json.loads(file.attrs["about"])["label"] == "Mine only"
    looked = prepare(tmp_path, "--inspect", "s.h5", *own)
    assert looked.returncode == 0 and "loudness" in looked.stdout and (tmp_path / "s_views.png").exists()
    refused = prepare(tmp_path, "--inspect", "s.h5")
    assert refused.returncode == 1 and "say --plugin loudness.py" in refused.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bands=1", "bands=3", "view loudness: field bands: expected values [150, 3], found [150, 1]"),
        ("window=441, segment", "window=882, segment", "view loudness: field grid: expected 149 steps, found 150"),
        ("+ 1e-10", "", "view loudness: field extract: expected finite numbers"),
        ("np.square(frames)", "frames.nothing()", "field extract: expected values, found AttributeError"),
        ('name="loudness"', 'name="mel"', "field name of a view: expected a new name, found 'mel'"),
        ("import numpy as np", "import nothing_like_it", "expected a module that imports, found ModuleNotFoundError"),
    ],
)
def test_view_that_does_not_fit_is_one_line_before_any_clip(
    esc_tree: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "loudness.py").write_text(VIEW.replace(old, new))
    call = ("esc10", "--audio", esc_tree, "--store", "s.h5", "--sample-rate", 22050, "--plugin", "loudness.py")
    done = prepare(tmp_path, *call, *(() if "name" in old or "import" in old else ("--views", "mel,loudness")))
    assert done.returncode == 1
    error = done.stderr.strip()
    assert "plugin loudness.py: " in error and message in error and "\n" not in error
    assert not list(tmp_path.glob("s.h5.parts/*"))


def test_parts_of_a_mended_view_are_made_anew(esc_tree: Path, tmp_path: Path) -> None:
    """Its parameters say nothing of the mistake."""
    limit = VIEW.replace("    return", "    if len(list(parts.glob('*.npz'))) == 5: raise KeyError('five')\n    return")
    limit = limit.replace("import numpy", "from pathlib import Path\nparts = Path('s.h5.parts')\nimport numpy")
    (tmp_path / "loudness.py").write_text(limit)
    call = ("esc10", "--audio", esc_tree, "--store", "s.h5", "--sample-rate", 22050, "--plugin", "loudness.py")
    call = (*call, "--views", "mel,loudness", "--jobs", 1)
    stopped = prepare(tmp_path, *call)
    assert stopped.returncode == 1 and "KeyError: 'five'" in stopped.stderr.splitlines()[-1]
    assert len(list(tmp_path.glob("s.h5.parts/*.npz"))) == 5
    (tmp_path / "loudness.py").write_text(VIEW)
    done = prepare(tmp_path, *call)
    assert done.returncode == 0 and "are extracted already" not in done.stderr
    assert not (tmp_path / "s.h5.parts").exists()

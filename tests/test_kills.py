"""The comparison behind `tests.kills`, and a few of its kills."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import kills


@pytest.mark.parametrize(
    ("change", "places"),
    [
        (lambda folder: (folder / "a" / "new").touch(), {"a/new"}),
        (lambda folder: (folder / "a" / "t.csv").write_text("1\n"), {"a/t.csv"}),
        (lambda folder: (folder / "r.json").write_text('{"x": [1, 3]}'), {"r.json x 1", "r.json y"}),
        (lambda folder: zipfile.ZipFile(folder / "m.keras", "w").writestr("w", b"2"), {"m.keras w"}),
        (lambda folder: (folder / "run.log").write_text("more"), set()),
    ],
)
def test_differences_are_named(tmp_path: Path, change: Callable[[Path], object], places: set[str]) -> None:
    whole, other = tmp_path / "whole", tmp_path / "other"
    (whole / "a").mkdir(parents=True)
    (whole / "a" / "t.csv").write_text("0\n")
    (whole / "r.json").write_text(json.dumps({"x": [1, 2], "y": None}))
    (whole / "run.log").touch()
    with zipfile.ZipFile(whole / "m.keras", "w") as archive:
        archive.writestr("w", b"1")
    shutil.copytree(whole, other)
    assert not kills.differences(kills.contents(whole), kills.contents(other))
    change(other)
    assert kills.differences(kills.contents(whole), kills.contents(other)) == places


# Ten steps, each a file that is whole or not there; the careless one also writes down how often it was begun.
STEPS = """
import os, pathlib, time
for number in range(10):
    path = pathlib.Path(f"{number}.txt")
    if not path.exists():
        pathlib.Path(".new").write_text("done")
        os.replace(".new", path)
    time.sleep(0.05)
"""
CARELESS = "import pathlib\nwith pathlib.Path('log.txt').open('a') as file: file.write('begun, ')\n"


def begin(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the inputs of commands, and a command of its own."""
    for name in ("trained", "results"):
        (folder / name).mkdir()
    (folder / "results" / "steps.py").write_text(program)
    (folder / "tiny.h5").touch()
    monkeypatch.setitem(kills.COMMANDS, "steps", ["results.steps"])
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.mark.parametrize(("program", "same"), [(STEPS, True), (CARELESS + STEPS, False)], ids=["careful", "careless"])
def test_who_starts_anew_is_told_from_who_goes_on(
    program: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(program, tmp_path, monkeypatch)
    found, loose = kills.attack(tmp_path, "steps", 6, random.Random(0))
    assert loose == set() and (found == 6) is same


def test_what_was_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an export, of which each call makes another version; killed after it was made, or before."""
    program = """
import pathlib, time
time.sleep(0.1)
version = next(n for n in range(1, 99) if not pathlib.Path(f"{n}.txt").exists())
pathlib.Path(f"{version}.txt").touch()
time.sleep(0.5)
"""
    begin(program, tmp_path, monkeypatch)
    monkeypatch.setitem(kills.MADE, "steps", "1.txt")
    assert kills.attack(tmp_path, "steps", 6, random.Random(0)) == (6, set())


@pytest.mark.long
def test_each_command_killed_once() -> None:
    assert kills.main(["--kills", str(len(kills.COMMANDS))]) == 0

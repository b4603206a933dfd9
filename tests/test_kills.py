"""The comparison behind `tests.kills`, and a few of its kills."""

from __future__ import annotations

import json
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


@pytest.mark.long
def test_each_command_killed_once() -> None:
    assert kills.main(["--kills", str(len(kills.COMMANDS))]) == 0

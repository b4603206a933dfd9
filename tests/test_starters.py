"""Models that come with the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import multiview
from multiview import starters
from multiview.experiment.run import Run
from multiview.options import there
from multiview.origin import Origin
from multiview.starters import located
from multiview.support.errors import InputError
from tests.helpers.commands import run

MOST_BYTES = 12 * 10**6


def test_a_run_or_an_export_at_a_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not any folder of that name, as that of a dataset's results or sounds is."""
    monkeypatch.chdir(tmp_path)
    packaged = located("esc10")
    assert packaged == Path(starters.__file__).parent / "esc10" and located(tmp_path / "none") == tmp_path / "none"
    (tmp_path / "esc10" / "modern" / "mel").mkdir(parents=True)
    assert located("esc10") == packaged and there("esc10") == "esc10"
    assert Origin.of_model("esc10").relative_to(tmp_path / "run").path == "esc10"
    for file in ("run.json", "1/export.json", "report.html"):
        path = tmp_path / "esc10" / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert located("esc10") == Path("esc10") and there("esc10") == str(tmp_path / "esc10"), file
        path.unlink()


@pytest.mark.parametrize("name", starters.STARTERS)
def test_a_starter_is_small_and_says_where_it_comes_from(name: str) -> None:
    """At most 12 MB with the credits that its clips' licence asks for; nothing of the machine that trained it."""
    files = {path.name: path for path in located(name).iterdir()}
    assert sum(path.stat().st_size for path in files.values()) <= MOST_BYTES
    assert "MODEL_CARD.md" in files and "path" not in Run(located(name)).read()["store"]
    assert files["ATTRIBUTION.txt"].read_text(encoding="utf-8").count("freesound.org") == 400


def test_esc10_answers_real_clips(real_audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Clips it was trained on: nine of ten classes at least are right, by the name alone, from anywhere."""
    clips = {int(path.stem.split("-")[-1]): path for path in sorted(real_audio("esc10").glob("audio/2-*.ogg"))}
    monkeypatch.chdir(tmp_path)
    assert run("predict", "esc10", *clips.values(), "--json") == 0
    answers = [json.loads(line)["class"] for line in capsys.readouterr().out.splitlines()]
    targets = (0, 1, 10, 11, 12, 20, 21, 38, 40, 41)  # of ESC-50, in the order of the model's classes
    classes = dict(zip(targets, multiview.load("esc10").classes, strict=True))
    right = [classes[target] == answer for target, answer in zip(clips, answers, strict=True)]
    assert len(right) == 10 and sum(right) >= 9


def test_a_starter_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(starters, "STARTERS", ("esc10", "esc11"))
    place = re.escape(str(Path(starters.__file__).parent / "esc11"))
    with pytest.raises(InputError, match=f"expected the starter model esc11 in {place}, found none; install"):
        located("esc11")
    assert run("predict", "esc11", "clip.wav") == 1
    assert capsys.readouterr().err.count("\n") == 1

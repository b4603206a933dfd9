"""Models that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from multiview import starters
from multiview.starters import located
from multiview.support.errors import InputError
from tests.helpers.commands import run

MOST_BYTES = 12 * 2**20


def test_what_lies_at_a_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esc10").mkdir()
    assert located("esc10") == Path("esc10") and located(tmp_path / "none") == tmp_path / "none"


def test_a_starter_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(starters, "STARTERS", ("esc10", "esc11"))
    with pytest.raises(InputError, match=r"expected the starter model esc11 in \S+, found none; install"):
        located("esc11")
    assert run("predict", "esc11", "clip.wav") == 1
    assert capsys.readouterr().err.count("\n") == 1

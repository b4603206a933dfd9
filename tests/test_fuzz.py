"""The fuzzers at length, and what counts as a failure of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from multiview.support.errors import InputError
from tests.fuzz import runner
from tests.fuzz.runner import Summary, here, in_processes

LONG = {"archives": 6000, "exports": 500, "records": 1500, "requests": 500, "sounds": 10_000, "stores": 2500,
        "tables": 5000}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_thousands_of_cases(name: str) -> None:
    """As `python -m tests.fuzz`, each with what it makes for itself."""
    found = in_processes(name, LONG[name])
    assert found.ok, found
    assert found.refused > 0 and found.read > 0


def test_every_fuzzer_is_run_at_length() -> None:
    modules = {path.stem for path in Path(runner.__file__).parent.glob("*.py") if "def make_case" in path.read_text()}
    assert modules == set(LONG)


def refuse(text: str) -> Callable[[int, Path], None]:
    def case(number: int, folder: Path) -> None:
        raise InputError(text)

    return case


@pytest.mark.parametrize(
    ("case", "failed"),
    [
        (lambda *_: None, False),
        (refuse("expected one, found two"), False),
        (refuse("expected one,\nfound two"), True),
        (refuse("\udcff"), True),
        (refuse("x" * 3000), True),
        (lambda *_: 1 / 0, True),
        (lambda *_: time.sleep(0.4), True),
    ],
)
def test_what_fails(case: Callable, failed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback, more than a line of text, and a case that only waits."""
    monkeypatch.setattr(runner, "WAIT", 0.3)
    assert here(case, [7], tmp_path).ok is not failed


def test_memory_and_dead_processes_fail() -> None:
    assert Summary(read=1).ok
    assert not Summary(read=1, peak_mib=9000).ok and not Summary(read=1, crashed=[3]).ok

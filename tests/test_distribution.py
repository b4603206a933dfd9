"""What users get, and what git sees of theirs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def git(*words: str) -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()


def test_sdist_holds_what_the_readme_speaks_of(tmp_path: Path) -> None:
    copy = tmp_path / "project"
    leave = shutil.ignore_patterns(".git", ".venv", "stores", "exports", "audio", "*.egg-info", "__pycache__", "build")
    shutil.copytree(ROOT, copy, ignore=leave)
    call = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path)]
    subprocess.run(call, cwd=copy, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2]: file.getmember(name).mode for name in file.getnames()}
    for name in ("run_experiments.sh", "environment.sh", "tests/run", "tests/trees.py", "docs/datasets.md", "README.md",
                 "LICENSE", "CITATION.cff", "multiview/py.typed", "data_prep/py.typed",
                 "multiview/report/page.html.j2", "multiview/export/model_card.md.j2",
                 "multiview/starters/esc10/model.keras", "multiview/starters/esc10/ATTRIBUTION.txt"):  # fmt: skip
        assert name in names
    assert names["run_experiments.sh"] & 0o100  # it can be run
    rest = [name for name in names if not name.startswith("multiview/starters/")]
    assert not any(name.endswith((".pyc", ".h5", ".keras")) for name in rest)


@pytest.mark.parametrize("path", ["stores/dogs_22050.h5", "results/dogs/small/mel/fold1/run.json", "exports/dogs/1/x",
                                  "results/esc10/paper/table.md", "audio/esc50/a.wav", "stores/s.lock"])  # fmt: skip
def test_what_users_make_is_ignored(path: str) -> None:
    assert git("check-ignore", path) == [path]


def test_the_projects_own_results_are_kept() -> None:
    kept = git("ls-files", "results")
    assert "results/README.md" in kept and "results/esc10/small/mel/fold1/metrics.json" in kept

"""Copies of the project of their own, and its programs as users call them there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIRED = ("setup.py", "requirements-predict.txt")


def copied(to: Path) -> Path:
    """The project's files with an environment that is there already: the one the tests run in."""
    to.mkdir()
    for name in ("multiview", "data_prep"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run_experiments.sh", "environment.sh", *REQUIRED):
        shutil.copy(ROOT / name, to / name)
    (to / ".venv").mkdir()
    (to / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    required = b"".join((ROOT / name).read_bytes() for name in REQUIRED)
    version = subprocess.run(["cksum"], input=required, capture_output=True, check=True)
    (to / ".venv" / "installed").write_bytes(version.stdout)
    return to


def _called(project: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`run_experiments.sh` of a copy."""
    return _called(project, ["./run_experiments.sh", *arguments])


def program(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`multiview` of a copy."""
    return _called(project, [sys.executable, "-m", "multiview.cli", *arguments])

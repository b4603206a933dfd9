"""What the fuzzers change and what they ask: a tiny store, a run that learnt nothing, and its export.

python -m tests.fuzz.subjects FOLDER    # makes all three in a process of its own
"""

from __future__ import annotations

import sys
from pathlib import Path

from multiview.experiment.run import Run
from multiview.settings import make_settings
from multiview.store import Store


def make_store(folder: Path) -> Path:
    """Three classes of the demo, 60 clips of 2 s."""
    from data_prep.datasets import demo
    from tests.conftest import make_tiny_store

    path = folder / "tiny.h5"
    make_tiny_store(demo.index(folder / "audio"), path)
    return path


def make_trained(store: Path, path: Path, system: str = "mel") -> None:
    """A run whose network learnt nothing."""
    from multiview.splits import make_split
    from multiview.training import make_network

    opened, run = Store(store), Run(path)
    settings = make_settings(opened, system, 1, "demo", width=1 / 32)
    run.begin(opened, settings)
    make_network(opened, settings, make_split(opened, 1, 0)).save(run.model)


def make_export(run: Path, to: Path) -> Path:
    """Version 1."""
    from multiview import cli

    assert cli.main(["export", str(run), "--to", str(to)]) == 0
    return to / "1"


def main(folder: Path) -> None:
    make_trained(make_store(folder), folder / "trained", "multiview")
    make_export(folder / "trained", folder / "exports")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

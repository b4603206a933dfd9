"""Trained networks that come with the package, each a run directory named like what it was trained on."""

from __future__ import annotations

from pathlib import Path

from multiview.support.errors import InputError

STARTERS = ("esc10",)


def is_starter(path: str | Path) -> bool:
    """Whether `path` is the name of a starter model, and no run, export or report of its own."""
    patterns = ("run.json", "export.json", "*/export.json", "report.html")
    return str(path) in STARTERS and not any(any(Path(path).glob(each)) for each in patterns)


def located(path: str | Path) -> Path:
    """`path`, or where the starter model of that name is.

    Raises
    ------
    InputError
        If this installation lacks the starter model.
    """
    path = Path(path)
    if not is_starter(path):
        return path
    packaged = Path(__file__).with_name(str(path))
    if not (packaged / "model.keras").is_file():
        raise InputError(
            f"expected the starter model {path} in {packaged}, found none; install multiview-audio again, or name a run"
        )
    return packaged

"""Trained networks that come with the package, each a run directory named like what it was trained on."""

from __future__ import annotations

from pathlib import Path

from multiview.support.errors import InputError

STARTERS = ("esc10",)


def located(path: str | Path) -> Path:
    """`path`, or the starter model of that name where nothing is at the path.

    Raises
    ------
    InputError
        If this installation lacks the starter model.
    """
    path = Path(path)
    if path.exists() or str(path) not in STARTERS:
        return path
    packaged = Path(__file__).with_name(str(path))
    if not (packaged / "model.keras").is_file():
        raise InputError(
            f"expected the starter model {path} in {packaged}, found none; install multiview-audio again, or name a run"
        )
    return packaged

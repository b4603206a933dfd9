"""Pictures: matplotlib without a screen, and files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from multiview.support.files import replacing

plt.rcParams["text.parse_math"] = False  # classes may be called anything


def save(figure: plt.Figure, path: Path, dpi: int = 150) -> None:
    """Write a picture, atomically, and close the figure."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, bbox_inches="tight")
    plt.close(figure)

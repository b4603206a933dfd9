"""Pictures without a screen: how every figure is set up and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from multiview.support.files import replacing

plt.rcParams["text.parse_math"] = False  # classes may be called anything


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Write a picture, atomically, and close the figure.

    Parameters
    ----------
    path : Path
        Its suffix decides the format.
    options
        Of matplotlib's `savefig`; 150 dots an inch, cut to what is drawn, by default.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, **{"dpi": 150, "bbox_inches": "tight", **options})
    plt.close(figure)

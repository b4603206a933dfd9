"""Pictures without a screen: how every figure is set up and written, and how spectrograms are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from multiview.support.files import replacing

plt.rcParams["text.parse_math"] = False  # classes may be called anything

COLOURS = "magma"  # of levels
DYNAMICS_DB = 80.0  # of the colours, below the loudest value
ROUND_HZ = (1000, 100, 10_000, 500, 200, 5000, 2000, 50, 20_000)  # on an axis of frequencies, the most welcome first


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


def frequency_ticks(frequencies: np.ndarray, most: int) -> dict[float, str]:
    """Where round frequencies lie between bands 0, 1, ... of these frequencies in Hz (rising), with their labels.

    At most about `most`, evenly enough for labels not to touch.
    """
    bands, ticks = np.arange(len(frequencies)), dict[float, str]()
    for hertz in ROUND_HZ:
        if frequencies[0] <= hertz <= frequencies[-1]:
            place = float(np.interp(hertz, frequencies, bands))
            if all(abs(place - other) >= len(bands) / (most + 1) for other in ticks):
                ticks[place] = f"{hertz // 1000}k" if hertz >= 1000 else str(hertz)
    return ticks


def spectrogram(
    axes: Axes, values: np.ndarray, begin: float, end: float, frequencies: np.ndarray | None = None, ticks: int = 6,
    **options: Any,
) -> AxesImage:  # fmt: skip
    """Draw values [steps, bands] from `begin` to `end` seconds, the lowest band below, with frequencies at the axis.

    Parameters
    ----------
    frequencies : array, optional
        The middle of each band in Hz, rising; without them bands are counted.
    ticks : int
        Frequencies at the axis, at most.
    options
        Of matplotlib's `imshow`, such as `vmin` and `vmax`.
    """
    extent = (begin, end, -0.5, values.shape[1] - 0.5)
    image = axes.imshow(values.T, **{"origin": "lower", "aspect": "auto", "extent": extent, "cmap": COLOURS, **options})
    if frequencies is not None:
        places = frequency_ticks(frequencies, ticks)
        axes.set_yticks(list(places), list(places.values()))
    axes.set_ylabel("band" if frequencies is None else "Hz")
    return image

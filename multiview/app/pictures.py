"""The views of a sound as pictures of a page: scaled by the browser, on one axis of time."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import numpy as np

from multiview.predict.timeline import Strip
from multiview.support.plots import COLOURS, DYNAMICS_DB, frequency_ticks, plt
from multiview.views import VIEWS, View, extract

TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)  # seconds between labels
TIMES, FREQUENCIES = 6, 4  # labels at most
COLUMNS = 1200  # of a waveform


@dataclass(frozen=True)
class Picture:
    """A view of a sound.

    Parameters
    ----------
    label, scale : str
        What it is, and what its colours or heights mean.
    image : str or None
        Address of a PNG file with a pixel a frame and band, or
    outline : str or None
        Points of a polygon in a box of `COLUMNS` by 2: the samples' range over time.
    left, width : float
        Where it begins on the axis of time and how much of that it takes, %.
    ticks : dict
        Distance from the top in % to a label.
    """

    label: str
    scale: str
    image: str | None = None
    outline: str | None = None
    left: float = 0.0
    width: float = 100.0
    ticks: dict[float, str] = field(default_factory=dict)


def data_address(content: bytes, kind: str) -> str:
    """A file as an address that holds all of it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def pictures(waveform: np.ndarray, sample_rate: int, views: list[str]) -> list[Picture]:
    """The views of a mono waveform, float32 [samples], in order."""
    values = extract(waveform, sample_rate, views)
    return [_picture(VIEWS[name], values[name], sample_rate, len(waveform)) for name in views]


def _picture(view: View, values: np.ndarray, sample_rate: int, samples: int) -> Picture:
    if view.bands is None:
        return Picture(
            view.label, view.unit, outline=_outline(values[:samples] * view.scale), ticks={0: "1", 100: "-1"}
        )
    strip, grid = Strip(view.bands), view.grid(sample_rate)
    strip.add(view.for_network(values))
    image = strip.image()
    top = float(image.max())
    bottom = top - DYNAMICS_DB if view.decibels else float(image.min())
    content = io.BytesIO()
    plt.imsave(content, image.T, vmin=bottom, vmax=max(top, bottom + 1e-9), cmap=COLOURS, origin="lower", format="png")
    frequencies = view.frequencies(sample_rate) if view.frequencies else None
    ticks = {} if frequencies is None else frequency_ticks(frequencies, FREQUENCIES)
    return Picture(
        view.label,
        f"{'Hz; ' if ticks else ''}{bottom:.0f} to {top:.0f} {view.unit}",
        image=data_address(content.getvalue(), "image/png"),
        left=100 * (grid.middle - grid.hop / 2) / samples,
        width=100 * len(values) * grid.hop / samples,
        ticks={100 * (1 - (place + 0.5) / view.bands): text for place, text in ticks.items()},
    )


def _outline(waveform: np.ndarray) -> str:
    """Highest and lowest sample of each column, there and back."""
    edges = np.linspace(0, len(waveform), min(COLUMNS, len(waveform)) + 1).astype(int)[:-1]
    x = np.linspace(0, COLUMNS, len(edges))
    high, low = (1 - extreme.reduceat(waveform, edges) for extreme in (np.maximum, np.minimum))
    points = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
    return " ".join(f"{across:.0f},{down:.3f}" for across, down in points)


def time_ticks(seconds: float) -> dict[float, str]:
    """Distance from the left in % to a label in seconds."""
    step = next((step for step in TIME_STEPS if seconds / step <= TIMES), TIME_STEPS[-1])
    return {100 * time / seconds: f"{time:g}" for time in np.arange(0, seconds, step).round(1)}

"""`multiview-prepare --inspect`: what is in a store, in numbers and as one picture, before hours of training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from multiview.audio import SILENT_DBFS
from multiview.segments import test_starts
from multiview.store import Store
from multiview.support import plots
from multiview.support.words import listed
from multiview.views import FLOOR_DB, VIEWS, Grid, View

CLIPPED_RUN = 3  # a clip with as many samples at full scale in a row
LISTED = 5  # names a line
PANEL = (1.9, 0.95)  # inches of one view of one class in the picture
MARGINS = (0.62, 0.8, 0.5, 0.3)  # inches around all panels: left, right, top, bottom
FONT = 6.5  # points
DPI = 120


def is_waveform(view: View) -> bool:
    """Whether a view holds the samples themselves, by which a clip's loudness can be told."""
    return view.bands is None and view.unit == "full scale"


def _waveform(store: Store) -> View | None:
    return next((VIEWS[name] for name in store.views if is_waveform(VIEWS[name])), None)


def clip_table(store: Store) -> pd.DataFrame:
    """One row a clip, measured on its waveform where the store holds it.

    Returns
    -------
    DataFrame
        `id`, `class`, `fold`, `split`, `source`, `seconds`; and with the waveform `peak` in dB of full scale; `zeros`,
        the share of samples that are digital silence; `clipped`, whether several samples in a row are at full scale;
        and `content`, equal for clips with the same samples.
    """
    view, rows = _waveform(store), []
    for row, clip in enumerate(store.clips()):
        columns = {
            "id": clip.id,
            "class": store.classes[clip.label],
            "fold": clip.fold,
            "split": clip.split,
            "source": clip.source,
            "seconds": clip.samples / store.sample_rate,
        }
        measured = _measured(store.clip(view.name, row)[: clip.samples], view.scale) if view else {}
        rows.append(columns | measured)
    return pd.DataFrame(rows)


def _measured(waveform: np.ndarray, scale: float) -> dict[str, Any]:
    amplitude = np.abs(waveform.astype(np.float64)) * scale
    full = amplitude >= 1 - scale  # the largest value, in either direction
    return {
        "peak": 20 * np.log10(max(amplitude.max(), 1e-9 * scale)),
        "zeros": float(np.mean(amplitude == 0)),
        "clipped": bool(np.convolve(full, np.ones(CLIPPED_RUN, int)).max() >= CLIPPED_RUN),
        "content": hashlib.sha256(waveform.tobytes()).hexdigest(),
    }


def view_table(store: Store) -> pd.DataFrame:
    """Range of each view over all clips, in its unit: dB for the spectrograms, share of full scale for the waveform.

    `silent bands` counts those that all clips leave as good as empty, `View.silent_bands`.
    """
    rows = []
    for name in store.views:
        view = VIEWS[name]
        low, high, total, squares, count = np.inf, -np.inf, np.zeros(1), np.zeros(1), 0
        floor = broken = 0
        for row in range(len(store)):
            values = store.clip(name, row) * view.scale
            low, high = min(low, values.min()), max(high, values.max())
            total = total + values.sum(axis=0, dtype=np.float64)
            squares = squares + np.square(values, dtype=np.float64).sum(axis=0)
            floor += int(np.count_nonzero(values <= FLOOR_DB)) if view.decibels else 0
            broken += int(np.count_nonzero(~np.isfinite(values)))
            count += len(values)
        mean, power = total / count, squares / count  # of each band
        silent = view.silent_bands(mean, np.sqrt(np.maximum(power - mean**2, 0)))
        count, mean, power = count * mean.size, mean.mean(), power.mean()
        rows.append(
            {
                "view": name,
                "unit": view.unit,
                "min": low,
                "mean": mean,
                "std": np.sqrt(max(power - mean**2, 0)),
                "max": high,
                "at floor, %": 100 * floor / count,
                "silent bands": int(silent.sum()),
                "not finite": broken,
            }
        )
    return pd.DataFrame(rows).set_index("view")


def clips_per_class_and_fold(clips: pd.DataFrame) -> pd.DataFrame:
    """Number of clips by class, and by fold or split, with sums."""
    fold = clips["fold"].map(lambda fold: f"fold {fold}" if fold else "no fold")
    column = fold.where(clips["split"] == "development", "evaluation")
    order = sorted(column.unique(), key=lambda name: (name == "evaluation", len(name), name))
    counts = pd.crosstab(clips["class"], column)[order].rename_axis(columns=None)
    counts["all"] = counts.sum(axis=1)
    return pd.concat([counts, counts.sum().to_frame("all").T.rename_axis("class")])


def _named(ids: pd.Series) -> str:
    return f"{len(ids)}" + (f": {listed(list(ids), LISTED)}" if len(ids) else "")


def _duplicates(clips: pd.DataFrame) -> list[str]:
    groups = [group for _, group in clips.groupby("content", sort=False) if len(group) > 1]
    lines = [f"duplicates (same samples): {len(groups)} groups, {sum(map(len, groups))} clips"]
    for group in groups:
        sides = [
            name
            for name, column in (("class", "class"), ("fold", "fold"), ("split", "split"), ("source", "source"))
            if group[column].nunique() > 1
        ]
        warning = f"  <- differ in {', '.join(sides)}" if sides else ""
        lines.append(f"  {', '.join(group['id'])}{warning}")
    return lines


def summary(store: Store) -> str:
    """What `--inspect` prints."""
    clips = clip_table(store)
    seconds = clips["seconds"]
    shorter = clips[seconds * store.sample_rate < store.size.segment_samples]
    lines = [
        f"{store.path}: {store.dataset}, {len(clips)} clips of {clips['source'].nunique()} sources, "
        f"{len(store.classes)} classes, {store.sample_rate} Hz, {seconds.sum() / 3600:.2f} hours",
        "",
        clips_per_class_and_fold(clips).to_string(),
        "",
        f"seconds a clip: {seconds.min():.3f} to {seconds.max():.3f}, median {seconds.median():.3f}",
        f"shorter than a segment (padded with silence): {_named(shorter['id'])}",
        *_faults(clips),
        f"left out as unreadable: {_named(pd.Series(store.left_out, dtype=str))}",
        *(_duplicates(clips) if "content" in clips else []),
        "",
        view_table(store).to_string(float_format="{:.2f}".format),
    ]
    return "\n".join(lines)


def _faults(clips: pd.DataFrame) -> list[str]:
    """Lines on what is wrong with single waveforms."""
    if "peak" not in clips:
        waveforms = ", ".join(name for name, view in VIEWS.items() if is_waveform(view))
        return [f"silent, clipped and equal clips: not known, the store holds no {waveforms}"]
    return [
        f"silent (peak below {SILENT_DBFS:g} dB of full scale): {_named(clips[clips['peak'] < SILENT_DBFS]['id'])}",
        f"more than half digital silence: {_named(clips[clips['zeros'] > 0.5]['id'])}",
        f"clipped ({CLIPPED_RUN} samples in a row at full scale): {_named(clips[clips['clipped']]['id'])}",
    ]


def segment_bounds(grid: Grid, sample_rate: int, start: int) -> tuple[float, float]:
    """First and last second that a segment from sample `start` covers in a view."""
    begin = start // grid.hop * grid.hop
    return begin / sample_rate, (begin + grid.span) / sample_rate


def _draw_panel(axes: Any, view: View, values: np.ndarray, rate: int, start: int) -> None:
    grid, values = view.grid(rate), values * view.scale
    # Each step is drawn around its centre, so that an event stands at one place in all views.
    first = grid.middle - grid.hop / 2
    if view.bands is None:
        edges = np.linspace(0, len(values), min(400, len(values)), endpoint=False).astype(int)
        low, high = (np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges))
        axes.fill_between((first + edges * grid.hop) / rate, low, high, color="#0072B2", linewidth=0.4)
        if is_waveform(view):
            axes.set_ylim(-1.05, 1.05)
    else:
        begin, end = first / rate, (first + len(values) * grid.hop) / rate
        frequencies = view.frequencies(rate) if view.frequencies else None
        if view.decibels:
            values = values - values.max()
        bottom = -plots.DYNAMICS_DB if view.decibels else float(values.min())
        plots.spectrogram(axes, values, begin, end, frequencies, ticks=4, vmin=bottom, vmax=float(values.max()))
    for second in segment_bounds(grid, rate, start):
        axes.axvline(second, color="#D55E00" if view.bands is None else "#56B4E9", linewidth=0.9)
    axes.tick_params(labelsize=FONT, length=2, pad=1.5)
    axes.set_ylabel(f"{view.name}, {axes.get_ylabel() or view.unit}", fontsize=FONT)


def _shown(store: Store, clips: pd.DataFrame) -> list[int]:
    """The row of one clip a class, one that can be heard where there is any."""
    heard = clips[clips["peak"] >= SILENT_DBFS] if "peak" in clips else clips
    candidates = pd.concat([heard, clips]).drop_duplicates("class")
    order = [name for name in dict.fromkeys(store.classes) if name in set(candidates["class"])]
    return [int(candidates.index[candidates["class"] == name][0]) for name in order]


def draw_views(store: Store, path: Path) -> None:
    """Write one picture: for each class the views of one clip, with the middle test segment between lines."""
    clips = clip_table(store)
    rows = _shown(store, clips)
    bands = -(-len(rows) // (5 if len(rows) <= 20 else 10))
    columns = -(-len(rows) // bands)
    left, right, top, bottom = MARGINS
    width = left + PANEL[0] * columns + right
    height = top + PANEL[1] * len(store.views) * bands + bottom
    figure = plots.plt.figure(figsize=(width, height))
    edges = {"left": left / width, "right": 1 - right / width, "top": 1 - top / height, "bottom": bottom / height}
    grid = figure.add_gridspec(bands, columns, wspace=0.12, hspace=0.9 / len(store.views) / bands**0.5, **edges)
    for place, row in enumerate(rows):
        cell = grid[place // columns, place % columns].subgridspec(len(store.views), 1, hspace=0.08)
        panels = cell.subplots(sharex=True, squeeze=False)[:, 0]
        _draw_clip(panels, store, row, labelled=place % columns == 0)
        panels[0].set_title(clips["class"][row].replace("_", " ")[:28], fontsize=FONT + 1, pad=2)
    figure.suptitle(
        f"{store.dataset}, {store.sample_rate} Hz: the views of one clip a class over seconds; "
        "the lines bound the middle test segment",
        fontsize=9,
        x=0.01,
        y=1 - 0.1 / height,
        ha="left",
        va="top",
    )
    if any(VIEWS[name].decibels for name in store.views):
        length = min(2.0, height - top - bottom)
        _draw_scale(figure.add_axes((1 - 0.6 / width, 1 - (top + length) / height, 0.1 / width, length / height)))
    plots.save(figure, path, dpi=DPI, bbox_inches=None)


def _draw_clip(panels: np.ndarray, store: Store, row: int, labelled: bool) -> None:
    """All views of a clip, one below the other; with what the vertical axes mean where it is `labelled`."""
    starts = test_starts(store.samples[row], store.size)
    seconds = max(int(store.samples[row]), store.size.segment_samples) / store.sample_rate
    for name, axes in zip(store.views, panels, strict=True):
        _draw_panel(axes, VIEWS[name], store.clip(name, row), store.sample_rate, int(starts[len(starts) // 2]))
        axes.set_xlim(0, seconds)
        if not labelled:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)


def _draw_scale(axes: Any) -> None:
    """What the colours of views in decibels mean."""
    levels = plots.plt.Normalize(-plots.DYNAMICS_DB, 0)
    axes.figure.colorbar(plots.plt.cm.ScalarMappable(levels, plots.COLOURS), cax=axes)
    axes.set_ylabel("dB below the loudest of each panel", fontsize=FONT)
    axes.tick_params(labelsize=FONT, length=2)


def inspect(path: Path, directory: Path, check: bool = False) -> None:
    """Print the summary of a store `NAME.h5` and write `directory/NAME_views.png`.

    Parameters
    ----------
    check : bool
        Whether every value is read first, to see whether it is finite and what was written.

    Raises
    ------
    InputError
        If `path` is no store, or holds other values than it should.
    """
    store = Store(path)
    if check:
        store.verify(lambda rows: tqdm(rows, desc="check", unit="clip"))
        print(f"{path}: every value is finite, and what was written\n")
    print(summary(store))
    picture = directory / f"{store.path.stem}_views.png"
    draw_views(store, picture)
    print(f"\npicture: {picture}")

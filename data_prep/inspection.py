"""`multiview-prepare --inspect`: what is in a store, in numbers and as one picture, before hours of training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from data_prep.views import FLOOR, VIEWS, Geometry, geometry
from multiview.files import replacing
from multiview.segments import even_starts, test_count
from multiview.store import Store

plt.rcParams["text.parse_math"] = False  # classes may be called anything

SILENT_DBFS = -60.0  # a clip whose peak is below
CLIPPED_RUN = 3  # a clip with as many samples at full scale in a row
FULL_SCALE = 32767  # of int16, in either direction
LISTED = 5  # names a line
PANEL = (1.9, 3.6)  # inches of one class in the picture
DYNAMICS_DB = 80.0  # of the colours, below the loudest value of a panel


def _values(store: Store, view: str, row: int) -> np.ndarray:
    begin, end = store.offsets[view][row : row + 2]
    return store.values[view][begin:end]


def clip_table(store: Store) -> pd.DataFrame:
    """One row a clip, measured on its raw view.

    Returns
    -------
    DataFrame
        `id`, `class`, `fold`, `split`, `source`, `seconds`; `peak` in dB of full scale; `zeros`, the
        share of samples that are digital silence; `clipped`, whether several samples in a row are at
        full scale; and `content`, equal for clips with the same samples.
    """
    rows = []
    for row, clip in enumerate(store.clips()):
        raw = _values(store, "raw", row)[: clip.samples]
        amplitude = np.abs(raw.astype(np.int32))
        full = amplitude >= FULL_SCALE
        rows.append(
            {
                "id": clip.id,
                "class": store.classes[clip.label],
                "fold": clip.fold,
                "split": clip.split,
                "source": clip.source,
                "seconds": clip.samples / store.sample_rate,
                "peak": 20 * np.log10(max(int(amplitude.max()), 1e-9) / 32768),
                "zeros": float(np.mean(amplitude == 0)),
                "clipped": bool(np.convolve(full, np.ones(CLIPPED_RUN, int)).max() >= CLIPPED_RUN),
                "content": hashlib.sha256(raw.tobytes()).hexdigest(),
            }
        )
    return pd.DataFrame(rows)


def view_table(store: Store) -> pd.DataFrame:
    """Range of each view over all clips: dB for the spectrograms, share of full scale for raw."""
    rows = []
    for view in VIEWS:
        scale = 1 / 32768 if view == "raw" else 1.0
        low, high, total, squares, count, floor, broken = np.inf, -np.inf, 0.0, 0.0, 0, 0, 0
        for row in range(len(store)):
            values = _values(store, view, row) * scale
            low, high = min(low, values.min()), max(high, values.max())
            total += values.sum(dtype=np.float64)
            squares += np.square(values, dtype=np.float64).sum()
            floor += np.count_nonzero(values <= 10 * np.log10(FLOOR)) if view != "raw" else 0
            broken += np.count_nonzero(~np.isfinite(values))
            count += values.size
        mean = total / count
        rows.append(
            {
                "view": view,
                "unit": "full scale" if view == "raw" else "dB",
                "min": low,
                "mean": mean,
                "std": np.sqrt(max(squares / count - mean**2, 0)),
                "max": high,
                "at floor, %": 100 * floor / count,
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
    rest = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
    return f"{len(ids)}" + (f": {', '.join(ids[:LISTED])}{rest}" if len(ids) else "")


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
    shorter = clips[seconds * store.sample_rate < geometry(store.sample_rate).segment_samples]
    lines = [
        f"{store.path}: {store.dataset}, {len(clips)} clips of {clips['source'].nunique()} sources, "
        f"{len(store.classes)} classes, {store.sample_rate} Hz, {seconds.sum() / 3600:.2f} hours",
        "",
        clips_per_class_and_fold(clips).to_string(),
        "",
        f"seconds a clip: {seconds.min():.3f} to {seconds.max():.3f}, median {seconds.median():.3f}",
        f"shorter than a segment (padded with silence): {_named(shorter['id'])}",
        f"silent (peak below {SILENT_DBFS:g} dB of full scale): {_named(clips[clips['peak'] < SILENT_DBFS]['id'])}",
        f"more than half digital silence: {_named(clips[clips['zeros'] > 0.5]['id'])}",
        f"clipped ({CLIPPED_RUN} samples in a row at full scale): {_named(clips[clips['clipped']]['id'])}",
        f"left out as unreadable: {_named(pd.Series(store.left_out, dtype=str))}",
        *_duplicates(clips),
        "",
        view_table(store).to_string(float_format="{:.2f}".format),
    ]
    return "\n".join(lines)


def _span(view: str, size: Geometry, start: int) -> tuple[float, float]:
    """First and last second that a segment from sample `start` covers in `view`."""
    hop = size.view_hop(view)
    begin = start // hop * hop
    if view == "raw":
        length = size.raw_segment
    elif view == "cqt":  # centred frames
        length = (size.cqt_segment - 1) * hop
    else:
        length = (size.frames_segment - 1) * hop + size.window
    return begin / size.sample_rate, (begin + length) / size.sample_rate


def _draw_panel(axes: plt.Axes, view: str, values: np.ndarray, size: Geometry, start: int) -> None:
    rate, hop = size.sample_rate, size.view_hop(view)
    if view == "raw":
        edges = np.linspace(0, len(values), min(400, len(values)), endpoint=False).astype(int)
        low, high = (np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges))
        axes.fill_between(edges / rate, low / 32768, high / 32768, color="#0072B2", linewidth=0.4)
        axes.set_ylim(-1.05, 1.05)
    else:
        # Each frame is drawn around its centre, so that an event stands at one place in all views.
        first = -hop / 2 if view == "cqt" else (size.window - hop) / 2
        extent = (first / rate, (first + len(values) * hop) / rate, 0, values.shape[1])
        top = float(values.max())
        axes.imshow(
            values.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - DYNAMICS_DB, vmax=top
        )
    for second in _span(view, size, start):
        axes.axvline(second, color="#56B4E9" if view != "raw" else "#D55E00", linewidth=0.9)
    axes.tick_params(labelsize=5, length=2)


def draw_views(store: Store, path: Path) -> None:
    """Write one picture: for each class the four views of one clip, with the middle test segment between lines."""
    clips, size = clip_table(store), geometry(store.sample_rate)
    heard = clips[clips["peak"] >= SILENT_DBFS]
    rows = [
        candidates.index[0]
        for name in store.classes
        for candidates in [heard[heard["class"] == name], clips[clips["class"] == name]]
        if len(candidates)
    ]
    rows = list(dict.fromkeys(clips.loc[rows].drop_duplicates("class").index))
    columns = min(len(rows), 5 if len(rows) <= 20 else 10)
    bands = -(-len(rows) // columns)
    width, height = 0.5 + PANEL[0] * columns, 0.7 + PANEL[1] * bands
    figure = plt.figure(figsize=(width, height))
    grid = figure.add_gridspec(bands, columns, left=0.4 / width, right=0.99, top=1 - 0.5 / height, bottom=0.3 / height)
    for place, row in enumerate(rows):
        samples = max(int(store.samples[row]), size.segment_samples)
        starts = even_starts(size.last_start(samples), test_count(store.samples[row], store.sample_rate))
        panels = grid[place // columns, place % columns].subgridspec(len(VIEWS), 1, hspace=0.08).subplots(sharex=True)
        for view, axes in zip(VIEWS, panels, strict=True):
            _draw_panel(axes, view, _values(store, view, row), size, int(starts[len(starts) // 2]))
            axes.set_yticks([])
            axes.set_xlim(0, samples / store.sample_rate)
            if place % columns == 0:
                axes.set_ylabel(view, fontsize=7)
        panels[0].set_title(clips["class"][row].replace("_", " ")[:28], fontsize=7, pad=2)
    figure.suptitle(
        f"{store.dataset}, {store.sample_rate} Hz: the views of one clip a class over seconds; "
        "the lines bound the middle test segment",
        fontsize=9,
        x=0.01,
        y=1 - 0.1 / height,
        ha="left",
        va="top",
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def inspect(path: Path, directory: Path) -> None:
    """Print the summary of a store and write `directory/views.png`.

    Raises
    ------
    InputError
        If `path` is no store.
    """
    store = Store(path)
    print(summary(store))
    picture = directory / "views.png"
    draw_views(store, picture)
    print(f"\npicture: {picture}")

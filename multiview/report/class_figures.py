"""The pictures of classes: confusion matrix, and accuracy of each class by row of Table 3."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import figure
from matplotlib.colors import PowerNorm
from sklearn.metrics import ConfusionMatrixDisplay

from multiview.experiment.results import Results
from multiview.report.classes import class_accuracies, common_trials, confusion
from multiview.report.curves import folds_said, style
from multiview.support import plots  # noqa: F401  before anything is drawn
from multiview.systems import label

READABLE_CLASSES = 20  # of a confusion matrix with numbers, as wide as a page
MARKERS = (("o", 9.0), ("D", 4.5))  # and sizes, of so few rows that accuracies by class are drawn as dots


def few_classes(results: Results) -> bool:
    """Whether all of a confusion matrix can be read on a page."""
    return len(confusion(results).counts) <= READABLE_CLASSES


def confusion_matrix(results: Results) -> figure.Figure:
    """All test clips by true and predicted class, in % of each true class."""
    found = confusion(results)
    title = f"{results.dataset}: {label(found.system)}, {folds_said(found.trials)}"
    return draw_confusion(found.counts, found.totals, title)


def draw_confusion(counts: pd.DataFrame, totals: pd.Series, title: str) -> figure.Figure:
    """Clips by true and predicted class, int [true, predicted], in % of all clips of each true class, int [true]."""
    clips = np.maximum(totals.to_numpy()[:, np.newaxis], 1)  # a class may have no test clip
    names = [str(name).replace("_", " ") for name in counts]
    side = 3 + 0.35 * len(names)
    picture, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    display = ConfusionMatrixDisplay(100 * counts.to_numpy() / clips, display_labels=names)
    readable = len(counts) <= READABLE_CLASSES
    # Without numbers, a few per cent have to be seen by their colour.
    shades = {"norm": PowerNorm(1 if readable else 0.5, 0, 100)}
    numbers = {"include_values": readable, "values_format": ".0f"}
    display.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", colorbar=False, im_kw=shades, **numbers)
    picture.colorbar(display.im_, ax=axes, label="% of the true class", fraction=0.04, pad=0.02)
    axes.set_title(title, loc="left")
    axes.set(xlabel="predicted", ylabel="true")
    return picture


def per_class(results: Results) -> figure.Figure:
    """Accuracy by class and row of Table 3: a table in colours, or dots for so few rows that it would be a strip."""
    table = class_accuracies(results.rows)
    names = [str(name).replace("_", " ") for name in table.index]
    title = f"{results.dataset}: accuracy of each class, {folds_said(common_trials(results))}"
    if len(table.columns) <= len(MARKERS):
        return _dots(table.set_axis(names), title)
    picture, axes = plt.subplots(figsize=(2.5 + 0.7 * len(table.columns), 1.6 + 0.3 * len(table)), layout="constrained")
    image = axes.imshow(table, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(table.columns)), [label(name) for name in table], rotation=45, ha="right")
    axes.set_yticks(range(len(table)), names)
    for (y, x), value in np.ndenumerate(table.to_numpy()):
        axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value < 55 else "black")
    axes.set_title(title, loc="left", fontsize=10)
    picture.colorbar(image, label="accuracy, %", fraction=0.05, aspect=min(20, 3 * len(table)))
    return picture


def _dots(table: pd.DataFrame, title: str) -> figure.Figure:
    """A line for each class, the best above, with a dot for each column."""
    table = table.loc[table.mean(axis=1).sort_values(kind="stable").index]
    picture, axes = plt.subplots(figsize=(7, 1.4 + 0.2 * len(table)), layout="constrained")
    places = np.arange(len(table))
    for name, (marker, size) in zip(table, MARKERS, strict=False):
        look = {"color": style(name)["color"], "label": label(name), "clip_on": False, "zorder": 3}
        axes.plot(table[name], places, marker, markersize=size, **look)
    axes.set_yticks(places, table.index, fontsize=8)
    axes.set(xlabel="accuracy, %", xlim=(0, 100), ylim=(-0.6, len(table) - 0.4))
    axes.grid(alpha=0.3)
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return picture

"""The figures of the report: Figure 2, weights of the ablations, confusion matrix, accuracy by class; one style."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from multiview.experiment.results import Results, branches_of
from multiview.experiment.run import Run
from multiview.history import column
from multiview.report.calibration import reliability_diagram
from multiview.report.tables import class_accuracies
from multiview.support import plots  # noqa: F401  before anything is drawn
from multiview.support.registry import Registry
from multiview.systems import JOINT, curve_style, label
from multiview.views import VIEWS

SPARE_COLOURS = ("#882255", "#56B4E9", "#7F7F7F")  # of views that declare none


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Parameters
    ----------
    name, caption : str
        Of the file, NAME.png, and on the page.
    draw : callable
        `Results` to a matplotlib figure.
    needs : callable
        Whether the results that it shows are there.
    """

    name: str
    caption: str
    draw: Callable[[Results], figure.Figure]
    needs: Callable[[Results], bool] = lambda results: True


def style(name: str) -> dict[str, Any]:
    """Colour, line and label of the curve of a branch or system, the same in all pictures."""
    colour, line = curve_style(name)
    if colour is None:
        plain = [view for view in VIEWS if curve_style(view)[0] is None]
        colour = SPARE_COLOURS[plain.index(name) % len(SPARE_COLOURS)] if name in plain else None
    return {"color": colour, "linestyle": line, "label": label(name)}


def mean_curve(results: Results, system: str, name: str) -> pd.Series:
    """Column `name` of the histories of a system, averaged over folds, over their mean training step.

    Folds are joined by evaluation: their epochs may differ by a step.
    """
    folds = pd.concat([results.history(system, fold) for fold in results.runs[system]])
    return folds.groupby("evaluation")[["step", name]].mean().set_index("step")[name]


def _lines(title: str, ylabel: str, curves: Mapping[str, pd.Series], top: float) -> figure.Figure:
    picture, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, curve in curves.items():
        axes.plot(curve.index, curve, linewidth=1.6, **style(name))
    axes.set(title=title, xlabel="training step", ylabel=ylabel)
    axes.set_ylim(0, top)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return picture


def _losses(title: str, curves: Mapping[str, pd.Series]) -> figure.Figure:
    """Losses on the validation clips, by which training is steered."""
    # What matters is below; an early spike may leave the picture.
    top = 1.1 * max(max(curve.quantile(0.95), curve.iloc[0]) for curve in curves.values())
    return _lines(title, "validation loss", curves, top)


def branch_losses(results: Results) -> figure.Figure:
    """Figure 2 (a): losses of the branches."""
    count = len(results.runs[JOINT])
    folds = f"mean of {count} folds" if count > 1 else "1 fold"
    branches = results.system(JOINT).branches
    curves = {branch: mean_curve(results, JOINT, column("validation", branch)) for branch in branches}
    return _losses(f"{results.dataset}: branches of the multi-view network, {folds}", curves)


def branch_weights(results: Results) -> figure.Figure:
    """Figure 2 (b): weights of the branches, of one fold, as their mean would hide how they move."""
    first = min(results.runs[JOINT])
    history = results.history(JOINT, first).set_index("step")
    weights = {branch: history[column("weight", branch)] for branch in results.system(JOINT).branches}
    return _lines(f"{results.dataset}: weights of the branches, fold {first}", "weight", weights, top=1.02)


def system_losses(results: Results) -> figure.Figure:
    """Figure 2 (c): losses of the systems."""
    scored = {name: results.system(name).scored for name in results.runs}
    curves = {name: mean_curve(results, name, column("validation", branch)) for name, branch in scored.items()}
    return _losses(f"{results.dataset}: the multi-view network and the baselines", curves)


def ablated_weights(results: Results) -> figure.Figure:
    """The weights of the paper's run and of the ablations, all of one fold where they have one in common."""
    runs: dict[str, dict[int, Run]] = {"paper": results.runs.get(JOINT, {}), **results.ablations}
    folds = set.intersection(*(set(found) for found in runs.values() if found))
    first = {name: found[min(folds or found)] for name, found in runs.items() if found}
    title = f"{results.dataset}: weights of the branches" + (f", fold {min(folds)}" if folds else ", first folds")
    return weights_by_blending({name: pd.read_csv(run.history) for name, run in first.items()}, title)


def weights_by_blending(histories: Mapping[str, pd.DataFrame], title: str, over: str = "step") -> figure.Figure:
    """The weights over training of several multi-view runs, one below the other, as in Figure 2 (b).

    Parameters
    ----------
    histories : mapping
        Name of a panel to a `history.csv`; each may have branches of its own.
    over : str
        The column of the horizontal axis.
    """
    picture, panels = plt.subplots(
        len(histories), 1, figsize=(7, 1 + 1.5 * len(histories)), sharex=True, squeeze=False, layout="constrained"
    )
    lines = {}
    for axes, (name, history) in zip(panels[:, 0], histories.items(), strict=True):
        for branch in branches_of(history):
            (lines[branch],) = axes.plot(history[over], history[column("weight", branch)], **style(branch))
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("weight")
        axes.set_title(name, loc="left", fontsize=9)
        axes.grid(alpha=0.3)
    panels[-1, 0].set_xlabel("training step" if over == "step" else over)
    panels[0, 0].legend(handles=list(lines.values()), loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    picture.suptitle(title, x=0.01, ha="left", fontsize=10)
    return picture


def confusion(results: Results) -> figure.Figure:
    """Confusion matrix in % of each true class, of the multi-view branch or else the first system."""
    system = JOINT if JOINT in results.runs else next(iter(results.runs))
    branch = results.system(system).scored
    parts = [results.predictions(system, fold) for fold in results.runs[system]]
    classes = parts[0].classes
    matrix = 100 * confusion_matrix(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities[branch].argmax(axis=1) for part in parts]),
        labels=range(len(classes)),
        normalize="true",
    )
    side = 3 + 0.35 * len(classes)
    picture, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    display = ConfusionMatrixDisplay(matrix, display_labels=[name.replace("_", " ") for name in classes])
    numbers = len(classes) <= 20
    display.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", values_format=".0f", include_values=numbers)
    axes.set(title=f"{results.dataset}: {label(system)}, % of each true class", xlabel="predicted", ylabel="true")
    return picture


def per_class(results: Results) -> figure.Figure:
    """Accuracy by class and row of Table 3."""
    table = class_accuracies(results.rows)
    picture, axes = plt.subplots(figsize=(2.5 + 0.7 * len(table.columns), 1.6 + 0.3 * len(table)), layout="constrained")
    image = axes.imshow(table, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(table.columns)), [label(name) for name in table], rotation=45, ha="right")
    axes.set_yticks(range(len(table)), [str(name).replace("_", " ") for name in table.index])
    for (y, x), value in np.ndenumerate(table.to_numpy()):
        axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value < 55 else "black")
    axes.set_title(f"{results.dataset}: accuracy of each class, %", loc="left", fontsize=10)
    picture.colorbar(image, label="accuracy, %")
    return picture


def _has_multiview(results: Results) -> bool:
    return JOINT in results.runs


def _has_ablations(results: Results) -> bool:
    return bool(results.ablations)


def _has_common_folds(results: Results) -> bool:
    return not class_accuracies(results.rows).empty


FIGURES: Registry[Figure] = Registry("figure")
FIGURES.register(
    Figure(
        "figure2a",
        "Figure 2 (a): validation loss of the branches of the multi-view network",
        branch_losses,
        _has_multiview,
    )
)
FIGURES.register(Figure("figure2b", "Figure 2 (b): weights of the branches", branch_weights, _has_multiview))
FIGURES.register(
    Figure("figure2c", "Figure 2 (c): validation loss of the multi-view network and the baselines", system_losses)
)
FIGURES.register(Figure("ablations", "Weights of the branches in each ablation", ablated_weights, _has_ablations))
FIGURES.register(Figure("confusion", "Confusion matrix", confusion))
FIGURES.register(Figure("per_class", "Accuracy by class and system", per_class, _has_common_folds))
FIGURES.register(
    Figure(
        "reliability",
        "Reliability: how often the most probable class is right, by its probability, before and after temperature",
        reliability_diagram,
    )
)

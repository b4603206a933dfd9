"""Figure 2, confusion matrices, accuracy by class and view, and the weights of the ablations: one style."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from multiview.evaluation import Predictions
from multiview.files import replacing
from multiview.names import BRANCHES, JOINT, LABELS, PAPER_TABLE_3, SYSTEMS
from multiview.results import Results

plt.rcParams["text.parse_math"] = False  # classes may be called anything

# Okabe and Ito's palette, told apart by colour-blind readers; a style each for print in grey.
STYLES = {
    "mel": ("#0072B2", "-"),
    "gammatone": ("#E69F00", "--"),
    "cqt": ("#009E73", "-."),
    "raw": ("#CC79A7", ":"),
    "multiview": ("#000000", "-"),
    "concat": ("#D55E00", (0, (6, 2, 1, 2, 1, 2))),
}


def _folds(count: int) -> str:
    return f"mean of {count} folds" if count > 1 else "1 fold"


def mean_curve(results: Results, system: str, column: str) -> pd.Series:
    """A column of the histories of a system, averaged over folds, over their mean training step.

    Folds are joined by evaluation: their epochs may differ by a step.
    """
    folds = pd.concat([results.history(system, fold) for fold in results.runs[system]])
    return folds.groupby("evaluation")[["step", column]].mean().set_index("step")[column]


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture, atomically, and close the figure."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, bbox_inches="tight")
    plt.close(figure)


def _lines(path: Path, title: str, ylabel: str, curves: dict[str, pd.Series], top: float | None = None) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, curve in curves.items():
        colour, line = STYLES[name]
        axes.plot(curve.index, curve, color=colour, linestyle=line, label=LABELS[name], linewidth=1.6)
    axes.set(title=title, xlabel="training step", ylabel=ylabel)
    axes.set_ylim(0, top)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    save(figure, path)


def _loss_ceiling(curves: dict[str, pd.Series]) -> float:
    """Top of a loss axis: what matters is below, an early spike may leave the picture."""
    return 1.1 * max(max(curve.quantile(0.95), curve.iloc[0]) for curve in curves.values())


def figure_2(results: Results, directory: Path) -> list[Path]:
    """Figure 2: (a) losses of the branches, (b) their weights, (c) losses of the systems.

    The losses are those on the validation clips, by which training is steered.
    """
    written, folds = [], {system: len(runs) for system, runs in results.runs.items()}
    if JOINT in results.runs:
        path = directory / "figure2a.png"
        curves = {branch: mean_curve(results, JOINT, f"val_loss_{branch}") for branch in BRANCHES}
        title = f"{results.dataset}: branches of the multi-view network, {_folds(folds[JOINT])}"
        _lines(path, title, "validation loss", curves, _loss_ceiling(curves))
        first = min(results.runs[JOINT])
        history = results.history(JOINT, first).set_index("step")
        weights = {branch: history[f"weight_{branch}"] for branch in BRANCHES}
        title = f"{results.dataset}: weights of the branches, fold {first}"
        _lines(directory / "figure2b.png", title, "weight", weights, top=1.02)
        written += [path, directory / "figure2b.png"]
    curves = {system: mean_curve(results, system, f"val_loss_{SYSTEMS[system][1][-1]}") for system in results.runs}
    path = directory / "figure2c.png"
    title = f"{results.dataset}: the multi-view network and the baselines"
    _lines(path, title, "validation loss", curves, _loss_ceiling(curves))
    return [*written, path]


def confusion(results: Results, path: Path) -> None:
    """Confusion matrix in % of each true class, of the multi-view branch or else the first system."""
    system = JOINT if JOINT in results.runs else next(iter(results.runs))
    branch = SYSTEMS[system][1][-1]
    parts = [results.predictions(system, fold) for fold in results.runs[system]]
    classes = parts[0].classes
    matrix = 100 * confusion_matrix(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities[branch].argmax(axis=1) for part in parts]),
        labels=range(len(classes)),
        normalize="true",
    )
    side = 3 + 0.35 * len(classes)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    display = ConfusionMatrixDisplay(matrix, display_labels=[name.replace("_", " ") for name in classes])
    numbers = len(classes) <= 20
    display.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", values_format=".0f", include_values=numbers)
    axes.set(title=f"{results.dataset}: {LABELS[system]}, % of each true class", xlabel="predicted", ylabel="true")
    save(figure, path)


def class_accuracies(rows: dict[str, dict[int, Predictions]]) -> pd.DataFrame:
    """Accuracy in % of each class (index) by row of Table 3 (columns), over the folds that all rows have."""
    columns, common = {}, set.intersection(*(set(folds) for folds in rows.values()))
    for row in (name for name in PAPER_TABLE_3 if name in rows and common):
        folds = [rows[row][fold] for fold in sorted(common)]
        labels = np.concatenate([each.labels for each in folds])
        right = np.concatenate([each.probabilities[row].argmax(axis=1) for each in folds]) == labels
        classes = folds[0].classes
        columns[row] = pd.Series(right).groupby(labels).mean().rename(dict(enumerate(classes))) * 100
    return pd.DataFrame(columns)


def per_class(table: pd.DataFrame, title: str, path: Path) -> None:
    """Picture of `class_accuracies`."""
    figure, axes = plt.subplots(figsize=(2.5 + 0.7 * len(table.columns), 1.6 + 0.3 * len(table)), layout="constrained")
    image = axes.imshow(table, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(table.columns)), [LABELS[name] for name in table], rotation=45, ha="right")
    axes.set_yticks(range(len(table)), [str(name).replace("_", " ") for name in table.index])
    for (y, x), value in np.ndenumerate(table.to_numpy()):
        axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value < 55 else "black")
    axes.set_title(title, loc="left", fontsize=10)
    figure.colorbar(image, label="accuracy, %")
    save(figure, path)


def weights_by_blending(histories: dict[str, pd.DataFrame], title: str, path: Path, over: str = "step") -> None:
    """The weights over training of several multi-view runs, one below the other, as in Figure 2 (b)."""
    figure, panels = plt.subplots(
        len(histories), 1, figsize=(7, 1 + 1.5 * len(histories)), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, (name, history) in zip(panels[:, 0], histories.items(), strict=True):
        for branch in BRANCHES:
            colour, line = STYLES[branch]
            axes.plot(history[over], history[f"weight_{branch}"], color=colour, linestyle=line, label=LABELS[branch])
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("weight")
        axes.set_title(name, loc="left", fontsize=9)
        axes.grid(alpha=0.3)
    panels[-1, 0].set_xlabel("training step" if over == "step" else over)
    panels[0, 0].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save(figure, path)

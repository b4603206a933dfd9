"""The curves of the report, those of Figure 2 first; one style."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import figure

from multiview.experiment.results import Results, branches_of, shares
from multiview.experiment.run import Trial
from multiview.history import column
from multiview.support import plots  # noqa: F401  before anything is drawn
from multiview.systems import JOINT, curve_style, label
from multiview.views import VIEWS

SPARE_COLOURS = ("#882255", "#56B4E9", "#7F7F7F")  # of views that declare none


def style(name: str) -> dict[str, Any]:
    """Colour, line and label of the curve of a branch or system, the same in all pictures."""
    colour, line = curve_style(name)
    if colour is None:
        plain = [view for view in VIEWS if curve_style(view)[0] is None]
        colour = SPARE_COLOURS[plain.index(name) % len(SPARE_COLOURS)] if name in plain else None
    return {"color": colour, "linestyle": line, "label": label(name)}


def folds_said(trials: Collection[Trial]) -> str:
    """`fold 3`, `folds 1 to 5` or `folds 1, 3`, with how many seeds where there are several."""
    every, seeds = sorted({trial.fold for trial in trials}), len({trial.seed for trial in trials})
    of_seeds = f", {seeds} seeds" if seeds > 1 else ""
    if len(every) == 1:
        return f"fold {every[0]}{of_seeds}"
    in_a_row = len(every) > 2 and every == list(range(every[0], every[-1] + 1))
    said = f"folds {every[0]} to {every[-1]}" if in_a_row else f"folds {', '.join(map(str, every))}"
    return said + of_seeds


def mean_of(trials: Collection[Trial]) -> str:
    """The same, of what is averaged over them."""
    return f"mean of {folds_said(trials)}" if len(trials) > 1 else folds_said(trials)


def mean_curve(results: Results, system: str, name: str) -> pd.Series:
    """Column `name` of the histories of a system, averaged over seeds and then folds, over their mean training step.

    They are joined by evaluation, as far as all have them: their epochs may differ by a step.
    """
    counts = shares(results.runs[system])
    histories = {trial: results.history(system, trial).set_index("evaluation")[["step", name]] for trial in counts}
    joined = pd.concat([counts[trial] * each for trial, each in histories.items()]).groupby("evaluation")
    means = joined.sum()[joined.size() == len(counts)] / sum(counts.values())
    return means.set_index("step")[name]


def _lines(title: str, ylabel: str, curves: Mapping[str, pd.Series], top: float) -> figure.Figure:
    picture, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, curve in curves.items():
        axes.plot(curve.index, curve, linewidth=1.6, **style(name))
    axes.set(title=title, xlabel="training step", ylabel=ylabel)
    axes.set_ylim(0, top)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    if beyond := [f"{label(name)} up to {curve.max():.1f}" for name, curve in curves.items() if curve.max() > top]:
        text = textwrap.fill(f"above the axis: {', '.join(beyond)}", 80)
        axes.set_xlabel(f"training step\n{text}")
        for name, curve in curves.items():
            high = curve.index[curve > top]
            axes.plot(high, np.full(len(high), top), "^", markersize=5, clip_on=False, color=style(name)["color"])
    return picture


def _losses(title: str, curves: Mapping[str, pd.Series]) -> figure.Figure:
    """Losses on the validation clips, by which training is steered."""
    # What matters is below; an early spike may leave the picture, which then says so.
    top = 1.1 * max(max(curve.quantile(0.95), curve.iloc[0]) for curve in curves.values())
    return _lines(title, "validation loss", curves, top)


def branch_losses(results: Results) -> figure.Figure:
    """Figure 2 (a): losses of the branches."""
    branches = results.system(JOINT).branches
    curves = {branch: mean_curve(results, JOINT, column("validation", branch)) for branch in branches}
    return _losses(f"{results.dataset}: branches of the multi-view network, {mean_of(results.runs[JOINT])}", curves)


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
    every = {tuple(runs) for runs in results.runs.values()}
    trials = f", {mean_of(every.pop())}" if len(every) == 1 else ""  # else the caption has them
    return _losses(f"{results.dataset}: the multi-view network and the baselines{trials}", curves)


def folds_of_systems(results: Results) -> str:
    """Which folds each system has; said once where all have the same."""
    systems: dict[tuple[Trial, ...], list[str]] = {}
    for name, runs in results.runs.items():
        systems.setdefault(tuple(runs), []).append(label(name))
    if len(systems) == 1:
        return mean_of(next(iter(systems)))
    return "; ".join(f"{', '.join(names)}: {mean_of(trials)}" for trials, names in systems.items())


def draw_weights(picture: figure.FigureBase, histories: Mapping[str, pd.DataFrame], over: str = "step") -> None:
    """The weights over training of several multi-view runs, one below the other, as in Figure 2 (b).

    Parameters
    ----------
    picture : figure
        Or a part of one.
    histories : mapping
        Name of a panel to a `history.csv`; each may have branches of its own.
    over : str
        The column of the horizontal axis.
    """
    panels = picture.subplots(len(histories), 1, sharex=True, squeeze=False)
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

"""The picture of the ablations: what each does to the accuracy, and the weights that move."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import figure

from multiview.experiment.results import Results, branches_of
from multiview.experiment.run import Run
from multiview.history import column
from multiview.report.ablations import baseline, compare_ablations, with_baseline
from multiview.report.claims import Comparison
from multiview.report.curves import draw_weights, style
from multiview.support.words import counted
from multiview.systems import JOINT


def ablated(results: Results) -> tuple[dict[str, Run], str]:
    """A run of the baseline and of each ablation, of the first fold that all have; and which fold that is."""
    runs = {name: found for name, found in with_baseline(results).items() if found}
    common = set.intersection(*(set(found) for found in runs.values()))
    first = {name: found[min(common or found)] for name, found in runs.items()}
    return first, f"fold {min(common)}" if common else "the first fold of each"


def moving_weights(results: Results) -> dict[str, pd.DataFrame]:
    """Of those runs, the histories in which the weights move at all."""
    histories = {name: pd.DataFrame(run.read_history()) for name, run in ablated(results)[0].items()}
    return {
        name: history
        for name, history in histories.items()
        if any(np.ptp(history[column("weight", branch)]) for branch in branches_of(history))
    }


def ablation_picture(results: Results) -> figure.Figure:
    """What each ablation does to the accuracy, and the weights of the runs in which they move."""
    compared, moving = ablated_differences(results), moving_weights(results)
    heights = [0.9 + 0.3 * len(compared)] * bool(compared) + [0.6 + 1.5 * len(moving)] * bool(moving)
    picture = plt.figure(figsize=(7, 0.4 + sum(heights)), layout="constrained")
    parts = list(picture.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    picture.suptitle(f"{results.dataset}: the multi-view network in each ablation", x=0.01, ha="left", fontsize=10)
    if compared:
        _draw_differences(parts.pop(0), compared, f"against {baseline(results)}")
    if moving:
        draw_weights(parts.pop(0), moving)
    return picture


def ablated_differences(results: Results) -> dict[str, Comparison]:
    """Of each ablation against the baseline."""
    return {name: each for name, each in compare_ablations(results).items() if name != baseline(results)}


def _draw_differences(part: figure.SubFigure, compared: Mapping[str, Comparison], against: str) -> None:
    axes, names = part.subplots(), list(compared)
    middle = np.array([each.difference for each in compared.values()])
    ends = np.array([(each.low, each.high) for each in compared.values()])
    reach = np.abs(ends - middle[:, None]).T
    axes.errorbar(middle, names, xerr=reach, fmt="o", capsize=3, linewidth=1.6, color=style(JOINT)["color"])
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.margins(y=0.5 / len(names))
    axes.invert_yaxis()
    first = next(iter(compared.values()))
    over = f"{counted(first.folds, 'fold')}, {counted(first.clips, 'clip')}"
    axes.set_xlabel(f"points of clip accuracy {against}, 95 % interval; {over}")
    axes.grid(axis="x", alpha=0.3)

"""How well probabilities say how often they are right: expected calibration error and reliability on the test clips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multiview.calibration import BINS, Reliability, reliability, tempered
from multiview.evaluation import cross_entropy
from multiview.experiment.results import Results, by_fold, shares
from multiview.experiment.run import Trial
from multiview.report.section import Section
from multiview.systems import label

COLUMNS = 4  # of panels
LARGEST = 150  # area of the marker of the fullest bin, in square points


@dataclass(frozen=True)
class Calibrated:
    """A row of Table 3 over the test clips of all its trials: as the networks give it, and at their temperatures.

    A clip counts once: where a fold has several seeds, each answer as its share of one. `temperatures` has the mean
    over seeds of each fold; it is empty, and `after` None, where a trial has none: late fusion, which no temperature
    was fitted for, and runs that were made before there were any.
    """

    temperatures: tuple[float, ...]
    before: Reliability
    after: Reliability | None
    loss_before: float  # Eq. (1) of clips
    loss_after: float


def calibrated_rows(results: Results) -> dict[str, Calibrated]:
    """Every row of Table 3."""
    found = {}
    for row, trials in results.rows.items():
        labels = [each.labels for each in trials.values()]
        counts = np.array(list(shares(trials).values()))
        before = {trial: each.probabilities[row] for trial, each in trials.items()}
        known = {trial: each for trial in trials if (each := _temperature(results, row, trial))}
        complete = len(known) == len(trials)
        after = [tempered(before[trial], each) for trial, each in known.items()] if complete else []
        found[row] = Calibrated(
            temperatures=tuple(float(each.mean()) for each in by_fold(known).values()) if complete else (),
            before=_reliability(list(before.values()), labels, counts),
            after=_reliability(after, labels, counts) if complete else None,
            loss_before=_loss(list(before.values()), labels, counts),
            loss_after=_loss(after, labels, counts) if complete else math.nan,
        )
    return found


def _reliability(probabilities: list[np.ndarray], labels: list[np.ndarray], counts: np.ndarray) -> Reliability:
    each = np.repeat(counts, list(map(len, labels)))
    return reliability(np.concatenate(probabilities), np.concatenate(labels), each)


def _loss(probabilities: list[np.ndarray], labels: list[np.ndarray], counts: np.ndarray) -> float:
    losses = list(map(cross_entropy, probabilities, labels))
    return float(np.average(losses, weights=counts * list(map(len, labels))))


def _temperature(results: Results, row: str, trial: Trial) -> float | None:
    """The temperature of a row, from the run of the trial that it follows from; None where there is none."""
    for name, runs in results.runs.items():
        system = results.system(name)
        if row in (name, system.ensemble) and (found := runs[trial].calibration()):
            return found.self_ensemble if row == system.ensemble else found.branches[system.scored]
    return None


def calibration_section(results: Results) -> Section:
    """Expected calibration error before and after temperature."""
    cells, data, rows = [], [], calibrated_rows(results)
    for row, each in rows.items():
        after, clips = each.after.error if each.after else math.nan, round(each.before.clips.sum())
        cells.append(
            {
                "system": label(row),
                "clips": str(clips),
                "error, %": f"{100 * each.before.error:.2f}",
                "at its temperature, %": f"{100 * after:.2f}" if each.after else "",
                "loss": f"{each.loss_before:.3f}",
                "at its temperature": f"{each.loss_after:.3f}" if each.after else "",
                "temperature by fold": ", ".join(f"{temperature:.2f}" for temperature in each.temperatures),
            }
        )
        data.append({"system": row, "clips": clips, "ece": each.before.error, "ece_calibrated": after,
                     "loss": each.loss_before, "loss_calibrated": each.loss_after})  # fmt: skip
    table = pd.DataFrame(cells)
    note = (
        "Expected calibration error: how far the probability of the most probable class is from the share of clips on "
        f"which it is right, over {BINS} bins, the test clips of all folds. The loss is the mean of -log of the "
        "probability of the true class. "
    )
    if any(each.after for each in rows.values()):
        note += (
            "The temperatures were fitted on the validation clips for the least loss, in which a few sure mistakes "
            "weigh much; they change no accuracy. `multiview predict` applies them."
        )
    else:
        note += "These runs have no temperatures; `multiview evaluate` finds those of runs whose models are there."
        table = table.drop(columns=["at its temperature, %", "at its temperature", "temperature by fold"])
    return Section("Calibration", table, (note,), file="calibration", data=pd.DataFrame(data))


def reliability_diagram(results: Results) -> Figure:
    """Accuracy over probability, a panel a row of Table 3; the area of a marker is its share of the clips."""
    rows = calibrated_rows(results)
    columns = min(COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    picture, panels = plt.subplots(
        lines, columns, figsize=(0.5 + 2.6 * columns, 0.9 + 2.9 * lines), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, (row, each) in zip(panels.flat, rows.items(), strict=False):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        _points(axes, each.before, "as the network gives it", color="#D55E00", marker="o", facecolors="none")
        said = f"{100 * each.before.error:.1f} %"
        if each.after:
            _points(axes, each.after, "at its temperature", color="#0072B2", marker="s", alpha=0.7)
            said += f" → {100 * each.after.error:.1f} %"
        axes.set(xlim=(0, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_title(f"{label(row)}: {said}", fontsize=9)
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(rows) :]:
        axes.set_axis_off()
    picture.supxlabel("probability of the most probable class", fontsize=10)
    picture.supylabel("share that is right", fontsize=10)
    picture.suptitle(f"{results.dataset}: expected calibration error, test clips", x=0.01, ha="left", fontsize=10)
    best = max(panels.flat, key=lambda axes: len(axes.collections))
    handles, names = best.get_legend_handles_labels()
    picture.legend(handles, names, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    return picture


def _points(axes: Axes, found: Reliability, name: str, **style: Any) -> None:
    axes.scatter(found.confidence, found.accuracy, LARGEST * found.clips / found.clips.max(), label=name, **style)

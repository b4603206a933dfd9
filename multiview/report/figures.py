"""The figures of the report: what each shows, of which folds, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure as Picture

from multiview.experiment.results import Results
from multiview.report.ablation_figures import ablated, ablated_differences, ablation_picture, moving_weights
from multiview.report.calibration import reliability_diagram
from multiview.report.class_figures import confusion_matrix, few_classes, per_class
from multiview.report.classes import common_trials, confusion
from multiview.report.curves import (
    branch_losses,
    branch_weights,
    folds_of_systems,
    folds_said,
    mean_of,
    system_losses,
)
from multiview.support.registry import Registry
from multiview.systems import JOINT, label


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Parameters
    ----------
    name : str
        Of the file, NAME.png.
    caption : callable
        `Results` to a line that says what is drawn, and of which folds.
    draw : callable
        `Results` to a matplotlib figure.
    needs : callable
        Whether the results that it shows are there.
    on_page : callable
        Whether it can be read on the page; otherwise it is a file alone.
    """

    name: str
    caption: Callable[[Results], str]
    draw: Callable[[Results], Picture]
    needs: Callable[[Results], bool] = lambda results: True
    on_page: Callable[[Results], bool] = lambda results: True


def _has_multiview(results: Results) -> bool:
    return JOINT in results.runs


def _has_ablations(results: Results) -> bool:
    return bool(results.ablations) and bool(ablated_differences(results) or moving_weights(results))


def _ablations_caption(results: Results) -> str:
    differences = "Accuracy of the multi-view branch in each ablation, over the folds that all have"
    weights = f"Weights of the branches in each ablation whose weights move, {ablated(results)[1]}"
    found = [(differences, ablated_differences(results)), (weights, moving_weights(results))]
    return "; ".join(text for text, there in found if there)


def _has_common_trials(results: Results) -> bool:
    return bool(common_trials(results))


def _confusion_caption(results: Results) -> str:
    found = confusion(results)
    return f"Confusion matrix of {label(found.system)}, the test clips of {folds_said(found.trials)}"


FIGURES: Registry[Figure] = Registry("figure")
for _figure in (
    Figure(
        "figure2a",
        lambda results: (
            f"Figure 2 (a): validation loss of the branches of the multi-view network, {mean_of(results.runs[JOINT])}"
        ),
        branch_losses,
        _has_multiview,
    ),
    Figure(
        "figure2b",
        lambda results: (
            f"Figure 2 (b): weights of the branches in fold {min(results.runs[JOINT])}, "
            f"one of {len(results.runs[JOINT])}; a mean would hide how they move"
        ),
        branch_weights,
        _has_multiview,
    ),
    Figure(
        "figure2c",
        lambda results: (
            f"Figure 2 (c): validation loss of the multi-view network and the baselines, {folds_of_systems(results)}"
        ),
        system_losses,
    ),
    Figure(
        "ablations",
        _ablations_caption,
        ablation_picture,
        _has_ablations,
    ),
    Figure("confusion", _confusion_caption, confusion_matrix, on_page=few_classes),
    Figure(
        "per_class",
        lambda results: f"Accuracy by class and system, the test clips of {folds_said(common_trials(results))}",
        per_class,
        _has_common_trials,
    ),
    Figure(
        "reliability",
        lambda results: (
            "Reliability: how often the most probable class is right, by its probability, before and after "
            f"temperature, {folds_of_systems(results)}"
        ),
        reliability_diagram,
    ),
):
    FIGURES.register(_figure)

"""The ablations: multi-view runs that differ from the preset's in one setting, or that lack one view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from multiview.experiment.results import Results, branches_of, right
from multiview.experiment.run import Run, Trial
from multiview.history import column
from multiview.report.claims import Comparison, compare
from multiview.report.section import Section
from multiview.report.tables import ABLATED, interval_in_words
from multiview.settings import Settings
from multiview.systems import JOINT, label

ONE_HOT = 0.9  # a weight above it leaves next to nothing to the other branches


def calmness(weights: np.ndarray) -> dict[str, float]:
    """How calm weights are; [evaluations, branches], NaN for less than two evaluations.

    Returns
    -------
    dict
        `largest`, the mean of the largest weight; `one_hot` and `uniform`, the shares of evaluations at
        which it is above 0.9, and at which all are equal; `change`, the mean share of the weight that
        moves from one evaluation to the next.
    """
    if len(weights) < 2:
        return dict.fromkeys(("largest", "one_hot", "uniform", "change"), np.nan)
    largest = weights.max(axis=1)
    return {
        "largest": float(largest.mean()),
        "one_hot": float((largest > ONE_HOT).mean()),
        "uniform": float(np.isclose(largest, weights.min(axis=1)).mean()),
        "change": float(np.abs(np.diff(weights, axis=0)).sum(axis=1).mean() / 2),
    }


def stability(history: pd.DataFrame, settings: Settings) -> dict[str, float]:
    """`calmness` of a run's weights once they may move: after W evaluations and the warm-up."""
    free = (history["evaluation"] >= settings.window) & (history["epoch"] >= settings.warm_up_epochs)
    weights = [column("weight", branch) for branch in branches_of(history)]
    return calmness(history.loc[free, weights].to_numpy())


def baseline(results: Results) -> str:
    """Name of the run that the ablations are compared with: the rule of its weights; empty where there is none."""
    return next((run.settings().blending for run in results.runs.get(JOINT, {}).values()), "")


def with_baseline(results: Results) -> dict[str, dict[Trial, Run]]:
    """The multi-view runs that nothing was changed in, and those of each ablation."""
    return {baseline(results): results.runs.get(JOINT, {}), **results.ablations}


def _common_runs(results: Results) -> dict[str, dict[Trial, Run]]:
    """The same on the folds and seeds that all have; empty where there is none."""
    every = with_baseline(results)
    common = sorted(set.intersection(*(set(runs) for runs in every.values())))
    return {name: {trial: runs[trial] for trial in common} for name, runs in every.items()} if common else {}


def compare_ablations(results: Results) -> dict[str, Comparison]:
    """The multi-view branch of the baseline and of each ablation against that of the baseline."""
    correct = {
        name: {trial: right(run.read_predictions(), JOINT) for trial, run in trials.items()}
        for name, trials in _common_runs(results).items()
    }
    return {name: found for name in correct if (found := compare(correct, name, baseline(results)))}


def ablation_table(results: Results) -> pd.DataFrame:
    """The baseline and the ablations, all alike and on the folds that all have.

    Accuracies are in %; `difference` is that of the multi-view branch to the baseline's, in points, and `low` to `p`
    are as in `Comparison`.
    """
    comparisons, records = compare_ablations(results), []
    for name, trials in _common_runs(results).items():
        runs, each = list(trials.values()), comparisons[name]
        settings = runs[0].settings()
        scores = pd.DataFrame([run.read_metrics()["accuracy"] for run in runs])[[JOINT, "self_ensemble"]]
        calm = pd.DataFrame([stability(pd.DataFrame(run.read_history()), settings) for run in runs])
        records.append(
            {
                "ablation": name,
                **{key: getattr(settings, key) for key in ABLATED},
                "evaluation_interval": interval_in_words(settings),
                "views": ",".join(runs[0].system().views),
                "folds": each.folds,
                **_mean(100 * scores, trials),
                "difference": each.difference,
                **_mean(calm, trials),
                **{key: getattr(each, key) for key in ("low", "high", "better", "worse", "p")},
            }
        )
    return pd.DataFrame(records)


def _mean(found: pd.DataFrame, trials: Iterable[Trial]) -> pd.Series:
    """Mean over folds of what a row a trial says, each fold's being that of its seeds."""
    means = found.groupby([trial.fold for trial in trials]).mean().mean()
    return means.round(9)  # or equal ones would be printed as 86.87 and 86.88


def ablation_section(results: Results) -> Section:
    """All ablations, and how calm their weights are."""
    table, cells = ablation_table(results), []
    for row in table.itertuples():
        calm = [f"{row.largest:.2f}", f"{row.one_hot:.0%}", f"{row.change:.2f}"]
        cells.append(
            [
                *(row.ablation, row.blending, str(row.window), row.evaluation_interval),
                *(row.views.replace(",", ", "), str(row.folds)),
                *(f"{row.multiview:.2f}", f"{row.difference:+.2f}", f"{row.self_ensemble:.2f}"),
                *(["never moved", "", ""] if np.isnan(row.largest) else calm),
            ]
        )
    columns = ["ablation", "blending", "W", "evaluation every", "views", "folds", "multi-view, %",
               f"against {baseline(results)}, points", "self-ensemble, %", "largest weight", "one-hot",
               "change"]  # fmt: skip
    note = (
        "Over the folds that all have. Once the weights may move, after W evaluations and the warm-up: the mean of the "
        f"largest weight, the share of evaluations at which it is above {ONE_HOT}, and how much of the weight moves "
        "from one evaluation to the next. Of the blendings only `paper` is the paper's."
    )
    return Section("Ablations", pd.DataFrame(cells, columns=columns), (note,), file="ablations", data=table)


def views_left_out_section(results: Results) -> Section | None:
    """Which view carries what: the multi-view network without some views against that on all; None without such."""
    cells, comparisons = [], compare_ablations(results)
    for name, trials in results.ablations.items() if comparisons else ():
        kept = next(iter(trials.values())).system().views
        left_out = [label(view) for view in results.system(JOINT).views if view not in kept]
        if left_out:
            missing = ", ".join(left_out)
            each = replace(comparisons[name], row=f"without {missing}", against="all views")  # as the verdict says it
            cells.append({"left out": missing, **each.cells()})
    if not cells:
        return None
    note = (
        "The multi-view branch without a view against that on all views, over the folds that all have: a view "
        "carries what is lost without it. The interval and p are as in the claims."
    )
    return Section("Views left out", pd.DataFrame(cells), (note,), file="ablations")

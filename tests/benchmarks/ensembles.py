"""Eq. (6) with the weights that each rule has where the network was kept, replayed on recorded multi-view runs.

    python -m tests.benchmarks.ensembles results/esc10/modern [--window 10]

Trains nothing: the branches are those of the recorded runs, whose own rule steered them. For every rule the accuracy of
the self-ensemble on the test clips, by fold and seed; and the branches' own. The weights follow from validation clips,
but the accuracies are of test clips: this table chooses no rule.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from multiview.blending import BLENDINGS
from multiview.evaluation import accuracy, self_ensemble
from multiview.experiment.results import Results, branches_of, collect
from multiview.history import column
from multiview.systems import JOINT


def replayed(results: Results, window: int) -> pd.DataFrame:
    """Accuracy of the self-ensemble in %, a row a rule, and of each branch; a column a trial, and the mean.

    That is over folds of the mean over seeds.
    """
    found: dict[str, dict[str, float]] = {}
    for trial, run in results.runs[JOINT].items():
        kept = run.read()["kept"]["evaluation"]
        history, predictions = results.history(JOINT, trial), results.predictions(JOINT, trial)
        branches = branches_of(history)
        for name, blending in BLENDINGS.items():
            rule, weights = blending.rule(branches, window), None
            for _, row in history[history["evaluation"] <= kept].iterrows():
                losses = ({each: row[column(part, each)] for each in branches} for part in ("train", "validation"))
                weights = rule.update(*losses)
            ensemble = self_ensemble(predictions.probabilities, dict(zip(branches, weights, strict=True)))
            found.setdefault(f"`{name}`", {})[str(trial)] = 100 * accuracy(ensemble, predictions.labels)
        for branch in branches:
            own = accuracy(predictions.probabilities[branch], predictions.labels)
            found.setdefault(branch, {})[str(trial)] = 100 * own
    table = pd.DataFrame(found).T
    folds = [trial.fold for trial in results.runs[JOINT]]
    return table.assign(mean=table.T.groupby(folds).mean().mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--window", type=int, default=10)
    args = parser.parse_args()
    print(replayed(collect(args.results), args.window).to_markdown(floatfmt=".2f"))


if __name__ == "__main__":
    main()

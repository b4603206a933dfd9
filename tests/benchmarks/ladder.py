"""Trains the steps from the preset `small` to today's recipe, each with one thing more, and prints a table.

    python -m tests.benchmarks.ladder STORE --results results/esc10/ladder [--systems mel,multiview] [--folds 1,2]
        [--steps small,keeping,...] [--print]

What is trained already is skipped, what was interrupted goes on. Choose by the validation columns: the test
accuracies are there to be reported, and were looked at for no choice.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from multiview.experiment.run import Run
from multiview.history import column
from multiview.options import names, numbers
from multiview.systems import find_system

# What each step adds to those before it.
STEPS: dict[str, dict[str, str]] = {
    "small": {"keep": "last_best"},
    "keeping": {"keep": "loss"},
    "averaging": {"keep": "end", "averaging": "0.99"},
    "uniform": {"blending": "uniform"},
    "gain": {"augmentations": "gain"},
    "mixing": {"augmentations": "mix,gain"},
    "masks": {"augmentations": "mix,gain,masks"},
    "schedule": {"schedule": "cosine", "learning-rate": "2e-3"},
    "own_gradients": {"no-joint-gradient": ""},
    "length": {"joint-gradient": "", "epochs": "120"},  # takes back the step before
}
JOINT_ONLY = ("uniform", "own_gradients")  # steps that change nothing for one view


def options(step: str) -> list[str]:
    """The options of a step, with those of the steps before it."""
    chosen: dict[str, str] = {}
    for name, more in STEPS.items():
        chosen |= more
        if name == step:
            break  # of an option and its --no- the later holds
    return [word for key, value in chosen.items() for word in (f"--{key}", value) if word]


def train(store: Path, results: Path, step: str, system: str, fold: int) -> Run:
    """The run of a step, trained if it is not yet."""
    run = Run(results / step / system / f"fold{fold}")
    if not run.metrics.is_file():
        command = [str(Path(sys.executable).parent / "multiview"), "train", str(store), "--system", system]
        command += ["--fold", str(fold), "--preset", "small", "--run", str(run.path), *options(step)]
        subprocess.run(command, check=True)
    return run


def figures(run: Run) -> dict[str, float]:
    """What a run says: losses and accuracies on validation where it was kept, and the accuracy on the test clips."""
    record, scored = run.read(), find_system(run.settings().system).scored
    history = pd.read_csv(run.history).set_index("evaluation")
    kept = history.loc[record["kept"]["evaluation"]]
    scores = pd.read_json(run.metrics, typ="series")["accuracy"]
    return {
        "kept at epoch": kept["epoch"],
        "validation loss": kept[column("validation", scored)],
        "validation, %": 100 * kept[column("accuracy", scored)],
        "test, %": 100 * scores[scored],
        "self-ensemble, %": 100 * scores.get("self_ensemble", np.nan),
        "minutes": record["training_seconds"] / 60,
    }


def table(results: Path, systems: list[str], folds: list[int]) -> pd.DataFrame:
    """A row a step and system: means over the folds that are there."""
    rows = []
    for system in systems:
        for step in STEPS:
            runs = [Run(results / step / system / f"fold{fold}") for fold in folds]
            runs = [run for run in runs if run.metrics.is_file()]
            if runs:
                means = pd.DataFrame([figures(run) for run in runs]).mean()
                rows.append({"system": system, "step": step, "folds": len(runs), **means})
    return pd.DataFrame(rows)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--systems", type=names, default=["mel", "multiview"])
    parser.add_argument("--folds", type=numbers, default=[1, 2])
    parser.add_argument("--steps", type=names, default=list(STEPS))
    parser.add_argument("--print", action="store_true", help="train nothing")
    args = parser.parse_args()
    for system in () if args.print else args.systems:
        for step in (each for each in args.steps if system == "multiview" or each not in JOINT_ONLY):
            for fold in args.folds:
                train(args.store, args.results, step, system, fold)
    found = table(args.results, args.systems, args.folds)
    print(found.to_markdown(index=False, floatfmt=("", "", "d", ".0f", ".3f", ".1f", ".2f", ".2f", ".1f")))


if __name__ == "__main__":
    main()

"""Lays the losses of runs over each other, a panel a branch, as of one run before and after a change of the code.

    python -m tests.benchmarks.curves RUN RUN ... --to PICTURE

Prints, by branch, how far the losses of later runs are from those of the first in the mean, beside how far those of
the first are from one evaluation to the next, and the accuracies on test clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from multiview.experiment.run import Run
from multiview.history import column
from multiview.support import plots
from multiview.systems import label

LINES = ("-", "--", ":", "-.")


def name_of(run: Run) -> str:
    """The commit that a run was made with, and where it is."""
    return f"{str(run.read()['commit'])[:7]}, {run.path}"


def draw(runs: list[Run], to: Path) -> None:
    """Training losses pale, validation losses dark, a kind of line a run."""
    branches = runs[0].system().branches
    figure, panels = plots.plt.subplots(
        1, len(branches), figsize=(3.2 * len(branches), 3.2), sharey=True, squeeze=False
    )
    for run, line in zip(runs, LINES, strict=False):
        history = pd.DataFrame(run.read_history())
        for panel, branch in zip(panels[0], branches, strict=True):
            for part, colour in (("train", "#9ecae1"), ("validation", "#08519c")):
                panel.plot(history["step"], history[column(part, branch)], line, color=colour, linewidth=1)
            panel.set(title=label(branch), xlabel="Training step")
            panel.plot([], [], line, color="k", label=name_of(run))
    panels[0, 0].set(ylabel="Loss: pale of training, dark of validation", ylim=(0, None))
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, -0.03))
    plots.save(figure, to)


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=lambda path: Run(Path(path)))
    parser.add_argument("--to", type=Path, required=True)
    args = parser.parse_args()
    draw(args.runs, args.to)
    first, *others = (pd.DataFrame(run.read_history()) for run in args.runs)
    for branch in args.runs[0].system().branches:
        for part in ("train", "validation"):
            of = column(part, branch)
            apart = ", ".join(f"{(other[of] - first[of]).abs().mean():.3f}" for other in others)
            print(
                f"{branch}, {part}: {apart} apart, {first[of].diff().abs().mean():.3f} from one evaluation to the next"
            )
    for run in args.runs:
        print(name_of(run), {name: f"{100 * each:.2f} %" for name, each in run.read_metrics()["accuracy"].items()})


if __name__ == "__main__":
    main()

"""Lays the losses of runs over each other, a panel a system, as before and after a change of the code.

    python -m tests.benchmarks.curves BEFORE AFTER --fold 1 --to PICTURE

Both are folders of a grid. Prints, by system, how far the losses are from each other in the mean, beside how far those
before are from one evaluation to the next, and the accuracies on test clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from multiview.experiment.run import Run
from multiview.history import column
from multiview.support import plots
from multiview.systems import label

PARTS = {"train": "#9ecae1", "validation": "#08519c"}


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--to", type=Path, required=True)
    args = parser.parse_args()
    done = [path.parts[-3] for path in args.after.glob(f"*/fold{args.fold}/metrics.json")]
    systems = sorted(name for name in done if (args.before / name / f"fold{args.fold}" / "metrics.json").is_file())
    if not systems:
        raise SystemExit(f"expected runs of fold {args.fold} in both folders, found none")
    size = (3.2 * len(systems), 3.2)
    figure, panels = plots.plt.subplots(1, len(systems), figsize=size, sharey=True, squeeze=False)
    for panel, system in zip(panels[0], systems, strict=True):
        runs = [Run(folder / system / f"fold{args.fold}") for folder in (args.before, args.after)]
        before, after = histories = [pd.DataFrame(run.read_history()) for run in runs]
        for history, line, when in zip(histories, ("-", "--"), ("before", "after"), strict=True):
            for part, colour in PARTS.items():
                said = f"{part}, {when}"
                panel.plot(history["step"], history[column(part, system)], line, color=colour, linewidth=1, label=said)
        panel.set(title=label(system), xlabel="Training step")
        for part in PARTS:
            of = column(part, system)
            apart, moved = (before[of] - after[of]).abs().mean(), before[of].diff().abs().mean()
            print(f"{system}, {part} loss: {apart:.3f} apart, {moved:.3f} from one evaluation to the next")
        for run in runs:
            accuracy = run.read_metrics()["accuracy"][system]
            print(f"{system}, {run.path}, commit {str(run.read()['commit'])[:9]}: {100 * accuracy:.2f} %")
    panels[0, 0].set(ylabel="Loss", ylim=(0, 3))  # what is above is cut off
    panels[0, 0].legend(fontsize="small")
    plots.save(figure, args.to)


if __name__ == "__main__":
    main()

"""Replays Algorithm 1 on given losses, to see when its weights move slowly and when they flip. Trains nothing.

    python -m tests.benchmarks.weights [--results results/esc10/small] [--seed 0] [--picture weights.png]

Recorded losses: of the multi-view runs, and of the single-view and concatenation runs, which no weights steered.
Synthetic ones: an exponential decay, in validation to a floor from which a gap grows, and independent noise at
every evaluation. Each cell has the share of evaluations, after the first W, at which one weight is above 0.9;
the share at which all are equal; and how much of the weight moves from one evaluation to the next.
All rules, and some with another epsilon, are compared on the recorded losses, with what each branch gets when.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from multiview.blending import BLENDINGS as DECLARED
from multiview.blending import Rule, Signed, Slopes
from multiview.history import column
from multiview.report.ablations import calmness
from multiview.report.curves import draw_weights
from multiview.support import plots
from multiview.systems import JOINT, find_system

BRANCHES = find_system(JOINT).branches
RECORDED = {"multi-view": False, "each alone": True}  # whether the branches were trained by themselves
RULES: dict[str, type[Rule]] = {name: each.rule for name, each in DECLARED.items()} | {
    f"{rule.__name__.lower()}, {epsilon:g}": type(rule.__name__, (rule,), {"epsilon": epsilon})
    for rule, epsilon in ((Signed, 1e-3), (Slopes, 1e-4))
}
BLENDINGS = ("paper", "fixed_references", "averaged")
WINDOWS, INTERVALS = (2, 5, 10, 20), (1, 2, 5)  # in evaluations
NOISES = (0.0, 0.001, 0.01, 0.1)  # standard deviations of a loss at one evaluation
STAGES = ((20, 300), (300, 1000), (1000, 3000))  # evaluations
FEWEST = 5  # evaluations to judge by
WINDOW = 10  # that all rules are compared at, the small preset's

# Synthetic branches, in the order of BRANCHES: raw falls slowest, the 2-D views overfit first.
DECAY = np.array([150, 180, 250, 500, 120])  # evaluations to 1/e
FLOOR = np.array([0.9, 1.0, 1.8, 1.2, 0.6])  # of the validation loss
GAP = np.array([4e-4, 4e-4, 2e-4, 1e-4, 1e-4])  # that it gains an evaluation
TRAIN_FLOOR, AT_FIRST = 0.05, np.log(50)

Losses = tuple[np.ndarray, np.ndarray]  # training and validation, [evaluations, branches]


def synthetic(noise: float, seed: int = 0, evaluations: int = STAGES[-1][1], validation_noise: bool = True) -> Losses:
    """Losses of the five branches at evaluations 0, 1, ..., with noise of a standard deviation."""
    n, rng = np.arange(evaluations + 1)[:, np.newaxis], np.random.default_rng(seed)
    falling = np.exp(-n / DECAY)
    train = TRAIN_FLOOR + (AT_FIRST - TRAIN_FLOOR) * falling
    validation = FLOOR + (AT_FIRST - FLOOR) * falling + GAP * n
    noises = noise * rng.normal(size=(2, *train.shape))
    return train + noises[0], validation + validation_noise * noises[1]


def recorded(results: Path, alone: bool) -> list[Losses]:
    """Losses of each fold: of the multi-view run's branches, or of the runs of single views and concatenation."""
    folds = []
    for path in sorted((results / JOINT).glob("fold*/history.csv")):
        columns: dict[str, list[pd.Series]] = {"train": [], "validation": []}
        for branch in BRANCHES:
            system = "concat" if branch == JOINT else branch
            history = pd.read_csv(results / system / path.parent.name / path.name if alone else path)
            for kind, losses in columns.items():
                losses.append(history[column(kind, find_system(system).scored if alone else branch)])
        folds.append(tuple(np.column_stack(losses) for losses in columns.values()))
    return folds


def noise_of(losses: np.ndarray) -> float:
    """Standard deviation of the noise on losses whose trend is straight over three evaluations.

    From the median, since single spikes are another matter.
    """
    return float(np.median(np.abs(np.diff(losses, n=2, axis=0))) / 0.6745 / np.sqrt(6))


def replay(losses: Losses, window: int, blending: str = "paper", interval: int = 1) -> np.ndarray:
    """The weights if every `interval`-th evaluation had been made, [evaluations, branches].

    `losses` are those of `BRANCHES`, or of any other number of branches, which then have no names.
    """
    count = losses[0].shape[1]
    branches = BRANCHES if count == len(BRANCHES) else tuple(map(str, range(count)))
    rule = RULES[blending](branches, window)
    rows = zip(*(each[::interval] for each in losses), strict=True)
    return np.array([rule.update(*(dict(zip(branches, part, strict=True)) for part in row)) for row in rows])


def stage_of(weights: np.ndarray, stage: tuple[int, int], window: int, interval: int = 1) -> np.ndarray:
    """The weights from one evaluation of the synthetic losses to another, after the first W."""
    return weights[max(stage[0] // interval, window) : stage[1] // interval]


def cell(parts: Sequence[np.ndarray], also: str = "") -> str:
    """`calmness` of weights, averaged over several replays."""
    if min(map(len, parts)) < FEWEST:
        return "–"
    mean = pd.DataFrame([calmness(part) for part in parts]).mean()
    return f"{100 * mean.one_hot:.0f} / {100 * mean.uniform:.0f} / {mean.change:.2f}{also}"


def markdown(header: Iterable[object], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    header = list(header)
    lines = [f"| {' | '.join(map(str, line))} |" for line in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def recorded_table(results: Path) -> str:
    """Blendings, windows and intervals on recorded losses, mean over the folds."""
    rows = []
    for name, alone in RECORDED.items():
        folds = recorded(results, alone)
        for blending, interval in [("paper", each) for each in INTERVALS] + [(each, 1) for each in BLENDINGS[1:]]:
            cells = [cell([replay(fold, window, blending, interval)[window:] for fold in folds]) for window in WINDOWS]
            rows.append([name, f"`{blending}`", interval, *cells])
    return markdown(["losses", "blending", "interval", *(f"W = {window}" for window in WINDOWS)], rows)


def rules_table(results: Path, alone: bool, window: int = WINDOW) -> str:
    """All rules on recorded losses, mean over the folds: calmness, and the weight of each branch, early and late.

    Early and late are the first and the last third of the evaluations after the first W.
    """
    folds, rows = recorded(results, alone), []
    for blending in RULES:
        weights = [replay(fold, window, blending)[window:] for fold in folds]
        mean = np.mean(weights, axis=0)
        early, _, late = (part.mean(axis=0) for part in np.array_split(mean, 3))
        shares = [f"{begin:.2f} to {end:.2f}" for begin, end in zip(early, late, strict=True)]
        rows.append([f"`{blending}`", cell(weights), f"{mean[:, BRANCHES.index(JOINT)].mean():.2f}", *shares])
    return markdown(["rule", "", f"{JOINT}, mean", *BRANCHES], rows)


def noise_table(window: int, seed: int, noises: Sequence[float] = NOISES) -> str:
    """Blendings on synthetic losses by noise and stage, with their distance to the paper's without noise."""
    ideal, rows = replay(synthetic(0), window), []
    for noise in noises:
        for blending in BLENDINGS:
            weights, cells = replay(synthetic(noise, seed), window, blending), []
            off = np.abs(weights - ideal).sum(axis=1) / 2
            for stage in STAGES:
                distance = stage_of(off, stage, window).mean()
                cells.append(cell([stage_of(weights, stage, window)], f" / {distance:.2f}"))
            rows.append([f"{noise:g}", f"`{blending}`", *cells])
    return markdown(["noise", "blending", *(f"{begin} to {end}" for begin, end in STAGES)], rows)


def window_table(
    stage: tuple[int, int], seed: int, windows: Sequence[int], noises: Sequence[float] = NOISES[1:]
) -> str:
    """Windows and intervals of the paper's weights on synthetic losses by noise, in one stage."""
    rows = []
    for noise in noises:
        losses = synthetic(noise, seed)
        for interval in INTERVALS:
            cells = [
                cell([stage_of(replay(losses, window, interval=interval), stage, window, interval)])
                for window in windows
            ]
            rows.append([f"{noise:g}", interval, *cells])
    return markdown(["noise", "interval", *(f"W = {window}" for window in windows)], rows)


def draw(path: Path, seed: int, window: int, shown: int = 1500) -> None:
    """The weights on synthetic losses: without noise, with some, and the other blendings at the most noise."""
    curves = {f"{noise:g}: paper": (noise, "paper") for noise in NOISES[:1] + NOISES[2:]}
    curves |= {f"{NOISES[-1]:g}: {blending}": (NOISES[-1], blending) for blending in BLENDINGS[1:]}
    histories = {}
    for name, (noise, blending) in curves.items():
        weights = replay(synthetic(noise, seed, shown), window, blending)
        history = pd.DataFrame(weights, columns=[column("weight", branch) for branch in BRANCHES])
        histories[f"noise {name}"] = history.rename_axis("evaluation").reset_index()
    picture = plots.plt.figure(figsize=(7, 1 + 1.5 * len(histories)), layout="constrained")
    draw_weights(picture, histories, "evaluation")
    picture.suptitle(f"Synthetic losses, W = {window}", x=0.01, ha="left", fontsize=10)
    plots.save(picture, path)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[2] / "results" / "esc10" / "small"
    parser.add_argument("--results", type=Path, default=default, metavar="DIR", help="with runs of all systems")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw some of the synthetic weights")
    args = parser.parse_args()
    for name, alone in RECORDED.items():
        noises = [noise_of(validation[20:]) for _, validation in recorded(args.results, alone)]
        print(f"noise of recorded validation losses, {name}: {', '.join(f'{noise:.2f}' for noise in noises)}")
    print(f"\n{recorded_table(args.results)}\n")
    for name, alone in RECORDED.items():
        print(f"all rules, W = {WINDOW}, {name}:\n\n{rules_table(args.results, alone)}\n")
    _, validation = synthetic(0)
    falls = [-np.diff(stage_of(validation, stage, 0), axis=0).mean() for stage in STAGES]
    print(f"mean fall of the synthetic losses an evaluation: {', '.join(f'{fall:.5f}' for fall in falls)}")
    print(f"\n{noise_table(20, args.seed)}\n")
    only = [
        calmness(stage_of(replay(synthetic(noise, args.seed, validation_noise=False), 20), STAGES[0], 20))["change"]
        for noise in NOISES
    ]
    print(f"change from {STAGES[0][0]} to {STAGES[0][1]} with noise on the training losses alone, so on O alone:")
    print(f"{', '.join(f'{change:.2f}' for change in only)}\n")
    print(window_table(STAGES[0], args.seed, (*WINDOWS, 100)))
    if args.picture:
        draw(args.picture, args.seed, 20)


if __name__ == "__main__":
    main()

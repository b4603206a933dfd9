"""How many clips a class new sounds need, from scratch and from trained networks: ten classes of ESC-50, several draws.

    python -m tests.benchmarks.transfer STORE --results results/esc50/transfer [--clips 4,8,16] [--draws 5]
        [--inits scratch,esc10,esc40] [--epochs 100] [--print]

STORE is ESC-50's. The ten classes are drawn once from those that are not in ESC-10; fold 1 of them is for test, and
each draw takes its training clips from the other folds, of which one source a class validates. `esc40` is a run on the
other forty classes, all clips, which is trained first. All rows have the same budget. What is trained already is
skipped, what was interrupted goes on. Leaves `table.md` and `accuracy.png`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from multiview.experiment.run import Run
from multiview.options import names, numbers
from multiview.store import Clip, Store
from multiview.store.writer import write_store
from multiview.support import plots
from multiview.support.files import replacing

ESC10 = ("dog", "rooster", "rain", "sea_waves", "crackling_fire", "crying_baby", "sneezing", "clock_tick",
         "helicopter", "chainsaw")  # fmt: skip
CLASSES, TEST_FOLD = 10, 1
LABELS = {"scratch": "from scratch", "esc10": "from the starter model esc10", "esc40": "from 40 other classes"}


def new_classes(store: Store) -> list[str]:
    """The ten that are to be learnt, in ascending order."""
    others = [name for name in store.classes if name not in ESC10]
    return sorted(np.random.default_rng(0).choice(others, CLASSES, replace=False).tolist())


def drawn(store: Store, classes: Sequence[str], count: int, draw: int) -> np.ndarray:
    """Rows of `count` training clips of each class, none of the test fold."""
    rng, rows = np.random.default_rng([draw, count]), []
    for name in classes:
        of_class = np.flatnonzero((store.labels == store.classes.index(name)) & (store.folds != TEST_FOLD))
        rows.extend(rng.choice(of_class, count, replace=False))
    return np.sort(rows)


def write_part(store: Store, rows: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """A store of some rows and classes; one source of each class validates."""
    if path.exists():
        return
    clips = [
        Clip(
            id=str(store.ids[row]),
            label=list(classes).index(store.classes[store.labels[row]]),
            fold=int(store.folds[row]),
            split=str(store.splits[row]),
            source=str(store.sources[row]),
            samples=int(store.samples[row]),
        )
        for row in rows
    ]
    write_store(
        path,
        dataset=store.dataset,
        sample_rate=store.sample_rate,
        classes=classes,
        clips=clips,
        features=({view: np.asarray(store.clip(view, row)) for view in store.views} for row in rows),
        software={},
        views=list(store.views),
        about=replace(store.about, validation_sources=1),
    )


def train(store: Path, run: Path, fold: str, epochs: int, seed: int, init: str | None = None) -> None:
    """The run, trained and tested if it is not yet."""
    if (Run(run).metrics if fold != "all" else Run(run).model).is_file():
        return
    command = [str(Path(sys.executable).parent / "multiview"), "train", str(store), "--system", "multiview"]
    command += ["--fold", fold, "--preset", "modern", "--epochs", str(epochs), "--seed", str(seed), "--run", str(run)]
    subprocess.run([*command, *(("--init", init) if init else ())], check=True)


def table(results: Path) -> pd.DataFrame:
    """Accuracy of the self-ensemble and of the joint branch in %, a row a run."""
    rows = []
    for path in sorted(results.glob("*/*/draw*/metrics.json")):
        init, clips, draw = path.parts[-4:-1]
        accuracy = json.loads(path.read_text())["accuracy"]
        rows.append(
            {"init": init, "clips a class": int(clips), "draw": draw} |
            {"self-ensemble, %": 100 * accuracy["self_ensemble"], "multi-view, %": 100 * accuracy["multiview"]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def report(results: Path) -> None:
    """Write the table and the picture: means and standard deviations over draws."""
    runs = table(results)
    groups = runs.drop(columns="draw").groupby(["clips a class", "init"])
    found = groups.agg(["mean", "std", "count"])
    lines = ["| clips a class | start | draws | self-ensemble, % | multi-view, % |", "|---|---|---|---|---|"]
    for (clips, init), row in found.iterrows():
        draws = int(row["multi-view, %", "count"])
        cells = [
            f"{row[name, 'mean']:.2f}" + (f" ± {row[name, 'std']:.2f}" if draws > 1 else "")
            for name in ("self-ensemble, %", "multi-view, %")
        ]
        lines.append(f"| {clips} | {LABELS[init]} | {draws} | {' | '.join(cells)} |")
    with replacing(results / "table.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")
    figure, axes = plots.plt.subplots(figsize=(6, 4))
    for init in (name for name in LABELS if name in set(runs["init"])):
        part = found["self-ensemble, %"].xs(init, level="init")
        axes.errorbar(part.index, part["mean"], part["std"], marker="o", capsize=3, label=LABELS[init])
    ticks = sorted(set(runs["clips a class"]))
    axes.set(xlabel="Clips a class", ylabel="Test accuracy of the self-ensemble, %", xticks=ticks)
    axes.legend()
    axes.grid(alpha=0.3)
    plots.save(figure, results / "accuracy.png")


def main() -> None:
    """Train and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--parts", type=Path, help="folder of the smaller stores (beside STORE)")
    parser.add_argument("--clips", type=numbers, default=[4, 8, 16])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--inits", type=names, default=list(LABELS))
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--print", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not args.print:
        store, parts = Store(args.store), args.parts or args.store.with_suffix("")
        parts.mkdir(parents=True, exist_ok=True)
        classes, inits = new_classes(store), {"scratch": None, "esc10": "esc10"}
        tested = np.isin(store.labels, [store.classes.index(name) for name in classes]) & (store.folds == TEST_FOLD)
        if "esc40" in args.inits:
            others = [name for name in store.classes if name not in classes]
            rows = np.flatnonzero(np.isin(store.labels, [store.classes.index(name) for name in others]))
            write_part(store, rows, others, parts / "others.h5")
            train(parts / "others.h5", args.results / "esc40" / "all", "all", args.epochs // 2, 0)
            inits["esc40"] = str(args.results / "esc40" / "all")
        for draw, count, init in itertools.product(range(args.draws), args.clips, args.inits):
            rows = np.union1d(drawn(store, classes, count, draw), np.flatnonzero(tested))
            write_part(store, rows, classes, parts / f"clips{count}_draw{draw}.h5")
            run = args.results / init / str(count) / f"draw{draw}"
            train(parts / f"clips{count}_draw{draw}.h5", run, str(TEST_FOLD), args.epochs, draw, inits[init])
    report(args.results)


if __name__ == "__main__":
    main()

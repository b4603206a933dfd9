"""Table 3 and Figure 2, with confusion matrices, from the runs of a dataset and preset."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from multiview.errors import InputError
from multiview.evaluation import Predictions, accuracy, late_fusion
from multiview.files import read_json, replacing
from multiview.names import BRANCHES, JOINT, LABELS, PAPER_TABLE_3, SYSTEMS, VIEWS
from multiview.runs import Run

# Okabe and Ito's palette, told apart by colour-blind readers; a style each for print in grey.
STYLES = {
    "mel": ("#0072B2", "-"),
    "gammatone": ("#E69F00", "--"),
    "cqt": ("#009E73", "-."),
    "raw": ("#CC79A7", ":"),
    "multiview": ("#000000", "-"),
    "concat": ("#D55E00", (0, (6, 2, 1, 2, 1, 2))),
}


@dataclass(frozen=True)
class Results:
    """All evaluated runs of a dataset and preset: by system and fold."""

    dataset: str
    runs: dict[str, dict[int, Run]]

    def history(self, system: str, fold: int) -> pd.DataFrame:
        """`history.csv` of a run."""
        return pd.read_csv(self.runs[system][fold].history)

    def predictions(self, system: str, fold: int) -> Predictions:
        """`predictions.h5` of a run."""
        return Predictions.read(self.runs[system][fold].predictions)


def collect(directory: str | Path) -> Results:
    """Find the evaluated runs `SYSTEM/foldN` below `directory`.

    Raises
    ------
    InputError
        If there is none, or they are of several datasets or stores.
    """
    directory, runs, stores = Path(directory), defaultdict(dict), {}
    for system in SYSTEMS:
        for path in sorted(directory.glob(f"{system}/fold*")):
            run = Run(path)
            if run.metrics.is_file():
                metrics = _metrics(run)
                if (metrics["system"], f"fold{metrics['fold']}") != (system, path.name):
                    raise InputError(
                        f"expected in {path} a run of {system}, {path.name}; found {metrics['system']}, "
                        f"fold{metrics['fold']}; move it away"
                    )
                runs[system][metrics["fold"]] = run
                store = run.read()["store"]
                stores[store["dataset"], store["sample_rate"], store["fingerprint"]] = path
    if not runs:
        raise InputError(
            f"expected evaluated runs SYSTEM/foldN below {directory}, found none; run multiview train first"
        )
    if len(stores) > 1:
        raise InputError(
            f"expected runs on one store below {directory}, found several: "
            f"{', '.join(str(path) for path in stores.values())}; keep each store's runs apart"
        )
    ((dataset, _, _),) = stores
    return Results(dataset, dict(runs))


def _metrics(run: Run) -> dict:
    try:
        return read_json(run.metrics)
    except ValueError as error:
        raise InputError(f"{run.metrics} is damaged ({error}); run multiview evaluate {run.path}") from error


def fused_predictions(results: Results, fold: int) -> Predictions:
    """Late fusion of the four single-view runs of a fold.

    Raises
    ------
    InputError
        If they were not tested on the same clips.
    """
    parts = [results.predictions(view, fold) for view in VIEWS]
    first = parts[0]
    for view, part in zip(VIEWS, parts, strict=True):
        if part.clips != first.clips:
            raise InputError(
                f"late fusion of fold {fold}: {VIEWS[0]} and {view} were tested on different clips; "
                "train and evaluate them on the same store"
            )
    fused = late_fusion([part.probabilities[view] for view, part in zip(VIEWS, parts, strict=True)])
    return Predictions(first.clips, first.labels, first.classes, {"late_fusion": fused}, {"late_fusion": 1.0})


def fold_accuracies(results: Results) -> dict[str, dict[int, float]]:
    """Accuracy as a fraction by row of Table 3 and fold, of the folds that are there."""
    rows: dict[str, dict[int, float]] = {}
    for system, runs in results.runs.items():
        _, branches = SYSTEMS[system]
        metrics = {fold: _metrics(run)["accuracy"] for fold, run in runs.items()}
        rows[system] = {fold: scores[branches[-1]] for fold, scores in metrics.items()}
        if system == JOINT:
            rows["self_ensemble"] = {fold: scores["self_ensemble"] for fold, scores in metrics.items()}
    common = set.intersection(*(set(results.runs.get(view, ())) for view in VIEWS))
    if common:
        fused = {fold: fused_predictions(results, fold) for fold in sorted(common)}
        rows["late_fusion"] = {
            fold: accuracy(each.probabilities["late_fusion"], each.labels) for fold, each in fused.items()
        }
    return rows


def table_3(results: Results) -> pd.DataFrame:
    """Table 3: rows in the paper's order; accuracies in %, the deviation over folds with n - 1."""
    rows = fold_accuracies(results)
    records = []
    for system in PAPER_TABLE_3:
        if system in rows:
            values = 100 * np.array(list(rows[system].values()))
            records.append(
                {
                    "system": system,
                    "folds": len(values),
                    "accuracy_mean": values.mean(),
                    "accuracy_std": values.std(ddof=1) if len(values) > 1 else np.nan,
                    "paper_accuracy": PAPER_TABLE_3[system].get(results.dataset, np.nan),
                }
            )
    return pd.DataFrame(records)


def table_markdown(table: pd.DataFrame, results: Results) -> str:
    """Table 3 as Markdown, with what a reader must know to use it."""
    paper = table["paper_accuracy"].notna().any()
    lines = [f"| {results.dataset} | folds | accuracy, % |" + (" paper, % |" if paper else "")]
    lines.append("|---|---|---|" + ("---|" if paper else ""))
    for row in table.itertuples():
        spread = "" if np.isnan(row.accuracy_std) else f" ± {row.accuracy_std:.2f}"
        line = f"| {LABELS[row.system]} | {row.folds} | {row.accuracy_mean:.2f}{spread} |"
        lines.append(line + (f" {row.paper_accuracy:.2f} |" if paper else ""))
    settings = [run.read()["settings"] for runs in results.runs.values() for run in runs.values()]
    said = {
        key: ", ".join(sorted({str(each[key]) for each in settings}))
        for key in ("preset", "sample_rate", "epochs", "seed")
    }
    lines += [
        "",
        f"Clip-level accuracy, mean and standard deviation over the folds, preset {said['preset']}, "
        f"{said['sample_rate']} Hz, {said['epochs']} epochs, seed {said['seed']}.",
    ]
    if not paper:
        lines.append("The paper reports no figures on this dataset.")
    return "\n".join(lines) + "\n"


def _folds(count: int) -> str:
    return f"mean of {count} folds" if count > 1 else "1 fold"


def mean_curve(results: Results, system: str, column: str) -> pd.Series:
    """A column of the histories of a system, averaged over folds, over their mean training step.

    Folds are joined by evaluation: their epochs may differ by a step.
    """
    folds = pd.concat([results.history(system, fold) for fold in results.runs[system]])
    return folds.groupby("evaluation")[["step", column]].mean().set_index("step")[column]


def _save(figure: plt.Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, bbox_inches="tight")
    plt.close(figure)


def _lines(path: Path, title: str, ylabel: str, curves: dict[str, pd.Series], top: float | None = None) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, curve in curves.items():
        colour, line = STYLES[name]
        axes.plot(curve.index, curve, color=colour, linestyle=line, label=LABELS[name], linewidth=1.6)
    axes.set(title=title, xlabel="training step", ylabel=ylabel)
    axes.set_ylim(0, top)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    _save(figure, path)


def _loss_ceiling(curves: dict[str, pd.Series]) -> float:
    """Top of a loss axis: what matters is below, an early spike may leave the picture."""
    return 1.1 * max(max(curve.quantile(0.95), curve.iloc[0]) for curve in curves.values())


def figure_2(results: Results, directory: Path) -> list[Path]:
    """Figure 2: (a) losses of the branches, (b) their weights, (c) losses of the systems.

    The losses are those on the validation clips, by which training is steered.
    """
    written, folds = [], {system: len(runs) for system, runs in results.runs.items()}
    if JOINT in results.runs:
        path = directory / "figure2a.png"
        curves = {branch: mean_curve(results, JOINT, f"val_loss_{branch}") for branch in BRANCHES}
        title = f"{results.dataset}: branches of the multi-view network, {_folds(folds[JOINT])}"
        _lines(path, title, "validation loss", curves, _loss_ceiling(curves))
        first = min(results.runs[JOINT])
        history = results.history(JOINT, first).set_index("step")
        weights = {branch: history[f"weight_{branch}"] for branch in BRANCHES}
        title = f"{results.dataset}: weights of the branches, fold {first}"
        _lines(directory / "figure2b.png", title, "weight", weights, top=1.02)
        written += [path, directory / "figure2b.png"]
    curves = {system: mean_curve(results, system, f"val_loss_{SYSTEMS[system][1][-1]}") for system in results.runs}
    path = directory / "figure2c.png"
    title = f"{results.dataset}: the multi-view network and the baselines"
    _lines(path, title, "validation loss", curves, _loss_ceiling(curves))
    return [*written, path]


def confusion(results: Results, path: Path) -> None:
    """Confusion matrix in % of each true class, of the multi-view branch or else the first system."""
    system = JOINT if JOINT in results.runs else next(iter(results.runs))
    branch = SYSTEMS[system][1][-1]
    parts = [results.predictions(system, fold) for fold in results.runs[system]]
    classes = parts[0].classes
    matrix = 100 * confusion_matrix(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities[branch].argmax(axis=1) for part in parts]),
        labels=range(len(classes)),
        normalize="true",
    )
    side = 3 + 0.35 * len(classes)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    display = ConfusionMatrixDisplay(matrix, display_labels=[name.replace("_", " ") for name in classes])
    numbers = len(classes) <= 20
    display.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", values_format=".0f", include_values=numbers)
    axes.set(title=f"{results.dataset}: {LABELS[system]}, % of each true class", xlabel="predicted", ylabel="true")
    _save(figure, path)


def report(directory: str | Path) -> pd.DataFrame:
    """Write the table and the figures into `directory`, print the table, and return it."""
    directory = Path(directory)
    results = collect(directory)
    table = table_3(results)
    with replacing(directory / "table.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.2f")
    markdown = table_markdown(table, results)
    with replacing(directory / "table.md") as temporary:
        temporary.write_text(markdown, encoding="utf-8")
    written = figure_2(results, directory)
    confusion(results, directory / "confusion.png")
    print(markdown)
    missing = [LABELS[system] for system in PAPER_TABLE_3 if system not in set(table["system"])]
    if missing:
        print(f"not there yet: {', '.join(missing)}")
    print("pictures: " + ", ".join(str(path) for path in [*written, directory / "confusion.png"]))
    return table

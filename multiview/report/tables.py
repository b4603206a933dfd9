"""Table 3, the claims, the ablations and `report.html`, from the runs of a dataset and preset."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from multiview import figures, page
from multiview.claims import claims, claims_markdown, claims_table
from multiview.files import replacing
from multiview.names import BRANCHES, JOINT, LABELS, PAPER_TABLE_3
from multiview.results import ABLATIONS, Results, collect, correct, read_metrics
from multiview.runs import Run

ONE_HOT = 0.9  # a weight above it leaves next to nothing to the other branches
ABLATED = ("blending", "window", "evaluation_interval")  # the settings that ablations change
SETTINGS = ("epochs", "batch_size", "learning_rate", *ABLATED, "seed", "precision")  # of a run, in the list of runs


def fold_accuracies(results: Results) -> dict[str, dict[int, float]]:
    """Accuracy as a fraction by row of Table 3 and fold, of the folds that are there."""
    return {
        row: {fold: float(clips.mean()) for fold, clips in folds.items()}
        for row, folds in correct(results.rows()).items()
    }


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
    settings = [run.settings() for runs in results.runs.values() for run in runs.values()]
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
    for path, reason in results.failed:
        lines.append(f"**{path} failed:** {reason}.")
    return "\n".join(lines) + "\n"


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


def stability(history: pd.DataFrame, settings: dict) -> dict[str, float]:
    """`calmness` of a run's weights once they may move: after W evaluations and the warm-up."""
    free = (history["evaluation"] >= settings["window"]) & (history["epoch"] >= settings["warm_up_epochs"])
    return calmness(history.loc[free, [f"weight_{branch}" for branch in BRANCHES]].to_numpy())


def ablation_table(results: Results) -> pd.DataFrame:
    """The ways to weight the branches, all alike and on the folds that all have: the paper's, then the ablations.

    Accuracies are in %; `difference` is that of the multi-view branch to the paper's, in points.
    """
    every = {"paper": results.runs.get(JOINT, {}), **results.ablations}
    common = sorted(set.intersection(*(set(runs) for runs in every.values())))
    paper, records = [read_metrics(every["paper"][fold])["accuracy"] for fold in common], []
    for name, folds in every.items() if common else ():
        runs = [folds[fold] for fold in common]
        scores, settings = [read_metrics(run)["accuracy"] for run in runs], runs[0].settings()
        calm = pd.DataFrame([stability(pd.read_csv(run.history), settings) for run in runs])
        records.append(
            {
                "ablation": name,
                **{key: settings[key] or "epoch" for key in ABLATED},
                "folds": len(runs),
                "multiview": 100 * np.mean([each[JOINT] for each in scores]),
                "self_ensemble": 100 * np.mean([each["self_ensemble"] for each in scores]),
                "difference": 100
                * np.mean([one[JOINT] - other[JOINT] for one, other in zip(scores, paper, strict=True)]),
                **calm.mean(),
            }
        )
    return pd.DataFrame(records)


def ablations_markdown(table: pd.DataFrame) -> str:
    """The ablations as Markdown."""
    lines = [
        "| ablation | blending | W | evaluation every | folds | multi-view, % | to the paper's, points "
        "| self-ensemble, % | largest weight | one-hot | change |",
        "|" + "---|" * 11,
    ]
    for row in table.itertuples():
        calm = f"{row.largest:.2f} | {row.one_hot:.0%} | {row.change:.2f}"
        calm = "never moved | | " if np.isnan(row.largest) else calm
        every = row.evaluation_interval if row.evaluation_interval == "epoch" else f"{row.evaluation_interval} steps"
        lines.append(
            f"| {row.ablation} | {row.blending} | {row.window} | {every} | {row.folds} | {row.multiview:.2f} "
            f"| {row.difference:+.2f} | {row.self_ensemble:.2f} | {calm} |"
        )
    lines += [
        "",
        "Over the folds that all have. Once the weights may move, after W evaluations and the warm-up: the mean of the "
        f"largest weight, the share of evaluations at which it is above {ONE_HOT}, and how much of the weight moves "
        "from one evaluation to the next. The blending `averaged` is not the paper's.",
    ]
    return "\n".join(lines) + "\n"


def _write(path: Path, content: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")


def run_table(results: Results) -> pd.DataFrame:
    """What was run: one line a run, with commit, machine and time."""
    every = {**results.runs, **{f"{ABLATIONS}/{name}": runs for name, runs in results.ablations.items()}}
    records = []
    for name, runs in every.items():
        for fold, run in runs.items():
            record, settings = run.read(), run.settings()
            machine = record.get("machine", {})
            records.append(
                {
                    "run": f"{name}/fold{fold}",
                    **{key: settings[key] for key in SETTINGS},
                    "evaluation_interval": settings["evaluation_interval"] or "epoch",
                    "parameters": record.get("parameters"),
                    "training, s": record.get("training_seconds"),
                    "peak memory, MiB": record.get("peak_memory_mib"),
                    "commit": re.sub(r"^(\w{10})\w*", r"\1", record.get("commit") or ""),
                    "machine": f"{machine.get('cores')} cores {machine.get('processor')}",
                    "keras": record.get("software", {}).get("keras"),
                    "started": record.get("started"),
                }
            )
    return pd.DataFrame(records)


def runs_markdown(table: pd.DataFrame) -> str:
    """The list of runs as Markdown: what all have in common in a line, and what tells them apart as columns."""
    table = table.fillna("").astype(str)
    common = [] if len(table) == 1 else [column for column in table if table[column].nunique() == 1]
    own = table.drop(columns=common)
    lines = [
        "| " + " | ".join(own.columns) + " |",
        "|" + "---|" * own.shape[1],
        *("| " + " | ".join(row) + " |" for row in own.itertuples(index=False)),
    ]
    if common:
        lines += ["", f"All runs: {', '.join(f'{column} {table[column].iloc[0]}' for column in common)}."]
    return "\n".join(lines) + "\n"


def report(directory: str | Path) -> pd.DataFrame:
    """Write tables, figures and `report.html` into `directory`, print the tables, and return Table 3."""
    directory = Path(directory)
    results = collect(directory)
    table, rows = table_3(results), results.rows()
    comparisons = claims(correct(rows))
    classes = figures.class_accuracies(rows)

    with replacing(directory / "table.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.2f")
    sections = {"Table 3": table_markdown(table, results)}
    _write(directory / "table.md", sections["Table 3"])
    if comparisons:
        sections["Claims"] = claims_markdown(comparisons)
        _write_csv(directory / "claims.csv", claims_table(comparisons))
        _write(directory / "claims.md", sections["Claims"])
    written = figures.figure_2(results, directory)
    if results.ablations:
        ablations = ablation_table(results)
        sections["Ablations of the weights"] = ablations_markdown(ablations)
        _write_csv(directory / "ablations.csv", ablations)
        _write(directory / "ablations.md", sections["Ablations of the weights"])
        written.append(_draw_ablations(results, directory / "ablations.png"))
    if {"mel", "cqt"} <= set(classes):
        better = classes[classes["cqt"] > classes["mel"]]
        named = [f"{name} ({row.cqt:.0f} against {row.mel:.0f} %)" for name, row in better.iterrows()]
        sections["Views by class"] = (
            f"CQT is more accurate than mel on: {', '.join(named).replace('_', ' ') or 'no class'}. A class has few "
            "clips: small differences are chance.\n"
        )
    figures.confusion(results, directory / "confusion.png")
    written.append(directory / "confusion.png")
    if len(classes):
        figures.per_class(classes, f"{results.dataset}: accuracy of each class, %", directory / "per_class.png")
        written.append(directory / "per_class.png")
    _write(
        directory / "report.html", page.render(results.dataset, sections, written, runs_markdown(run_table(results)))
    )

    print("\n".join(sections.values()))
    missing = [LABELS[system] for system in PAPER_TABLE_3 if system not in set(table["system"])]
    if missing:
        print(f"not there yet: {', '.join(missing)}")
    print(f"pictures: {', '.join(map(str, written))}\nall on one page: {directory / 'report.html'}")
    return table


def _draw_ablations(results: Results, path: Path) -> Path:
    runs: dict[str, dict[int, Run]] = {"paper": results.runs.get(JOINT, {}), **results.ablations}
    folds = set.intersection(*(set(found) for found in runs.values() if found))
    first = {name: found[min(folds or found)] for name, found in runs.items() if found}
    title = f"{results.dataset}: weights of the branches" + (f", fold {min(folds)}" if folds else ", first folds")
    figures.weights_by_blending({name: pd.read_csv(run.history) for name, run in first.items()}, title, path)
    return path

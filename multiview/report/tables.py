"""Table 3, accuracy by class, and the list of runs."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import pandas as pd

from multiview.backbones import DEFAULT
from multiview.experiment.predictions import Predictions
from multiview.experiment.results import ABLATIONS, Results, correct, system_of
from multiview.experiment.run import Run
from multiview.report.paper import PAPER_TABLE_3
from multiview.report.section import Section
from multiview.systems import LATE_FUSION, label, table_rows
from multiview.views import CQT, MEL, VIEWS, paper_views

ABLATED = ("blending", "window", "evaluation_interval")  # the settings that ablations change, beside the views
# Of a run, in the list of runs.
SETTINGS = ("epochs", "batch_size", "learning_rate", *ABLATED, "seed", "precision", "keep", "schedule", "averaging",
            "joint_gradient")  # fmt: skip


def fold_accuracies(results: Results) -> dict[str, dict[int, float]]:
    """Accuracy as a fraction by row of Table 3 and fold, of the folds that are there."""
    return {
        row: {fold: float(clips.mean()) for fold, clips in folds.items()}
        for row, folds in correct(results.rows).items()
    }


def table_3(results: Results) -> pd.DataFrame:
    """Table 3: every row that is there, in the paper's order; accuracies in %, the deviation over folds with n - 1."""
    records = []
    for row, folds in fold_accuracies(results).items():
        values = 100 * np.array(list(folds.values()))
        records.append(
            {
                "system": row,
                "folds": len(values),
                "accuracy_mean": values.mean(),
                "accuracy_std": values.std(ddof=1) if len(values) > 1 else np.nan,
                "paper_accuracy": PAPER_TABLE_3.get(row, {}).get(results.dataset, np.nan),
            }
        )
    return pd.DataFrame(records)


def missing_rows(results: Results) -> list[str]:
    """Rows of Table 3 that are not there, of those that the store has the views for."""
    absent = [row for row in table_rows() if row not in results.rows]
    return [row for row in absent if row not in VIEWS or row in results.views]


def table_3_section(results: Results) -> Section:
    """Table 3, with what a reader must know to use it."""
    table = table_3(results)
    paper = table["paper_accuracy"].notna().any()
    columns, cells = [results.dataset, "folds", "accuracy, %", *(["paper, %"] if paper else [])], []
    for row in table.itertuples():
        spread = "" if np.isnan(row.accuracy_std) else f" ± {row.accuracy_std:.2f}"
        cells.append([label(row.system), str(row.folds), f"{row.accuracy_mean:.2f}{spread}"])
        if paper:
            cells[-1].append("" if np.isnan(row.paper_accuracy) else f"{row.paper_accuracy:.2f}")
    settings = [run.settings() for runs in results.runs.values() for run in runs.values()]
    said = {
        key: ", ".join(sorted({str(each[key]) for each in settings}))
        for key in ("preset", "sample_rate", "epochs", "seed")
    }
    notes = [
        f"Clip-level accuracy, mean and standard deviation over the folds, preset {said['preset']}, "
        f"{said['sample_rate']} Hz, {said['epochs']} epochs, seed {said['seed']}.",
        *([] if paper else ["The paper reports no figures on this dataset."]),
        *_other_views(results),
        *(f"**{path} failed:** {reason}." for path, reason in results.failed),
    ]
    return Section("Table 3", pd.DataFrame(cells, columns=columns), tuple(notes), file="table", data=table, digits=2)


def _other_views(results: Results) -> list[str]:
    """Which rows stand for other views than the paper's four, a line for each choice."""
    rows = defaultdict(list)
    for row in results.rows:
        if row == LATE_FUSION:
            rows[results.fused_views].append(row)
        for system in (results.system(name) for name in results.runs):
            if system.joint and row in (system.name, system.ensemble):
                rows[system.views].append(row)
    return [
        f"On the views {', '.join(views)}: {', '.join(map(label, each))}."
        for views, each in rows.items()
        if views != paper_views()
    ]


def class_accuracies(rows: dict[str, dict[int, Predictions]]) -> pd.DataFrame:
    """Accuracy in % of each class (index) by row of Table 3 (columns), over the folds that all rows have."""
    columns, common = {}, set.intersection(*(set(folds) for folds in rows.values()))
    for row in rows if common else ():
        folds = [rows[row][fold] for fold in sorted(common)]
        labels = np.concatenate([each.labels for each in folds])
        right = np.concatenate([each.probabilities[row].argmax(axis=1) for each in folds]) == labels
        classes = folds[0].classes
        columns[row] = pd.Series(right).groupby(labels).mean().rename(dict(enumerate(classes))) * 100
    return pd.DataFrame(columns)


def classes_section(results: Results) -> Section | None:
    """The classes on which CQT, the weaker view in Table 3, is ahead of mel; None where one of them is missing."""
    classes = class_accuracies(results.rows)
    if not {MEL.name, CQT.name} <= set(classes):
        return None
    better = classes[classes[CQT.name] > classes[MEL.name]]
    named = [f"{name} ({row[CQT.name]:.0f} against {row[MEL.name]:.0f} %)" for name, row in better.iterrows()]
    text = (
        f"CQT is more accurate than mel on: {', '.join(named).replace('_', ' ') or 'no class'}. A class has few "
        "clips: small differences are chance."
    )
    return Section("Views by class", notes=(text,))


def run_table(results: Results) -> pd.DataFrame:
    """What was run: one line a run, with commit, machine and time."""
    every = {**results.runs, **{f"{ABLATIONS}/{name}": runs for name, runs in results.ablations.items()}}
    return pd.DataFrame([_run_record(f"{name}/fold{fold}", run) for name, runs in every.items()
                         for fold, run in runs.items()])  # fmt: skip


def _run_record(name: str, run: Run) -> dict:
    record, settings = run.read(), run.settings()
    machine = record.get("machine", {})
    return {
        "run": name,
        "views": ",".join(system_of(run).views),
        **{key: settings[key] for key in SETTINGS},
        "evaluation_interval": settings["evaluation_interval"] or "epoch",
        "backbone": settings["backbone"] or DEFAULT,
        "augmentations": settings["augmentations"] or "none",
        "parameters": record.get("parameters"),
        "training, s": record.get("training_seconds"),
        "peak memory, MiB": record.get("peak_memory_mib"),
        "commit": re.sub(r"^(\w{10})\w*", r"\1", record.get("commit") or ""),
        "machine": f"{machine.get('cores')} cores {machine.get('processor')}",
        "keras": record.get("software", {}).get("keras"),
        "started": record.get("started"),
    }


def runs_section(table: pd.DataFrame) -> Section:
    """The list of runs: what all have in common in a line, and what tells them apart as columns."""
    table = table.fillna("").astype(str)
    common = [] if len(table) == 1 else [column for column in table if table[column].nunique() == 1]
    said = [f"{column} {table[column].iloc[0]}" for column in common if table[column].iloc[0]]
    notes = (f"All runs: {', '.join(said)}.",) if said else ()
    return Section("Runs and their settings", table.drop(columns=common), notes)

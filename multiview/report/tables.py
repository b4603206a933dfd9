"""Table 3, its rows fold by fold, and the list of runs."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import pandas as pd

from multiview.backbones import DEFAULT
from multiview.experiment.results import Results, by_fold, correct, right
from multiview.experiment.run import ABLATIONS, Run
from multiview.guessing import Guessing, Share
from multiview.report.paper import PAPER_TABLE_3
from multiview.report.section import Section
from multiview.settings import Settings
from multiview.systems import LATE_FUSION, label, table_rows
from multiview.views import VIEWS, paper_views

ABLATED = ("blending", "window", "evaluation_interval")  # the settings that ablations change, beside the views
# Of a run, in the list of runs.
SETTINGS = ("epochs", "batch_size", "learning_rate", *ABLATED, "seed", "precision", "keep", "schedule", "averaging",
            "joint_gradient", "view_dropout", "skip_silence")  # fmt: skip


def fold_accuracies(results: Results) -> dict[str, dict[int, float]]:
    """Accuracy as a fraction by row of Table 3 and fold, of the folds that are there; the mean over seeds."""
    return {
        row: {fold: float(clips.mean()) for fold, clips in by_fold(trials).items()}
        for row, trials in correct(results.rows).items()
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
    heads, cells = [results.dataset, "folds", "accuracy, %", "95 % interval", *(["paper, %"] if paper else [])], []
    shares = _shares(results)
    for row in table.itertuples():
        spread = "" if np.isnan(row.accuracy_std) else f" ± {row.accuracy_std:.2f}"
        interval = str(shares[row.system][0])
        cells.append([label(row.system), str(row.folds), f"{row.accuracy_mean:.2f}{spread}", interval])
        if paper:
            cells[-1].append(_percent(row.paper_accuracy))
    settings = [run.settings() for runs in results.runs.values() for run in runs.values()]
    said = {
        key: ", ".join(map(str, sorted({getattr(each, key) for each in settings})))
        for key in ("preset", "sample_rate", "epochs", "seed")
    }
    notes = [
        f"Clip-level accuracy, mean and standard deviation over the folds, preset {said['preset']}, "
        f"{said['sample_rate']} Hz, {said['epochs']} epochs, seed {said['seed']}."
        + (" The mean over seeds comes first." if len({each.seed for each in settings}) > 1 else ""),
        _against_guessing(shares),
        *([] if paper else ["The paper reports no figures on this dataset."]),
        *_other_views(results),
        *(f"**{path} failed:** {reason}." for path, reason in results.failed),
    ]
    return Section("Table 3", pd.DataFrame(cells, columns=heads), tuple(notes), file="table", data=table, digits=2)


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


def fold_table(results: Results) -> pd.DataFrame:
    """A line for each row of Table 3 and trial: clips, right ones, and accuracy with Wilson's 95 % interval, in %.

    `chance` and `most_frequent` are what guessing gives on the same clips.
    """
    records = []
    for row, trials in results.rows.items():
        for trial, found in trials.items():
            clips = right(found, row)
            share = Share(int(clips.sum()), len(clips))
            low, high = share.interval
            guessing = Guessing.of(found.labels, len(found.classes))
            accuracies = {
                "accuracy": share.right / share.clips,
                "low": low,
                "high": high,
                "chance": guessing.chance,
                "most_frequent": guessing.frequent,
            }
            percent = {name: 100 * value for name, value in accuracies.items()}
            counts = {"clips": share.clips, "right": share.right}
            records.append({"system": row, "fold": trial.fold, **counts, **percent, "seed": trial.seed})
    return pd.DataFrame(records)


def folds_section(results: Results) -> Section:
    """Accuracy of each row of Table 3 on each fold, and what guessing gives there."""
    table = fold_table(results)
    by_fold = table.groupby("fold")[["clips", "most_frequent", "chance"]].first()
    accuracy = table.pivot_table(index="system", columns="fold", values="accuracy")
    cells = [[label(row), *map(_percent, accuracy.loc[row])] for row in dict.fromkeys(table["system"])]
    cells += [
        ["Most frequent class", *map(_percent, by_fold["most_frequent"])],
        ["Chance", *map(_percent, by_fold["chance"])],
        ["Test clips", *map(str, by_fold["clips"])],
    ]
    columns = ["accuracy, %", *(f"fold {fold}" for fold in by_fold.index)]
    of_seeds = "Means over seeds. " if table["seed"].nunique() > 1 else ""
    note = f"{of_seeds}A fold has few clips: each accuracy with its 95 % interval is in `folds.csv`."
    return Section("Folds", pd.DataFrame(cells, columns=columns), (note,), file="folds", data=table, digits=2)


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


def _shares(results: Results) -> dict[str, tuple[Share, Guessing]]:
    """By row of Table 3, over all of its folds: what is right, and what guessing gives on the same clips.

    Another seed's answers to the same clips are no more clips: their mean counts.
    """
    found = {}
    for row, trials in results.rows.items():
        clips = np.concatenate([each.mean(axis=0) for each in by_fold(correct(results.rows)[row]).values()])
        labels = np.concatenate([each.labels for each in {trial.fold: each for trial, each in trials.items()}.values()])
        classes = len(next(iter(trials.values())).classes)
        found[row] = Share.of(float(clips.mean()), len(clips)), Guessing.of(labels, classes)
    return found


def _against_guessing(shares: dict[str, tuple[Share, Guessing]]) -> str:
    """Whether the rows are better than guessing."""
    _, guessing = max(shares.values(), key=lambda each: each[0].clips)
    lost = [label(row) for row, (share, without) in shares.items() if not share.beats(without)]
    if not lost:
        verdict = "Every row is better: its interval lies above both."
    else:
        verdict = f"**Not shown to be better than that: {', '.join(lost)}**; the interval does not lie above both."
    return f"Without listening, {guessing}. {verdict} Intervals are Wilson's, 95 %, over all test clips of the row."


def run_table(results: Results) -> pd.DataFrame:
    """What was run: one line a run, with commit, machine and time."""
    every = {**results.runs, **{f"{ABLATIONS}/{name}": runs for name, runs in results.ablations.items()}}
    return pd.DataFrame([_run_record(f"{name}/{run.path.name}", run) for name, runs in every.items()
                         for run in runs.values()])  # fmt: skip


def interval_in_words(settings: Settings) -> str:
    """From one evaluation of a run to the next, in words."""
    steps, epochs = settings.evaluation_interval, settings.evaluation_epochs
    return f"{steps} steps" if steps else "epoch" if epochs == 1 else f"{epochs} epochs"


def _run_record(name: str, run: Run) -> dict:
    record, settings = run.read(), run.settings()
    machine = record.get("machine", {})
    return {
        "run": name,
        "views": ",".join(run.system().views),
        **{key: getattr(settings, key) for key in SETTINGS},
        "evaluation_interval": interval_in_words(settings),
        "backbone": settings.backbone or DEFAULT,
        "augmentations": settings.augmentations or "none",
        "parameters": record.get("parameters"),
        "training, s": record.get("training_seconds"),
        "peak memory, MiB": record.get("peak_memory_mib"),
        "commit": re.sub(r"^(\w{10})\w*", r"\1", record.get("commit") or ""),
        "machine": ", ".join([f"{machine.get('cores')} cores {machine.get('processor')}", *machine.get("gpus", [])]),
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

"""Which classes are told apart: accuracy of each by row of Table 3, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from multiview.evaluation import NO_CLASS, decisions
from multiview.experiment.predictions import Predictions
from multiview.experiment.results import Results, shares
from multiview.experiment.run import Trial
from multiview.report.section import Section
from multiview.systems import JOINT, label
from multiview.views import CQT, MEL

PAIRS = 15  # of classes that are confused, on the page; all are in the file


def common_trials(results: Results) -> list[Trial]:
    """The folds and seeds that all rows of Table 3 have."""
    return sorted(set.intersection(*(set(trials) for trials in results.rows.values())))


def class_accuracies(rows: dict[str, dict[Trial, Predictions]]) -> pd.DataFrame:
    """Accuracy in % of each class (index) by row of Table 3 (columns), over the trials that all rows have."""
    columns, counts = {}, shares(sorted(set.intersection(*(set(trials) for trials in rows.values()))))
    for row in rows if counts else ():
        parts = [rows[row][trial] for trial in counts]
        labels = np.concatenate([each.labels for each in parts])
        right = np.concatenate([decisions(each.probabilities[row]) for each in parts]) == labels
        share = np.repeat(list(counts.values()), [len(each.labels) for each in parts])
        total, found = np.bincount(labels, share), np.bincount(labels, share * right)
        there = np.flatnonzero(total)
        columns[row] = pd.Series(100 * found[there] / total[there], index=[parts[0].classes[i] for i in there])
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


@dataclass(frozen=True)
class Confusion:
    """What a system takes the test clips of some trials for.

    `counts` int [true, predicted] is named like the classes, as is `totals` int [true], all clips of a class: in no
    cell is one of which the system says nothing.
    """

    system: str
    trials: tuple[Trial, ...]
    counts: pd.DataFrame
    totals: pd.Series

    def pairs(self) -> pd.DataFrame:
        """A row for each class that is taken for another, the most frequent first: `true`, `predicted`, `clips`, `of`.

        `of` has all clips of the true class, and `reverse` those that go the other way round.
        """
        counts = self.counts.to_numpy()
        wrong = [(i, j) for i, j in np.argwhere(counts) if i != j]
        names, totals = self.counts.columns, self.totals.to_numpy()
        rows = [(names[i], names[j], counts[i, j], totals[i], counts[j, i]) for i, j in wrong]
        found = pd.DataFrame(rows, columns=["true", "predicted", "clips", "of", "reverse"])
        return found.sort_values(["clips", "of"], ascending=[False, True], kind="stable", ignore_index=True)


def confusion(results: Results) -> Confusion:
    """That of the multi-view branch, or else of the first system, over all of its trials."""
    system = JOINT if JOINT in results.runs else next(iter(results.runs))
    branch, trials = results.system(system).scored, tuple(results.runs[system])
    return Confusion(system, trials, *count([results.predictions(system, trial) for trial in trials], branch))


def count(parts: Sequence[Predictions], branch: str) -> tuple[pd.DataFrame, pd.Series]:
    """`counts` and `totals` of a `Confusion`, of what a branch says of the clips of all parts."""
    classes = parts[0].classes
    totals = np.bincount(np.concatenate([part.labels for part in parts]), minlength=len(classes))
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for part in parts:
        found = decisions(part.probabilities[branch])
        answered = found != NO_CLASS
        np.add.at(counts, (part.labels[answered], found[answered]), 1)
    return pd.DataFrame(counts, index=classes, columns=classes), pd.Series(totals, index=classes)


def confused_section(results: Results) -> Section | None:
    """The classes that are taken for others; None where none is."""
    found = confusion(results)
    pairs = found.pairs()
    if pairs.empty:
        return None
    cells = [
        [
            *(str(name).replace("_", " ") for name in (row.true, row.predicted)),
            f"{row.clips} of {row.of}",
            f"{100 * row.clips / row.of:.0f}",
            str(row.reverse),
        ]
        for row in pairs.head(PAIRS).itertuples()
    ]
    rest = f" The first {PAIRS} of {len(pairs)} pairs; `confused.csv` has all." if len(pairs) > PAIRS else ""
    answers = int(found.counts.to_numpy().sum())
    silent = f", and nothing is said of {clips - answers} more" if (clips := int(found.totals.sum())) > answers else ""
    note = (
        f"{label(found.system)}, {int(pairs['clips'].sum())} wrong of {answers} answers to test clips{silent}.{rest} "
        f"The whole matrix: `confusion.png`."
    )
    columns = ["sounds of", "taken for", "clips", "%", "the other way round"]
    return Section(
        "Classes that are confused", pd.DataFrame(cells, columns=columns), (note,), file="confused", data=pairs
    )

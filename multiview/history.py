"""The record of an evaluation during training, and `history.csv`, which has a row for each."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiview.support.files import replacing

ByBranch = Mapping[str, float]


@dataclass(frozen=True)
class Losses:
    """What is measured at an evaluation: cross-entropies, Eq. (1), and the accuracy of clips, by branch.

    `train` is that of the monitor clips, the fixed subset of the training clips.
    """

    train: ByBranch
    validation: ByBranch
    accuracy: ByBranch


@dataclass(frozen=True)
class Evaluation(Losses):
    """Evaluation n = 0, 1, 2, ..., where 0 is before training; `weight` is w(n), which the following steps use."""

    evaluation: int
    epoch: int
    step: int
    learning_rate: float
    weight: ByBranch

    def row(self) -> dict[str, float]:
        """The cells of `history.csv` by column."""
        cells: dict[str, float] = {name: getattr(self, name) for name in HEAD}
        return cells | self.logs()

    def logs(self) -> dict[str, float]:
        """What it says of the branches, as callbacks of Keras find it in `logs`."""
        return {column(part, branch): getattr(self, part)[branch] for branch in self.weight for part in COLUMNS}

    @classmethod
    def of_row(cls, row: Mapping[str, float], branches: Sequence[str]) -> Evaluation:
        """The evaluation of a row."""
        parts = {part: {branch: row[column(part, branch)] for branch in branches} for part in COLUMNS}
        return cls(**{name: row[name] for name in HEAD}, **parts)  # type: ignore[arg-type]


HEAD = ("evaluation", "epoch", "step", "learning_rate")
# By what an evaluation says of a branch: how the columns of `history.csv` begin.
COLUMNS = {"train": "train_loss", "validation": "val_loss", "accuracy": "val_accuracy", "weight": "weight"}


def column(part: str, branch: str) -> str:
    """Name of a column: what it says (`train`, `validation`, `accuracy` or `weight`) of which branch."""
    return f"{COLUMNS[part]}_{branch}"


def columns(branches: Sequence[str]) -> list[str]:
    """All columns of `history.csv`, in order."""
    return [*HEAD, *(column(part, branch) for branch in branches for part in COLUMNS)]


class HistoryFile:
    """`history.csv` of a run under way: what is appended is on disk at once."""

    def __init__(self, path: Path, branches: Sequence[str]) -> None:
        self.path, self.columns = path, columns(branches)

    def write(self, evaluations: Sequence[Evaluation]) -> None:
        """Replace the file by these rows."""
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(evaluation.row() for evaluation in evaluations)

    def append(self, evaluation: Evaluation) -> None:
        """Add a row."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(evaluation.row())

"""The record of an evaluation during training, and `history.csv`, which has a row for each."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiview.support import records
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


COUNTS = ("evaluation", "epoch", "step")
HEAD = (*COUNTS, "learning_rate")
MOST_BYTES = 2**26
_SHARE = records.number(0, 1 + 1e-6)  # as computed in float32
# By what an evaluation says of a branch: how the columns of `history.csv` begin.
COLUMNS = {"train": "train_loss", "validation": "val_loss", "accuracy": "val_accuracy", "weight": "weight"}


def column(part: str, branch: str) -> str:
    """Name of a column: what it says (`train`, `validation`, `accuracy` or `weight`) of which branch."""
    return f"{COLUMNS[part]}_{branch}"


def columns(branches: Sequence[str]) -> list[str]:
    """All columns of `history.csv`, in order."""
    return [*HEAD, *(column(part, branch) for branch in branches for part in COLUMNS)]


def row_check(branches: Sequence[str]) -> records.Check:
    """What an evaluation has to be, as `Evaluation.row` gives it."""
    kinds = {"train": records.number(), "validation": records.number(), "accuracy": _SHARE, "weight": _SHARE}
    counts = dict.fromkeys(COUNTS, records.whole())
    parts = {column(part, branch): kinds[part] for branch in branches for part in COLUMNS}
    return records.fields({**counts, "learning_rate": records.number(high=sys.float_info.max), **parts})


def check_rows(rows: Sequence[Mapping[str, float]], branches: Sequence[str]) -> None:
    """Refuse what are not evaluations 0, 1, 2, ... of these branches.

    Raises
    ------
    ValueError
        With what was expected and found.
    """
    check, step = row_check(branches), 0
    for number, row in enumerate(rows):
        check(row, f"evaluation {number}")
        if row["evaluation"] != number or row["step"] < step:
            raise ValueError(
                f"expected evaluation {number} at a step from {step}, found {row['evaluation']} at {row['step']}"
            )
        step = int(row["step"])


def read_history(path: Path, branches: Sequence[str]) -> list[dict[str, float]]:
    """The rows of a `history.csv`; other columns than those of these branches are left out.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    try:
        table = csv.DictReader(io.StringIO(records.bounded_text(path, MOST_BYTES), newline=""), strict=True)
        if missing := [name for name in columns(branches) if name not in (table.fieldnames or ())]:
            raise ValueError(f"expected a column {missing[0]}, found none")
        rows = [{name: _number(row[name], name) for name in columns(branches)} for row in table]
        if not rows:
            raise ValueError("expected evaluations, found none")
        check_rows(rows, branches)
    except (ValueError, csv.Error) as error:
        raise records.damaged(path, error, f"delete {path.parent} and train again") from error
    return rows


def _number(cell: object, name: str) -> float:
    """What is in a cell: a whole number where the column has them."""
    if not isinstance(cell, str) or len(cell) > records.MOST_DIGITS:
        raise ValueError(f"expected a number in column {name}, found {str(cell)[:40]!r}")
    found = float(cell)
    return int(found) if name in COUNTS and found.is_integer() else found


class HistoryFile:
    """`history.csv` of a run under way: what is appended is on disk at once."""

    def __init__(self, path: Path, branches: Sequence[str]) -> None:
        self.path, self.columns = path, columns(branches)

    def write(self, evaluations: Sequence[Evaluation]) -> None:
        """Replace the file by these rows."""
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(evaluation.row() for evaluation in evaluations)

    def append(self, evaluation: Evaluation) -> None:
        """Add a row."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(evaluation.row())

"""The record of an evaluation and its row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from multiview.history import Evaluation, HistoryFile, columns, read_history


def evaluation(number: int) -> Evaluation:
    parts = [{"mel": number + part / 10, "raw": number + part / 7} for part in range(4)]
    return Evaluation(
        train=parts[0], validation=parts[1], accuracy=parts[2], weight=parts[3],
        evaluation=number, epoch=number, step=3 * number, learning_rate=1e-3,
    )  # fmt: skip


def test_rows_are_the_contract(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "history.csv", ("mel", "raw"))
    file.write([evaluation(0)])
    file.append(evaluation(1))
    table = pd.read_csv(tmp_path / "history.csv")
    assert list(table.columns) == columns(("mel", "raw")) == [
        "evaluation", "epoch", "step", "learning_rate",
        "train_loss_mel", "val_loss_mel", "val_accuracy_mel", "weight_mel",
        "train_loss_raw", "val_loss_raw", "val_accuracy_raw", "weight_raw",
    ]  # fmt: skip
    assert table.loc[1, ["step", "train_loss_mel", "val_accuracy_mel"]].tolist() == [3, 1.0, 1.2]
    assert Evaluation.of_row(table.to_dict("records")[1], ("mel", "raw")) == evaluation(1)


def test_names_of_views_are_utf_8_wherever_it_is_written(tmp_path: Path) -> None:
    """A view of one's own may be called in any letters, and the machine's locale be ASCII."""
    program = (
        "import sys; from pathlib import Path; from multiview.history import HistoryFile\n"
        "from tests.test_history import evaluation; import dataclasses\n"
        "parts = {part: {'gr\\u00f6sse': 0.5} for part in ('train', 'validation', 'accuracy', 'weight')}\n"
        "file = HistoryFile(Path(sys.argv[1]), ('gr\\u00f6sse',))\n"
        "file.write([dataclasses.replace(evaluation(0), **parts)])\n"
        "file.append(dataclasses.replace(evaluation(1), **parts))\n"
    )
    ascii_locale = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", program, tmp_path / "history.csv"], env=os.environ | ascii_locale, check=True)
    assert [row["val_loss_gr\u00f6sse"] for row in read_history(tmp_path / "history.csv", ["gr\u00f6sse"])] == [
        0.5,
        0.5,
    ]

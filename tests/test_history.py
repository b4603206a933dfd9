"""The record of an evaluation and its row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from multiview.history import Evaluation, HistoryFile, columns


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

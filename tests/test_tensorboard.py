"""What TensorBoard is given: read back, it is the history."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

from multiview import cli
from multiview.experiment.run import Run
from multiview.experiment.train import train
from multiview.history import COLUMNS
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.tensorboard import Curves, curves
from tests.helpers.runs import kept_weights, rows


def events(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, bytes]]:
    """Scalars by tag, as (step, value), and images, of all event files of a folder."""
    import tensorflow as tf

    scalars: dict[str, list[tuple[int, float]]] = {}
    images = {}
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.HasField("image"):
                    images[value.tag] = value.image.encoded_image_string
                    head = struct.unpack(">II", value.image.encoded_image_string[16:24])
                    assert head == (value.image.width, value.image.height)
                else:
                    scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars, images


def assert_is_the_history(scalars: dict[str, list[tuple[int, float]]], run: Run) -> None:
    """Each row once, in order, as float32."""
    history = rows(run)
    branches = [name.removeprefix("weight_") for name in history[0] if name.startswith("weight_")]
    tags = {f"{kind}/{branch}": f"{kind}_{branch}" for kind in COLUMNS.values() for branch in branches}
    tags["learning_rate"] = "learning_rate"
    assert set(scalars) == set(tags)
    for tag, name in tags.items():
        assert scalars[tag] == [(int(row["step"]), float(np.float32(row[name]))) for row in history], tag


def test_command_draws_curves_and_confusion(tiny_store: Store, tmp_path: Path) -> None:
    """Also of a run that is trained, and again: nothing is there twice, and what is of others stays."""
    words = ["train", tiny_store.path, "--system", "mel", "--fold", 1, "--preset", "demo", "--epochs", 2]
    words = [str(each) for each in (*words, "--run", tmp_path / "run")]
    assert cli.main(words) == 0
    board = tmp_path / "board"
    board.mkdir()
    (board / "events.out.tfevents.1.other").write_bytes(b"")
    for _ in range(2):
        assert cli.main([*words, "--tensorboard", str(board)]) == 0
        scalars, images = events(board)
        assert_is_the_history(scalars, Run(tmp_path / "run"))
        assert list(images) == ["confusion/mel"]
    assert len(list(board.glob("events.*"))) == 2


class Stopped(Exception):
    """As a kill."""


def test_resumed_curves_go_on(tiny_store: Store, tiny_settings, tmp_path: Path, monkeypatch) -> None:
    """A run is the same with curves and without, in one go and in two; its curves have each evaluation once."""
    from multiview.experiment.recorder import Recorder

    settings = tiny_settings("mel", epochs=4)
    plain = train(tiny_store, settings, tmp_path / "plain")
    run, board = Run(tmp_path / "run"), tmp_path / "board"
    record = Recorder.record

    def stop(self, evaluation, *models) -> None:
        record(self, evaluation, *models)
        if evaluation.evaluation == 2:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "record", stop)
        with pytest.raises(Stopped):
            train(tiny_store, settings, run.path, curves(run, board))
    assert len(events(board)[0]["weight/mel"]) == 2  # evaluations 0 and 1
    (again,) = curves(run, board)
    train(tiny_store, settings, run.path, [again])
    assert_is_the_history(events(board)[0], run)
    again.finish()
    assert rows(run) == rows(plain)
    for one, other in zip(kept_weights(run), kept_weights(plain), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_written_is_said_once(tiny_trained: Run, tmp_path: Path, monkeypatch, capsys) -> None:
    """Training goes on without; the same again writes all."""
    import tensorflow as tf

    def full(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "no space\nleft")

    with monkeypatch.context() as patch:
        patch.setattr(tf.summary.experimental, "write_raw_pb", full)
        (board,) = curves(tiny_trained, tmp_path)
        board.on_train_begin()
        board.on_epoch_end(0)
        board.finish()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no more curves in ") and "no space left" in line
    (board,) = curves(tiny_trained, tmp_path)
    board.finish()
    assert_is_the_history(events(tmp_path)[0], tiny_trained)
    assert capsys.readouterr().err == ""


def test_a_folder_is_for_one_run(tiny_trained: Run, tmp_path: Path) -> None:
    """TensorBoard would draw two as one."""
    (board,) = curves(tiny_trained, tmp_path)
    board.finish()
    before = events(tmp_path)
    with pytest.raises(InputError, match="found .*multiview-.* of another; name another folder") as error:
        curves(Run(tmp_path / "other"), tmp_path)
    assert "\n" not in str(error.value) and events(tmp_path) == before


def test_refusals_are_one_line(tiny_store: Store, tmp_path: Path, capsys, monkeypatch) -> None:
    """Before anything is trained."""
    (tmp_path / "file").write_text("")
    words = ["train", str(tiny_store.path), "--system", "mel", "--fold", "1", "--preset", "demo"]
    assert cli.main([*words, "--run", str(tmp_path / "run"), "--tensorboard", str(tmp_path / "file")]) == 1
    assert "expected --tensorboard with a folder to write to, found" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert curves(Run(tmp_path / "run"), None) == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="expected TensorFlow for --tensorboard, found none"):
        Curves(Run(tmp_path / "run"), tmp_path / "board")

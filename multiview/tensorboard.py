"""The curves of a run for TensorBoard: what `history.csv` has, as training goes, and the confusion matrix."""

from __future__ import annotations

import importlib.util
import io
import sys
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import keras

from multiview.experiment.predictions import Predictions
from multiview.experiment.results import branches_of
from multiview.experiment.run import Run
from multiview.experiment.tables import history_table
from multiview.history import COLUMNS, column
from multiview.support.errors import InputError


def curves(run: Run, directory: str | PathLike[str] | None) -> list[Curves]:
    """The callback that writes the curves of `run` into `directory`; none where that is None.

    Raises
    ------
    InputError
        If TensorFlow is not installed, or the folder cannot be written or has the curves of another run.
    """
    return [] if directory is None else [Curves(run, Path(directory))]


class Curves(keras.callbacks.Callback):
    """Writes each row of `history.csv` once it is there, at its training step.

    The files of the run in the folder are replaced when training begins or goes on, by the whole history; those of
    other programs stay. Where the folder cannot be written to any more, a line says so, and training goes on.

    Example::

        tags: train_loss/mel, val_loss/mel, val_accuracy/mel, weight/mel, ..., learning_rate, confusion/multiview

    Args:
        run: Run. Its history, and its predictions, are read.
        directory: Path.
    """

    def __init__(self, run: Run, directory: Path) -> None:
        super().__init__()
        if importlib.util.find_spec("tensorflow") is None:
            raise InputError("expected TensorFlow for --tensorboard, found none; install it, or drop the option")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / ".writable.tmp").touch()
            (directory / ".writable.tmp").unlink()
        except OSError as error:
            raise InputError(
                f"expected --tensorboard with a folder to write to, found {directory} ({error.strerror}); name another"
            ) from error
        self.run, self.directory = run, directory
        self.suffix = f".multiview-{zlib.crc32(str(run.path.resolve()).encode()):08x}"
        for each in sorted(directory.glob("events.out.tfevents.*.multiview-*")):
            if not each.name.endswith(self.suffix):
                raise InputError(
                    f"expected --tensorboard with a folder for {run.path} alone, as TensorBoard draws all in it as "
                    f"one run, found {each} of another; name another folder"
                )
        self._writer: Any = None
        self._rows = 0  # written
        self._failed = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._write_rows()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._write_rows()

    def finish(self) -> None:
        """Write what is missing, also of a run that was trained before, and the confusion matrix of its test."""
        self._write_rows()
        if self.run.predictions.is_file():
            self._write_confusion()
        if not self._failed:
            self._writer.close()

    def _write_rows(self) -> None:
        history = history_table(self.run)
        tags = {
            column(part, branch): f"{COLUMNS[part]}/{branch}" for branch in branches_of(history) for part in COLUMNS
        }
        for _, row in history.iloc[self._rows :].iterrows():
            values = {tag: row[name] for name, tag in {**tags, "learning_rate": "learning_rate"}.items()}
            self._write(int(row["step"]), [{"tag": tag, "simple_value": value} for tag, value in values.items()])
        self._rows = len(history)

    def _write_confusion(self) -> None:
        import matplotlib.pyplot as plt
        import tensorflow as tf

        from multiview.report.class_figures import draw_confusion
        from multiview.report.classes import count
        from multiview.systems import label

        branch, system = self.run.system().scored, self.run.system().name
        record, content = self.run.read(), io.BytesIO()
        title = f"{record['store']['dataset']}: {label(system)}, fold {self.run.settings().fold}"
        picture = draw_confusion(*count([Predictions.read(self.run.predictions)], branch), title)
        picture.savefig(content, format="png")
        width, height = picture.canvas.get_width_height()
        plt.close(picture)
        image = tf.compat.v1.Summary.Image(
            width=width, height=height, colorspace=4, encoded_image_string=content.getvalue()
        )
        step = int(history_table(self.run)["step"].iloc[-1])
        self._write(step, [{"tag": f"confusion/{branch}", "image": image}])

    def _write(self, step: int, values: list[dict]) -> None:
        """As messages: TensorFlow's functions for them need the package of TensorBoard itself."""
        import tensorflow as tf

        if self._failed:
            return
        summary = tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(**value) for value in values])
        try:
            if self._writer is None:
                for old in self.directory.glob(f"events.out.tfevents.*{self.suffix}"):
                    old.unlink(missing_ok=True)
                self._writer = tf.summary.create_file_writer(str(self.directory), filename_suffix=self.suffix)
            with self._writer.as_default():
                tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)
            self._writer.flush()
        except (OSError, tf.errors.OpError) as error:
            self._failed = True
            reason = " ".join(str(error).split())
            print(
                f"no more curves in {self.directory} ({reason}); repeat the command once the run is done",
                file=sys.stderr,
            )

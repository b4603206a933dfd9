"""What training leaves as it goes: the history, the kept model, checkpoints, and when it has exploded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from multiview.blending import DivergedError
from multiview.experiment.checkpoint import Checkpoint, arrays_of
from multiview.experiment.run import Run
from multiview.history import Evaluation, HistoryFile
from multiview.networks import BlendedModel
from multiview.systems import System

CHECKPOINT_SHARE = 0.03  # of the training time, at most, goes into writing checkpoints
# Training has exploded where every branch gives the true classes of training clips a thousandth on average, sure and
# wrong and not guessing, for so many evaluations.
EXPLODED_LOSS, EXPLODED_EVALUATIONS = 7.0, 10


@dataclass
class Kept:
    """The model that is kept: one of `multiview.settings.KEEP`, by the validation clips of the scored branch."""

    branch: str
    rule: str = "first_best"
    window: int = 1
    evaluation: Evaluation | None = None
    variables: list[np.ndarray] = field(default_factory=list)

    def offer(self, evaluations: Sequence[Evaluation], model: BlendedModel) -> None:
        """Take the model of the latest evaluation if it is better."""
        if self.evaluation is None or self._better(evaluations):
            self.evaluation, self.variables = evaluations[-1], arrays_of(model.variables)

    def _better(self, evaluations: Sequence[Evaluation]) -> bool:
        assert self.evaluation is not None
        now, best = (each.accuracy[self.branch] for each in (evaluations[-1], self.evaluation))
        if self.rule == "loss":
            return self._smooth(evaluations) <= self._smooth(evaluations[: self.evaluation.evaluation + 1])
        return {"first_best": now > best, "last_best": now >= best, "end": True}[self.rule]

    def _smooth(self, evaluations: Sequence[Evaluation]) -> float:
        """Validation loss, averaged over the window that ends with the last of the evaluations."""
        return float(np.mean([each.validation[self.branch] for each in evaluations[-self.window :]]))

    def place(self) -> dict[str, int]:
        """When it was, as `run.json` says it."""
        assert self.evaluation is not None
        return {"evaluation": self.evaluation.evaluation, "epoch": self.evaluation.epoch}


def exploding(evaluations: Sequence[Evaluation]) -> bool:
    """Whether the training losses of all branches are exploded.

    Raises
    ------
    DivergedError
        If they have been for EXPLODED_EVALUATIONS; a spike passes.
    """
    high = [min(each.train.values()) > EXPLODED_LOSS for each in evaluations[-EXPLODED_EVALUATIONS:]]
    if sum(high) == EXPLODED_EVALUATIONS:
        last = evaluations[-1]
        losses = ", ".join(f"{branch} {loss:.1f}" for branch, loss in last.train.items())
        raise DivergedError(
            f"the training loss of every branch was above {EXPLODED_LOSS:g} at {EXPLODED_EVALUATIONS} evaluations; "
            f"at evaluation {last.evaluation} it is {losses}"
        )
    return high[-1]


class Recorder:
    """Takes each evaluation of a run under way, and can be taken up again where a kill left it.

    The state of the blending rule is not kept: it follows from the evaluations.
    """

    def __init__(self, run: Run, system: System, keep: str = "first_best", window: int = 1) -> None:
        self.branches = system.branches
        self.history = HistoryFile(run.history, system.branches)
        self.checkpoint = Checkpoint(run.checkpoint, system.branches)
        self.kept = Kept(system.scored, keep, window)
        self.evaluations: list[Evaluation] = []
        self.seconds = 0.0
        self.checkpoint_seconds = 0.0  # that of `seconds` went into checkpoints
        self._clock = time.monotonic()

    @property
    def done(self) -> int:
        """Intervals of training that need not be done again."""
        return max(len(self.evaluations) - 1, 0)

    def resume(self, model: BlendedModel) -> None:
        """Take up the run's checkpoint, if there is one: the variables of `model`, evaluations and kept model.

        Raises
        ------
        InputError
            If the file is not one of this network's checkpoints.
        """
        if found := self.checkpoint.read(model):
            self.kept.variables, record = found
            self.evaluations = [Evaluation.of_row(row, self.branches) for row in record["rows"]]
            self.kept.evaluation = Evaluation.of_row(record["best_row"], self.branches)
            self.seconds = record["seconds"]
            self.checkpoint_seconds = record.get("checkpoint_seconds", 0.0)
        self.history.write(self.evaluations)

    def record(self, evaluation: Evaluation, model: BlendedModel, evaluated: BlendedModel) -> None:
        """Write the row, keep the evaluated model if it is the best, and write a checkpoint when it is time.

        Raises
        ------
        DivergedError
            If the losses are exploded for good.
        """
        self.evaluations.append(evaluation)
        self.history.append(evaluation)
        self.kept.offer(self.evaluations, evaluated)
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        # While losses are exploded, the checkpoint stays that of the last good state.
        if not exploding(self.evaluations) and self.checkpoint_seconds <= CHECKPOINT_SHARE * self.seconds:
            self.write_checkpoint(model)
            self.checkpoint_seconds += time.monotonic() - now

    def write_checkpoint(self, model: BlendedModel) -> None:
        """Write the state as it is now."""
        record = {
            "rows": [evaluation.row() for evaluation in self.evaluations],
            "best_row": self.kept.evaluation.row() if self.kept.evaluation else {},
            "seconds": self.seconds,
            "checkpoint_seconds": self.checkpoint_seconds,
        }
        self.checkpoint.write(model, self.kept.variables, record)


class Follower(Recorder):
    """Of a worker whose checkpoints are another one's."""

    def write_checkpoint(self, model: BlendedModel) -> None:
        """Nothing."""

"""Keras callbacks of training: Algorithm 1 on the model's weights, and a progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence

import keras
from tqdm import tqdm

from multiview.blending import Rule
from multiview.history import Evaluation, Losses
from multiview.networks import BlendedModel
from multiview.support.words import spoken

Listener = Callable[[Evaluation, BlendedModel, BlendedModel], None]


class AdaptiveBlending(keras.callbacks.Callback):
    """Set the weights of the model's branches by a rule, such as Algorithm 1, after every evaluation.

    Before training and at the end of each epoch of `fit`, measures the losses of every branch, gives them to
    the rule, and assigns the model's `branch_weights`. The compiled step reads the new weights as they
    are; nothing is recompiled. Listeners get the whole `Evaluation`, and Keras's `logs` a copy of it.

    Example::

        blending = AdaptiveBlending(measure, Algorithm1(model.branches, window=20), warm_up=10)
        model.fit(data, epochs=100, callbacks=[blending])

    Args:
        measure: Callable, model to `Losses`, such as `multiview.evaluation.Monitor`.
        rule: Rule. Algorithm 1, say, and its state.
        warm_up: Integer. Evaluations after the first during which the weights stay uniform.
        place: Callable, number of the evaluation to `epoch`, `step` and `learning_rate`; by default as the optimizer
            says.
        listeners: Callables that take each evaluation, the model in training and the one that was evaluated, in order.
        evaluated: Callable, model in training to the model that is evaluated, such as that of its averaged weights;
            by default itself.
    """

    def __init__(
        self,
        measure: Callable[[keras.Model], Losses],
        rule: Rule,
        warm_up: int = 0,
        place: Callable[[int], dict] | None = None,
        listeners: Sequence[Listener] = (),
        evaluated: Callable[[BlendedModel], BlendedModel] = lambda model: model,
    ) -> None:
        super().__init__()
        self.measure, self.rule, self.warm_up = measure, rule, warm_up
        self.place, self.listeners, self.evaluated = place or self._place, listeners, evaluated

    def replay(self, evaluations: Iterable[Losses]) -> None:
        """Bring the rule to where it was after evaluations 0, 1, ..."""
        for losses in evaluations:
            self._update(losses)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.rule.history["train"]:  # not so when training is continued
            self._evaluate(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._evaluate(logs)

    def _place(self, evaluation: int) -> dict:
        optimizer = self.model.optimizer
        step, rate = (float(keras.ops.convert_to_numpy(x)) for x in (optimizer.iterations, optimizer.learning_rate))
        return {"epoch": evaluation, "step": int(step), "learning_rate": rate}

    def _update(self, losses: Losses) -> dict[str, float]:
        evaluation = len(self.rule.history["train"])
        weights = self.rule.update(losses.train, losses.validation, warm_up=evaluation < self.warm_up)
        return dict(zip(self.rule.branches, weights.tolist(), strict=True))

    def _evaluate(self, logs: dict | None) -> None:
        number, evaluated = len(self.rule.history["train"]), self.evaluated(self.model)
        losses = self.measure(evaluated)
        weight = self._update(losses)
        for model in (self.model, evaluated):
            model.branch_weights.assign(list(weight.values()))
        evaluation = Evaluation(evaluation=number, weight=weight, **vars(losses), **self.place(number))
        for listener in self.listeners:
            listener(evaluation, self.model, evaluated)
        if logs is not None:
            logs.update(evaluation.logs())


class Progress(keras.callbacks.Callback):
    """One bar for the whole run, with the time left and the latest validation accuracy of a branch.

    Says once how long the training takes: after the first evaluation that follows two steps or more, of which the
    first, which is compiled, does not count.
    """

    def __init__(self, label: str, steps: int, done: int, branch: str, shown: bool = True) -> None:
        super().__init__()
        self.bar = tqdm(total=steps, initial=done, desc=label, unit="step", smoothing=0.05, disable=not shown)
        self.branch, self.done = branch, done
        self._began: float | None = None  # when the first step was over
        self._timed = False

    def show(self, evaluation: Evaluation, *_: BlendedModel) -> None:
        """Write the accuracy beside the bar."""
        if evaluation.evaluation:
            self.bar.set_postfix(val_accuracy=f"{evaluation.accuracy[self.branch]:.3f}")
        steps = self.bar.n - self.done - 1
        if self._began is not None and steps > 0 and not self._timed and not self.bar.disable:
            self._timed = True
            seconds = (time.monotonic() - self._began) / steps * (self.bar.total - self.bar.n)
            self.bar.write(f"{self.bar.desc}: about {spoken(seconds)} to go", file=sys.stderr)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.bar.update()
        if self._began is None:
            self._began = time.monotonic()

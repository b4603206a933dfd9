"""Trains with the branch weights as factors on Adam's updates, not on the losses, which Adam divides out again.

    python -m tests.benchmarks.updates STORE --results results/esc10/updates --rules paper,floored [--folds 1,2]

Preset `small`, averaged weights, the end kept, as the rules were trained (`multiview train ... --keep end --averaging
0.99 --blending RULE`). The gradient is that of equal weights; the update of what a branch alone trains, and of the
encoder of its view, is multiplied by the weight over an equal one. `run.json` says so, as `weights_on`.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from keras import ops

from multiview import training
from multiview.experiment import train as experiment
from multiview.experiment.evaluate import evaluate
from multiview.experiment.run import Run
from multiview.history import column
from multiview.networks import BlendedModel, cross_entropy, encoder
from multiview.optimizer import Adam
from multiview.options import names, numbers
from multiview.settings import make_settings
from multiview.store import Store


class OnUpdates(Adam):
    """Adam that multiplies the update of each variable by the weight of its branch, over that of equal weights."""

    def follow(self, model: BlendedModel) -> None:
        """Go by the weights of `model`."""
        self.model, branch_of = model, {}
        for number, branch in enumerate(model.branches):
            own = encoder(model, branch).values() if branch in model.input else ()
            heads = [layer for layer in model.layers if layer.name.startswith(f"{branch}_fc")]
            for layer in (*own, *heads):
                branch_of |= {id(variable): number for variable in layer.trainable_variables}
        self.numbers = [branch_of[id(variable)] for variable in model.trainable_variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable and its moments."""
        weights = ops.convert_to_tensor(self.model.branch_weights)
        factor = weights[self.numbers[self._get_variable_index(variable)]] * len(self.model.branches)
        super().update_step(gradient, variable, learning_rate * factor)


def equal_loss(self: BlendedModel, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
    """Eq. (2) with equal weights."""
    return ops.mean(ops.stack([ops.mean(cross_entropy(y, y_pred[branch])) for branch in self.branches]))


@contextlib.contextmanager
def weights_on_updates() -> Iterator[None]:
    """In here networks are compiled to be trained so."""
    plain = training.compile_network

    def compile_network(model: BlendedModel, *args: Any) -> None:
        plain(model, *args)
        model.optimizer.follow(model)

    with (
        mock.patch.object(training, "Adam", OnUpdates),
        mock.patch.object(experiment, "compile_network", compile_network),
        mock.patch.object(BlendedModel, "compute_loss", equal_loss),
    ):
        yield


def train(store: Store, path: Path, rule: str, fold: int) -> Run:
    """The run of a rule, trained and tested if it is not yet."""
    settings = make_settings(store, "multiview", fold, "small", keep="end", averaging=0.99, blending=rule)
    with weights_on_updates():
        run = experiment.train(store, settings, path)
    run.update(weights_on="updates")
    if not run.metrics.is_file():
        evaluate(run)
    return run


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--rules", type=names, default=["paper", "floored"])
    parser.add_argument("--folds", type=numbers, default=[1, 2])
    args = parser.parse_args()
    store = Store(args.store)
    for rule in args.rules:
        for fold in args.folds:
            run = train(store, args.results / rule / "multiview" / f"fold{fold}", rule, fold)
            loss = run.read_history()[-1][column("validation", "multiview")]
            scores = run.read_metrics()["accuracy"].items()
            accuracy = ", ".join(f"{name} {100 * value:.2f} %" for name, value in scores)
            print(f"{rule}, fold {fold}: validation loss {loss:.3f}; {accuracy}", flush=True)


if __name__ == "__main__":
    main()

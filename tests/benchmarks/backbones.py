"""What each network for a view costs: parameters, multiplications and the time of a training step.

    python -m tests.benchmarks.backbones                 # of mel, and of raw for what is for waveforms
    python -m tests.benchmarks.backbones --width 1       # the paper's widths

Steps are timed in turns, one of each network after the other; the ratio to the paper's CRNN is the median over turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

from multiview.backbones import BACKBONES, DEFAULT
from multiview.layers import AttentionPooling
from multiview.networks import build_network
from multiview.optimizer import Adam

BATCH, CLASSES, RATE, TURNS = 32, 10, 22050, 7


def multiplications(model: keras.Model) -> int:
    """Those of the products of a forward pass for one segment: convolutions, recurrences, attention, dense layers."""
    return sum(_of_layer(layer) for layer in model._flatten_layers(include_self=False))


def _of_layer(layer: keras.layers.Layer) -> int:
    kind = type(layer)
    names = [each.__name__ for each in kind.__mro__]
    if "SeparableConv1D" in names or "SeparableConv2D" in names:
        places = int(np.prod(layer.output.shape[1:-1]))
        return places * sum(int(np.prod(each.shape)) for each in (layer.depthwise_kernel, layer.pointwise_kernel))
    if "BaseConv" in names or "BaseDepthwiseConv" in names:
        return int(np.prod(layer.output.shape[1:-1])) * int(np.prod(layer.kernel.shape))
    if "Dense" in names:
        return int(np.prod(layer.kernel.shape))
    if "GRUCell" in names:
        return 0  # counted with the recurrence, which knows the steps
    if "Recurrences" in names:
        steps = [tensor.shape[1] for tensor in keras.tree.flatten(layer.output)]
        return sum(
            count * sum(int(np.prod(each.shape)) for each in birnn.weights if "bias" not in each.path)
            for count, birnn in zip(steps, layer.birnns, strict=True)
        )
    if isinstance(layer, AttentionPooling):
        _, steps, dimensions = layer.input.shape
        return 2 * steps * dimensions * layer.units + layer.units * (steps + dimensions) + steps * dimensions
    return 0


def timed(model: keras.Model, view: str) -> Callable[[], float]:
    """A function that takes a step and gives its seconds."""
    rng = np.random.default_rng(0)
    x = {view: rng.standard_normal((BATCH, *model.input[view].shape[1:])).astype("float32")}
    y = rng.integers(0, CLASSES, BATCH)
    model.compile(optimizer=Adam(1e-3))

    def step() -> float:
        began = time.perf_counter()
        model.train_on_batch(x, y)
        return time.perf_counter() - began

    step()
    return step


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=0.25, help="factor on the paper's widths (0.25)")
    args = parser.parse_args()
    print("| view | backbone | parameters | multiplications, M | step, s | to the CRNN's |\n|---|---|---|---|---|---|")
    for view in ("mel", "raw"):
        names = [name for name, each in BACKBONES.items() if each.takes(view)]
        models = {name: build_network(view, CLASSES, RATE, args.width, backbone=name) for name in names}
        steps = {name: timed(model, view) for name, model in models.items()}
        seconds = [{name: step() for name, step in steps.items()} for _ in range(TURNS)]
        for name, model in models.items():
            ratio = statistics.median(turn[name] / turn[DEFAULT] for turn in seconds)
            middle = statistics.median(turn[name] for turn in seconds)
            count = multiplications(model) / 1e6
            print(f"| {view} | `{name}` | {model.count_params():,} | {count:.1f} | {middle:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

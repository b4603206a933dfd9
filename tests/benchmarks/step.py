"""Times a training step of the multi-view network and says how much memory it takes.

    python -m tests.benchmarks.step [--preset paper] [--batch 64] [--sample-rate 44100]

On the backend and device that Keras finds; noise for input, 50 classes.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from multiview.settings import PRESETS


def measure_step(preset: str, batch: int = 64, sample_rate: int | None = None, repeats: int = 3) -> tuple:
    """Parameters, seconds of the fastest of `repeats` steps, and seconds of the first, which compiles."""
    import keras

    from multiview.networks import build_network

    chosen, rng = PRESETS[preset], np.random.default_rng(0)
    model = build_network("multiview", 50, sample_rate or chosen.sample_rate or 44100, chosen.width)
    model.compile(optimizer=keras.optimizers.Adam(chosen.learning_rate))
    model.optimizer.build(model.trainable_variables)
    x = {view: rng.normal(size=(batch, *tensor.shape[1:])).astype("float32") for view, tensor in model.input.items()}
    y, times = rng.integers(0, 50, batch), []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        loss = model.train_on_batch(x, y)
        times.append(time.perf_counter() - begin)
    if not np.isfinite(loss):
        raise ArithmeticError(f"expected a finite loss, found {loss}")
    return model.count_params(), min(times[1:]), times[0]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sample-rate", type=int, choices=(22050, 44100))
    args = parser.parse_args()
    parameters, step, first = measure_step(args.preset, args.batch, args.sample_rate)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{parameters:,} parameters, batch {args.batch}")
    print(f"first step {first:.1f} s, then {step:.2f} s a step ({args.batch / step:.1f} segments/s)")
    print(f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()

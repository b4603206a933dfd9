"""Times a training step of the multi-view network and says how much memory it takes.

    python -m tests.benchmarks.step [--preset paper] [--batch 64] [--sample-rate 44100] [--system raw] [--against plain]

On the backend and device that Keras finds; noise for input, 50 classes. With `--against plain` the same tables in stock
Keras layers take turns with it, and the ratio of the times is printed with its spread.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np

from multiview.settings import PRESETS


class Steps:
    """A compiled network with a batch of noise."""

    def __init__(
        self, preset: str, batch: int, sample_rate: int | None, system: str, plain: bool = False, **options: bool
    ) -> None:
        import keras

        from multiview.networks import build_network
        from multiview.optimizer import Adam
        from tests.benchmarks.plain import plain_network

        chosen, rng = PRESETS[preset], np.random.default_rng(0)
        build, adam = (plain_network, keras.optimizers.Adam) if plain else (build_network, Adam)
        self.model: Any = build(system, 50, sample_rate or chosen.sample_rate or 44100, chosen.width, **options)
        self.model.compile(optimizer=adam(chosen.learning_rate))
        self.model.optimizer.build(self.model.trainable_variables)
        self.x = {
            view: rng.normal(size=(batch, *tensor.shape[1:])).astype("float32")
            for view, tensor in self.model.input.items()
        }
        self.y = rng.integers(0, 50, batch)

    def take(self, steps: int = 1) -> float:
        """Seconds a step."""
        begin = time.perf_counter()
        for _ in range(steps):
            loss = self.model.train_on_batch(self.x, self.y)
        if not np.isfinite(loss):
            raise ArithmeticError(f"expected a finite loss, found {loss}")
        return (time.perf_counter() - begin) / steps


def measure_step(
    preset: str,
    batch: int = 64,
    sample_rate: int | None = None,
    repeats: int = 3,
    system: str = "multiview",
    **options: bool,
) -> tuple:
    """Parameters, seconds of the fastest of `repeats` steps, and seconds of the first, which compiles."""
    steps = Steps(preset, batch, sample_rate, system, **options)
    first, *times = (steps.take() for _ in range(repeats + 1))
    return steps.model.count_params(), min(times), first


def compare(
    preset: str,
    batch: int = 64,
    sample_rate: int | None = None,
    repeats: int = 7,
    system: str = "multiview",
    **options: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the network and of its plain twin, each [repeats + 1]: the first step, then two in turn at a time."""
    both = [Steps(preset, batch, sample_rate, system, **options), Steps(preset, batch, sample_rate, system, plain=True)]
    times = [[each.take() for each in both]]
    for each in both:
        each.take()  # the second still allocates
    times += [[each.take(2) for each in both] for _ in range(repeats)]
    ours, plain = np.transpose(times)
    return ours, plain


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sample-rate", type=int, choices=(22050, 44100))
    parser.add_argument("--system", default="multiview")
    parser.add_argument("--against", choices=("plain",))
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--repeats", type=int, default=7, help="of the comparison, at least 5")
    args = parser.parse_args()
    options = {"gradient_checkpointing": True} if args.gradient_checkpointing else {}
    if args.against:
        ours, plain = compare(args.preset, args.batch, args.sample_rate, max(5, args.repeats), args.system, **options)
        ratios = ours[1:] / plain[1:]
        print(f"first step {ours[0]:.1f} s, plain {plain[0]:.1f} s ({ours[0] / plain[0]:.2f})")
        print(
            f"{np.median(ours[1:]):.3f} s a step, plain {np.median(plain[1:]):.3f} s: {np.median(ratios):.2f} times "
            f"({ratios.min():.2f} to {ratios.max():.2f} of {len(ratios)})"
        )
        return
    parameters, step, first = measure_step(args.preset, args.batch, args.sample_rate, system=args.system, **options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{parameters:,} parameters, batch {args.batch}")
    print(f"first step {first:.1f} s, then {step:.2f} s a step ({args.batch / step:.1f} segments/s)")
    print(f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()

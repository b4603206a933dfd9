"""Times a training step of the multi-view network and says how much memory it takes.

    python -m tests.benchmarks.step [--preset paper] [--batch 64] [--sample-rate 44100] [--system raw]
        [--precision bfloat16] [--peak | --against plain | --against CHECKOUT | --profile]

On the backend and device that Keras finds; noise for input, 50 classes. With `--against plain` the same tables in stock
Keras layers take turns with it, with `--against CHECKOUT` the network of another commit's working tree, in a process
of its own, and the ratio of the times is printed with its spread. With `--peak` the step's arithmetic, three times the
multiplications of a forward pass, is set against that of large matrix products of the same precision. With `--profile`
TensorFlow says how long each kind of operation takes: milliseconds of all threads in a step.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from multiview.settings import PRECISIONS, PRESETS


class Timed(Protocol):
    """What takes training steps."""

    def take(self, steps: int = 1) -> float:
        """Seconds a step."""


class Steps:
    """A compiled network with a batch of noise."""

    def __init__(
        self,
        preset: str,
        batch: int,
        sample_rate: int | None,
        system: str,
        precision: str = "float32",
        plain: bool = False,
        **options: bool,
    ) -> None:
        import keras

        from multiview.networks import build_network

        chosen, rng, build, adam = PRESETS[preset], np.random.default_rng(0), build_network, keras.optimizers.Adam
        if plain:
            from tests.benchmarks.plain import plain_network as build
        elif importlib.util.find_spec("multiview.optimizer"):  # older commits have none
            from multiview.optimizer import Adam as adam
        keras.config.set_dtype_policy(PRECISIONS[precision])
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


class StepsOf:
    """The network of another commit, in a process of its own that waits between its steps."""

    def __init__(self, checkout: Path, arguments: Sequence[str]) -> None:
        if not (checkout / "multiview" / "networks.py").is_file():
            raise SystemExit(f"expected --against plain or the working tree of a commit, found {checkout}")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *arguments, "--serve"],
            env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"},
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def take(self, steps: int = 1) -> float:
        """Seconds a step."""
        assert self.process.stdin and self.process.stdout
        print(steps, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def serve(steps: Steps) -> None:
    """As many steps as each line of the standard input says; a line with the seconds of one for each."""
    for line in sys.stdin:
        print(steps.take(int(line)), flush=True)


def measure_step(
    preset: str,
    batch: int = 64,
    sample_rate: int | None = None,
    repeats: int = 3,
    system: str = "multiview",
    precision: str = "float32",
    **options: bool,
) -> tuple:
    """The network, seconds of the fastest of `repeats` steps, and seconds of the first, which compiles."""
    steps = Steps(preset, batch, sample_rate, system, precision, **options)
    first, *times = (steps.take() for _ in range(repeats + 1))
    return steps.model, min(times), first


def peak(precision: str, size: int, repeats: int = 5, products: int = 4) -> float:
    """Floating-point operations a second of products of two matrices [size, size] of random numbers."""
    import keras
    from keras import ops

    dtype = precision if precision in ("bfloat16", "float16") else "float32"
    one, other = (ops.cast(keras.random.normal((size, size), seed=seed), dtype) for seed in (0, 1))
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        found = [ops.matmul(one, other) for _ in range(products)]
        ops.convert_to_numpy(found[-1][0, :1])  # after all of them, on devices that compute beside Python
        times.append(time.perf_counter() - begin)
    return 2 * size**3 * products / float(np.median(times[1:]))


def compare(both: Sequence[Timed], repeats: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of this network and of another, each [repeats + 1]: the first step, then two in turn at a time."""
    times = [[each.take() for each in both]]
    for each in both:
        each.take()  # the second still allocates
    times += [[each.take(2) for each in both] for _ in range(repeats)]
    ours, other = np.transpose(times)
    return ours, other


def profile(steps: Steps, count: int = 5) -> dict[str, tuple[float, float]]:
    """Milliseconds of all threads and calls in a step, by kind of operation, the longest first."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    steps.take(3)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, tf.profiler.experimental.ProfilerOptions(host_tracer_level=2)):
            steps.take(count)
        space = xplane_pb2.XSpace()
        for path in Path(folder).rglob("*.xplane.pb"):
            space.MergeFromString(path.read_bytes())
    found: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name, colon, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if colon and kind.lstrip("_").isalnum() and "/" not in kind and "::" not in name:  # "layer/op:Kind"
                found[kind][0] += event.duration_ps / 1e9 / count
                found[kind][1] += 1 / count
    return {kind: (time_, calls) for kind, (time_, calls) in sorted(found.items(), key=lambda each: -each[1][0])}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sample-rate", type=int, choices=(22050, 44100))
    parser.add_argument("--system", default="multiview")
    parser.add_argument("--against", help="plain, or the working tree of another commit")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--peak", type=int, metavar="SIZE", help="of the matrices, 8192 for a large GPU")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--repeats", type=int, default=7, help="steps, or of a comparison, at least 5")
    args = parser.parse_args()
    options = {"gradient_checkpointing": True} if args.gradient_checkpointing else {}
    chosen = args.preset, args.batch, args.sample_rate, args.system, args.precision
    if args.serve:
        return serve(Steps(*chosen))
    if args.profile:
        for kind, (milliseconds, calls) in profile(Steps(*chosen, **options)).items():
            print(f"{milliseconds:9.2f} ms {calls:6.0f} calls  {kind}")
        return
    if args.against:
        plain, same = args.against == "plain", [arg for arg in sys.argv[1:] if arg not in ("--against", args.against)]
        other = Steps(*chosen, plain=True) if plain else StepsOf(Path(args.against).resolve(), same)
        ours, theirs = compare([Steps(*chosen, **options), other], max(5, args.repeats))
        ratios, name = ours[1:] / theirs[1:], "plain" if plain else "other"
        print(f"first step {ours[0]:.1f} s, {name} {theirs[0]:.1f} s ({ours[0] / theirs[0]:.2f})")
        print(
            f"{np.median(ours[1:]):.3f} s a step, {name} {np.median(theirs[1:]):.3f} s: {np.median(ratios):.2f} times "
            f"({ratios.min():.2f} to {ratios.max():.2f} of {len(ratios)})"
        )
        return
    model, step, first = measure_step(args.preset, args.batch, args.sample_rate, args.repeats, *chosen[3:], **options)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{model.count_params():,} parameters, batch {args.batch}")
    digits = 2 if step > 0.1 else 4
    print(f"first step {first:.1f} s, then {step:.{digits}f} s a step ({args.batch / step:.1f} segments/s)")
    print(f"peak memory {memory:.1f} GiB")
    if args.peak:
        from tests.benchmarks.backbones import multiplications

        work, most = 2 * 3 * args.batch * multiplications(model), peak(args.precision, args.peak)
        print(
            f"{work / 1e12:.3g} TFLOP a step, {work / step / 1e12:.3g} TFLOP/s, {100 * work / step / most:.3g} % "
            f"of the {most / 1e12:.3g} TFLOP/s of products of {args.peak:,} x {args.peak:,} in {args.precision}"
        )


if __name__ == "__main__":
    main()

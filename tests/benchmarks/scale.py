"""How time and memory grow with clips, their length, classes and views: a table, and a plot with slopes.

    python -m tests.benchmarks.scale [--only clips,seconds] [--plot results/scale.png]

Every point is a process of its own, with its peak memory. Slopes are those of a log-log plot between the last two
points: 1 is linear, 0 does not grow.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multiview.options import names
from multiview.settings import PRESETS
from multiview.views import paper_views


def epoch_of_clips(clips: int) -> float:
    """Seconds of an epoch of mel at `demo` with its evaluation, on a store of clips of 2 s."""
    from tests.benchmarks.evaluation import shares
    from tests.benchmarks.stores import synthesised

    with tempfile.TemporaryDirectory() as folder:
        store = synthesised(Path(folder) / "store.h5", clips, seconds=2)
        return shares(store, "demo", "mel", 3, ["--augmentations", "gain"])[0]


def answer_of_seconds(seconds: int) -> float:
    """Seconds until a recording of this length is answered, all four views at `small`."""
    import soundfile

    import multiview
    from tests.benchmarks.serving import untrained

    with tempfile.TemporaryDirectory() as folder:
        path, rate = Path(folder) / "noise.wav", 22050
        rng = np.random.default_rng(0)
        with soundfile.SoundFile(path, "w", rate, 1) as file:
            for _ in range(seconds):
                file.write(0.1 * rng.standard_normal(rate))
        predictor = multiview.load(untrained("small", Path(folder)).path)
        for _ in range(2):  # the first compiles
            begin = time.perf_counter()
            list(predictor.predict_files([path]))
        return time.perf_counter() - begin


def _step(classes: int, views: int) -> float:
    from multiview.networks import build_network
    from multiview.optimizer import Adam

    rng, chosen = np.random.default_rng(0), PRESETS["small"]
    system, several = ("multiview", paper_views()[:views]) if views > 1 else (paper_views()[0], None)
    model = build_network(system, classes, 22050, chosen.width, views=several)
    model.compile(optimizer=Adam(chosen.learning_rate))
    x = {view: rng.normal(size=(32, *tensor.shape[1:])).astype("float32") for view, tensor in model.input.items()}
    times = []
    for _ in range(12):
        begin = time.perf_counter()
        model.train_on_batch(x, rng.integers(0, classes, 32))
        times.append(time.perf_counter() - begin)
    return float(np.median(times[2:]))


def step_of_classes(classes: int) -> float:
    """Seconds of a training step at `small`, batch 32, all four views."""
    return _step(classes, 4)


def step_of_views(views: int) -> float:
    """Seconds of a training step at `small`, batch 32, of the first so many views: mel, gammatone, CQT, raw."""
    return _step(50, views)


@dataclass(frozen=True)
class Axis:
    """What grows, through which numbers, and what is timed."""

    name: str
    points: tuple[int, ...]
    measure: Callable[[int], float]


AXES = {
    axis.name: axis
    for axis in (
        Axis("clips", (100, 1000, 10000), epoch_of_clips),
        Axis("seconds", (5, 60, 600), answer_of_seconds),
        Axis("classes", (10, 100, 1000), step_of_classes),
        Axis("views", (1, 2, 3, 4), step_of_views),
    )
}


def point(axis: str, number: int) -> dict[str, float]:
    """Seconds and peak MiB of one point, measured in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--point", axis, str(number)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def slope(numbers: tuple[int, ...], values: list[float]) -> float:
    """Of the last two points, in a log-log plot."""
    return math.log(values[-1] / values[-2]) / math.log(numbers[-1] / numbers[-2])


def plot(found: dict[str, list[dict]], path: Path) -> None:
    """Seconds above, memory below, an axis a column."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(found), 5.2), layout="constrained")
    panels = figure.subplots(2, len(found), squeeze=False, sharex="col")
    for column, (name, rows) in enumerate(found.items()):
        numbers = AXES[name].points
        for panel, (key, label) in zip(panels[:, column], (("seconds", "s"), ("MiB", "MiB")), strict=True):
            values = [row[key] for row in rows]
            panel.loglog(numbers, values, "o-", color="tab:blue")
            steepest = np.array(numbers) / numbers[-1] * values[-1]
            panel.loglog(numbers, steepest, ":", color="gray")
            panel.set_title(f"slope {slope(numbers, values):.2f}", fontsize=10)
            panel.set_ylabel(label)
            panel.set_ylim(min(values) / 3, max(values) * 3)
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.set_xticks(numbers, list(map(str, numbers)))
        panel.set_xlabel(name)
    figure.suptitle("Time and peak memory; dotted: linear")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names, default=list(AXES))
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--point", nargs=2, metavar=("AXIS", "NUMBER"), help="one of them, as JSON")
    args = parser.parse_args()
    if args.point:
        seconds = AXES[args.point[0]].measure(int(args.point[1]))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(json.dumps({"seconds": seconds, "MiB": memory}))
        return
    found = {name: [point(name, number) for number in AXES[name].points] for name in args.only}
    for name, rows in found.items():
        print(f"# {AXES[name].measure.__doc__.splitlines()[0]}")
        for number, row in zip(AXES[name].points, rows, strict=True):
            print(f"{number} {name}: {row['seconds']:.3f} s, {row['MiB']:.0f} MiB")
        slopes = {key: slope(AXES[name].points, [row[key] for row in rows]) for key in ("seconds", "MiB")}
        print(f"slope with {name}: time {slopes['seconds']:.2f}, memory {slopes['MiB']:.2f}")
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()

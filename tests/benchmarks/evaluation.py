"""Times what a run does beside its training steps: evaluations, averaged weights, checkpoints and logging, batches.

    python -m tests.benchmarks.evaluation [--store STORE.h5] [--preset small] [--system multiview] [--epochs 4]
        [-- --averaging 0.99 ...]

From the first evaluation after training began to the last. Without --store 400 clips of 5 s of noise, as many as ESC-10
has. What follows `--` goes to `multiview train`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from multiview import cli
from multiview.averaging import AveragedNetwork
from multiview.evaluation import Monitor
from multiview.experiment.recorder import Recorder
from multiview.settings import PRESETS
from multiview.training import TrainingSegments
from tests.benchmarks.stores import synthesised


class Watch:
    """Seconds spent in methods, by what they are called."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = collections.Counter()

    def over(self, owner: type, method: str, name: str) -> None:
        """Time a method of a class from now on."""
        function: Callable = getattr(owner, method)

        def timed(*args, **kwargs):
            begin = time.perf_counter()
            result = function(*args, **kwargs)
            self.spent[name] += time.perf_counter() - begin
            return result

        setattr(owner, method, timed)


def shares(store: Path, preset: str, system: str, epochs: int, options: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds an epoch, and what share of it goes where, of a run after its first epoch, which compiles."""
    watch, at = Watch(), []
    record = Recorder.record

    def recorded(*args, **kwargs) -> None:
        record(*args, **kwargs)
        at.append((time.perf_counter(), dict(watch.spent)))

    Recorder.record = recorded
    watch.over(Recorder, "record", "checkpoints and logging")
    watch.over(Monitor, "__call__", "evaluations")
    watch.over(AveragedNetwork, "__call__", "averaged weights")
    watch.over(TrainingSegments, "__getitem__", "batches")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        words = ["train", str(store), "--system", system, "--fold", "1", "--preset", preset]
        status = cli.main([*words, "--run", f"{folder}/run", "--epochs", str(epochs), *options])
    if status:
        raise SystemExit(status)
    (begin, before), (end, after) = at[1], at[-1]
    parts = {name: (value - before.get(name, 0)) / (end - begin) for name, value in after.items()}
    return (end - begin) / (len(at) - 2), {"steps": 1 - sum(parts.values()), **parts}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--system", default="multiview")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("options", nargs="*", help="of training")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or synthesised(Path(folder) / "store.h5", 400)
        seconds, parts = shares(store, args.preset, args.system, args.epochs, args.options)
    print(f"from one evaluation to the next: {seconds:.2f} s")
    for name, share in parts.items():
        print(f"{name}: {share:.1%}")


if __name__ == "__main__":
    main()

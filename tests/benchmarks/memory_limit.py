"""Trains mel from a store larger than memory: the time of steps within a memory limit against that without.

    python -m tests.benchmarks.memory_limit [--clips 30000] [--limit 1.5]

Needs the right to make a memory cgroup (version 1 or 2); 30,000 clips of 5 s take 11 GiB of disk. The limit counts the
pages of the store that the system keeps, so with 1.5 GiB most segments come from the disk.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from tests.benchmarks.stores import synthesised

STEPS = """
import sys, os, time
from pathlib import Path
if len(sys.argv) > 2:
    Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
import keras
from multiview.settings import make_settings
from multiview.splits import make_split
from multiview.store import Store
from multiview.training import TrainingSegments, compile_network, make_network
store = Store(Path(sys.argv[1]))
settings = make_settings(store, "mel", 1, "small", batch_size=64, evaluation_interval=203)
split = make_split(store, 1, 0)
data, begin = TrainingSegments(store, split.train, settings), time.perf_counter()
model = make_network(store, settings, split)
print(time.perf_counter() - begin)
compile_network(model, settings, data.steps_per_epoch)
ends = []
model.fit(data, verbose=0, callbacks=[
    keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
])
print(ends[202] - ends[2])
"""


def cgroup(gibibytes: float) -> Path:
    """A new group with a limit on memory."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / "memory").is_dir()
    group = (root / "memory" if version_1 else root) / f"benchmark-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(int(gibibytes * 2**30)))
    return group


def train(store: Path, group: Path | None) -> tuple[float, float]:
    """Seconds of the statistics of all training clips, and of 200 steps; the store's pages are dropped before."""
    with store.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-c", STEPS, str(store), *([str(group)] if group else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    statistics, steps = map(float, done.stdout.split())
    return statistics, steps


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=30000)
    parser.add_argument("--limit", type=float, default=1.5, metavar="GIB")
    args = parser.parse_args()
    group = cgroup(args.limit)
    try:
        with tempfile.TemporaryDirectory() as folder:
            store = synthesised(Path(folder) / "store.h5", args.clips)
            print(f"store: {store.stat().st_size / 2**30:.1f} GiB, limit {args.limit} GiB")
            for name, within in (("without a limit", None), ("within the limit", group)):
                statistics, steps = train(store, within)
                print(f"{name}: statistics of the training clips {statistics:.1f} s, 200 steps of 64 {steps:.1f} s")
    finally:
        group.rmdir()


if __name__ == "__main__":
    main()

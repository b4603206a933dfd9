"""Many clips on a small machine: synthesised ones through prepare, two epochs of all views, test and report.

    python -m tests.benchmarks.many [--clips 10000] [--epochs 2] [--preset modern] [--folder DIR]

Prints a row a command in Markdown: seconds, and the most memory that one process of it had resident. 10,000 clips of
5 s take 2.2 GB of sounds and 4 GB of store in DIR (a temporary folder), and about an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from multiview.settings import PRESETS
from tests.benchmarks.all import commit, processor

CLASSES, SECONDS, RATE = 10, 5, 22050


def synthesise(folder: Path, clips: int) -> None:
    """Sweeps in noise, a pitch a class; those that are there already are kept."""
    t = np.arange(SECONDS * RATE) / RATE
    for number in tqdm(range(clips), desc="sounds", unit="clip"):
        rng, label = np.random.default_rng(number), number % CLASSES
        path = folder / f"class{label}" / f"{number // CLASSES:05}.wav"
        if path.exists():
            continue
        pitch = 200 * (label + 1) * rng.uniform(0.9, 1.1)
        sweep = 0.2 * rng.uniform(0.2, 1) * np.sin(2 * np.pi * pitch * t * (1 + 0.1 * rng.uniform() * t))
        sound = sweep + 0.05 * rng.uniform(0.1, 1) * rng.standard_normal(len(t))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, RATE, subtype="PCM_16")


def measured(module: str, *words: object) -> tuple[float, float]:
    """Seconds of a command, and GiB that it, or a process that it started, had resident at most."""
    begin = time.monotonic()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-m", module, *map(str, words)], dict(os.environ))
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{module} {words[0]} ended with status {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - begin, used.ru_maxrss / 2**20


def run(folder: Path, clips: int, epochs: int, preset: str) -> list[tuple[str, float, float]]:
    """Command, seconds and GiB of each."""
    synthesise(folder / "sounds", clips)
    store, results = folder / "many.h5", folder / "results"
    train = ["--system", "multiview", "--fold", 1, "--preset", preset, "--epochs", epochs]
    commands = {
        "prepare": ("data_prep.prepare", "folder", "--audio", folder / "sounds", "--store", store,
                    "--sample-rate", RATE),
        f"{epochs} epochs and the test": ("multiview.cli", "train", store, *train,
                                          "--run", results / "multiview" / "fold1"),
        "report": ("multiview.cli", "report", results),
    }  # fmt: skip
    return [(name, *measured(*command)) for name, command in commands.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--preset", choices=PRESETS, default="modern")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        rows = run(args.folder or Path(scratch), args.clips, args.epochs, args.preset)
    print(f"{args.clips:,} clips of {SECONDS} s, commit {commit()}, {processor()}, {os.cpu_count()} cores\n")
    print("| | s | resident, GiB |\n|---|---|---|")
    for name, seconds, memory in rows:
        print(f"| {name} | {seconds:.0f} | {memory:.2f} |")


if __name__ == "__main__":
    main()

"""Runs the benchmarks, one after the other on an idle machine, and writes one table.

    python -m tests.benchmarks.all [--to results/benchmarks.md] [--only step,predict]

About 20 minutes on two cores. Each row is a line that a benchmark printed: what, and how much.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from multiview.options import names
from multiview.support.files import replacing

BENCHMARKS = (
    "views",
    "prepare",
    "step --preset small --batch 32 --sample-rate 22050 --against plain",
    "step --preset small --batch 32 --sample-rate 22050 --against plain --system raw",
    "step --preset demo --batch 16 --sample-rate 22050 --against plain",
    "step --preset paper --against plain --repeats 5",
    "step --preset paper",
    "step --preset paper --gradient-checkpointing",
    "evaluation --preset small",
    "evaluation --preset small -- --averaging 0.99",
    "predict",
    "serving --preset small",
    "scale --plot results/scale.png",
    "memory_limit",
)


def processor() -> str:
    """The machine in words."""
    found = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return (
        f"{os.cpu_count()} cores of {found[0] if found else platform.processor()}, Python {platform.python_version()}"
    )


def commit() -> str:
    """The checkout's, with a plus where files differ from it."""
    return subprocess.check_output(["git", "describe", "--always", "--dirty=+"], text=True).strip()


def rows(benchmark: str) -> list[tuple[str, str]]:
    """What a benchmark prints, as (what, how much)."""
    command = [sys.executable, "-m", *f"tests.benchmarks.{benchmark}".split()]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return [("failed", (done.stderr.strip().splitlines() or ["without a word"])[-1])]
    print(f"{benchmark}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    found = [line.strip().partition(": ") for line in done.stdout.splitlines() if line.strip()]
    return [(what, figure) if colon else ("", what) for what, colon, figure in found]


def table(benchmarks: list[str]) -> str:
    """All of them, in Markdown."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "librosa"))
    lines = [
        "# Benchmarks",
        "",
        f"`python -m tests.benchmarks.all`, commit {commit()}, {processor()}, {packages}, no GPU.",
    ]
    for benchmark in benchmarks:
        lines += ["", f"## `python -m tests.benchmarks.{benchmark}`", "", "| what | figure |", "|---|---|"]
        lines += [f"| {what} | {figure} |" for what, figure in rows(benchmark)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("results/benchmarks.md"))
    parser.add_argument("--only", type=names, help="first words of those to run")
    args = parser.parse_args()
    text = table([each for each in BENCHMARKS if not args.only or each.split()[0] in args.only])
    with replacing(args.to) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()

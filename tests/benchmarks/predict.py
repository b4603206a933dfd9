"""Times `multiview predict` from its start to its end, as a user runs it, and `import multiview`.

    python -m tests.benchmarks.predict [--run RUN] [--clips 200] [--source DIR] [--repeats 5]

Without --run an untrained `small` network of 50 classes; sounds are 5 s of noise in WAV files. --source is a checkout
of another commit, which takes turns with this one, and the ratio is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from multiview.experiment.run import Run
from tests.benchmarks.serving import noise, untrained

HERE = Path(__file__).parents[2]
PREDICT = "import sys; from multiview.cli import main; sys.exit(main(sys.argv[1:]))"
COLD, FOLDER = "one 5 s WAV file, cold start", "folder of clips"


def seconds(source: Path, *arguments: str) -> float:
    """Wall-clock seconds of a Python process with the package of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(source), "TF_CPP_MIN_LOG_LEVEL": "3"}
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, cwd=source)
    return time.perf_counter() - begin


def measure(run: Path, sounds: list[Path], sources: list[Path], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each task, [repeats, sources], by turns."""
    tasks = {
        "import multiview": ["-c", "import multiview"],
        "multiview --help": ["-c", PREDICT, "--help"],
        COLD: ["-c", PREDICT, "predict", str(run), str(sounds[0])],
        FOLDER: ["-c", PREDICT, "predict", str(run), str(sounds[0].parent), "--csv"],
    }
    return {
        name: np.array([[seconds(source, *words) for source in sources] for _ in range(repeats)])
        for name, words in tasks.items()
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = args.run or untrained("small", Path(folder)).path
        (sounds := Path(folder) / "sounds").mkdir()
        paths = noise(sounds, args.clips, Run(run).read()["store"]["sample_rate"])
        sources = [HERE, *([args.source.absolute()] if args.source else [])]
        found = measure(run.absolute(), paths, sources, args.repeats)
    for name, times in found.items():
        ratios = times[:, 0] / times[:, -1]
        against = f"; {np.median(times[:, 1]):.2f} s there, {np.median(ratios):.2f} times" if args.source else ""
        print(f"{name}: {np.median(times[:, 0]):.2f} s ({times[:, 0].min():.2f} to {times[:, 0].max():.2f}){against}")
    rates = args.clips / np.median(found[FOLDER] - found[COLD], axis=0)
    print(f"clips a second, without the start: {', there '.join(f'{rate:.1f}' for rate in rates)}")


if __name__ == "__main__":
    main()

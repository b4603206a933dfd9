"""Makes a starter model of a run that was trained on all clips, with what the runs of the folds beside it reached.

    multiview train STORE --system multiview --fold all --preset modern --run results/esc10/modern/multiview/all
    python -m tests.benchmarks.starter results/esc10/modern/multiview/all --attribution ATTRIBUTION.txt \\
        --to multiview/starters/esc10

Leaves `model.keras`, `run.json`, `MODEL_CARD.md` and the attribution that the licence of the clips asks for.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from multiview.experiment.run import Run
from multiview.experiment.schema import HEARD
from multiview.export.model_card import model_card, tested_folds

MOST_BYTES = 12 * 10**6  # of all files


def make(run: Run, attribution: Path, directory: Path) -> None:
    """Copy what predicting needs, and write the card."""
    directory.mkdir(parents=True, exist_ok=True)
    record = {**run.read(), "tested": tested_folds(run), HEARD: [str(name) for name in run.store().ids]}
    del record["store"]["path"]  # of the machine that trained it
    shutil.copyfile(run.model, directory / "model.keras")
    (directory / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    starter = Run(directory)
    shutil.copyfile(attribution, starter.attribution)
    answers = {
        "classes": record["store"]["classes"],
        "sample_rate": record["store"]["sample_rate"],
        "weights": run.load_model().weights_by_branch(),
        "calibration": asdict(calibration) if (calibration := run.calibration()) else None,
    }
    (directory / "MODEL_CARD.md").write_text(model_card(starter, 1, answers), encoding="utf-8")
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{directory}: {size / 10**6:.1f} MB")
    assert size <= MOST_BYTES, f"expected at most {MOST_BYTES} bytes, found {size}"


def main() -> None:
    """Read the options, and make it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--attribution", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    args = parser.parse_args()
    make(Run(args.run), args.attribution, args.to)


if __name__ == "__main__":
    main()

"""The evaluated runs of a dataset and preset, found on disk: what reports are made from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from multiview.errors import InputError
from multiview.evaluation import Predictions, late_fusion, self_ensemble
from multiview.files import read_json
from multiview.names import JOINT, SYSTEMS, VIEWS
from multiview.runs import Run

ABLATIONS = "ablations"  # folder of multi-view runs that differ from the paper's in one setting


@dataclass(frozen=True)
class Results:
    """All evaluated runs of a dataset and preset: by system and fold, and by ablation and fold."""

    dataset: str
    runs: dict[str, dict[int, Run]]
    ablations: dict[str, dict[int, Run]] = field(default_factory=dict)
    failed: tuple[tuple[Path, str], ...] = ()

    def history(self, system: str, fold: int) -> pd.DataFrame:
        """`history.csv` of a run."""
        return pd.read_csv(self.runs[system][fold].history)

    def predictions(self, system: str, fold: int) -> Predictions:
        """`predictions.h5` of a run."""
        return Predictions.read(self.runs[system][fold].predictions)

    def late_fusion(self, fold: int) -> Predictions:
        """Mean of the probabilities of the four single-view runs of a fold.

        Raises
        ------
        InputError
            If they were not tested on the same clips.
        """
        parts = [self.predictions(view, fold) for view in VIEWS]
        first = parts[0]
        for view, part in zip(VIEWS, parts, strict=True):
            if part.clips != first.clips:
                raise InputError(
                    f"late fusion of fold {fold}: {VIEWS[0]} and {view} were tested on different clips; "
                    "train and evaluate them on the same store"
                )
        fused = late_fusion([part.probabilities[view] for view, part in zip(VIEWS, parts, strict=True)])
        return Predictions(first.clips, first.labels, first.classes, {"late_fusion": fused}, {"late_fusion": 1.0})

    def rows(self) -> dict[str, dict[int, Predictions]]:
        """Test predictions by row of Table 3 and fold, each with the row's name as only branch."""
        rows: dict[str, dict[int, Predictions]] = defaultdict(dict)
        for system, runs in self.runs.items():
            for fold in runs:
                found = self.predictions(system, fold)
                scores = {system: found.probabilities[SYSTEMS[system][1][-1]]}
                if system == JOINT:
                    scores["self_ensemble"] = self_ensemble(found.probabilities, found.weights)
                for row, score in scores.items():
                    rows[row][fold] = Predictions(found.clips, found.labels, found.classes, {row: score}, {row: 1.0})
        for fold in sorted(set.intersection(*(set(self.runs.get(view, ())) for view in VIEWS))):
            rows["late_fusion"][fold] = self.late_fusion(fold)
        return dict(rows)


def correct(rows: dict[str, dict[int, Predictions]]) -> dict[str, dict[int, np.ndarray]]:
    """Whether each test clip was right, by row and fold; bool [clips] in the order of the clips' names."""
    return {
        row: {
            fold: (found.probabilities[row].argmax(axis=1) == found.labels)[np.argsort(found.clips)]
            for fold, found in folds.items()
        }
        for row, folds in rows.items()
    }


def read_metrics(run: Run) -> dict:
    """`metrics.json` of a run.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        return read_json(run.metrics)
    except ValueError as error:
        raise InputError(f"{run.metrics} is damaged ({error}); run multiview evaluate {run.path}") from error


def collect(directory: str | Path) -> Results:
    """Find the evaluated runs `SYSTEM/foldN` and `ablations/NAME/foldN` below `directory`.

    Raises
    ------
    InputError
        If there is none, or they are of several datasets or stores.
    """
    directory, stores, failed = Path(directory), {}, []

    def find(folder: Path, system: str) -> dict[int, Run]:
        found = {}
        for path in sorted(folder.glob("fold*")):
            run = Run(path)
            if not run.metrics.is_file():
                try:
                    if run.record.is_file() and (record := run.read()).get("status") == "failed":
                        failed.append((path, record.get("reason", "")))
                except InputError as error:
                    failed.append((path, str(error)))
            else:
                metrics = read_metrics(run)
                if (metrics["system"], f"fold{metrics['fold']}") != (system, path.name):
                    raise InputError(
                        f"expected in {path} a run of {system}, {path.name}; found {metrics['system']}, "
                        f"fold{metrics['fold']}; move it away"
                    )
                found[metrics["fold"]] = run
                store = run.read()["store"]
                stores[store["dataset"], store["sample_rate"], store["fingerprint"]] = path
        return dict(sorted(found.items()))

    runs = {system: found for system in SYSTEMS if (found := find(directory / system, system))}
    names = sorted(path.name for path in directory.glob(f"{ABLATIONS}/*"))
    ablations = {name: found for name in names if (found := find(directory / ABLATIONS / name, JOINT))}
    if not runs:
        raise InputError(
            f"expected evaluated runs SYSTEM/foldN below {directory}, found none; run multiview train first"
        )
    if len(stores) > 1:
        raise InputError(
            f"expected runs on one store below {directory}, found several: "
            f"{', '.join(str(path) for path in stores.values())}; keep each store's runs apart"
        )
    ((dataset, _, _),) = stores
    return Results(dataset, runs, ablations, tuple(failed))

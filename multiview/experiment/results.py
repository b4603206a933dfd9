"""The evaluated runs of a dataset and preset, found on disk: what reports are made from."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from multiview.evaluation import decisions, late_fusion
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import ABLATIONS, Run, Trial
from multiview.history import column
from multiview.support.errors import InputError
from multiview.systems import JOINT, LATE_FUSION, System, system_names, table_rows
from multiview.views import VIEWS, paper_views


@dataclass(frozen=True)
class Results:
    """All evaluated runs of a dataset and preset: by system and trial, and by ablation and trial.

    A trial is a fold and a seed. `failed` are the runs that have no results, each with the reason, and `views` those
    of the store.
    """

    dataset: str
    runs: dict[str, dict[Trial, Run]]
    ablations: dict[str, dict[Trial, Run]] = field(default_factory=dict)
    failed: tuple[tuple[Path, str], ...] = ()
    views: tuple[str, ...] = ()

    def system(self, name: str) -> System:
        """The views and branches of a system, as its runs have them."""
        return next(iter(self.runs[name].values())).system()

    def history(self, system: str, trial: Trial) -> pd.DataFrame:
        """`history.csv` of a run."""
        return pd.DataFrame(self.runs[system][trial].read_history())

    def predictions(self, system: str, trial: Trial) -> Predictions:
        """`predictions.h5` of a run."""
        return self.runs[system][trial].read_predictions()

    @functools.cached_property
    def fused_views(self) -> tuple[str, ...]:
        """The views of late fusion, the same in all trials; a trial that lacks one of them has no late fusion.

        They are those of the multi-view runs, which it is compared with; where there are none, the paper's
        four; and where not all of these were trained, the two or more that were.
        """
        if JOINT in self.runs:
            return self.system(JOINT).views
        trained = tuple(name for name in self.runs if name in VIEWS)
        return paper_views() if set(paper_views()) <= set(trained) else trained

    def late_fusion(self, trial: Trial) -> Predictions:
        """Mean of the probabilities of the single-view runs of a trial, over `fused_views`.

        Raises
        ------
        InputError
            If they were not tested on the same clips.
        """
        views = self.fused_views
        parts = [self.predictions(view, trial) for view in views]
        first = parts[0]
        for view, part in zip(views, parts, strict=True):
            if part.clips != first.clips:
                raise InputError(
                    f"late fusion of fold {trial}: {views[0]} and {view} were tested on different clips; "
                    "train and evaluate them on the same store"
                )
        fused = late_fusion([part.probabilities[view] for view, part in zip(views, parts, strict=True)])
        return Predictions(first.clips, first.labels, first.classes, {LATE_FUSION: fused}, {LATE_FUSION: 1.0})

    @functools.cached_property
    def rows(self) -> dict[str, dict[Trial, Predictions]]:
        """Test predictions by row of Table 3, in its order, and trial, each with the row's name as only branch."""
        rows: dict[str, dict[Trial, Predictions]] = defaultdict(dict)
        for name, runs in self.runs.items():
            system = self.system(name)
            for trial in runs:
                found = self.predictions(name, trial)
                said = found.rows(system)
                for row, answer in ((name, system.scored), (system.ensemble, system.ensemble)):
                    if row and answer:
                        only = {row: said[answer]}
                        rows[row][trial] = Predictions(found.clips, found.labels, found.classes, only, {row: 1.0})
        if len(self.fused_views) > 1:
            for trial in sorted(set.intersection(*(set(self.runs.get(view, ())) for view in self.fused_views))):
                rows[LATE_FUSION][trial] = self.late_fusion(trial)
        return {row: rows[row] for row in _ordered(table_rows(), rows)}


def _ordered(order: Iterable[str], names: Iterable[str]) -> list[str]:
    """Those of `names` that are in `order`, in that order, and then all others."""
    names = dict.fromkeys(names)
    known = [name for name in order if name in names]
    return [*known, *(name for name in names if name not in known)]


def branches_of(history: pd.DataFrame) -> list[str]:
    """The branches that a `history.csv` has weights of, in their order."""
    start = column("weight", "")
    return [name.removeprefix(start) for name in history if name.startswith(start)]


def correct(rows: Mapping[str, Mapping[Trial, Predictions]]) -> dict[str, dict[Trial, np.ndarray]]:
    """Whether each test clip was right, by row and trial; bool [clips] in the order of the clips' names."""
    return {row: {trial: right(found, row) for trial, found in trials.items()} for row, trials in rows.items()}


def by_fold(trials: Mapping[Trial, ArrayLike]) -> dict[int, np.ndarray]:
    """Numbers of the test clips in each trial, or one of each, by fold; float64 [seeds, clips] or [seeds]."""
    folds: dict[int, list[np.ndarray]] = defaultdict(list)
    for trial in sorted(trials):
        folds[trial.fold].append(np.asarray(trials[trial], np.float64))
    return {fold: np.stack(each) for fold, each in folds.items()}


def shares(trials: Iterable[Trial]) -> dict[Trial, float]:
    """What the answers of a trial count, so that each clip counts once, whatever seeds its fold has."""
    trials = list(trials)
    return {trial: 1 / sum(each.fold == trial.fold for each in trials) for trial in trials}


def right(found: Predictions, branch: str) -> np.ndarray:
    """Whether a branch was right on each test clip; bool [clips] in the order of the clips' names."""
    return (decisions(found.probabilities[branch]) == found.labels)[np.argsort(found.clips)]


def trial_of(run: Run) -> Trial:
    """The fold and the seed of an evaluated run."""
    settings = run.settings()
    return Trial(settings.fold, settings.seed)


def collect(directory: str | Path) -> Results:
    """Find the evaluated runs `SYSTEM/foldN` and `ablations/NAME/foldN` below `directory`, of all seeds.

    The systems are those whose folders are there, a user's own views among them.

    Raises
    ------
    InputError
        If there is none, they are of several datasets or stores, the folds of one system take different
        views, or a plugin is missing.
    """
    directory = Path(directory)
    failed: list[tuple[Path, str]] = []
    folders = sorted({path.parent.name for path in directory.glob("*/fold*")} - {ABLATIONS})
    names = _ordered(system_names(), folders)
    runs = {name: found for name in names if (found := _evaluated(directory / name, name, failed))}
    names = sorted(path.name for path in directory.glob(f"{ABLATIONS}/*"))
    ablations = {name: found for name in names if (found := _evaluated(directory / ABLATIONS / name, JOINT, failed))}
    if not runs:
        raise InputError(
            f"expected evaluated runs SYSTEM/foldN below {directory}, found none; run multiview train first"
        )
    store = _one_store(directory, [run for trials in (*runs.values(), *ablations.values()) for run in trials.values()])
    for trials in (*runs.values(), *ablations.values()):
        _check_views(trials)
    return Results(store["dataset"], runs, ablations, tuple(failed), tuple(store.get("views") or paper_views()))


def _evaluated(folder: Path, system: str, failed: list[tuple[Path, str]]) -> dict[Trial, Run]:
    """The evaluated runs of a system by trial; what failed is added to `failed`."""
    found: dict[Trial, Run] = {}
    for path in sorted(folder.glob("fold*")):
        run = Run(path)
        if not run.metrics.is_file():
            if (reason := run.why_failed()) is not None:
                failed.append((path, reason))
            continue
        metrics = run.read_metrics()
        if metrics["system"] != system and system not in system_names():
            continue  # a folder of the user's own, such as a copy
        trial = trial_of(run)
        if metrics["system"] != system or path.name not in trial.folders():
            raise InputError(
                f"expected in {path} a run of {system}, {path.name}; found {metrics['system']}, "
                f"{trial.folder()}; move it away"
            )
        if trial in found:
            raise InputError(f"{found[trial].path} and {path} are both of fold {trial}; move one away")
        found[trial] = run
    return dict(sorted(found.items()))


def _one_store(directory: Path, runs: list[Run]) -> dict:
    """What the runs recorded of their store, which has to be one."""
    stores = {}
    for run in runs:
        store = run.read()["store"]
        known = (*(store[key] for key in ("dataset", "sample_rate", "fingerprint")), tuple(store["classes"]))
        stores[known] = (run.path, store)
    if len(stores) > 1:
        raise InputError(
            f"expected runs on one store below {directory}, found several: "
            f"{', '.join(str(path) for path, _ in stores.values())}; keep each store's runs apart"
        )
    ((_, store),) = stores.values()
    return store


def _check_views(trials: Mapping[Trial, Run]) -> None:
    """Refuse trials of a system that were trained on different views: their mean would be of no system."""
    views = {run.system().views: run.path for run in trials.values()}
    if len(views) > 1:
        found = " and ".join(f"{','.join(names)} in {path}" for names, path in views.items())
        raise InputError(f"expected one choice of views on all folds, found {found}; keep each choice's runs apart")

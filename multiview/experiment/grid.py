"""Many runs: all systems on all folds, and the ablations; which there are, and the command of each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiview import backbones, options
from multiview.blending import BLENDINGS
from multiview.experiment.run import ABLATIONS, Run, Trial
from multiview.settings import Settings, make_settings
from multiview.splits import folds as folds_of
from multiview.store import Store
from multiview.support import programs
from multiview.support.errors import InputError, UsageError, usage
from multiview.systems import JOINT, JOINT_SYSTEMS, find_system, system_names
from multiview.views import in_order, paper_views


@dataclass(frozen=True)
class Task:
    """One run of the grid: its name, such as `mel/fold1`, its directory and the command that makes it."""

    name: str
    store: Path
    run: Run
    command: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The name without fold and seed: runs of a kind take about as long."""
        return self.name.rsplit("/", 1)[0]

    @property
    def log(self) -> Path:
        """What the command printed."""
        return self.run.path / "train.log"

    def state(self) -> str:
        """As `Run.state`."""
        return self.run.state()


def ablation_changes(name: str, views: Sequence[str] | None = None) -> dict[str, str | int]:
    """The setting that an ablation changes.

    A blending other than the preset's own, `window5`, `interval100` (in steps), or `without_mel`, which leaves out one
    of `views`, those of the multi-view network: the paper's four by default.

    Raises
    ------
    InputError
        For any other name.
    """
    if name in BLENDINGS:
        return {"blending": name}
    if number := re.fullmatch(r"(window|interval)([1-9]\d*)", name):
        return {{"window": "window", "interval": "evaluation_interval"}[number[1]]: int(number[2])}
    views = views or paper_views()
    left_out = name.removeprefix("without_")
    if left_out in views and left_out != name:
        return {"views": ",".join(view for view in views if view != left_out)}
    raise UsageError(
        f"expected ablations of {', '.join(BLENDINGS)}, windowN or intervalN with a number N, or without_VIEW of "
        f"{', '.join(views)}; found {name!r}"
    )


def _given(changes: dict) -> dict:
    return {key: value for key, value in changes.items() if value is not None}


def tasks(
    store: Store,
    results: Path,
    preset: str,
    systems: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    ablations: Sequence[str] = (),
    **changes,
) -> list[Task]:
    """The runs of a grid, fold by fold.

    Parameters
    ----------
    systems : sequence of str or None
        None for one a view and those on several.
    folds : sequence of int or None
        None for all of the store's.
    changes
        Of the preset's settings, for every run; those that are None are left to the preset. `views` is for the
        systems on several. `seed` may be several, for runs with each: those with the first in `foldN`, those with
        another, S, in `foldN_seedS`.

    Raises
    ------
    InputError
        For an unknown preset, system, fold or ablation, or a directory that holds another run.
    """
    known, changes, found = folds_of(store), _given(changes), []
    seeds = seeds_of(changes)
    for trial in itertools.starmap(Trial, itertools.product(dict.fromkeys(folds or known), seeds)):
        if trial.fold not in known:
            raise InputError(f"{store.path} has the folds {', '.join(map(str, known))}, not fold {trial.fold}")
        changes["seed"] = trial.seed
        for kind, settings, chosen in planned(store, preset, systems, trial.fold, ablations, changes):
            name = f"{kind}/{trial.folder(first=seeds[0])}"
            run = Run(results / name)
            _check(run, store, settings)
            found.append(Task(name, store.path, run, _command(store, settings, run, chosen)))
    return found


def seeds_of(changes: Mapping) -> list[int]:
    """The seeds that are asked for, each once; 0 where none is."""
    seeds = changes.get("seed") or 0
    return list(dict.fromkeys([seeds] if isinstance(seeds, int) else seeds))


def _check(run: Run, store: Store, settings: Settings) -> None:
    """Refuse a run that is of other settings, done or begun; one that is damaged says so itself."""
    try:
        if not run.is_begun():
            return
        run.read()
    except InputError:
        return
    run.check(store, settings)


def planned(
    store: Store,
    preset: str,
    systems: Sequence[str] | None,
    fold: int,
    ablations: Sequence[str],
    changes: dict,
) -> list[tuple[str, Settings, dict]]:
    """The runs of a fold: where they go, their settings, and what was chosen to make them.

    Of the store, only its rate, protocol and views are asked where `changes` say how many epochs.

    Raises
    ------
    InputError
        For what cannot be trained.
    """
    views = in_order(changes["views"].split(",")) if "views" in changes else None
    chosen = dict.fromkeys(systems or system_names(views or paper_views()))
    kinds: list[tuple[str, str, dict]] = [(system, system, {}) for system in chosen]
    kinds += [(f"{ABLATIONS}/{name}", JOINT, ablation_changes(name, views)) for name in dict.fromkeys(ablations)]
    found = []
    for kind, system, change in kinds:
        own = _own(changes, system, change.get("views", changes.get("views")))
        settings = make_settings(store, system, fold, preset, **{**own, **change})
        if change and settings == make_settings(store, system, fold, preset, **own):
            raise UsageError(f"{kind} is what preset {preset} does anyway; drop it")
        found.append((kind, settings, {**own, **change}))
    if changes.get("pretrained") and not any(settings.pretrained for _, settings, _ in found):
        with usage():
            backbones.able(changes.get("backbone"), views or paper_views())
        raise UsageError(f"expected --pretrained with a system that takes its weights, found {', '.join(chosen)}")
    return found


def _own(changes: dict, system: str, views: str | None) -> dict:
    """Those of the grid's changes that go with a system: choices of views with several, networks with its views."""
    own = changes if system in JOINT_SYSTEMS else {key: value for key, value in changes.items() if key != "views"}
    if "backbone" in own:
        mine = find_system(system, views.split(",") if views and system in JOINT_SYSTEMS else None).views
        own = {**own, "backbone": ",".join(backbones.parts(own["backbone"], mine)) or None}
        if not backbones.loaders(own["backbone"], mine):
            own = {**own, "pretrained": None}
    if changes.get("pretrained") and not (own.get("init") or own.get("pretrained")):
        own = {**own, "freeze_epochs": None}
    return _given(own)


def _command(store: Store, settings: Settings, run: Run, changes: dict) -> tuple[str, ...]:
    """What trains and tests a run; absolute, as a job of a cluster starts anywhere."""
    words = ["train", str(store.path.absolute()), "--system", settings.system, "--fold", str(settings.fold)]
    words += ["--preset", settings.preset, "--run", str(run.path.absolute()), *options.words(changes)]
    return tuple(programs.command("multiview", words))

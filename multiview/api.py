"""The whole road from Python: `prepare`, `train` and `evaluate`, with the options of the commands as arguments.

That their names, defaults and choices are those of the commands is tested, tests/test_api.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multiview import options as commands
from multiview.experiment.run import Run
from multiview.settings import Settings, make_settings
from multiview.starters import is_starter, located
from multiview.store import Store
from multiview.support.errors import InputError, UsageError
from multiview.support.lean import import_keras
from multiview.support.programs import called

if TYPE_CHECKING:
    import keras

Place = str | Path
Names = str | Sequence[str]  # "mel,cqt" or ["mel", "cqt"]


def prepare(
    dataset: str,
    store: Place,
    *,
    audio: Place | None = None,
    sample_rate: int | None = None,
    views: Names | None = None,
    name: str | None = None,
    allow_missing: bool = False,
    download: bool = False,
    mirror: str | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Store:
    """Turn the sound files of a dataset into a store of views, unless it is there.

    Carried out by the command `multiview-prepare`, in a process of its own: preparation knows the library, and the
    library nothing of it.

    Parameters
    ----------
    dataset : str
        `esc10`, `folder` or another of `multiview-prepare --list`.
    sample_rate : int, optional
        In Hz; the dataset's own by default.
    views : str or sequence of str, optional
        The paper's four by default.
    jobs : int, optional
        Processes; all cores by default.
    options : mapping, optional
        What only this dataset can be asked for, `{"csv": "clips.csv"}`, as `multiview-prepare DATASET --help` says.

    Raises
    ------
    InputError
        With what the command refuses.
    """
    given = {
        "audio": audio,
        "store": store,
        "sample_rate": sample_rate,
        "views": _listed(views),
        "name": name,
        "allow_missing": allow_missing,
        "download": download,
        "mirror": mirror,
        "jobs": jobs,
        "cluster": cluster,
        **(options or {}),
    }
    # A flag that is not wanted is left out.
    called("multiview-prepare", [dataset, *commands.words({k: v for k, v in given.items() if v is not False})])
    return Store(Path(store))


def train(
    store: Store | Place,
    run: Place | Settings,
    path: Place | None = None,
    *,
    system: str | None = None,
    fold: int | Literal["all"] | None = None,
    preset: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    window: int | None = None,
    evaluation_interval: int | None = None,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    keep: Literal["first_best", "last_best", "loss", "end"] | None = None,
    schedule: Literal["steps", "cosine"] | None = None,
    averaging: float | None = None,
    joint_gradient: bool | None = None,
    view_dropout: float | None = None,
    skip_silence: bool | None = None,
    views: Names | None = None,
    backbone: str | None = None,
    augmentations: Names | None = None,
    gradient_checkpointing: bool | None = None,
    init: Place | None = None,
    pretrained: Place | None = None,
    freeze_epochs: int | None = None,
    blending: str | None = None,
    tensorboard: Place | None = None,
    devices: int = 1,
    workers: Names | None = None,
    worker: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Train one system on one fold in the directory `run`, or continue what is there; `evaluate` tests it.

    The arguments are the options of `multiview train`; what is None is the preset's. `system`, `fold` and `preset` are
    needed, but for `train(store, settings, path)`, with the `Settings` of `multiview.settings.make_settings` instead of
    them all.

    Parameters
    ----------
    fold : int or "all"
        The fold to test on, from 1; "all" to hold none out, for use; the few clips that validate and calibrate stay.
    callbacks : sequence of keras.callbacks.Callback
        As `multiview.experiment.train.train` takes them.
    devices, workers, worker
        What shares the network, see `multiview.experiment.placement`; `workers` are `host:port` each, `worker` is the
        number of this process among them.
    tensorboard : path, optional
        Where TensorBoard finds the run's curves. The confusion matrix is of its test: call again once it is tested.

    Raises
    ------
    InputError
        For an unknown name, a value out of range, a store that does not fit, or a directory with another run.
    DivergedError
        If a loss is no longer finite, or has exploded; the last good checkpoint stays.
    """
    given = dict(locals())  # first, as no other names are there yet
    changes = {name: given[name] for name in (*commands.training_options(), "blending")}
    asked = {"system": system, "fold": fold, "preset": preset}
    if isinstance(run, Settings):
        changed = {name for name, value in commands.read({}).items() if changes[name] != value}
        if both := [name for name, value in given.items() if name in changed or asked.get(name) is not None]:
            raise InputError(f"expected settings or {', '.join(both)}, found both; make_settings takes them, too")
        if path is None:
            raise InputError("expected train(store, settings, path), found no path; name the run directory")
        settings, folder, opened = run, path, _opened(store)
    else:
        if path is not None:
            raise InputError(f"expected settings before the path {path}, found {run!r}; drop one of them")
        if missing := [name for name, value in asked.items() if value is None]:
            raise InputError(f"expected system, fold and preset, found no {' and no '.join(missing)}; say them")
        changes, folder, opened = commands.read(changes), run, _opened(store)
        settings = make_settings(opened, str(system), _fold(fold), str(preset), **changes)
    if not isinstance(callbacks, Sequence):
        raise InputError(f"expected a list of callbacks, found {callbacks!r}")
    import_keras()
    from multiview.experiment.placement import Placement
    from multiview.experiment.train import train as fit
    from multiview.tensorboard import curves

    addresses = workers.split(",") if isinstance(workers, str) else workers
    placement = Placement.of(devices, addresses, worker, os.environ)
    drawn = curves(Run(folder), tensorboard) if placement.index == 0 else []
    found = fit(opened, settings, folder, [*drawn, *callbacks], placement)
    for each in drawn:
        each.finish()
    return found


def evaluate(run: Run | Place, *, store: Store | Place | None = None, to: Place | None = None) -> dict:
    """Test the kept model of a run on its fold; write `predictions.h5` and `metrics.json`, and return the latter.

    Parameters
    ----------
    store : Store or path, optional
        Test on its clips of the same classes, but those that the run has heard, instead; the run may be a starter
        model's name.
    to : path, optional
        Where the results on `store` go; `on_DATASET` in the run's directory by default.

    Raises
    ------
    InputError
        If there is no such run, no clip was held out of its training, or the store does not fit.
    """
    found = run if isinstance(run, Run) else Run(located(run))
    if store is None:
        if to is not None:
            raise InputError("expected `to` with `store`, found it without; drop it")
        found.read()
        import_keras()
        from multiview.experiment.evaluate import evaluate as test

        return test(found)
    if to is None and not isinstance(run, Run) and is_starter(run):
        raise UsageError(f"expected --to DIR for the results of the starter model {run}, found none; name one")
    found.read()
    opened = _opened(store)
    import_keras()
    from multiview.experiment.elsewhere import evaluate_elsewhere

    return evaluate_elsewhere(found, opened, found.path / f"on_{opened.dataset}" if to is None else Path(to))


def _listed(names: Names | None) -> str | None:
    return names if names is None or isinstance(names, str) else ",".join(names)


def _opened(store: Store | Place) -> Store:
    return store if isinstance(store, Store) else Store(Path(store))


def _fold(fold: int | str | None) -> int:
    try:
        return commands.fold(str(fold))
    except Exception as error:  # of argparse, or of int
        raise InputError(f"expected a fold, counted from 1, or 'all'; found {fold!r}") from error

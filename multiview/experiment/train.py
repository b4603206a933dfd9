"""Training a run in its directory: kept, recorded, and continued where it was interrupted."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras

from multiview.blending import BLENDINGS
from multiview.calibration import calibrate
from multiview.callbacks import AdaptiveBlending, Progress
from multiview.evaluation import Monitor
from multiview.experiment.initial import Initial, start
from multiview.experiment.outlook import Outlook
from multiview.experiment.placement import ALONE, Placement
from multiview.experiment.recorder import Follower, Recorder
from multiview.experiment.run import Run
from multiview.experiment.schema import HEARD_KNOWN, STARTED_FROM, STOPPED, VALIDATION_HEARD
from multiview.experiment.team import Team, joined
from multiview.networks import BlendedModel
from multiview.settings import Settings
from multiview.splits import Split, make_split
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.training import TrainingSegments, averaged_network, compile_network, fit, make_network


def train(
    store: Store,
    settings: Settings,
    path: str | Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    placement: Placement = ALONE,
) -> Run:
    """Train one system on one fold, or with none held out, in the run directory `path`, or continue what is there.

    Leaves `run.json`, `history.csv` and `model.keras`. A finished run is left as it is. Of several workers the first
    leaves them; the others do the same steps, and return when these are done.

    Parameters
    ----------
    callbacks
        Further callbacks of Keras. What they call an epoch goes from one evaluation to the next, and `logs` has the
        columns of `history.csv` by branch. They are no part of the settings, and the run does not record them; but
        where one ends the training, the run is finished with what it has, and its record says at which evaluation.
    placement
        The devices, and the workers, that share the network. No part of the settings, either.

    Raises
    ------
    InputError
        If the store has no such fold, the directory holds another run or is in use, what the run shall start from
        does not fit, one of `callbacks` is none, or there are no such devices or workers.
    DivergedError
        If a loss is no longer finite, or has exploded; the last good checkpoint stays.
    """
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise InputError(f"expected callbacks that are keras.callbacks.Callback, found {callback!r}; drop it")
    placement.check(settings.batch_size)
    with joined(placement, store, settings) as team:
        run, split = team.run(path), make_split(store, settings.fold, settings.seed)
        data = TrainingSegments(store, split.train, settings)
        if not data.intervals:
            raise InputError(
                f"expected --evaluation-interval of at most the {settings.epochs * data.steps_per_epoch} steps "
                f"of training, found {data.interval}"
            )
        initial = Initial.of(settings, store, split)
        policy = keras.config.dtype_policy()
        with run.locked():
            if team.share(run.begin(store, settings, team.devices), run.checkpoint):
                team.part()
                print(f"{path} is trained already")
                return run
            try:
                keras.config.set_dtype_policy(settings.dtype_policy)
                with team.scope():
                    recorder = _fit(store, settings, split, data, run, initial, callbacks, team)
                team.part()
                if team.first:
                    _keep(store, settings, split, run, initial, recorder, data.intervals)
            except Exception as error:
                team.settle()
                with contextlib.suppress(OSError):  # a full disk
                    run.ended("failed", reason=" ".join(str(error).split()) or type(error).__name__)
                raise
            except KeyboardInterrupt:
                run.ended("interrupted")
                raise
            finally:
                keras.config.set_dtype_policy(policy)
    return run


def _build(store: Store, settings: Settings, split: Split, initial: Initial | None) -> BlendedModel:
    return make_network(store, settings, split, initial.statistics() if initial else None)


def _fit(
    store: Store,
    settings: Settings,
    split: Split,
    data: TrainingSegments,
    run: Run,
    initial: Initial | None,
    callbacks: Sequence[keras.callbacks.Callback],
    team: Team,
) -> Recorder:
    """Build and fit; what was recorded has the kept model."""
    system = settings.resolve()
    build = functools.partial(_build, store, settings, split, initial)
    keras.utils.set_random_seed(1000 * settings.seed + settings.fold)
    model = build()
    started = start(model, settings, initial)
    if initial:
        heard = {VALIDATION_HEARD: initial.validation_heard, HEARD_KNOWN: initial.heard_known}
        run.update(**{STARTED_FROM: initial.record()}, **heard)
        if team.first:
            initial.credit(run)
    compile_network(model, settings, data.steps_per_epoch)

    recorder = (Recorder if team.first else Follower)(run, system, settings.keep, settings.window)
    recorder.resume(model)
    rule = BLENDINGS[settings.blending].rule(system.branches, settings.window)
    label = f"{store.dataset} {settings.system} {f'fold {settings.fold}' if settings.fold else 'all clips'}"
    if team.first:
        print(*Outlook.of(label, store, settings, split).lines(), sep="\n", file=sys.stderr, flush=True)
    progress = Progress(
        label, data.intervals * data.interval, recorder.done * data.interval, system.scored, shown=team.first
    )
    blending = AdaptiveBlending(
        Monitor(store, split, settings.batch_size, settings.skip_silence),
        rule,
        data.warm_up,
        data.place,
        listeners=[recorder.record, progress.show],
        evaluated=averaged_network(build(), store, settings, split) if settings.averaging else lambda model: model,
    )
    blending.replay(recorder.evaluations)
    # After `blending`, whose evaluation they find in `logs`.
    try:
        fit(model, data, [blending, *callbacks, progress], recorder.done, started if settings.freeze_epochs else ())
    finally:
        progress.bar.close()  # what is said of an error gets a line of its own
    return recorder


def _keep(
    store: Store,
    settings: Settings,
    split: Split,
    run: Run,
    initial: Initial | None,
    recorder: Recorder,
    intervals: int,
) -> None:
    """Save the kept model; and where training ended before its last interval, say when."""
    last = recorder.evaluations[-1]
    stopped = {STOPPED: {"evaluation": last.evaluation, "epoch": last.epoch}} if recorder.done < intervals else {}
    kept = _build(store, settings, split, initial)
    for variable, value in zip(kept.variables, recorder.kept.variables, strict=True):
        variable.assign(value)
    run.ended(
        "trained",
        parameters=kept.count_params(),
        clips={name: len(rows) for name, rows in asdict(split).items()},
        kept=recorder.kept.place(),
        **stopped,
        calibration=asdict(calibrate(kept, store, split.validation)),
        training_seconds=round(recorder.seconds, 1),
        checkpoint_seconds=round(recorder.checkpoint_seconds, 2),
    )
    # Last: a run whose model is there is finished.
    with replacing(run.model) as temporary:
        kept.save(temporary)
    run.checkpoint.unlink(missing_ok=True)

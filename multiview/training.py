"""Training of one system (Sec. 3.1.3): schedule, statistics, the segments that each step sees, and `fit`."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from multiview.augment import Batch, augmented, choose
from multiview.averaging import STATISTICS_SEGMENTS, AveragedNetwork, averages_of, copy
from multiview.networks import BlendedModel, build_network
from multiview.optimizer import Adam
from multiview.segments import MONITOR_SEGMENTS, Segments, cut, random_starts, sounding, test_segments
from multiview.settings import Settings
from multiview.splits import Split
from multiview.store import Store
from multiview.transfer import freeze, thaw
from multiview.views import VIEWS

DEVIATION_FLOOR = 0.1  # of a bin that never changes in training, so that nothing is divided by 0


class LearningRates(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate an epoch, looked up by the training step.

    Not Keras's piecewise constant: a branch an epoch would be thousands in the graph of a step.
    """

    def __init__(self, rates: Sequence[float], steps_per_epoch: int) -> None:
        self.rates, self.steps_per_epoch = list(rates), steps_per_epoch

    def __call__(self, step: Any) -> Any:
        epoch = keras.ops.cast(step, "int32") // self.steps_per_epoch
        rates = keras.ops.convert_to_tensor(self.rates, "float32")
        return keras.ops.take(rates, keras.ops.minimum(epoch, len(self.rates) - 1))

    def get_config(self) -> dict:
        return {"rates": self.rates, "steps_per_epoch": self.steps_per_epoch}


def learning_rate_schedule(settings: Settings, steps_per_epoch: int) -> LearningRates:
    """`Settings.learning_rate_at` as a schedule over training steps."""
    rates = [settings.learning_rate_at(epoch) for epoch in range(1, settings.epochs + 1)]
    return LearningRates(rates, steps_per_epoch)


def bin_statistics(store: Store, clips: np.ndarray, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each frequency bin of a view over `clips`; dB, float64 [64].

    The deviation of a bin that is silent in training, such as one above the band of recordings at a lower rate, counts
    as the largest of the view. By its own, a mask, or a sound in use that has that band, would be hundreds of them.
    """
    bands = VIEWS[view].bands or 1
    total, square, frames = np.zeros(bands), np.zeros(bands), 0
    for clip in clips:
        values = np.asarray(store.clip(view, clip), np.float64)
        total, square, frames = total + values.sum(0), square + (values**2).sum(0), frames + len(values)
    mean = total / frames
    deviation = np.sqrt(np.maximum(square / frames - mean**2, 0))
    deviation = np.where(VIEWS[view].silent_bands(mean, deviation), deviation.max(), deviation)
    return mean, np.maximum(deviation, DEVIATION_FLOOR)


class TrainingSegments(keras.utils.PyDataset):
    """Batches from one evaluation to the next: each epoch shows one random segment of every clip.

    What step `n` sees follows from the seed, the fold and `n` alone, so every system sees the same
    segments and a continued run the same ones as an undisturbed one.

    Raises
    ------
    InputError
        If an augmentation cannot do its work on these views or classes.
    """

    def __init__(self, store: Store, clips: np.ndarray, settings: Settings) -> None:
        super().__init__()
        self.store, self.clips, self.settings = store, clips, settings
        self.views, self.augmentations = settings.resolve().views, choose(settings.augmentations)
        lengths, segment = store.samples[clips], store.size.segment_samples
        share = max((each.over_ends for each in self.augmentations), default=0)
        self.over_ends = (share * np.minimum(lengths, segment)).astype(np.int64)
        lengths = np.maximum(lengths, segment)
        self.lasts = np.array([store.size.last_start(int(length)) for length in lengths], dtype=np.int64)
        self.steps_per_epoch = math.ceil(len(clips) / settings.batch_size)
        self.interval = settings.evaluation_interval or settings.evaluation_epochs * self.steps_per_epoch
        # With an interval of its own, training ends with the last whole one.
        self.intervals = settings.epochs * self.steps_per_epoch // self.interval
        self.evaluations = 0  # done so far
        self._epoch = functools.lru_cache(maxsize=4)(self._draw_epoch)
        if self.augmentations:
            self[0]  # what cannot be is said now, not within `fit`

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.settings.seed, self.settings.fold, epoch])
        return rng.permutation(len(self.clips)), random_starts(self.lasts, rng, self.over_ends)

    def __len__(self) -> int:
        return self.interval

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        step = self.evaluations * self.interval + index
        epoch, batch = divmod(step, self.steps_per_epoch)
        order, starts = self._epoch(epoch)
        rows = order[batch * self.settings.batch_size : (batch + 1) * self.settings.batch_size]
        clips = self.clips[rows]
        segments = cut(self.store, Segments(clips, starts[rows]), self.views)
        found = Batch(segments, self.store.labels[clips], self.store.sample_rate, len(self.store.classes))
        found = augmented(found, self.augmentations, (self.settings.seed, self.settings.fold, step))
        return found.views, found.labels

    def place(self, evaluation: int) -> dict[str, float]:
        """Where training is at an evaluation: `epoch`, `step`, and the `learning_rate` of the latest step.

        Before training it is that of the first to come.
        """
        step = evaluation * self.interval
        rate = self.settings.learning_rate_at(max(1, math.ceil(step / self.steps_per_epoch)))
        return {"epoch": step // self.steps_per_epoch, "step": step, "learning_rate": rate}

    @property
    def warm_up(self) -> int:
        """Evaluations before the warm-up epochs are over."""
        return math.ceil(self.settings.warm_up_epochs * self.steps_per_epoch / self.interval)

    @property
    def frozen(self) -> int:
        """Evaluations before the frozen epochs are over."""
        return math.ceil(self.settings.freeze_epochs * self.steps_per_epoch / self.interval)

    def follow(self) -> keras.callbacks.Callback:
        """Callback that tells this object which evaluations `fit` has done; `fit` itself does not."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "evaluations", epoch))


def make_network(
    store: Store,
    settings: Settings,
    split: Split,
    statistics: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> BlendedModel:
    """The untrained network of a run, with the statistics of its training clips, but for views in `statistics`."""
    views, known = settings.resolve().views, dict(statistics or {})
    standardised = [view for view in views if VIEWS[view].standardised and view not in known]
    known |= {view: bin_statistics(store, split.train, view) for view in standardised}
    return network_of(settings, len(store.classes), known)


def network_of(
    settings: Settings, classes: int, statistics: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> BlendedModel:
    """The untrained network of `settings` with the statistics of its views; see `build_network`."""
    return build_network(
        settings.system,
        classes,
        settings.sample_rate,
        settings.width,
        statistics,
        views=settings.resolve().views,
        backbone=settings.backbone,
        joint_gradient=settings.joint_gradient,
        view_dropout=settings.view_dropout,
        skip_silence=settings.skip_silence,
        gradient_checkpointing=settings.gradient_checkpointing,
    )


def averaged_network(network: BlendedModel, store: Store, settings: Settings, split: Split) -> AveragedNetwork:
    """One for the averaged weights of a run, a `network` like its own, with segments from all over its training set."""
    views = settings.resolve().views
    segments = statistics_segments(store, split.train, heard_by=views if settings.skip_silence else ())
    return AveragedNetwork(network, cut(store, segments, views))


def statistics_segments(
    store: Store, clips: np.ndarray, most: int = STATISTICS_SEGMENTS, heard_by: Sequence[str] = ()
) -> Segments:
    """Those of `clips` for the statistics of batch normalisation: evenly from the first to the last, `most` at most.

    Of those that hold sound in the views `heard_by`, if there are any of both.
    """
    every = test_segments(clips, store.samples[clips], store.size, most=MONITOR_SEGMENTS)
    found, count = _evenly(every, most), most
    while heard_by:  # of more and more, until there are enough: a large store is not read as a whole
        found = _evenly(every, count)
        found = found[sounding(store, found, heard_by)]
        if len(found) >= most or count >= len(every):
            break
        count *= 2
    return _evenly(found if len(found) else every, most)


def _evenly(segments: Segments, most: int) -> Segments:
    count = min(len(segments), most)
    return segments[np.linspace(0, len(segments) - 1, count).round().astype(int)]


def compile_network(model: BlendedModel, settings: Settings, steps_per_epoch: int) -> None:
    """Adam on the schedule; with its state, so that a checkpoint can be put in."""
    averaging = {"use_ema": True, "ema_momentum": settings.averaging} if settings.averaging else {}
    model.compile(optimizer=Adam(learning_rate_schedule(settings, steps_per_epoch), **averaging))
    model.optimizer.build(model.trainable_variables)


class _Callbacks(keras.callbacks.CallbackList):
    """Callbacks to which training in two parts, frozen and thawed, is one: many forget at its begin what they know."""

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], model: BlendedModel, data: TrainingSegments
    ) -> None:
        super().__init__(callbacks, add_history=True, model=model, epochs=data.intervals, steps=len(data), verbose=0)
        self._begun = self.last = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.last or self.model.stop_training:
            super().on_train_end(logs)


def fit(
    model: BlendedModel,
    data: TrainingSegments,
    callbacks: Sequence[keras.callbacks.Callback],
    done: int = 0,
    frozen: Sequence[str] = (),
) -> None:
    """Train from evaluation `done` to the last; what Keras calls an epoch goes from one evaluation to the next.

    The networks of the views in `frozen` stay as they are for the first `freeze_epochs`, in whole evaluations. Ends
    early where a callback sets the model's `stop_training`.
    """
    thawed, held = min(data.frozen, data.intervals) if frozen else 0, {}
    told = _Callbacks([data.follow(), *callbacks], model, data)
    for first, last in ((done, thawed), (max(done, thawed), data.intervals)):
        if first < last:
            if frozen:
                if last == thawed:
                    held = freeze(model, frozen)
                else:
                    thaw(held)
                for variable, average in averages_of(model):
                    if not variable.trainable:  # which the optimizer leaves alone
                        copy(average, variable)
                model.compile(optimizer=model.optimizer)  # goes on with its state
            told.last = last == data.intervals
            # Batches come in the order of the steps: the epochs are shuffled in `data`.
            model.fit(
                data,
                epochs=last,
                initial_epoch=first,
                shuffle=False,
                callbacks=told,
                verbose=0,
            )
            if model.stop_training:
                break

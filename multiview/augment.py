"""Augmentations: training batches as they might have been recorded, alike in all views.

Strengths are the constants below.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.support.registry import Registry
from multiview.views import VIEWS, geometry

GAIN_DB = 6.0
LEVEL_RANGE_DB = 30.0  # a difference of levels counts up to here, so that beside silence a sound stays audible
MASK_SECONDS = 0.24  # at most; 12 frames of 20 ms
MASK_BANDS = 12 / 64  # at most, of a view's bands
OVER_ENDS = 0.5  # of a segment, or of a shorter clip, at most
NONE = "none"  # in place of names, where a preset has some


@dataclass(frozen=True)
class Batch:
    """What a training step sees.

    `views` has by view float32 [segments, frames, 64, 1] in dB, or [segments, samples, 1] of `raw`, as
    `multiview.segments.cut` gives them; `labels` int64 [segments], or float32 [segments, classes] with the share of
    each class. `classes` is their number, which only what mixes labels needs.
    """

    views: dict[str, np.ndarray]
    labels: np.ndarray
    sample_rate: int
    classes: int | None = None

    def soft_labels(self) -> np.ndarray:
        """The labels as float32 [segments, classes].

        Raises
        ------
        InputError
            If nobody said how many classes there are.
        """
        if self.labels.ndim == 2:
            return self.labels
        if self.classes is None:
            raise InputError("expected a batch with the number of classes, found none; pass Batch(..., classes=N)")
        return np.eye(self.classes, dtype=np.float32)[self.labels]


@dataclass(frozen=True)
class Augmentation:
    """A change of training batches: its name, what it does in half a sentence, and how.

    `apply` takes a batch and a generator and gives a new batch of the same shapes, or with soft labels. What it draws
    must not depend on the views of the batch, so that all systems see the same. `over_ends` is how far segments may run
    over the ends of their clips, of a segment or of a shorter clip. `needs` has the fields that each view has to
    declare, and `needs_one` the one that a view at least does.
    """

    name: str
    text: str
    apply: Callable[[Batch, np.random.Generator], Batch] | None = None
    over_ends: float = 0.0
    needs: tuple[str, ...] = ()
    needs_one: str | None = None

    def __post_init__(self) -> None:
        if self.name == NONE:
            raise InputError(f"augmentation {NONE}: field name: expected another, {NONE} is a word for none; rename it")

    def lacks(self, views: Iterable[str]) -> str | None:
        """What these views do not declare though it takes that, in words; None where it can do its work."""
        views = list(views)
        for field in self.needs:
            if lacking := [name for name in views if getattr(VIEWS[name], field) is None]:
                return f"expected views that declare {field} with the augmentation {self.name}, found {lacking[0]}"
        if (one := self.needs_one) and all(getattr(VIEWS[name], one) is None for name in views):
            found = ", ".join(views)
            return f"expected a view that declares {one} with the augmentation {self.name}, found {found}"
        return None


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")


def choose(names: str | None) -> tuple[Augmentation, ...]:
    """The augmentations of a list such as `gain,other`, none of None.

    Raises
    ------
    InputError
        For an unknown name, or one twice.
    """
    chosen = names.split(",") if names and names != NONE else []
    if len(set(chosen)) < len(chosen):
        raise InputError(f"expected each augmentation once, found {names}; drop one")
    return tuple(AUGMENTATIONS.find(name) for name in chosen)


def check(augmentations: Sequence[Augmentation], views: Sequence[str]) -> None:
    """Refuse augmentations that cannot do their work on these views.

    Raises
    ------
    InputError
        If a view lacks a declaration that one needs.
    """
    lacks = {each.name: each.lacks(views) for each in augmentations}
    if found := next(filter(None, lacks.values()), None):
        left = ",".join(name for name, lack in lacks.items() if lack is None) or NONE
        raise InputError(f"{found}; declare it, or say --augmentations {left}")


def augmented(batch: Batch, augmentations: Sequence[Augmentation], key: Sequence[int]) -> Batch:
    """The batch after all augmentations; what each draws follows from `key` (seed, fold, step) and its name alone."""
    check(augmentations, list(batch.views))
    for augmentation in augmentations:
        if augmentation.apply is None:
            continue
        rng = np.random.default_rng([*key, zlib.crc32(augmentation.name.encode())])
        try:
            changed = augmentation.apply(batch, rng)
            _check(batch, changed)
        except InputError:
            raise
        except Exception as error:  # a user's code may raise anything
            plugin = plugins.origin("augmentation", augmentation.name)
            where = f"{f'plugin {plugin}: ' if plugin else ''}augmentation {augmentation.name}"
            found = str(error) if isinstance(error, _Unfit) else f"found {type(error).__name__}: {error}"
            raise InputError(f"{where}: field apply: {' '.join(found.split())}; mend it") from error
        batch = changed
    return batch


class _Unfit(ValueError):
    """What an augmentation gave is no such batch."""


def _check(given: Batch, changed: Batch) -> None:
    for view, values in given.views.items():
        if (found := np.shape(changed.views.get(view, ()))) != values.shape:
            raise _Unfit(f"expected {view} of shape {list(values.shape)}, found {list(found)}")
    if len(changed.labels) != len(given.labels):
        raise _Unfit(f"expected {len(given.labels)} labels, found {len(changed.labels)}")


def _column(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A number a segment, float32, in the shape that goes with `values`."""
    return numbers.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))


def gain(batch: Batch, rng: np.random.Generator) -> Batch:
    """Each segment up to 6 dB louder or softer, by the same in all views."""
    decibels = rng.uniform(-GAIN_DB, GAIN_DB, len(batch.labels)).astype(np.float32)
    views = {}
    for name, values in batch.views.items():
        amplify: Any = VIEWS[name].amplify
        views[name] = amplify(values, _column(decibels, values)).astype(np.float32)
    return replace(batch, views=views)


def levels(batch: Batch) -> np.ndarray:
    """Level of each segment in dB, up to a constant; of the waveform where the batch has it, of a view that has one."""
    known = {name: level for name in batch.views if (level := VIEWS[name].level)}
    name = min(known, key=lambda name: VIEWS[name].bands is not None)
    return known[name](batch.views[name])


def mix(batch: Batch, rng: np.random.Generator) -> Batch:
    """Between-class learning (Tokozume et al., ICLR 2018): each segment with another, and labels that say how much.

    r is uniform in (0, 1), one a segment for its label and all views. The sounds are added with the amplitudes p and
    1 - p, p = 1 / (1 + 10^((G1 - G2) / 20) (1 - r) / r) of their levels G, over sqrt(p^2 + (1 - p)^2), so that r is
    what one hears. Unlike theirs, G is the plain mean power, and G1 - G2 counts up to 30 dB. 7 % of ESC-10's random
    segments are digital silence, and keep their share of the label: 6 % of all of it is of a class that is not heard.

    In spectrograms powers add, as they do on average. On clips of ESC-10, within 60 dB of the maximum, half of the
    values are within 0.1 dB of the spectrogram of the added waveforms (CQT: 0.2 dB), 95 % within 1.7 dB (3.3 dB).
    """
    count = len(batch.labels)
    if batch.soft_labels().shape[1] < 2:
        raise InputError("expected at least two classes with the augmentation mix, found one; drop it")
    order = rng.permutation(count)
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)  # one ring, so that nobody's partner is itself
    ratio = 1 - rng.random(count)  # never 0
    return mixed(batch, partner, ratio if count > 1 else np.ones(1))


def mixed(batch: Batch, partner: np.ndarray, ratio: np.ndarray) -> Batch:
    """Each segment mixed with row `partner`, itself by `ratio` in (0, 1]; both [segments]."""
    level, labels = levels(batch), batch.soft_labels()
    louder = np.clip(level - level[partner], -LEVEL_RANGE_DB, LEVEL_RANGE_DB)
    share = 1 / (1 + 10 ** (louder / 20) * (1 - ratio) / ratio)
    norm = np.hypot(share, 1 - share)
    views = {}
    for name, values in batch.views.items():
        own, other = (_column(factor / norm, values) for factor in (share, 1 - share))
        add: Any = VIEWS[name].mix
        views[name] = add(values, values[partner], own, other).astype(np.float32, copy=False)
    ratio = _column(ratio, labels)
    return replace(batch, views=views, labels=ratio * labels + (1 - ratio) * labels[partner])


def masks(batch: Batch, rng: np.random.Generator) -> Batch:
    """Up to 0.24 s of each segment hidden, the same in all views, and in each view up to 12 of 64 bands.

    Hidden is what has the segment's mean over the view, which is near what the network standardises to 0, where the
    floor would be far outside of all it sees; 0 of a waveform. In a band that training leaves silent it is about two
    deviations (`multiview.training.bin_statistics`). A view that is shorter than the mask may be hidden as a whole.
    """
    count = len(batch.labels)
    length, place = rng.random((2, count))
    bands = dict(zip(VIEWS, rng.random((len(VIEWS), 2, count))))  # of all views, so that each has its own
    seconds = geometry(batch.sample_rate).segment_samples / batch.sample_rate
    length = length * MASK_SECONDS
    begin = place * (seconds - length)
    views = {}
    for name, values in batch.views.items():
        view, values = VIEWS[name], values.copy()
        grid = view.grid(batch.sample_rate)
        steps = [
            np.ceil((time * batch.sample_rate - grid.middle) / grid.hop).clip(0).astype(int)
            for time in (begin, begin + length)
        ]
        fill = values.mean(axis=tuple(range(1, values.ndim))) if view.bands else np.zeros(count)
        for row, (first, end) in enumerate(zip(*steps)):
            values[row, first:end] = fill[row]
        if view.bands:
            width = np.floor(bands[name][0] * (int(MASK_BANDS * view.bands) + 1)).astype(int)
            low = np.floor(bands[name][1] * (view.bands - width + 1)).astype(int)
            for row, (first, end) in enumerate(zip(low, low + width)):
                values[row, :, first:end] = fill[row]
        views[name] = values
    return replace(batch, views=views)


for _augmentation in (
    Augmentation("mix", "each segment mixed with another, and their labels", mix, needs=("mix",), needs_one="level"),
    Augmentation("gain", f"each segment up to {GAIN_DB:g} dB louder or softer", gain, needs=("amplify",)),
    Augmentation("masks", f"up to {MASK_SECONDS:g} s and up to 12 of 64 bands hidden", masks),
    Augmentation(
        "crops", "segments that run over a clip's ends by up to half, with silence there", None, OVER_ENDS, ("silence",)
    ),
):
    AUGMENTATIONS.register(_augmentation)

"""Augmentations: training batches as they might have been recorded, alike in all views."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from multiview.support.errors import InputError
from multiview.support.registry import Registry
from multiview.views import VIEWS

GAIN_DB = 6.0
NONE = "none"  # in place of names, where a preset has some


@dataclass(frozen=True)
class Batch:
    """What a training step sees.

    `views` has by view float32 [segments, frames, 64, 1] in dB, or [segments, samples, 1] of `raw`, as
    `multiview.segments.cut` gives them; `labels` int64 [segments].
    """

    views: dict[str, np.ndarray]
    labels: np.ndarray
    sample_rate: int


@dataclass(frozen=True)
class Augmentation:
    """A change of training batches: its name, what it does in half a sentence, and how.

    `apply` takes a batch and a generator and gives a new batch of the same shapes. What it draws must not
    depend on the views of the batch, so that all systems see the same.
    """

    name: str
    text: str
    apply: Callable[[Batch, np.random.Generator], Batch]


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")


def choose(names: str | None) -> tuple[Augmentation, ...]:
    """The augmentations of a list such as `gain,other`, none of None.

    Raises
    ------
    InputError
        For an unknown name.
    """
    return tuple(AUGMENTATIONS.find(name) for name in names.split(",")) if names and names != NONE else ()


def augmented(batch: Batch, augmentations: Sequence[Augmentation], key: Sequence[int]) -> Batch:
    """The batch after all augmentations; what each draws follows from `key` (seed, fold, step) and its name alone."""
    for augmentation in augmentations:
        rng = np.random.default_rng([*key, zlib.crc32(augmentation.name.encode())])
        changed = augmentation.apply(batch, rng)
        for view, values in batch.views.items():
            if (found := np.shape(changed.views.get(view, ()))) != values.shape:
                raise InputError(
                    f"augmentation {augmentation.name}: field apply: expected {view} of shape {list(values.shape)}, "
                    f"found {list(found)}; mend it"
                )
        batch = changed
    return batch


def gain(batch: Batch, rng: np.random.Generator) -> Batch:
    """Each segment up to 6 dB louder or softer, by the same in all views."""
    decibels = rng.uniform(-GAIN_DB, GAIN_DB, len(batch.labels)).astype(np.float32)
    views = {}
    for name, values in batch.views.items():
        amplify = VIEWS[name].amplify
        if amplify is None:
            raise InputError(f"expected views that declare amplify with the augmentation gain, found {name}; drop one")
        views[name] = amplify(values, decibels.reshape(-1, *[1] * (values.ndim - 1))).astype(np.float32)
    return replace(batch, views=views)


AUGMENTATIONS.register(Augmentation("gain", f"each segment up to {GAIN_DB:g} dB louder or softer", gain))

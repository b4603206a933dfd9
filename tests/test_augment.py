"""Augmentations: the same in all views, and reproducible."""

from __future__ import annotations

import numpy as np
import pytest

from multiview.augment import AUGMENTATIONS, Augmentation, Batch, augmented, choose
from multiview.segments import Segments, cut
from multiview.support.errors import InputError
from multiview.training import TrainingSegments
from multiview.views import extract
from multiview.views.extraction import Excerpt
from tests.helpers.paper import VIEWS


def batch(waveform: np.ndarray) -> Batch:
    excerpt = Excerpt(22050, extract(waveform, 22050), 0, 0, 1, True)
    segments = Segments(np.zeros(3, np.int64), np.array([0, 500, 900]))
    return Batch(cut(excerpt, segments, VIEWS), np.arange(3), 22050)


def test_gain_is_that_of_the_waveform(rng: np.random.Generator) -> None:
    """The views of a batch that was made louder are the views of the louder waveform."""
    waveform = (0.05 * rng.standard_normal(60_000)).astype(np.float32)
    found = augmented(batch(waveform), choose("gain"), (0, 1, 7))
    for row in range(3):
        plain = batch(waveform).views["raw"][row, :, 0]
        factor = float(found.views["raw"][row, :, 0] @ plain / (plain @ plain))
        assert 10 ** (-6 / 20) <= factor <= 10 ** (6 / 20)
        wanted = batch(np.float32(factor) * waveform)
        for view in ("mel", "gammatone", "cqt"):
            np.testing.assert_allclose(found.views[view][row], wanted.views[view][row], atol=0.01)
        np.testing.assert_allclose(found.views["raw"][row], wanted.views["raw"][row], atol=2 / 32768)


def test_silence_stays_silence() -> None:
    found = augmented(batch(np.zeros(60_000)), choose("gain"), (0, 1, 7))
    for view in ("mel", "gammatone", "cqt"):
        np.testing.assert_allclose(found.views[view], -100)
    assert not found.views["raw"].any()


def test_draws_follow_from_seed_fold_and_step_alone(rng: np.random.Generator) -> None:
    plain = batch(0.1 * rng.standard_normal(60_000))
    first, same, other = (augmented(plain, choose("gain"), key) for key in ((0, 1, 7), (0, 1, 7), (0, 1, 8)))
    np.testing.assert_array_equal(first.views["raw"], same.views["raw"])
    assert (first.views["raw"] != other.views["raw"]).any()
    # Whichever views a system takes.
    alone = augmented(Batch({"mel": plain.views["mel"]}, plain.labels, 22050), choose("gain"), (0, 1, 7))
    np.testing.assert_array_equal(alone.views["mel"], first.views["mel"])


def test_training_sees_augmented_segments(tiny_store, tiny_settings) -> None:
    clips = np.arange(20)
    plain, louder = (
        TrainingSegments(tiny_store, clips, tiny_settings("mel", augmentations=names)) for names in (None, "gain")
    )
    difference = louder[0][0]["mel"] - plain[0][0]["mel"]
    assert 0.5 < np.abs(difference).max() <= 6
    np.testing.assert_array_equal(louder[0][1], plain[0][1])


def test_other_shapes_are_refused(registries: None) -> None:
    AUGMENTATIONS.register(
        Augmentation("cut", "", lambda given, rng: Batch({"mel": given.views["mel"][:, 1:]}, given.labels, 22050))
    )
    given = Batch({"mel": np.zeros((2, 75, 64, 1))}, np.zeros(2, int), 22050)
    with pytest.raises(
        InputError, match=r"augmentation cut: field apply: expected mel of shape \[2, 75, 64, 1\], found"
    ):
        augmented(given, choose("cut"), (0, 0, 0))

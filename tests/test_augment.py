"""Augmentations: the same in all views, and reproducible."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multiview.audio import read_audio
from multiview.augment import AUGMENTATIONS, Augmentation, Batch, augmented, choose, levels, mixed
from multiview.experiment.train import train
from multiview.segments import Segments, cut
from multiview.support.errors import InputError
from multiview.training import TrainingSegments
from multiview.views import MEL, RAW, Grid, extract, geometry
from multiview.views import VIEWS as REGISTRY
from multiview.views.extraction import Excerpt
from tests.benchmarks.step import measure_step
from tests.helpers.paper import VIEWS

NAMES = ("mix", "gain", "masks")  # of batches; crops are drawn before
SPECTROGRAMS = VIEWS[:3]
SEGMENT, SAMPLES = 33516, 33330  # that all views see, and that raw has
KEY = (0, 1, 7)


def batch(waveform: np.ndarray) -> Batch:
    excerpt = Excerpt(22050, extract(waveform, 22050), 0, 0, 1, True)
    segments = Segments(np.zeros(3, np.int64), np.array([0, 500, 900]))
    return Batch(cut(excerpt, segments, VIEWS), np.arange(3), 22050, 3)


def batch_of(waveforms: np.ndarray) -> Batch:
    """A segment of each waveform [segments, samples], in as many classes; nothing is lost of what is raw."""
    waveforms = np.pad(waveforms, [(0, 0), (0, SEGMENT - waveforms.shape[1])])
    first = Segments(np.zeros(1, np.int64), np.zeros(1, np.int64))
    parts = [cut(Excerpt(22050, extract(each, 22050), 0, 0, 1, True), first, VIEWS) for each in waveforms]
    count = len(waveforms)
    return Batch(
        {view: np.concatenate([part[view] for part in parts]) for view in VIEWS}, np.arange(count), 22050, count
    )


def noise(rng: np.random.Generator, *deviations: float) -> np.ndarray:
    """A segment of noise a deviation, rounded as stores round."""
    values = np.array(deviations)[:, np.newaxis] * rng.standard_normal((len(deviations), SAMPLES))
    return (np.rint(values * 32768) / 32768).astype(np.float32)


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


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_from_seed_fold_and_step_alone(name: str, rng: np.random.Generator) -> None:
    plain = batch(0.1 * rng.standard_normal(60_000))
    first, same, other = (augmented(plain, choose(name), key) for key in (KEY, KEY, (0, 1, 8)))
    np.testing.assert_array_equal(first.views["raw"], same.views["raw"])
    assert (first.views["raw"] != other.views["raw"]).any()
    # Whichever views a system takes; its levels, by which it mixes, are those of the mel spectrogram.
    alone = augmented(dataclasses.replace(plain, views={"mel": plain.views["mel"]}), choose(name), KEY)
    np.testing.assert_array_equal(alone.labels, first.labels)
    np.testing.assert_allclose(alone.views["mel"], first.views["mel"], atol=0.2 if name == "mix" else 0)


def test_mixed_views_are_near_those_of_the_mixed_waveform(real_audio: Callable[[str], Path]) -> None:
    """Powers add on average alone; the figures of `mix` are those of 40 clips of ESC-10."""
    waveforms = []
    for path in sorted((real_audio("esc10") / "audio").iterdir())[::20]:
        waveforms.append(np.rint(read_audio(path, 22050)[20_000 : 20_000 + SAMPLES] * 16384) / 32768)
    found = augmented(batch_of(np.array(waveforms, np.float32)), choose("mix"), KEY)
    wanted = batch_of(found.views["raw"][..., 0])
    for view, half, most in (("mel", 0.2, 2.5), ("gammatone", 0.2, 2.5), ("cqt", 0.4, 5)):
        of_sum, top = wanted.views[view], wanted.views[view].max(axis=(1, 2, 3), keepdims=True)
        error = (found.views[view] - of_sum)[(of_sum > top - 60) & (top > -100)]
        assert abs(np.median(error)) < 0.05
        assert np.median(np.abs(error)) < half and np.percentile(np.abs(error), 95) < most
        # The level of what sounds is met far better than a value.
        np.testing.assert_allclose(REGISTRY[view].level(found.views[view]), REGISTRY[view].level(of_sum), atol=0.5)


def test_labels_are_mixed_by_the_ratio(rng: np.random.Generator) -> None:
    plain = batch_of(noise(rng, 0.1, 0.1, 0.1))
    found = augmented(plain, choose("mix"), KEY).labels
    assert found.shape == (3, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert (found > 0).sum(axis=1).tolist() == [2, 2, 2]  # with another one, not itself
    np.testing.assert_allclose(
        mixed(plain, np.array([1, 2, 0]), np.array([0.7, 0.2, 1.0])).labels,
        [[0.7, 0.3, 0], [0, 0.2, 0.8], [0, 0, 1]],
        rtol=1e-6,
    )


@pytest.mark.parametrize("other", [0.1, 0.02])
def test_sounds_of_a_mixture_are_as_loud_as_the_ratio_says(rng: np.random.Generator, other: float) -> None:
    """Amplitudes r and 1 - r of sounds at one level, and the power of the mixture is that of its parts."""
    waveforms = noise(rng, 0.1, other)
    found = mixed(batch_of(waveforms), np.array([1, 0]), np.array([0.8, 0.5])).views["raw"][:, :, 0]
    factors, _, _, _ = np.linalg.lstsq(waveforms.T, found.T, rcond=None)
    heard = factors.T * [0.1, other]
    np.testing.assert_allclose(heard[0, 1] / heard[0, 0], 0.25, rtol=0.02)
    np.testing.assert_allclose(heard[1, 0] / heard[1, 1], 1, rtol=0.02)
    np.testing.assert_allclose(np.square(factors).sum(axis=0), 1, rtol=1e-4)


@pytest.mark.parametrize("view", VIEWS)
def test_silence_and_a_sound_are_the_sound(view: str, rng: np.random.Generator) -> None:
    plain = batch_of(noise(rng, 0, 0.1)).views[view]
    silence, sound = plain
    mix = REGISTRY[view].mix
    np.testing.assert_allclose(mix(sound, silence, np.float32(1), np.float32(1)), sound, atol=0.01)
    np.testing.assert_allclose(mix(silence, silence, np.float32(0.6), np.float32(0.8)), silence, atol=1e-4)


def test_a_sound_beside_silence_stays_audible(rng: np.random.Generator) -> None:
    plain = batch_of(noise(rng, 0.1, 0))
    found = mixed(plain, np.array([1, 0]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(levels(found), levels(plain)[0] - 30, atol=0.1)
    assert all(np.isfinite(values).all() for values in found.views.values())


def test_a_batch_of_one_has_nothing_to_mix(rng: np.random.Generator) -> None:
    plain = dataclasses.replace(batch_of(noise(rng, 0.1)), classes=2)
    found = augmented(plain, choose("mix"), KEY)
    assert found.labels.tolist() == [[1, 0]]
    for view in VIEWS:
        np.testing.assert_allclose(found.views[view], plain.views[view], atol=0.01)


def test_masks_hide_one_span_of_time_in_all_views(rng: np.random.Generator) -> None:
    plain = batch_of(noise(rng, *[0.1] * 12))
    found = augmented(plain, choose("masks"), KEY)
    middles = {"mel": 0.02 + 0.02 * np.arange(75), "cqt": 512 / 22050 * np.arange(65)}
    middles |= {"gammatone": middles["mel"], "raw": np.arange(SAMPLES) / 22050}
    widths = []
    for row in range(12):
        hidden = np.flatnonzero(found.views["raw"][row, :, 0] != plain.views["raw"][row, :, 0]) / 22050
        assert not found.views["raw"][row, np.isin(np.arange(SAMPLES) / 22050, hidden)].any()
        begin, end = hidden[0], hidden[-1]
        assert end - begin <= 0.24
        for view in SPECTROGRAMS:
            changed = found.views[view][row, :, :, 0] != plain.views[view][row, :, :, 0]
            steps, bands = changed.all(axis=1), changed.all(axis=0)
            inside = (middles[view] > begin + 0.001) & (middles[view] < end - 0.001)
            near = (middles[view] > begin - 0.001) & (middles[view] < end + 0.001)
            assert steps[inside].all() and not steps[~near].any()
            np.testing.assert_array_equal(changed, steps[:, np.newaxis] | bands)
            np.testing.assert_allclose(
                found.views[view][row, :, :, 0][changed], plain.views[view][row].mean(), rtol=1e-5
            )
            assert not np.diff(np.flatnonzero(bands), n=2).any()
            widths.append(bands.sum())
    assert 0 <= min(widths) < max(widths) <= 12


@pytest.mark.parametrize("name", NAMES)
def test_views_shorter_than_a_mask(name: str, registries: None) -> None:
    """Five steps of 20 ms and two bands: hidden as a whole at times, never out of bounds."""
    REGISTRY.register(
        dataclasses.replace(MEL, name="short", bands=2, grid=lambda rate: Grid(rate // 50, rate // 25, 5), paper=False)
    )
    values = np.linspace(-50, -10, 40, dtype=np.float32).reshape(4, 5, 2, 1)
    for step in range(40):
        given = Batch({"short": values}, np.arange(4), 22050, 4)
        found = augmented(given, choose(name), (0, 1, step)).views["short"]
        assert np.isfinite(found).all() and found.shape == values.shape


def test_a_clip_shorter_than_a_mask(rng: np.random.Generator) -> None:
    """A tenth of a second, filled up with silence to a segment."""
    plain = batch_of(noise(rng, *[0.1] * 4)[:, :2205])
    for step in range(20):
        found = augmented(plain, choose("mix,gain,masks"), (0, 1, step))
        assert all(np.isfinite(values).all() for values in found.views.values())


@pytest.mark.parametrize("rate", [22050, 44100])
def test_segments_over_the_ends_are_those_of_the_padded_waveform(rate: int, rng: np.random.Generator) -> None:
    """Away from the ends, where the steps of both are whole; and beyond them silence."""
    length = geometry(rate).segment_samples
    waveform = (np.rint(3000 * rng.standard_normal(2 * length)) / 32768).astype(np.float32)
    before = np.lcm(*(REGISTRY[view].grid(rate).hop for view in ("mel", "cqt")))  # a whole number of steps of all
    padded = np.pad(waveform, (before, before))
    one, other = (Excerpt(rate, extract(each, rate), 0, 0, 1, True) for each in (waveform, padded))
    starts = np.array([-length // 2, -7 * REGISTRY["mel"].grid(rate).hop, 0, length, length + length // 2])
    clips = np.zeros(len(starts), np.int64)
    found, expected = (
        cut(each, Segments(clips, begin), VIEWS) for each, begin in ((one, starts), (other, starts + before))
    )
    for view in VIEWS:
        grid = REGISTRY[view].grid(rate)
        for row, start in enumerate(starts):
            steps = start // grid.hop + np.arange(grid.segment)
            outside = (steps < 0) | (steps >= grid.frames(len(waveform)))
            assert (found[view][row, outside] == (0 if view == "raw" else -100)).all()
            assert outside.any() or row in (2, 3)
            inside = (steps > 40) & (steps < grid.frames(len(waveform)) - 40) if view != "raw" else ~outside
            np.testing.assert_allclose(found[view][row, inside], expected[view][row, inside], atol=0.02)


def test_crops_run_over_the_ends_by_half_a_segment(tiny_store, tiny_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts are uniform from half a segment before the first possible one to as much after the last; of a shorter
    clip by half of it, so that half of what there is to hear is always there."""
    samples = tiny_store.samples.copy()
    samples[0] = 4410
    monkeypatch.setattr(tiny_store, "samples", samples)
    data = TrainingSegments(tiny_store, np.arange(60), tiny_settings("mel", augmentations="crops"))
    starts = np.stack([data._draw_epoch(epoch)[1] for epoch in range(400)])
    most = np.full(60, SEGMENT // 2)
    most[0] = 2205
    assert (starts >= -most).all() and (starts <= data.lasts + most).all()
    widths = data.lasts + 2 * most
    assert (np.abs(starts.mean(axis=0) - data.lasts / 2) < 5 * widths / 12**0.5 / 20).all()  # five standard errors
    assert (starts.min(axis=0) < -0.9 * most).all() and (starts.max(axis=0) > data.lasts + 0.9 * most).all()
    silent = [(data[step][0]["mel"] == -100).all(axis=(2, 3)) for step in range(6)]
    assert any(rows[:, 0].any() for rows in silent) and any(rows[:, -1].any() for rows in silent)


@pytest.mark.parametrize(("name", "field"), [("gain", "amplify"), ("mix", "mix"), ("crops", "silence")])
def test_views_that_do_not_declare_what_it_takes_are_refused(name: str, field: str, registries: None) -> None:
    REGISTRY.register(dataclasses.replace(MEL, name="own", paper=False, **{field: None}))
    given = Batch({"own": np.zeros((2, 75, 64, 1), np.float32)}, np.arange(2), 22050, 2)
    with pytest.raises(
        InputError,
        match=f"expected views that declare {field} with the augmentation {name}, found own; "
        "declare it, or say --augmentations none",
    ):
        augmented(given, choose(name), KEY)


def test_levels_are_needed_of_one_view(registries: None, rng: np.random.Generator) -> None:
    for view in (MEL, RAW):
        REGISTRY.register(dataclasses.replace(view, name=f"own_{view.name}", paper=False, level=None))
    given = batch_of(noise(rng, 0.1, 0.1))
    views = {"own_mel": given.views["mel"], "own_raw": given.views["raw"]}
    augmented(dataclasses.replace(given, views=given.views | views), choose("mix"), KEY)
    with pytest.raises(InputError, match="expected a view that declares level .* found own_mel, own_raw; declare it"):
        augmented(dataclasses.replace(given, views=views), choose("mix"), KEY)


def test_mixing_needs_classes(tiny_store, tiny_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before training, in one line."""
    monkeypatch.setattr(tiny_store, "classes", ["dog"])
    with pytest.raises(InputError, match="expected at least two classes with the augmentation mix, found one; drop it"):
        TrainingSegments(tiny_store, np.arange(20), tiny_settings("mel", augmentations="gain,mix"))
    given = Batch({"mel": np.zeros((2, 75, 64, 1), np.float32)}, np.zeros(2, int), 22050)
    with pytest.raises(InputError, match="expected a batch with the number of classes"):
        augmented(given, choose("mix"), KEY)


def test_training_with_all_of_them(tiny_store, tiny_settings, tmp_path: Path) -> None:
    settings = tiny_settings("mel", epochs=2, augmentations=",".join(AUGMENTATIONS))
    run = train(tiny_store, settings, tmp_path / "run")
    assert run.read()["status"] == "trained"


@pytest.mark.long
def test_augmentations_cost_little(rng: np.random.Generator) -> None:
    """At most 5 % of a training step of the small preset."""
    _, step, _ = measure_step("small", batch=32)
    given, times = batch_of(noise(rng, *[0.1] * 32)), []
    for number in range(10):
        begin = time.perf_counter()
        augmented(given, choose(",".join(NAMES)), (0, 1, number))
        times.append(time.perf_counter() - begin)
    assert np.median(times) < 0.05 * step


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


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda given, rng: 1 / 0, "field apply: found ZeroDivisionError: division by zero; mend it"),
        (lambda given, rng: Batch(given.views, given.labels[1:], 22050), "expected 2 labels, found 1"),
    ],
)
def test_augmentation_that_does_not_fit_is_one_line(registries: None, apply, message: str) -> None:
    AUGMENTATIONS.register(Augmentation("own", "", apply))
    given = Batch({"mel": np.zeros((2, 75, 64, 1))}, np.zeros(2, int), 22050)
    with pytest.raises(InputError, match=f"augmentation own: .*{message}"):
        augmented(given, choose("own"), (0, 0, 0))


def test_each_once() -> None:
    with pytest.raises(InputError, match="expected each augmentation once, found gain,gain"):
        choose("gain,gain")
    assert choose("none") == choose(None) == ()

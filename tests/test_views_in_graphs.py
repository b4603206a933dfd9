"""The views as TensorFlow operations against those of stores, and the filter between octaves against theory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from multiview import segments
from multiview.audio import read_audio
from multiview.segments import Segments
from multiview.views import VIEWS, Excerpt, Sound, extract, geometry, paper_views
from multiview.views.cqt import downsampled_in_graph, downsampling_taps
from multiview.views.raw import to_int16

RATES = (22050, 44100)


@pytest.fixture(scope="module")
def in_graph() -> dict[int, Callable]:
    """By rate, waveforms [batch, samples] to the paper's views."""

    def views(waveforms: tf.Tensor, rate: int) -> dict[str, tf.Tensor]:
        sound = Sound(waveforms, rate)
        return {view: VIEWS[view].graph(sound) for view in paper_views()}

    signature = [tf.TensorSpec([None, None], tf.float32)]
    return {rate: tf.function(functools.partial(views, rate=rate), input_signature=signature) for rate in RATES}


def differences(expected: np.ndarray, found: np.ndarray, decibels: float) -> np.ndarray:
    """Where the power is within some decibels of the clip's maximum."""
    return np.abs(expected - found)[expected > expected.max() - decibels]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_taps_are_a_low_pass_of_the_new_rate(factor: int) -> None:
    """Gain sqrt(factor) up to 0.9 of the new Nyquist frequency, as `scale` asks for, and nothing beyond 1.1 of it."""
    response = np.abs(np.fft.rfft(downsampling_taps(factor), 65536)) / np.sqrt(factor)
    frequencies = np.linspace(0, factor, len(response))  # of the new Nyquist frequency
    np.testing.assert_allclose(response[frequencies < 0.9], 1, atol=1e-4)
    assert response[frequencies > 1.1].max() < 1e-5


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("samples", [33331, 33336, 40005])
def test_downsampling_is_librosa_s(rng: np.random.Generator, factor: int, samples: int) -> None:
    waveforms = rng.standard_normal((2, samples)).astype(np.float32)
    expected = librosa.resample(waveforms, orig_sr=factor, target_sr=1, scale=True)
    found = downsampled_in_graph(tf.constant(waveforms), factor).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("rate", RATES)
@settings(max_examples=8, deadline=None)
@given(extra=st.integers(0, 100_000), seed=st.integers(0, 2**32 - 1))
def test_views_are_those_of_the_stores(in_graph: dict, rate: int, extra: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = geometry(rate).segment_samples + extra
    time = np.arange(samples) / rate
    clips = np.stack([0.2 * rng.standard_normal(samples), np.sin(2 * np.pi * rng.uniform(40, 2000) * time)])
    clips[1] += 0.01 * rng.standard_normal(samples)
    found = in_graph[rate](clips.astype(np.float32))
    for row, clip in enumerate(clips):
        expected = extract(clip, rate)
        for view in ("mel", "gammatone"):
            assert found[view].shape[1:] == expected[view].shape
            assert differences(expected[view], found[view][row].numpy(), 80).max() < 0.01
        assert found["cqt"].shape[1:] == expected["cqt"].shape
        assert np.percentile(differences(expected["cqt"], found["cqt"][row].numpy(), 60), 99) < 0.1
        np.testing.assert_array_equal(to_int16(found["raw"][row].numpy()), expected["raw"])


@settings(max_examples=200, deadline=None)
@given(rate=st.sampled_from(RATES), extra=st.integers(0, 4_000_000))
def test_segments_start_where_they_do_at_test(rate: int, extra: int) -> None:
    samples = geometry(rate).segment_samples + extra
    expected = segments.test_starts(samples, geometry(rate))
    found = segments.test_starts_in_graph(tf.constant(samples, tf.int64), geometry(rate)).numpy()
    np.testing.assert_array_equal(found, expected)


def test_segments_are_cut_alike(rng: np.random.Generator) -> None:
    """Of three clips of one length, from tensors and from what a store holds."""
    size, samples, clips = geometry(22050), 60000, 3
    values = {
        view: rng.standard_normal((clips, size.frames(view, samples), *VIEWS[view].band_shape)).astype(np.float32)
        for view in paper_views()
    }
    some = Segments(rng.integers(0, clips, 10), rng.integers(0, size.last_start(samples), 10, endpoint=True))
    found = segments.cut_in_graph({view: tf.constant(each) for view, each in values.items()}, 22050, some)
    for clip in range(clips):
        stored = {view: each[clip] / np.float32(VIEWS[view].scale) for view, each in values.items()}
        excerpt = Excerpt(22050, stored, offset=0, begin=0, end=samples, final=True)
        mine = np.flatnonzero(some.clips == clip)
        expected = segments.cut(excerpt, Segments(np.zeros_like(mine), some.starts[mine]), paper_views())
        for view in paper_views():
            np.testing.assert_allclose(found[view].numpy()[mine], expected[view], atol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_views_of_real_clips(in_graph: dict, real_audio: Callable[[str], Path], rate: int) -> None:
    """Every twentieth: 0.1 dB within 80 dB of the maximum, for the CQT within 60 dB."""
    cqt = []
    for path in sorted((real_audio("esc10") / "audio").iterdir())[::20]:
        waveform = read_audio(path, rate)
        expected = extract(waveform, rate)
        padded = np.pad(waveform, (0, max(0, geometry(rate).segment_samples - len(waveform))))
        found = {view: values[0].numpy() for view, values in in_graph[rate](padded[np.newaxis]).items()}
        for view in ("mel", "gammatone"):
            assert differences(expected[view], found[view], 80).max() < 0.1
        cqt.append(differences(expected["cqt"], found["cqt"], 60))
    assert np.concatenate(cqt).max() < 0.1

"""Views against independent references: librosa, closed forms, tones of known frequency."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiview import views
from multiview.views.cqt import cqt
from multiview.views.spectrogram import fft_size, frame_grid, gammatone_filters

RATES = (44100, 22050)
C1 = 32.70319566257483


def tone(frequency: float, rate: int, seconds: float = 2.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", RATES)
def test_mel_equals_librosa(rate: int, rng: np.random.Generator) -> None:
    grid = frame_grid(rate)
    waveform = (0.1 * rng.standard_normal(3 * rate)).astype(np.float32)
    # librosa centres the shorter window in the FFT's frame, so it needs that margin on both sides.
    margin = (fft_size(rate) - grid.window) // 2
    expected = librosa.feature.melspectrogram(
        y=np.pad(waveform, margin),
        sr=rate,
        n_fft=fft_size(rate),
        win_length=grid.window,
        hop_length=grid.hop,
        center=False,
        n_mels=64,
    )
    expected = librosa.power_to_db(expected, amin=1e-10, top_db=None).T
    found = views.extract(waveform, rate)["mel"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("view", ["mel", "gammatone", "cqt"])
def test_a_tone_is_loudest_in_the_band_of_its_frequency(view: str, rate: int) -> None:
    """The axis of pictures: rising, one frequency a band, and a tone at the middle of a band is loudest there."""
    frequencies = views.VIEWS[view].frequencies(rate)
    assert frequencies.shape == (64,) and (np.diff(frequencies) > 0).all()
    for band in range(12, 60, 6):
        values = views.extract(tone(frequencies[band], rate), rate, [view])[view]
        assert abs(int(values[len(values) // 2].argmax()) - band) <= (view == "gammatone")


def glasberg_moore_erb(frequency: np.ndarray) -> np.ndarray:
    return 24.7 * (4.37 * frequency / 1000 + 1)


@pytest.mark.parametrize("rate", RATES)
def test_gammatone_centres_are_equally_spaced_in_erbs(rate: int) -> None:
    # ERB-rate scale of Glasberg and Moore, from 50 Hz up to one step below Nyquist.
    def erbs(f: np.ndarray) -> np.ndarray:
        return 21.4 * np.log10(1 + 0.00437 * f)

    bins = np.fft.rfftfreq(fft_size(rate), 1 / rate)
    peaks = bins[gammatone_filters(rate).argmax(axis=1)]
    numbers = np.linspace(erbs(np.array(50.0)), erbs(np.array(rate / 2)), 65)[:64]
    expected = (10 ** (numbers / 21.4) - 1) / 0.00437
    # The highest filter's peak is pulled down by its mirror image across Nyquist.
    assert np.all(np.abs(peaks - expected)[:-1] <= bins[1] * 0.75 + 0.01 * expected[:-1])


@pytest.mark.parametrize("rate", RATES)
def test_gammatone_widths_are_glasberg_and_moores(rate: int) -> None:
    """-3 dB width of a 4th-order gammatone filter: 0.887 x 1.019 ERB."""
    frequencies = np.fft.rfftfreq(fft_size(rate), 1 / rate)
    filters = gammatone_filters(rate)
    checked = 0
    for power in filters:
        centre = frequencies[power.argmax()]
        expected = 0.887 * 1.019 * glasberg_moore_erb(centre)
        # Those whose width is resolved by the FFT's bins and not cut off by Nyquist.
        if expected < 4 * frequencies[1] or centre + expected > 0.95 * rate / 2:
            continue
        peak = power.argmax()
        lower = np.interp(0.5, power[: peak + 1], frequencies[: peak + 1])
        upper = np.interp(-0.5, -power[peak:], frequencies[peak:])
        assert upper - lower == pytest.approx(expected, rel=0.06)
        checked += 1
    assert checked > 25


def test_gammatone_width_at_323_hz_is_the_closed_forms() -> None:
    """The low filter that spafe's default order makes far too narrow: 53.8 Hz, not 32 Hz."""
    from spafe.fbanks.gammatone_fbanks import gammatone_filter_banks

    magnitudes, _ = gammatone_filter_banks(nfilts=64, nfft=65536, fs=44100, low_freq=50, high_freq=22050, order=1)
    fine = np.fft.rfftfreq(65536, 1 / 44100)
    power = magnitudes[np.abs(fine[magnitudes.argmax(axis=1)] - 323).argmin()] ** 2
    inside = fine[power >= 0.5]
    assert inside[-1] - inside[0] == pytest.approx(53.8, abs=2)
    # The project's filters are this bank on fewer bins.
    ours = gammatone_filters(44100)[np.abs(fine[magnitudes.argmax(axis=1)] - 323).argmin()]
    np.testing.assert_allclose(ours, power[::32], atol=0.03)


@pytest.mark.parametrize("rate", RATES)
def test_gammatone_shares_mels_power_spectrum(rate: int, rng: np.random.Generator) -> None:
    waveform = rng.uniform(-0.5, 0.5, rate).astype(np.float32)
    grid = frame_grid(rate)
    frames = librosa.util.frame(waveform, frame_length=grid.window, hop_length=grid.hop).T
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(grid.window) / grid.window)
    power = np.abs(np.fft.rfft(frames * hann, fft_size(rate))) ** 2
    expected = 10 * np.log10(power @ gammatone_filters(rate).T.astype(np.float64))
    waveform = np.pad(waveform, (0, views.geometry(rate).segment_samples - len(waveform)))
    np.testing.assert_allclose(views.extract(waveform, rate)["gammatone"][: len(expected)], expected, atol=0.01)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("index", [5, 24, 33, 52, 63])
def test_cqt_tone_peaks_in_its_bin(rate: int, index: int) -> None:
    found = views.extract(tone(C1 * 2 ** (index / 12), rate, 4.0), rate)["cqt"]
    middle = found[len(found) // 4 : -len(found) // 4]
    assert np.all(middle.argmax(axis=1) == index)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [0, 1, 7, 500])
def test_cqt_equals_librosa(rate: int, samples: int, rng: np.random.Generator) -> None:
    hop = {44100: 1024, 22050: 512}[rate]
    waveform = (0.1 * rng.standard_normal(2 * rate) + tone(440, rate)).astype(np.float32)
    waveform = waveform[: len(waveform) - samples]
    complex_cqt = librosa.cqt(waveform, sr=rate, hop_length=hop, n_bins=64, bins_per_octave=12)
    expected = 10 * np.log10(np.maximum(np.abs(complex_cqt) ** 2, 1e-10)).T
    np.testing.assert_allclose(cqt(waveform, rate), expected[: 1 + len(waveform) // hop], atol=0.02)


def test_frames_of_thirty_seconds() -> None:
    clip = views.extract(np.zeros(30 * 44100), 44100)
    assert [len(clip[view]) for view in views.VIEWS] == [1499, 1499, 1292, 30 * 44100]


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(1, 150_000), rate=st.sampled_from(RATES))
def test_lengths_follow_the_formulas(samples: int, rate: int) -> None:
    clip = views.extract(np.full(samples, 0.1), rate)
    window, hop, cqt_hop = {44100: (1764, 882, 1024), 22050: (882, 441, 512)}[rate]
    padded = max(samples, {44100: 67032, 22050: 33516}[rate])
    assert len(clip["raw"]) == padded
    assert len(clip["mel"]) == len(clip["gammatone"]) == 1 + (padded - window) // hop
    assert len(clip["cqt"]) == 1 + padded // cqt_hop


@pytest.mark.parametrize("rate", RATES)
def test_silence_is_the_floor(rate: int) -> None:
    clip = views.extract(np.zeros(2 * rate), rate)
    for view in ("mel", "gammatone", "cqt"):
        np.testing.assert_allclose(clip[view], -100.0, atol=1e-4)
    assert not clip["raw"].any()


def test_full_scale_noise_stays_finite_and_in_range(rng: np.random.Generator) -> None:
    clip = views.extract(rng.choice([-1.0, 1.0], 100_000), 44100)
    for view in ("mel", "gammatone", "cqt"):
        assert np.isfinite(clip[view]).all()
    assert clip["raw"].min() == -32768 and clip["raw"].max() == 32767


@pytest.mark.parametrize("samples", [1, 100, 60_000])
def test_short_clip_is_padded_with_silence_at_the_end(samples: int) -> None:
    short = views.extract(np.full(samples, 0.5), 44100)
    padded = views.extract(np.pad(np.full(samples, 0.5), (0, 67032 - samples)), 44100)
    for view in views.VIEWS:
        np.testing.assert_array_equal(short[view], padded[view])
    assert np.all(short["raw"][:samples] == 16384) and not short["raw"][samples:].any()
    assert [len(short[view]) for view in ("mel", "gammatone")] == [75, 75]


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(0), "shape"),
        (np.zeros((2, 100)), "shape"),
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([np.inf]), "NaN or infinite"),
    ],
)
def test_bad_waveforms_are_refused(waveform: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        views.extract(waveform, 44100)


def test_other_sample_rates_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\[22050, 44100\].*48000"):
        views.geometry(48000)

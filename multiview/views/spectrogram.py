"""Log mel and log gammatone spectrogram (Sec. 3.1.2): two filter banks on one power spectrum."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from multiview.views.base import (
    BANDS,
    DECIBEL_PARAMETERS,
    VIEWS,
    Grid,
    Sound,
    by_blocks,
    decibel_view,
    decibels,
    fourier,
    graph_decibels,
)

# librosa, SciPy and spafe are loaded where they are used: most commands compute no views.

GAMMATONE_MIN_HZ = 50.0
SEGMENT = 75  # T of Sec. 3.1.3


def frame_grid(sample_rate: int) -> Grid:
    """Windows of 40 ms, half of which is the hop."""
    window = sample_rate * 40 // 1000
    return Grid(hop=window // 2, window=window, segment=SEGMENT)


def fft_size(sample_rate: int) -> int:
    """The window, padded with zeros to a power of two."""
    return 1 << (frame_grid(sample_rate).window - 1).bit_length()


@functools.cache
def mel_filters(sample_rate: int) -> np.ndarray:
    """Mel filter bank on power, float32 [64, n_fft / 2 + 1], 0 Hz to Nyquist."""
    import librosa

    return librosa.filters.mel(sr=sample_rate, n_fft=fft_size(sample_rate), n_mels=BANDS)


@functools.cache
def gammatone_filters(sample_rate: int) -> np.ndarray:
    """Gammatone filter bank on power, float32 [64, n_fft / 2 + 1], 50 Hz to Nyquist.

    spafe gives magnitude responses, hence the square. Its `order` is the exponent inside the ERB
    formula, not the filter's order: 1 is Glasberg and Moore's bandwidth.
    """
    from spafe.fbanks.gammatone_fbanks import gammatone_filter_banks

    magnitudes, _ = gammatone_filter_banks(
        nfilts=BANDS,
        nfft=fft_size(sample_rate),
        fs=sample_rate,
        low_freq=GAMMATONE_MIN_HZ,
        high_freq=sample_rate / 2,
        order=1,
    )
    return np.square(magnitudes).astype(np.float32)


def mel_frequencies(sample_rate: int) -> np.ndarray:
    """The middles of the mel filters in Hz, float64 [64]."""
    import librosa

    return librosa.mel_frequencies(BANDS + 2, fmin=0.0, fmax=sample_rate / 2)[1:-1]


def gammatone_frequencies(sample_rate: int) -> np.ndarray:
    """The middles of the gammatone filters in Hz, evenly spaced in Glasberg and Moore's ERB numbers; float64 [64].

    The highest filter, of which a part lies beyond Nyquist, has its peak 1 to 2 % below.
    """
    from spafe.utils.converters import erb2hz, hz2erb

    first, last = (hz2erb(frequency) for frequency in (GAMMATONE_MIN_HZ, sample_rate / 2))
    return np.array([erb2hz(number) for number in np.linspace(first, last, BANDS + 1)[:-1]])


@functools.cache
def hann(samples: int) -> np.ndarray:
    """Hann window, periodic, float32 [samples]."""
    import librosa

    return librosa.filters.get_window("hann", samples).astype(np.float32)


@functools.cache
def frame_filters(sample_rate: int) -> np.ndarray:
    """Mel and gammatone filters side by side, so that one product serves both; float32 [n_fft / 2 + 1, 128]."""
    return np.concatenate([mel_filters(sample_rate), gammatone_filters(sample_rate)]).T.copy()


def power_spectrum(frames: np.ndarray, sample_rate: int) -> np.ndarray:
    """Power spectrum of frames of 40 ms [frames, window] in Hann windows, float32 [frames, n_fft / 2 + 1]."""
    import scipy.fft

    window = hann(frame_grid(sample_rate).window)
    spectrum = scipy.fft.rfft(frames * window, n=fft_size(sample_rate), axis=1, overwrite_x=True)
    return np.square(spectrum.real) + np.square(spectrum.imag)


def mel_and_gammatone(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Log mel and, from band 64 on, log gammatone of frames that are not centred; dB, float32 [frames, 128]."""
    grid = frame_grid(sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, grid.window)[:: grid.hop]
    filters = frame_filters(sample_rate)
    return by_blocks(lambda block: decibels(power_spectrum(block, sample_rate) @ filters), frames)


def mel_and_gammatone_graph(waveforms: Any, sample_rate: int) -> Any:
    """`mel_and_gammatone` of a TensorFlow tensor [batch, samples]; [batch, frames, 128]."""
    import tensorflow as tf

    grid = frame_grid(sample_rate)
    frames = tf.signal.frame(waveforms, grid.window, grid.hop) * hann(grid.window)
    spectrum = tf.signal.rfft(frames, [fft_size(sample_rate)])
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    return graph_decibels(tf.matmul(power, frame_filters(sample_rate)))


def mel_and_gammatone_products(waveforms: Any, sample_rate: int) -> Any:
    """`mel_and_gammatone_graph` with products of matrices in place of the FFT."""
    import tensorflow as tf

    grid = frame_grid(sample_rate)
    frames, waves = tf.signal.frame(waveforms, grid.window, grid.hop), fourier(grid.window, fft_size(sample_rate))
    waves = hann(grid.window)[:, np.newaxis] * waves
    parts = (tf.matmul(frames, part.astype(np.float32)) for part in (waves.real, waves.imag))
    power = tf.add_n([tf.square(part) for part in parts])
    return graph_decibels(tf.matmul(power, frame_filters(sample_rate)))


def _graph(sound: Sound) -> Any:
    return sound.once(mel_and_gammatone_graph if sound.fft else mel_and_gammatone_products)


def _parameters(filters: str, min_hz: float, sample_rate: int) -> dict:
    grid = frame_grid(sample_rate)
    return {
        **DECIBEL_PARAMETERS,
        "window": "hann",
        "window_samples": grid.window,
        "hop": grid.hop,
        "n_fft": fft_size(sample_rate),
        "segment": grid.segment,
        "max_hz": sample_rate / 2,
        "filters": filters,
        "min_hz": min_hz,
    }


def _mel(sound: Sound) -> np.ndarray:
    return sound.once(mel_and_gammatone)[:, :BANDS]


def _gammatone(sound: Sound) -> np.ndarray:
    return sound.once(mel_and_gammatone)[:, BANDS:]


MEL = VIEWS.register(
    decibel_view(
        name="mel",
        label="Mel",
        grid=frame_grid,
        extract=_mel,
        graph=lambda sound: _graph(sound)[..., :BANDS],
        parameters=functools.partial(_parameters, "librosa.filters.mel", 0.0),
        frequencies=mel_frequencies,
        paper=True,
        colour="#0072B2",
        line="-",
    )
)
GAMMATONE = VIEWS.register(
    decibel_view(
        name="gammatone",
        label="Gammatone",
        grid=frame_grid,
        extract=_gammatone,
        graph=lambda sound: _graph(sound)[..., BANDS:],
        parameters=functools.partial(_parameters, "spafe gammatone_filter_banks, order 1, squared", GAMMATONE_MIN_HZ),
        frequencies=gammatone_frequencies,
        paper=True,
        colour="#E69F00",
        line="--",
    )
)

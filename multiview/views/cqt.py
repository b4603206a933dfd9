"""Log CQT spectrogram (Sec. 3.1.2): librosa's recursion, octave by octave, with its filters kept."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from multiview.views.base import (
    BANDS,
    DECIBEL_PARAMETERS,
    VIEWS,
    Grid,
    by_blocks,
    decibel_view,
    decibels,
    fourier,
    graph_decibels,
)

# librosa, SciPy and TensorFlow are loaded where they are used: most commands compute no views.

CQT_BINS_PER_OCTAVE = 12
CQT_MIN_HZ = 440.0 * 2.0 ** ((24 - 69) / 12)  # C1, librosa's default
CQT_SPARSITY = 0.01  # librosa's default: share of each filter's magnitude that is pruned
SEGMENT = 65  # frames, Sec. 3.1.3

START = 128  # outputs of a resampler that swings in
TAPS_FLOOR = 2e-7  # of the largest; below lies the noise of 32-bit arithmetic
OUTPUTS_A_PRODUCT = 64  # of a downsampling filter in a graph; one product of matrices gives so many


def cqt_grid(sample_rate: int) -> Grid:
    """Librosa's centred frames, a hop of 1024 samples at 44.1 kHz."""
    hop = {44100: 1024, 22050: 512}[sample_rate]
    return Grid(hop=hop, window=hop, segment=SEGMENT, centred=True)


@dataclass(frozen=True)
class Octave:
    """Filters of one octave of the CQT and the rate at which they are applied."""

    filters: np.ndarray  # complex64 [n_fft / 2 + 1, bins]
    n_fft: int
    hop: int


@functools.cache
def cqt_octaves(sample_rate: int) -> tuple[int, tuple[Octave, ...]]:
    """The constant filters that `librosa.cqt` computes anew for each clip.

    Returns
    -------
    int
        Factor by which the waveform is downsampled before the highest octave.
    tuple of Octave
        From the highest octave to the lowest, each at half the rate of the one before.
    """
    import librosa

    frequencies = librosa.cqt_frequencies(BANDS, fmin=CQT_MIN_HZ, bins_per_octave=CQT_BINS_PER_OCTAVE)
    count = -(-BANDS // CQT_BINS_PER_OCTAVE)
    hop = cqt_grid(sample_rate).hop
    _, cutoff = librosa.filters.wavelet_lengths(freqs=frequencies, sr=sample_rate)
    # librosa's rule: stay an octave above the cutoff, and keep the hop whole in the lowest octave.
    halvings = int(np.ceil(np.log2(sample_rate / 2 / cutoff))) - 2
    twos = (hop & -hop).bit_length() - 1
    early = 2 ** max(0, min(halvings, twos - count + 1))

    top_rate, top_hop = sample_rate / early, hop // early
    lengths, _ = librosa.filters.wavelet_lengths(freqs=frequencies, sr=top_rate)
    octaves = []
    for octave in range(count):
        high = BANDS - octave * CQT_BINS_PER_OCTAVE
        bins = slice(max(0, high - CQT_BINS_PER_OCTAVE), high)
        rate = top_rate / 2**octave
        wavelets, supports = librosa.filters.wavelet(freqs=frequencies[bins], sr=rate, norm=1)
        n_fft = wavelets.shape[1]
        spectra = np.fft.fft(wavelets * (supports[:, np.newaxis] / n_fft))[:, : n_fft // 2 + 1]
        pruned = librosa.util.sparsify_rows(spectra, quantile=CQT_SPARSITY).toarray()
        scale = np.sqrt(2**octave / lengths[bins, np.newaxis])
        octaves.append(Octave((pruned * scale).T.astype(np.complex64), n_fft, top_hop // 2**octave))
    return early, tuple(octaves)


@functools.cache
def downsampling_taps(factor: int) -> np.ndarray:
    """Symmetric low-pass filter h, float64 [2 K + 1], with which `librosa.resample` divides a rate by `factor`.

    y[m] = sum over k of h[k] x[factor m - k], k from -K to K, as measured with impulses; for graphs
    that have to do the same without librosa.
    """
    import librosa

    reach = 128 * factor
    response = np.zeros(2 * reach + factor)
    for phase in range(factor):
        impulse = np.zeros(4 * reach)
        impulse[2 * reach + phase] = 1.0
        # From the m at which k = factor m - 2 reach - phase is just above -reach.
        first = reach // factor + (phase > 0)
        part = librosa.resample(impulse, orig_sr=factor, target_sr=1, scale=True)[first : 3 * reach // factor + 1]
        response[factor * first - reach - phase :: factor][: len(part)] = part
    taps = response[: 2 * reach + 1]
    taps = (taps + taps[::-1]) / 2
    audible = np.flatnonzero(np.abs(taps) > TAPS_FLOOR * np.abs(taps).max())
    return taps[audible[0] : audible[-1] + 1]


@functools.cache
def downsampling_start(factor: int) -> np.ndarray:
    """What `librosa.resample` has beside `downsampling_taps` in its first outputs, float64 [inputs, outputs].

    soxr divides by more than 2 in several stages, and each takes for silence what is before its start,
    where the stage before it still rings.
    """
    import librosa

    taps = downsampling_taps(factor)
    reach = len(taps) // 2
    inputs = START * factor + reach
    impulses = np.eye(inputs, inputs + 2 * reach)
    found = librosa.resample(impulses, orig_sr=factor, target_sr=1, scale=True)[:, :START]
    places = factor * np.arange(START) - np.arange(inputs)[:, np.newaxis] + reach
    return found - np.where((places >= 0) & (places < len(taps)), taps[np.clip(places, 0, len(taps) - 1)], 0)


def _filtered(windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    import scipy.fft

    return scipy.fft.rfft(windows, axis=1) @ filters


def cqt(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Log power of `librosa.cqt` with 64 bins from C1, 12 an octave; dB, float32 [frames, 64].

    The same recursion as librosa's, octave by octave at half the rate each, with its filters kept
    from clip to clip.
    """
    import librosa

    early, octaves = cqt_octaves(sample_rate)
    frames = cqt_grid(sample_rate).frames(len(waveform))
    if early > 1:
        waveform = librosa.resample(waveform, orig_sr=early, target_sr=1, scale=True)
    responses = []
    for octave in octaves:
        padded = np.pad(waveform, octave.n_fft // 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, octave.n_fft)[:: octave.hop]
        responses.append(by_blocks(functools.partial(_filtered, filters=octave.filters), windows[:frames]))
        if len(responses) < len(octaves):
            waveform = librosa.resample(waveform, orig_sr=2, target_sr=1, scale=True)
    response = np.concatenate(responses[::-1], axis=1)
    return decibels(np.square(response.real) + np.square(response.imag))


def downsampled_in_graph(waveforms: Any, factor: int) -> Any:
    """`librosa.resample` from `factor` to 1 with `scale`; [batch, samples] to [batch, ceil(samples / factor)]."""
    import tensorflow as tf

    taps, step = downsampling_taps(factor), OUTPUTS_A_PRODUCT * factor
    # Column j holds the taps from row j * factor on.
    toeplitz = np.zeros(((OUTPUTS_A_PRODUCT - 1) * factor + len(taps), OUTPUTS_A_PRODUCT), np.float32)
    for column in range(OUTPUTS_A_PRODUCT):
        toeplitz[column * factor : column * factor + len(taps), column] = taps
    samples = tf.shape(waveforms)[1]
    count, kept = (samples + factor - 1) // factor, (2 * samples + factor) // (2 * factor)
    products = (count + OUTPUTS_A_PRODUCT - 1) // OUTPUTS_A_PRODUCT
    reach = len(taps) // 2
    padded = tf.pad(waveforms, [[0, 0], [reach, products * step + reach - samples]])
    outputs = tf.matmul(tf.signal.frame(padded, len(toeplitz), step), toeplitz)
    outputs = tf.reshape(outputs, [tf.shape(waveforms)[0], -1])[:, :kept]
    if factor > 2:  # one stage alone does not swing in; a segment is longer than what the others need
        start = downsampling_start(factor).astype(np.float32)
        begin = outputs[:, : start.shape[1]] + tf.matmul(waveforms[:, : start.shape[0]], start)
        outputs = tf.concat([begin, outputs[:, start.shape[1] :]], axis=1)
    return tf.pad(outputs, [[0, 0], [0, count - kept]])  # soxr rounds the length, librosa fills it up


def cqt_graph(waveforms: Any, sample_rate: int, fft: bool = True) -> Any:
    """`cqt` of a TensorFlow tensor [batch, samples] by the same recursion; [batch, frames, 64].

    Without `fft` the transform and the filters of an octave are one product of matrices.
    """
    import tensorflow as tf

    early, octaves = cqt_octaves(sample_rate)
    frames = cqt_grid(sample_rate).frames(tf.shape(waveforms)[1])
    if early > 1:
        waveforms = downsampled_in_graph(waveforms, early)
    powers = []
    for index, octave in enumerate(octaves):
        if index:
            waveforms = downsampled_in_graph(waveforms, 2)
        padded = tf.pad(waveforms, [[0, 0], [octave.n_fft // 2, octave.n_fft // 2]])
        windows = tf.signal.frame(padded, octave.n_fft, octave.hop)[:, :frames]
        if fft:
            response = tf.matmul(tf.signal.rfft(windows), octave.filters)
            parts = [tf.math.real(response), tf.math.imag(response)]
        else:
            product = (fourier(octave.n_fft, octave.n_fft) @ octave.filters).astype(np.complex64)
            parts = [tf.matmul(windows, product.real), tf.matmul(windows, product.imag)]
        powers.append(tf.add_n([tf.square(part) for part in parts]))
    return graph_decibels(tf.concat(powers[::-1], axis=2))


CQT = VIEWS.register(
    decibel_view(
        name="cqt",
        label="CQT",
        grid=cqt_grid,
        extract=lambda sound: cqt(sound.waveform, sound.sample_rate),
        graph=lambda sound: cqt_graph(sound.waveform, sound.sample_rate, sound.fft),
        parameters=lambda sample_rate: {
            **DECIBEL_PARAMETERS,
            "filters": "librosa.cqt",
            "min_hz": CQT_MIN_HZ,
            "bins_per_octave": CQT_BINS_PER_OCTAVE,
            "sparsity": CQT_SPARSITY,
            "hop": cqt_grid(sample_rate).hop,
            "segment": SEGMENT,
        },
        frequencies=lambda sample_rate: CQT_MIN_HZ * 2.0 ** (np.arange(BANDS) / CQT_BINS_PER_OCTAVE),
        paper=True,
        colour="#009E73",
        line="-.",
    )
)

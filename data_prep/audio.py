"""Sound files to mono waveforms at one of the two sample rates."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import soundfile

SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".mp3", ".oga"} - {".raw"}


MAX_AMPLITUDE = 1e4  # times full scale; beyond it lies no sound, and its power would not be finite


class AudioError(Exception):
    """A sound file that gives no usable waveform; the message says why."""


def read_audio(path: str | Path, sample_rate: int) -> np.ndarray:
    """Read any file that libsndfile reads as float32 mono [samples] at `sample_rate` Hz.

    Channels are averaged; other rates are resampled with soxr's high quality.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, has no samples, or holds NaN, infinite or absurdly large
        samples.
    """
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, TypeError) as error:
        missing = not Path(path).exists()
        raise AudioError("no such file" if missing else f"unreadable ({error})") from error
    if not len(channels):
        raise AudioError("no samples")
    if not np.isfinite(channels).all():
        raise AudioError("NaN or infinite samples")
    if np.abs(channels).max() > MAX_AMPLITUDE:
        raise AudioError(f"samples beyond {MAX_AMPLITUDE:g} times full scale")
    waveform = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    if rate == sample_rate:
        return np.ascontiguousarray(waveform)
    return librosa.resample(waveform, orig_sr=rate, target_sr=sample_rate, res_type="soxr_hq")

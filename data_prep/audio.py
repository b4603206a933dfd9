"""Sound files to mono waveforms at one of the two sample rates."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import soundfile

# Of the formats that libsndfile knows, by their other names, too; RAW has no header.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
SUFFIXES |= {".aif", ".aifc", ".mp3", ".oga", ".opus", ".snd"}
BLOCK = 2**20  # samples
MAX_AMPLITUDE = 1e4  # times full scale; beyond it lies no sound, and its power would not be finite


class AudioError(Exception):
    """A sound file that gives no usable waveform; the message says why."""


def decode(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples of a sound file, channels averaged, float32 [samples], and their rate in Hz.

    Raises
    ------
    AudioError
        As `read_audio`.
    """
    try:
        with soundfile.SoundFile(path) as file:
            if file.format == "RAW":  # how libsndfile takes an .au file without a header
                raise AudioError("unreadable (no header of a sound format)")
            # Block by block: of a long recording, not all channels are in memory at once.
            blocks = [block.mean(axis=1) for block in file.blocks(BLOCK, dtype="float32", always_2d=True)]
            rate = file.samplerate
    except (OSError, RuntimeError, TypeError) as error:
        missing = not Path(path).exists()
        raise AudioError("no such file" if missing else f"unreadable ({error})") from error
    waveform = np.concatenate(blocks) if blocks else np.empty(0, np.float32)
    if not len(waveform):
        raise AudioError("no samples")
    if not np.isfinite(waveform).all():
        raise AudioError("NaN or infinite samples")
    if np.abs(waveform).max() > MAX_AMPLITUDE:
        raise AudioError(f"samples beyond {MAX_AMPLITUDE:g} times full scale")
    return waveform, rate


def to_rate(waveform: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """The waveform at `sample_rate` Hz, resampled with soxr's high quality where `rate` differs."""
    if rate == sample_rate:
        return waveform
    return librosa.resample(waveform, orig_sr=rate, target_sr=sample_rate, res_type="soxr_hq")


def read_audio(path: str | Path, sample_rate: int) -> np.ndarray:
    """Read any file that libsndfile reads as float32 mono [samples] at `sample_rate` Hz.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, has no samples, or holds NaN, infinite or absurdly large
        samples.
    """
    return to_rate(*decode(path), sample_rate)

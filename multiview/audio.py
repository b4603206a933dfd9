"""Sound files to mono waveforms at one of the two sample rates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr

# Of the formats that libsndfile knows, by their other names, too; RAW has no header.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
SUFFIXES |= {".aif", ".aifc", ".mp3", ".oga", ".opus", ".snd"}
BLOCK = 2**20  # samples
_LIBRARY_ERRORS = (OSError, RuntimeError, TypeError, ValueError)
MIN_RATE, MAX_RATE = 1000, 1_000_000  # Hz; a damaged header says anything
MAX_AMPLITUDE = 1e4  # times full scale; beyond it lies no sound, and its power would not be finite


class AudioError(Exception):
    """A sound file that gives no usable waveform; the message says why."""


def sound_files(folder: Path) -> list[Path]:
    """Files below `folder` whose suffix names a sound format, in order, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def check_rate(rate: float) -> None:
    """Refuse a rate, in Hz, that no sound has.

    Raises
    ------
    AudioError
        Outside 1 kHz to 1 MHz.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"a rate of {rate} Hz; expected {MIN_RATE} to {MAX_RATE} Hz")


def check_samples(waveform: np.ndarray) -> None:
    """Refuse samples that are no sound.

    Raises
    ------
    AudioError
        If some are NaN, infinite or absurdly large.
    """
    if not np.isfinite(waveform).all():
        raise AudioError("NaN or infinite samples")
    if np.abs(waveform).max() > MAX_AMPLITUDE:
        raise AudioError(f"samples beyond {MAX_AMPLITUDE:g} times full scale")


@contextmanager
def opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """A sound file to read from.

    Raises
    ------
    AudioError
        If the file is missing or unreadable, or of an absurd rate.
    """
    if Path(path).is_dir():
        raise AudioError("a folder without sound files")
    try:
        # As bytes, for names that are not valid text.
        file = soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path)
    except _LIBRARY_ERRORS as error:
        missing = not Path(path).exists()
        raise AudioError("no such file" if missing else f"unreadable ({error})") from error
    with file:
        if file.format == "RAW":  # how libsndfile takes an .au file without a header
            raise AudioError("unreadable (no header of a sound format)")
        check_rate(file.samplerate)
        yield file


def mono_blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Samples of an open sound file, channels averaged, float32 [samples] a block.

    Of a long recording, not all channels are in memory at once.

    Raises
    ------
    AudioError
        Where the file is damaged, at NaN, infinite or absurdly large samples, or at the end if there
        were no samples.
    """
    empty = True
    while True:
        try:
            # Until there is no more: a header may state any length, and `blocks` would believe it.
            block = file.read(max(1, BLOCK // file.channels), dtype="float32", always_2d=True)
        except _LIBRARY_ERRORS as error:
            raise AudioError(f"unreadable ({error})") from error
        if not len(block):
            break
        waveform, empty = block.mean(axis=1), False
        check_samples(waveform)
        yield waveform
    if empty:
        raise AudioError("no samples")


def decode(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples of a sound file, channels averaged, float32 [samples], and their rate in Hz.

    Raises
    ------
    AudioError
        As `read_audio`.
    """
    with opened(path) as file:
        return np.concatenate(list(mono_blocks(file))), file.samplerate


def stream(file: soundfile.SoundFile, sample_rate: int) -> Iterator[np.ndarray]:
    """An open sound file as float32 mono parts [samples] at `sample_rate` Hz, in constant memory.

    Raises
    ------
    AudioError
        As `mono_blocks`.
    """
    if file.samplerate == sample_rate:
        yield from mono_blocks(file)
        return
    resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in mono_blocks(file):
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def to_rate(waveform: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """The waveform at `sample_rate` Hz, resampled with soxr's high quality where `rate` differs."""
    if rate == sample_rate:
        return waveform
    import librosa  # most commands read no sound

    return librosa.resample(waveform, orig_sr=rate, target_sr=sample_rate, res_type="soxr_hq")


def read_audio(path: str | Path, sample_rate: int) -> np.ndarray:
    """Read any file that libsndfile reads as float32 mono [samples] at `sample_rate` Hz.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, has no samples, is of an absurd rate, or holds NaN, infinite
        or absurdly large samples.
    """
    return to_rate(*decode(path), sample_rate)

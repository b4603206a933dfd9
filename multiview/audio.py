"""Sound files to mono waveforms at one of the two sample rates, and the sound files of a folder."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from multiview.decoders import DECODERS, SUFFIXES, AudioError, Sound
from multiview.support.words import counted, listed, spoken

__all__ = ["AudioError", "Sound"]

MIN_RATE, MAX_RATE = 1000, 1_000_000  # Hz; a damaged header says anything
USUAL_RATE = 48_000  # Hz, at most
MAX_AMPLITUDE = 1e4  # times full scale; beyond it lies no sound, and its power would not be finite
SILENT_DBFS = -60.0  # a sound whose peak is below
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx", "icon\r", "lost+found", "$recycle.bin"}  # beside hidden ones


@dataclass(frozen=True)
class Files:
    """What some files are: sounds and others, each in order, and how many are hidden or of the system."""

    sounds: list[Path]
    others: list[Path]
    hidden: int

    def unused(self, root: Path) -> list[str]:
        """Lines on those that are no sounds, with paths from `root`."""
        lines = [not_used("as no sound", self.others, root)] if self.others else []
        return lines + ([f"not used, hidden or of the system: {counted(self.hidden, 'file')}"] if self.hidden else [])


def not_used(why: str, paths: Collection[Path], root: Path) -> str:
    """A line that names files, with paths from `root`."""
    names = sorted(path.relative_to(root).as_posix() for path in paths)
    return f"not used, {why}: {counted(len(paths), 'file')}: {listed(names)}"


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not the user's."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def is_sound(path: Path) -> bool:
    """Whether a file is a sound by its name, be it damaged, or by what is in it."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with opened(path):
            return True
    except AudioError:
        return False


def sort_out(paths: Iterable[Path], root: Path) -> Files:
    """The files among some paths below `root`."""
    files = sorted(path for path in paths if path.is_file())
    shown = [path for path in files if not any(map(is_hidden, path.relative_to(root).parts))]
    sounds = [path for path in shown if is_sound(path)]
    return Files(sounds, sorted(set(shown) - set(sounds)), len(files) - len(shown))


def look_into(folder: Path) -> Files:
    """All files below a folder."""
    return sort_out(folder.rglob("*"), folder)


def sound_files(folder: Path) -> list[Path]:
    """The sound files below a folder, in order, without hidden ones."""
    return look_into(folder).sounds


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
def opened(path: str | Path) -> Iterator[Sound]:
    """A sound file to read from, whatever it is called.

    Raises
    ------
    AudioError
        If the file is missing or unreadable, or of an absurd rate.
    """
    path = Path(path)
    if path.is_dir():
        raise AudioError("a folder without sound files")
    with ExitStack() as stack:
        sound = _begun(stack, path)
        check_rate(sound.samplerate)
        yield sound


def _begun(stack: ExitStack, path: Path) -> Sound:
    """The sound of the first decoder that takes the file."""
    reasons = []
    for decoder in DECODERS:
        try:
            return stack.enter_context(decoder(path))
        except AudioError as error:
            reasons.append(str(error))
    raise AudioError(f"unreadable ({'; '.join(dict.fromkeys(reasons))})" if path.exists() else "no such file")


def mono_blocks(sound: Sound) -> Iterator[np.ndarray]:
    """Samples of an open sound file, channels averaged, float32 [samples] a block.

    Of a long recording, not all channels are in memory at once.

    Raises
    ------
    AudioError
        Where the file is damaged, at NaN, infinite or absurdly large samples, or at the end if there
        were no samples.
    """
    empty = True
    blocks = sound.blocks()
    while True:
        try:
            block = next(blocks, None)
        except AudioError as error:
            raise AudioError(f"unreadable ({error})") from error
        if block is None:
            break
        waveform, empty = block.mean(axis=1), False
        check_samples(waveform)
        yield waveform
    if empty:
        raise AudioError("no samples")


def decode(path: str | Path, longest: float = math.inf) -> tuple[np.ndarray, int]:
    """Samples of a sound file, channels averaged, float32 [samples], and their rate in Hz.

    Raises
    ------
    AudioError
        As `read_audio`.
    """
    blocks, samples = [], 0
    with opened(path) as sound:
        most = longest * min(sound.samplerate, USUAL_RATE)
        for block in mono_blocks(sound):
            blocks.append(block)
            samples += len(block)
            if samples > most:
                raise AudioError(f"longer than {spoken(most / sound.samplerate)}; cut it into clips")
        return np.concatenate(blocks), sound.samplerate


def stream(sound: Sound, sample_rate: int) -> Iterator[np.ndarray]:
    """An open sound file as float32 mono parts [samples] at `sample_rate` Hz, in constant memory.

    Raises
    ------
    AudioError
        As `mono_blocks`.
    """
    if sound.samplerate == sample_rate:
        yield from mono_blocks(sound)
        return
    resampler = soxr.ResampleStream(sound.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in mono_blocks(sound):
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def to_rate(waveform: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """The waveform at `sample_rate` Hz, resampled with soxr's high quality where `rate` differs."""
    if rate == sample_rate:
        return waveform
    import librosa  # most commands read no sound

    return librosa.resample(waveform, orig_sr=rate, target_sr=sample_rate, res_type="soxr_hq")


def read_audio(path: str | Path, sample_rate: int, longest: float = math.inf) -> np.ndarray:
    """Read a sound file of any format as float32 mono [samples] at `sample_rate` Hz.

    Parameters
    ----------
    longest : float
        Seconds that it may last; fewer at rates above 48 kHz, as many as take the same memory.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, has no samples, is of an absurd rate, lasts too long, or holds NaN, infinite
        or absurdly large samples.
    """
    return to_rate(*decode(path, longest), sample_rate)

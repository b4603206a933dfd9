"""Sound files to mono waveforms at one of the two sample rates, and the sound files of a folder."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from multiview.decoders import DECODERS, SUFFIXES, AudioError, Sound, check_place
from multiview.support.words import counted, listed, spoken

__all__ = ["AudioError", "Sound"]

MIN_RATE, MAX_RATE = 1000, 1_000_000  # Hz; a damaged header says anything
USUAL_RATE = 48_000  # Hz, at most
MAX_AMPLITUDE = 1e4  # times full scale; beyond it lies no sound, and its power would not be finite
SILENT_DBFS = -60.0  # a sound whose peak is below
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx", "icon\r", "lost+found", "$recycle.bin"}  # beside hidden ones


@dataclass(frozen=True)
class Files:
    """What some files are: sounds, others, and pipes and the like, each in order; and how many are hidden.

    `closed` are the folders that cannot be read.
    """

    sounds: list[Path]
    others: list[Path]
    special: list[Path]
    hidden: int
    closed: list[Path]

    def unused(self, root: Path) -> list[str]:
        """Lines on those that are no sounds, with paths from `root`."""
        why = {"as no sound": self.others, "as pipe, socket or device": self.special}
        lines = [not_used(reason, paths, root) for reason, paths in why.items() if paths]
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


def _type(path: Path) -> int:
    """Type of what is there or where a link leads; a file's where that cannot be told, as who opens it says why."""
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except (OSError, ValueError):
        return stat.S_IFREG


def sort_out(paths: Iterable[Path], root: Path, closed: Iterable[Path] = ()) -> Files:
    """The files among some paths below `root`, and of the folders that cannot be read those that are not hidden."""

    def shown(path: Path) -> bool:
        return not any(map(is_hidden, path.relative_to(root).parts))

    types = {path: _type(path) for path in paths}
    files = sorted(path for path, kind in types.items() if kind != stat.S_IFDIR and shown(path))
    regular = [path for path in files if types[path] == stat.S_IFREG]
    sounds = [path for path in regular if is_sound(path)]
    return Files(
        sounds,
        others=sorted(set(regular) - set(sounds)),
        special=[path for path in files if types[path] != stat.S_IFREG],
        hidden=sum(kind != stat.S_IFDIR and not shown(path) for path, kind in types.items()),
        closed=sorted(filter(shown, closed)),
    )


def walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files below a folder, which may be a link, and the folders that cannot be read."""
    errors: list[OSError] = []
    paths = [Path(place, name) for place, _, names in os.walk(folder, onerror=errors.append) for name in names]
    return paths, [Path(os.fsdecode(error.filename)) for error in errors]


def look_into(folder: Path) -> Files:
    """All files below a folder."""
    paths, closed = walk(folder)
    return sort_out(paths, folder, closed)


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
        If it is missing, no file, unreadable, or of an absurd rate.
    """
    check_place(path)
    with ExitStack() as stack:
        sound = _begun(stack, Path(path))
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
    raise AudioError(f"unreadable ({'; '.join(dict.fromkeys(reasons))})")


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

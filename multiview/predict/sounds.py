"""Sound files as prediction takes them: of any length in constant memory, with what a user should know about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multiview.audio import SILENT_DBFS, Sound, mono_blocks, opened, stream, to_rate
from multiview.decoders import BLOCK

HELD_SECONDS = 120  # a longer recording is read twice: its length decides where its segments start
MISSING_SECONDS = 0.1  # codecs round lengths by less
MAX_STATED_SECONDS = 1e7


@dataclass(frozen=True)
class Heard:
    """A sound whose length is known.

    Parameters
    ----------
    samples : int
        At the model's rate.
    pieces : callable
        Gives the waveform at that rate from the start, float32 [samples] a piece.
    notes : dict
        What a user should know, a sentence by its word: `silent`, `truncated`.
    """

    samples: int
    pieces: Callable[[], Iterable[np.ndarray]]
    notes: dict[str, str]


def of_waveform(waveform: np.ndarray, rate: int, sample_rate: int) -> Heard:
    """A mono waveform, float32 [samples], at `rate` Hz, to be answered at `sample_rate` Hz."""
    return _held(to_rate(waveform, rate, sample_rate), _silence(float(np.abs(waveform).max())))


def hear(path: str | Path, sample_rate: int) -> Heard:
    """A sound file, to be answered at `sample_rate` Hz. It is read to its end, but only what is short is kept.

    Raises
    ------
    AudioError
        If it cannot be read to its end, or is no file.
    """
    blocks, read, peak = [], 0, 0.0
    with opened(path) as file:
        rate, stated = file.samplerate, stated_seconds(file)
        for block in mono_blocks(file):
            read, peak = read + len(block), max(peak, float(np.abs(block).max()))
            if read <= HELD_SECONDS * rate:
                blocks.append(block)
            else:
                blocks.clear()
    notes = _silence(peak)
    if stated is not None and stated - read / rate > MISSING_SECONDS:
        notes["truncated"] = f"it ends after {read / rate:.1f} of {stated:.1f} seconds"
    if blocks:
        return _held(to_rate(np.concatenate(blocks), rate, sample_rate), notes)
    samples = -(-read * sample_rate // rate)  # as `to_rate` has it
    return Heard(samples, lambda: _from_disk(path, sample_rate, samples), notes)


def _held(waveform: np.ndarray, notes: dict[str, str]) -> Heard:
    blocks = [waveform[begin : begin + BLOCK] for begin in range(0, len(waveform), BLOCK)]
    return Heard(len(waveform), lambda: blocks, notes)


def _silence(peak: float) -> dict[str, str]:
    """A note where the largest sample, as a share of full scale, is next to nothing."""
    silent = peak < 10 ** (SILENT_DBFS / 20)
    return {"silent": f"its peak is below {SILENT_DBFS:g} dB of full scale"} if silent else {}


def _from_disk(path: str | Path, sample_rate: int, samples: int) -> Iterator[np.ndarray]:
    """The waveform of a file, so many samples of it: a resampler that streams may round otherwise."""
    with opened(path) as file:
        for piece in stream(file, sample_rate):
            yield piece[:samples]
            samples -= min(samples, len(piece))
    if samples:
        yield np.zeros(samples, np.float32)


def stated_seconds(sound: Sound) -> float | None:
    """Length of a sound that its header states; None where it states none."""
    seconds = sound.frames / sound.samplerate
    return seconds if 0 < seconds < MAX_STATED_SECONDS else None

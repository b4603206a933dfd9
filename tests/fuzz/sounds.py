"""Sound files of every format and coding that libsndfile writes here, and what phones and browsers record."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from multiview.audio import AudioError, read_audio
from multiview.support.errors import InputError
from tests.fuzz.mutations import any_bytes
from tests.fuzz.runner import Case
from tests.trees import ENCODED, write_encoded

SEED = 20215
FAILED: tuple[int, ...] = (5993,)
RATE = 22050


def originals(folder: Path) -> list[bytes]:
    """A short sound in each."""
    rng, found = np.random.default_rng(SEED), []
    for name, codec, container, rate, _ in ENCODED:
        write_encoded(folder / name, 0.1 * rng.standard_normal((rate // 5, 2)), rate, codec, container)
        found.append((folder / name).read_bytes())
    for form in soundfile.available_formats():
        for coding in soundfile.available_subtypes(form):
            for channels, rate in ((2, RATE), (1, 8000)):  # some take no more
                content, sound = io.BytesIO(), 0.1 * rng.standard_normal((4000, channels))
                if form == "SD2":  # leaves half of itself in the working directory, without which nobody reads it
                    continue
                try:
                    soundfile.write(content, sound, rate, format=form, subtype=coding)
                    soundfile.read(io.BytesIO(content.getvalue()))
                except (soundfile.SoundFileError, TypeError):  # headerless, or written by some and read by none
                    continue
                found.append(content.getvalue())
                break
    return found


def make_case(folder: Path) -> Case:
    """What takes the number of a case and a folder."""
    whole = originals(folder)
    print(f"{len(whole)} formats and codings")
    (folder / "sound").write_bytes(whole[0])
    read_audio(folder / "sound", RATE)  # what has to be loaded is

    def case(number: int, _: Path) -> None:
        rng = np.random.default_rng([SEED, number])
        path = folder / "sound"
        path.write_bytes(any_bytes(whole[number % len(whole)], rng))
        try:
            waveform = read_audio(path, RATE)
        except AudioError as error:
            raise InputError(str(error)) from error
        assert waveform.ndim == 1 and len(waveform) and np.isfinite(waveform).all()

    return case

"""A dataset made on the spot, so that everything can be tried without a download.

Six classes of 2 s, some of which only certain views tell apart: a rising and a falling chirp, a low
and a high band of noise, a click train, and vibrato notes on the CQT's bins. A source is one set of
random parameters, of which two clips are drawn; sources are dealt to five folds.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from data_prep.datasets.base import DATASETS, ClipFile, Dataset, Index, seed_option
from data_prep.datasets.finding import require_given
from multiview.support.files import replacing

SAMPLE_RATE = 22050
SECONDS = 2.0
FOLDS = 5
SOURCES_PER_FOLD = 4  # of each class
CLIPS_PER_SOURCE = 2
CLASSES = ("rising_chirp", "falling_chirp", "low_noise", "high_noise", "clicks", "vibrato")


def synthesise(name: str, source: np.random.Generator, clip: np.random.Generator) -> np.ndarray:
    """One clip, float64 [samples] in [-1, 1].

    `source` draws what the clips of a source have in common, `clip` what differs between them.
    """
    samples = int(SECONDS * SAMPLE_RATE)
    t = np.arange(samples) / SAMPLE_RATE
    low, ratio, period = source.uniform(250, 350), source.uniform(5, 7), source.uniform(0.4, 0.7)
    phase = clip.uniform(0, 1)
    if name in ("rising_chirp", "falling_chirp"):
        position = (t / period + phase) % 1
        frequency = low * ratio ** (position if name == "rising_chirp" else 1 - position)
        sound = np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE)
    elif name in ("low_noise", "high_noise"):
        from scipy import signal  # takes a second to load, which most calls need not

        centre = low * (2 if name == "low_noise" else 12)
        band = signal.butter(2, [0.8 * centre, 1.25 * centre], "bandpass", fs=SAMPLE_RATE, output="sos")
        sound = signal.sosfilt(band, clip.standard_normal(samples))
    elif name == "clicks":
        sound = (np.arange(samples) % int(SAMPLE_RATE * period / 8) == int(100 * phase)).astype(float)
        sound = np.convolve(sound, np.exp(-np.arange(64) / 8) * np.cos(np.arange(64)), "same")
    else:
        note = 65.4 * 2 ** (source.integers(12, 36) / 12)
        vibrato = 1 + 0.03 * np.sin(2 * np.pi * (5 * t / period + phase))
        angle = 2 * np.pi * np.cumsum(note * vibrato) / SAMPLE_RATE
        sound = np.sin(angle) + np.sin(2 * angle) / 2 + np.sin(3 * angle) / 3
    sound = sound / np.abs(sound).max() * clip.uniform(0.2, 0.8)
    return sound + clip.standard_normal(samples) * 10 ** clip.uniform(-3.5, -2.5)


def index(audio: Path | None, seed: int = 0) -> Index:
    """Synthesise the clips that are not in `audio` yet, and list them."""
    audio = require_given(audio)
    audio.mkdir(parents=True, exist_ok=True)
    clips = []
    for label, name in enumerate(CLASSES):
        for source in range(FOLDS * SOURCES_PER_FOLD):
            for take in range(CLIPS_PER_SOURCE):
                file = f"{name}-{seed}-{source}-{take}.wav"
                if not (audio / file).exists():
                    rng = np.random.default_rng([seed, label, source])
                    sound = synthesise(name, rng, np.random.default_rng([seed, label, source, take + 1]))
                    content = io.BytesIO()
                    soundfile.write(content, np.clip(sound, -1, 1), SAMPLE_RATE, subtype="PCM_16", format="WAV")
                    with replacing(audio / file) as temporary:
                        temporary.write_bytes(content.getvalue())
                clips.append(ClipFile(audio / file, file, label, f"{name}-{seed}-{source}", fold=source % FOLDS + 1))
    return Index(CLASSES, clips)


DATASETS.register(
    Dataset(
        name="demo",
        label="demo",
        summary="240 clips of 2 s in six classes, synthesised on the spot: everything can be tried without a download.",
        sample_rate=SAMPLE_RATE,
        index=index,
        options=(seed_option("of the sounds"),),
        validation_sources=4,  # with fewer, all are right too early
        preset="demo",
        folds="1",
        synthesised=True,
    )
)

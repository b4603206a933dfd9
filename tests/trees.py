"""Datasets in miniature: the official layouts with synthesised sounds."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import soundfile

from data_prep.datasets import DATASETS, Index

SCENES = ("beach", "bus", "cafe/restaurant")
GENRES = ("blues", "jazz", "rock")


def table(dataset: str, index: Index) -> SimpleNamespace:
    """What a store of the index would say of its clips."""
    names = {"labels": "label", "folds": "fold", "sources": "source", "splits": "split"}
    columns = {name: np.array([getattr(clip, of) for clip in index.clips]) for name, of in names.items()}
    declared = next(each for each in DATASETS.values() if f"{dataset}_".startswith(f"{each.name}_"))
    return SimpleNamespace(
        path="store.h5", dataset=dataset, classes=list(index.classes), about=declared.about({}), **columns
    )


def write_tone(path: Path, rate: int = 22050, samples: int = 40_000, channels: int = 1, **options) -> None:
    """A tone whose pitch depends on the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pitch = 200 + sum(path.name.encode()) % 97 * 20
    sound = 0.3 * np.sin(2 * np.pi * pitch * np.arange(samples) / rate)
    soundfile.write(path, np.tile(sound[:, None], channels), rate, **options)


def touch(path: Path) -> None:
    """An empty file, where only names matter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def esc50(root: Path) -> Path:
    """A miniature ESC-50: 3 classes, of which 2 belong to ESC-10, 5 folds, 2 clips each."""
    rows = []
    for target, (category, esc10) in {0: ("dog", True), 7: ("rain", True), 3: ("cow", False)}.items():
        for fold in range(1, 6):
            for take in "AB":
                name = f"{fold}-{1000 * target + fold}-{take}-{target}.wav"
                write_tone(root / "audio" / name)
                rows.append((name, fold, target, category, esc10, 1000 * target + fold, take))
    (root / "meta").mkdir()
    table = pd.DataFrame(rows, columns=["filename", "fold", "target", "category", "esc10", "src_file", "take"])
    table.to_csv(root / "meta" / "esc50.csv", index=False)
    return root


def write_binaural(path: Path) -> None:
    """30 s, 44.1 kHz, 24 bit, two channels."""
    write_tone(path, 44100, 30 * 44100, channels=2, subtype="PCM_24")


def dcase2016(
    root: Path,
    write: Callable[[Path], None] = write_binaural,
    scenes: Sequence[str] = SCENES,
    recordings: int = 4,
    segments: int = 1,
    evaluation: int = 2,
) -> Path:
    """TUT Acoustic Scenes 2016: development and evaluation set below `root`.

    Each scene has `recordings` of `segments` clips each, dealt to four folds, and `evaluation` clips.
    """
    development, evaluated = (root / f"TUT-acoustic-scenes-2016-{part}" for part in ("development", "evaluation"))
    for folder in (development, evaluated):
        (folder / "evaluation_setup").mkdir(parents=True)
    rows = [
        (f"audio/{'abc'[label % 3]}{100 * label + recording:03}_{30 * part}_{30 * part + 30}.wav", scene, recording % 4)
        for label, scene in enumerate(scenes)
        for recording in range(recordings)
        for part in range(segments)
    ]
    for name, *_ in rows:
        write(development / name)
    (development / "meta.txt").write_text("".join(f"{name}\t{scene}\n" for name, scene, _ in rows))
    (development / "error.txt").write_text(f"{rows[0][0]}\t1.5\t2.0\terror\n")
    for fold in range(4):
        sides = {
            "train": [f"{name}\t{scene}\n" for name, scene, side in rows if side != fold],
            "test": [f"{name}\n" for name, _, side in rows if side == fold],
            "evaluate": [f"{name}\t{scene}\n" for name, scene, side in rows if side == fold],
        }
        for side, lines in sides.items():
            (development / "evaluation_setup" / f"fold{fold + 1}_{side}.txt").write_text("".join(lines))
    tests = [(f"audio/{number + 1}.wav", scenes[number % len(scenes)]) for number in range(evaluation * len(scenes))]
    for name, _ in tests:
        write(evaluated / name)
    setup = evaluated / "evaluation_setup"
    (setup / "test.txt").write_text("".join(f"{name}\n" for name, _ in tests))
    (setup / "evaluate.txt").write_text("".join(f"{name}\t{scene}\n" for name, scene in tests))
    return root


def write_track(path: Path) -> None:
    """Between 660,000 and 675,808 samples at 22.05 kHz."""
    write_tone(path, 22050, 660_000 + sum(path.name.encode()) * 7919 % 15_809)


def gtzan(
    root: Path,
    write: Callable[[Path], None] = write_track,
    genres: Sequence[str] = GENRES,
    clips: Sequence[int] = (*range(9), 54),
    suffix: str = ".au",
) -> Path:
    """GTZAN's folder of genres, with clips of the given numbers; jazz.00054 is damaged."""
    for genre in genres:
        for number in clips:
            path = root / genre / f"{genre}.{number:05}{suffix}"
            write(path)
            if path.stem == "jazz.00054":
                path.write_bytes(b"\0" * 1000)
    return root


# Name, codec, container, rate, samples that the codec may add or take at the ends.
ENCODED = [
    ("a.m4a", "aac", "ipod", 48000, 2048),
    ("b.mp4", "aac", "mp4", 44100, 2048),
    ("c.wma", "wmav2", "asf", 44100, 4096),
    ("d.webm", "libopus", "webm", 48000, 0),
    ("e.aac", "aac", "adts", 48000, 3072),
    ("suffixless", "alac", "ipod", 48000, 0),
    ("wrong.wav", "aac", "ipod", 48000, 2048),
]


def write_encoded(
    path: Path, sound: np.ndarray, rate: int, codec: str, container: str, layout: str | None = None
) -> None:
    """Write float [samples, channels] with FFmpeg's encoders, as phones and browsers do."""
    import av

    layout = layout or {1: "mono", 2: "stereo"}[sound.shape[1]]
    frame = av.AudioFrame.from_ndarray(sound.astype(np.float32).reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = rate
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, bit_rate=128_000)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, context.layout, rate, context.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of files by their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], **attributes) -> Path:
    """The same, compressed; all members have the attributes of `TarInfo`."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path

"""Times the views and the segments, each beside what it is measured against, in one process.

    python -m tests.benchmarks.views [--audio DIR] [--clips 20]

Views: this project's four against librosa's mel spectrogram, spafe's `erb_spectrogram` and librosa's
CQT, each for itself, on one thread. Segments: a random batch of 64 at 44.1 kHz against a training step
of the `small` preset. Sounds: ESC-10 in MULTIVIEW_DATA or ../shared/data, or else 5 s of noise.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import librosa
import numpy as np
from spafe.features.gfcc import erb_spectrogram
from spafe.utils.preprocessing import SlidingWindow
from threadpoolctl import threadpool_limits

from multiview.audio import read_audio, sound_files
from multiview.segments import Segments, cut, random_starts
from multiview.store import Clip, Store, write_store
from multiview.views import CQT, MEL, extract
from multiview.views.spectrogram import fft_size
from tests.benchmarks.step import measure_step

RATE = 44100


def plain_way(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """The views as one would first write them; powers and magnitudes, before decibels."""
    grid, n_fft = MEL.grid(RATE), fft_size(RATE)
    window = SlidingWindow(grid.window / RATE, grid.hop / RATE, "hanning")
    return {
        "mel": librosa.feature.melspectrogram(
            y=waveform, sr=RATE, n_fft=n_fft, win_length=grid.window, hop_length=grid.hop, n_mels=64
        ),
        "gammatone": erb_spectrogram(
            waveform, fs=RATE, pre_emph=False, window=window, nfilts=64, nfft=n_fft, low_freq=50
        )[0],
        "cqt": librosa.cqt(waveform, sr=RATE, hop_length=CQT.grid(RATE).hop, n_bins=64, bins_per_octave=12),
    }


def seconds_each(function: Callable, waveforms: Sequence[np.ndarray], repeats: int = 3) -> float:
    """Seconds of computing for a second of audio: the best of several rounds, on one thread."""
    rounds = []
    with threadpool_limits(1):
        function(waveforms[0])  # compiles, fills caches
        for _ in range(repeats):
            begin = time.perf_counter()
            for waveform in waveforms:
                function(waveform)
            rounds.append(time.perf_counter() - begin)
    return min(rounds) / (sum(map(len, waveforms)) / RATE)


def measure_views(waveforms: Sequence[np.ndarray]) -> tuple[float, float]:
    """Seconds for a second of audio, this project's way and the plain way."""
    return seconds_each(lambda waveform: extract(waveform, RATE), waveforms), seconds_each(plain_way, waveforms)


def measure_segments(waveforms: Sequence[np.ndarray], batch: int = 64, repeats: int = 20) -> float:
    """Seconds for a batch of random segments of all views at 44.1 kHz, from a store on disk."""
    with tempfile.TemporaryDirectory() as folder:
        clips = [Clip(str(i), 0, 1, "development", str(i), len(w)) for i, w in enumerate(waveforms)]
        write_store(
            Path(folder) / "store.h5",
            dataset="benchmark",
            sample_rate=RATE,
            classes=["any"],
            clips=clips,
            features=(extract(waveform, RATE) for waveform in waveforms),
            software={},
        )
        store, rng, times = Store(Path(folder) / "store.h5"), np.random.default_rng(0), []
        for _ in range(repeats):
            begin = time.perf_counter()
            rows = rng.integers(0, len(clips), batch)
            lasts = np.array([store.size.last_start(int(samples)) for samples in store.samples[rows]])
            cut(store, Segments(rows, random_starts(lasts, rng)), store.views)
            times.append(time.perf_counter() - begin)
    return float(np.median(times))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("MULTIVIEW_DATA", Path(__file__).parents[3] / "shared" / "data"))
    parser.add_argument("--audio", type=Path, default=data / "esc10", metavar="DIR")
    parser.add_argument("--clips", type=int, default=20, metavar="N")
    args = parser.parse_args()
    paths = sound_files(args.audio)[:: max(1, 400 // args.clips)][: args.clips] if args.audio.is_dir() else []
    if paths:
        waveforms = [read_audio(path, RATE) for path in paths]
    else:
        rng = np.random.default_rng(0)
        waveforms = [rng.uniform(-0.5, 0.5, 5 * RATE).astype(np.float32) for _ in range(args.clips)]
    print(f"{len(waveforms)} clips of {'ESC-10 or --audio' if paths else 'noise'}, 44.1 kHz, one thread")
    ours, plain = measure_views(waveforms)
    print(f"views, plain way: {1000 * plain:.2f} ms a second of audio")
    print(f"views, here: {1000 * ours:.2f} ms a second of audio, {1 / ours:.0f} s of audio a second")
    print(f"ratio: {plain / ours:.1f}")
    batch, (_, step, _) = measure_segments(waveforms), measure_step("small")
    print(f"64 random segments: {1000 * batch:.1f} ms")
    print(f"small step of 64: {1000 * step:.0f} ms")
    print(f"share: {batch / step:.1%}")


if __name__ == "__main__":
    main()

"""Times the extraction of a dataset with one job and with several, stage by stage, and measures its memory.

    python -m tests.benchmarks.prepare [--audio DIR] [--sample-rate HZ] [--jobs 2] [--clips N]

Sounds: every sound file below --audio, ESC-10 in MULTIVIEW_DATA or ../shared/data by default. The pool of
processes is started, and its modules imported, before the clock runs; its start is given by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import soundfile

from data_prep.datasets import ClipFile, Index
from data_prep.extraction import Parts
from data_prep.prepare import prepare
from multiview import views
from multiview.audio import decode, read_audio, sound_files, to_rate
from multiview.support.files import replacing
from multiview.views.base import decibels
from multiview.views.cqt import cqt
from multiview.views.spectrogram import frame_filters, frame_grid, power_spectrum


@contextmanager
def watched_memory(pid: int | None = None, every: float = 0.05) -> Iterator[dict[str, float]]:
    """Peak memory in MiB of a process, or this one (`main`), and of its largest child (`job`).

    Pages that several processes share are shared out between them.
    """
    peaks, stop = {"main": 0.0, "job": 0.0}, threading.Event()

    def pss(process: psutil.Process) -> float:
        try:
            return process.memory_full_info().pss / 2**20
        except psutil.Error:
            return 0.0

    def watch() -> None:
        main = psutil.Process(pid)
        while not stop.wait(every):
            peaks["main"] = max(peaks["main"], pss(main))
            with contextlib.suppress(psutil.Error):
                peaks["job"] = max([peaks["job"], *map(pss, main.children(recursive=True))])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield peaks
    stop.set()
    thread.join()


def seconds(function: Callable, *arguments: object) -> float:
    """Wall-clock seconds of a call."""
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def stages(paths: list[Path], rate: int, folder: Path) -> dict[str, float]:
    """Milliseconds a second of audio of each stage of one job, in turn for every clip."""
    size, grid, spent, duration = views.geometry(rate), frame_grid(rate), {}, 0.0

    def timed(stage: str, function: Callable, *arguments: object):
        begin = time.perf_counter()
        result = function(*arguments)
        spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - begin
        return result

    views.extract(read_audio(paths[0], rate), rate)  # computes the filters
    for path in paths:
        samples, own_rate = timed("read", decode, path)
        waveform = timed("resample", to_rate, samples, own_rate, rate)
        waveform = np.pad(waveform, (0, max(0, size.segment_samples - len(waveform))))
        duration += len(waveform) / rate
        frames = np.lib.stride_tricks.sliding_window_view(waveform, grid.window)[:: grid.hop]
        power = timed("STFT", power_spectrum, frames, rate)
        timed("mel and gammatone filters", lambda p=power: decibels(p @ frame_filters(rate)))
        timed("CQT", cqt, waveform, rate)
        features = views.extract(waveform, rate)
        with replacing(folder / "part.npz") as temporary:
            timed("write", lambda t=temporary, f=features: np.savez(t, **f))
    return {stage: 1000 * value / duration for stage, value in spent.items()}


def reading(paths: list[Path], folder: Path) -> dict[str, float]:
    """Milliseconds a second of audio of reading the same sounds from files of several formats."""
    found = {}
    for name, suffix, subtype in (
        ("WAV", "wav", "PCM_16"),
        ("FLAC", "flac", "PCM_16"),
        ("Ogg Vorbis", "ogg", "VORBIS"),
    ):
        copies, duration = [], 0.0
        for number, path in enumerate(paths):
            samples, rate = decode(path)
            duration += len(samples) / rate
            copies.append(folder / f"{number}.{suffix}")
            soundfile.write(copies[-1], samples, rate, subtype=subtype)
        found[name] = 1000 * min(seconds(lambda c=copies: [decode(copy) for copy in c]) for _ in range(3)) / duration
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("MULTIVIEW_DATA", Path(__file__).parents[3] / "shared" / "data"))
    parser.add_argument("--audio", type=Path, default=data / "esc10", metavar="DIR")
    parser.add_argument("--sample-rate", type=int, default=44100, choices=sorted(views.SAMPLE_RATES))
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--clips", type=int, metavar="N", help="only so many, evenly spaced")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of which the best counts")
    args = parser.parse_args()
    paths, rate = sound_files(args.audio), args.sample_rate
    paths = paths[:: max(1, len(paths) // args.clips)][: args.clips] if args.clips else paths
    clips = [
        ClipFile(path, str(number), number % 2, str(number), fold=number // 2 % 2 + 1)
        for number, path in enumerate(paths)
    ]
    duration = sum(len(read_audio(path, rate)) for path in paths) / rate
    print(f"{len(paths)} clips, {duration:.0f} s of audio, {rate} Hz, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        each = stages(paths[:: max(1, len(paths) // 50)], rate, Path(folder))
        for stage, spent in each.items():
            print(f"{stage}: {spent:.2f} ms a second of audio, {spent / sum(each.values()):.0%}")
        rest = sum(spent for stage, spent in each.items() if stage != "read")
        for name, spent in reading(paths[:: max(1, len(paths) // 50)], Path(folder)).items():
            total = 1000 / (rest + spent)
            print(
                f"read {name}: {spent:.2f} ms a second of audio; with the rest {total:.0f} s of audio a second and core"
            )
        times = {}
        for jobs in (1, args.jobs):
            rounds = []
            for number in range(args.repeats):
                parts = Parts(Path(folder) / f"{jobs}-{number}.h5", rate)
                start = seconds(parts.extract, clips[: 2 * jobs], jobs)
                rounds.append(seconds(parts.extract, clips[2 * jobs :], jobs))
                parts.remove()
                if not number:
                    print(f"{jobs} jobs: first {2 * jobs} clips, with the start of the processes: {start:.1f} s")
            times[jobs] = min(rounds) / (1 - 2 * jobs / len(clips))
            print(
                f"{jobs} jobs: extraction {times[jobs]:.1f} s, {duration / times[jobs]:.0f} s of audio a second, "
                f"{duration / times[jobs] / jobs:.0f} a core"
            )
        print(f"from 1 to {args.jobs} jobs: {times[1] / times[args.jobs]:.2f} times")
        with watched_memory() as peaks:
            index, store = Index(["even", "odd"], clips), Path(folder) / "store.h5"
            total = seconds(lambda: prepare("benchmark", index, store, rate, jobs=args.jobs))
        print(f"whole command, {args.jobs} jobs: {total:.1f} s, store {store.stat().st_size / 2**20:.0f} MiB")
        print(f"peak memory: main {peaks['main']:.0f} MiB, a job {peaks['job']:.0f} MiB")


if __name__ == "__main__":
    main()

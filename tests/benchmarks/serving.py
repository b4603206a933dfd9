"""Times answers, from a WAV file to classes, of a run and of its export, and compares the two on sound files.

    python -m tests.benchmarks.serving [--preset paper] [--audio ESC-10/audio] [--run RUN] [--clips 50] [--folder 200]

Without --run an untrained network of the preset, whose times are the same; without --audio noise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from multiview.audio import read_audio, sound_files
from multiview.experiment.run import Run
from multiview.segments import Segments, cut, test_starts
from multiview.settings import PRESETS, from_record
from multiview.support.files import write_json
from multiview.views import VIEWS, Excerpt, Sound, extract, geometry, paper_views
from multiview.views.extraction import padded

SECONDS = 5  # of noise

START = """
import time
begin = time.perf_counter()
import sys, numpy, multiview
predictor = multiview.load(sys.argv[1])
loaded = time.perf_counter()
predictor.predict(numpy.zeros(5 * predictor.sample_rate, numpy.float32), predictor.sample_rate)
print(f"{loaded - begin:.1f} s to load, {time.perf_counter() - loaded:.1f} s for the first answer")
"""


def untrained(preset: str, folder: Path) -> Run:
    """A run of the multi-view system that was never trained, 50 classes."""
    from multiview.networks import build_network

    chosen, run = PRESETS[preset], Run(folder / "run")
    rate = chosen.sample_rate or 44100
    values = {**asdict(chosen), "sample_rate": rate, "epochs": 1}
    settings = from_record({**values, "system": "multiview", "fold": 1, "preset": preset})
    store = {"dataset": "noise", "sample_rate": rate, "fingerprint": "", "classes": [f"class {n}" for n in range(50)]}
    write_json(run.record, {"settings": asdict(settings), "store": store})
    build_network("multiview", 50, rate, chosen.width).save(run.model)
    return run


def noise(folder: Path, count: int, rate: int) -> list[Path]:
    """WAV files of 5 s of noise."""
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], 0.1 * rng.standard_normal(SECONDS * rate), rate)
    return paths


def times(function: Callable, items: list) -> str:
    """Median and 95th percentile of the time for an item, after two that do not count."""
    for item in items[:2]:
        function(item)
    found = []
    for item in items:
        begin = time.perf_counter()
        function(item)
        found.append(1000 * (time.perf_counter() - begin))
    return f"p50 {np.percentile(found, 50):.1f} ms, p95 {np.percentile(found, 95):.1f} ms"


def views_in_graph(rate: int) -> Callable:
    """The paper's views of a batch of waveforms, for a graph."""

    def views(batch) -> dict:
        sound = Sound(batch, rate)
        return {view: VIEWS[view].graph(sound) for view in paper_views()}

    return views


def compare_views(paths: list[Path], rate: int) -> None:
    """Print how far the views in the graph are from those outside of it near the maximum of each clip."""
    import tensorflow as tf

    in_graph = tf.function(views_in_graph(rate), input_signature=[tf.TensorSpec([None, None], tf.float32)])
    found = {("mel", 80): [], ("gammatone", 80): [], ("cqt", 60): [], ("cqt", 80): []}
    shortest = geometry(rate).segment_samples
    for path in paths:
        waveform = padded(read_audio(path, rate), shortest)
        offline, graph = extract(waveform, rate), in_graph(waveform[np.newaxis])
        for (view, decibels), parts in found.items():
            near = offline[view] > offline[view].max() - decibels
            parts.append(np.abs(offline[view] - graph[view][0].numpy())[near])
    for (view, decibels), parts in found.items():
        values = np.concatenate(parts)
        print(
            f"{rate} Hz, {view} within {decibels} dB of the maximum, {len(paths)} clips: "
            f"99th percentile {np.percentile(values, 99):.1e} dB, largest {values.max():.1e} dB"
        )


def measure(run: Run, paths: list[Path], folder_clips: int, scratch: Path) -> None:
    """Print everything about one run."""
    import tensorflow as tf

    import multiview
    from multiview.export.write import export as write_export

    begin = time.perf_counter()
    export = write_export(run.path, scratch / "export")
    size = sum(path.stat().st_size for path in export.rglob("*")) / 2**20
    print(f"export: {time.perf_counter() - begin:.1f} s, {size:.0f} MiB")
    for name, path in (("run", run.path), ("export", export)):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", START, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        print(f"start of a {name}: {done.stdout.strip()}")

    live, rate = multiview.load(run.path), run.read()["store"]["sample_rate"]
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    size = geometry(rate)

    def stored(path: Path) -> dict[str, np.ndarray]:
        waveform = read_audio(path, rate)
        starts = test_starts(len(waveform), size)
        excerpt = Excerpt(rate, extract(waveform, rate), 0, 0, len(waveform), True)
        return cut(excerpt, Segments(np.zeros_like(starts), starts), live.views)

    def waveform(path: Path) -> tf.Tensor:
        return tf.constant(padded(read_audio(path, rate), size.segment_samples)[np.newaxis])

    inputs = [stored(path) for path in paths]
    graph_views = tf.function(views_in_graph(rate), input_signature=[tf.TensorSpec([None, None], tf.float32)])
    waveforms = [waveform(path) for path in paths]
    print(f"network alone, on stored views: {times(live.network, inputs)}")
    print(f"file to classes, by the run: {times(lambda path: next(live.predict_files([path])), paths)}")
    print(f"file to classes, by the export: {times(lambda path: signature(waveforms=waveform(path)), paths)}")
    print(f"reading alone: {times(waveform, paths)}")
    print(f"views alone, by NumPy: {times(lambda batch: extract(batch.numpy()[0], rate), waveforms)}")
    print(f"views alone, in the graph: {times(lambda batch: graph_views(batch)['cqt'].numpy(), waveforms)}")

    many = list(islice(cycle(paths), folder_clips))
    begin = time.perf_counter()
    predictions = list(live.predict_files(many))
    print(f"folder of {folder_clips}: {folder_clips / (time.perf_counter() - begin):.1f} clips a second")

    distinct = dict(zip(many, predictions, strict=True))
    worst, same = 0.0, 0
    for path, prediction in distinct.items():
        found = signature(waveforms=waveform(path))["class_probabilities"].numpy()[0]
        worst = max(worst, float(np.abs(found - prediction.probabilities).max()))
        same += int(found.argmax() == prediction.probabilities.argmax())
    print(f"export against run: same top class for {same} of {len(distinct)} clips, probabilities within {worst:.1e}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--folder", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(args.run) if args.run else untrained(args.preset, Path(scratch))
        rate = run.read()["store"]["sample_rate"]
        paths = sound_files(args.audio)[: args.clips] if args.audio else noise(Path(scratch), args.clips, rate)
        if args.audio:
            compare_views(paths, rate)
        measure(run, paths, args.folder, Path(scratch))


if __name__ == "__main__":
    main()

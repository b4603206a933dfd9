"""Exports a run in every format and precision, and compares them with it on sound files: agreement, size, time.

    python -m tests.benchmarks.formats --audio ESC-10/audio [--run esc10] [--per-class 5] [--exports DIR]
    python -m tests.benchmarks.formats --test --run RUN [--exports DIR]

Prints a table in Markdown; all on one core; the times of all take turns, so that what else the machine does slows all
of them alike, and are medians. With --test what each costs in accuracy: that of a run of a fold on its test clips.
--exports keeps the exports, and takes those that are there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from multiview.export.formats import FORMATS, SECONDS
from multiview.export.trial import OPENED, PROBABILITIES, SOUND
from tests.benchmarks.all import commit, processor

ROUNDS, AT_A_TIME = 15, 5
BATCH = 64  # segments
Answers = np.ndarray  # float32 [clips, classes]


def chosen(folder: Path, per_class: int) -> list[Path]:
    """The first files of each class, which is the last number of their names."""
    by_class = defaultdict(list)
    for path in sorted(folder.iterdir()):
        by_class[path.stem.split("-")[-1]].append(path)
    return [path for paths in by_class.values() for path in paths[:per_class]]


def exports(run: str, folder: Path) -> dict[tuple[str, str], Path]:
    """A version of each format in each precision."""
    from multiview.export.write import export

    found = {}
    for form in FORMATS.values():
        for precision in form.tolerances:
            path = folder / f"{form.name}_{precision}"
            found[form.name, precision] = path / "1" if path.is_dir() else export(run, path, form.name, precision)
    return found


def sound_of(path: Path) -> Callable[[np.ndarray], np.ndarray] | None:
    """What takes a waveform of SECONDS: a file of one length, or a SavedModel; probabilities of classes."""
    for file in path.glob(f"{SOUND}.*"):
        opened = OPENED[file.suffix](file)
        return lambda waveform: opened(waveforms=waveform[np.newaxis])[PROBABILITIES][0]
    if not (path / "saved_model.pb").is_file():
        return None
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def answer(waveform: np.ndarray, _: object = loaded) -> np.ndarray:  # which owns the variables
        return serve(waveforms=tf.constant(waveform[np.newaxis]))[PROBABILITIES].numpy()[0]

    return answer


def medians(functions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of a call of each, after one that does not count."""
    spent = defaultdict(list)
    for function in functions.values():
        function()
    for _ in range(ROUNDS):
        for name, function in functions.items():
            begin = time.perf_counter()
            for _ in range(AT_A_TIME):
                function()
            spent[name].append(1000 * (time.perf_counter() - begin) / AT_A_TIME)
    return {name: float(np.median(values)) for name, values in spent.items()}


def agreement(answers: Answers, wanted: Answers) -> str:
    """Clips with the same most probable class, and the largest difference of a probability."""
    same = (answers.argmax(axis=1) == wanted.argmax(axis=1)).sum()
    return f"{same} of {len(wanted)} | {np.abs(answers - wanted).max():.1e}"


def table(run: str, paths: list[Path], folder: Path) -> list[str]:
    """Rows of the table, with its head."""
    import multiview
    from multiview.audio import read_audio
    from multiview.segments import segments_of
    from multiview.views.extraction import padded

    live = multiview.load(run)
    samples = round(SECONDS * live.sample_rate)
    waveforms = [padded(read_audio(path, live.sample_rate), samples)[:samples] for path in paths]
    segment = {view: values[:1] for view, values in segments_of(paths[0], live.sample_rate, live.views).items()}
    found, models, sounds = exports(run, folder), {"the run": live}, {}
    for key, path in found.items():
        name = " ".join(key)
        models[name] = multiview.load(path)  # of a SavedModel the file for LiteRT beside it
        if (sound := sound_of(path)) is not None:
            sounds[name] = sound
    wanted = np.array([live.predict(waveform, live.sample_rate).probabilities for waveform in waveforms])
    by_segment = medians({name: lambda each=each: each.network(segment) for name, each in models.items()})
    by_clip = medians({name: lambda each=each: each(waveforms[0]) for name, each in sounds.items()})
    columns = ["MB", "ms", "same class", "largest difference"]
    head = ["", *(f"network: {each}" for each in columns), *(f"from waveforms: {each}" for each in columns)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, model in models.items():
        answers = np.array([model.predict(waveform, live.sample_rate).probabilities for waveform in waveforms])
        path = found.get(tuple(name.split()))
        sizes = {file.stem: f"{file.stat().st_size / 1e6:.1f}" for file in path.iterdir()} if path else {}
        row = [name, sizes.get("network", ""), f"{by_segment[name]:.1f}", agreement(answers, wanted)]
        if name in sounds:
            answers = np.array([sounds[name](waveform) for waveform in waveforms])
            row += [sizes.get(SOUND, ""), f"{by_clip[name]:.0f}", agreement(answers, wanted)]
        else:
            row += [""] * 4
        lines.append(f"| {' | '.join(row)} |")
    return lines


def accuracies(path: str, folder: Path) -> list[str]:
    """Rows of a table, with its head: accuracy of the self-ensemble on the run's test clips, in %."""
    import multiview
    from multiview.evaluation import accuracy, average_by_clip, self_ensemble
    from multiview.experiment.run import Run
    from multiview.segments import cut, test_segments
    from multiview.splits import make_split

    run = Run(path)
    store, settings = run.store(), run.settings()
    rows = make_split(store, settings.fold, settings.seed).test
    segments = test_segments(rows, store.samples[rows], store.size)
    models = {"the run": Path(path)} | {" ".join(key): each for key, each in exports(path, folder).items()}
    lines = ["| | accuracy, % | same class as the run |", "|---|---|---|"]
    wanted = None
    for name, each in models.items():
        model = multiview.load(each, calibrated=False)
        parts = [
            model.network(cut(store, segments[n : n + BATCH], model.views)) for n in range(0, len(segments), BATCH)
        ]
        outputs = {branch: np.concatenate([part[branch] for part in parts]) for branch in model.weights}
        by_clip = {branch: average_by_clip(values, segments.clips) for branch, values in outputs.items()}
        found = self_ensemble(by_clip, model.weights)
        wanted = found if wanted is None else wanted
        same = (found.argmax(axis=1) == wanted.argmax(axis=1)).sum()
        lines.append(f"| {name} | {100 * accuracy(found, store.labels[rows]):.2f} | {same} of {len(rows)} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--audio", type=Path)
    what.add_argument("--test", action="store_true")
    parser.add_argument("--run", default="esc10")
    parser.add_argument("--per-class", type=int, default=5)
    parser.add_argument("--exports", type=Path)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.exports or Path(scratch)
        if args.test:
            lines, count = accuracies(args.run, folder), "test"
        else:
            paths = chosen(args.audio, args.per_class)
            lines, count = table(args.run, paths, folder), str(len(paths))
    load = os.getloadavg()[0]
    print(f"{count} clips, {processor()}, one of them used, load {load:.1f}, commit {commit()}\n", *lines, sep="\n")


if __name__ == "__main__":
    sys.exit(main())

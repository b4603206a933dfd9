"""What a version answers to sounds by its own runtime, in a process of its own, against the run.

    python -m multiview.export.trial DIR/VERSION FOLDER

is that process: it answers FOLDER/questions.npz by FOLDER/answers.npz, and loads no TensorFlow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multiview.predict import light, onnx
from multiview.predict.batches import Outputs
from multiview.predict.saved import NETWORKS
from multiview.segments import Segments, cut, test_segments, test_starts
from multiview.support.errors import InputError
from multiview.views import Geometry, excerpts
from multiview.views.raw import from_int16, to_int16

if TYPE_CHECKING:
    from multiview.experiment.run import Run
    from multiview.export.subject import Subject
    from multiview.predict.predictor import Predictor

PROBABILITIES = "class_probabilities"  # of Eq. (6), by which name all exports give them
CLIPS = 50  # of the run's store
SOUND = "sound"  # name of a file from waveforms of one length, with the suffix of its runtime
OPENED: Mapping[str, Callable] = {".tflite": light.opened, ".onnx": onnx.opened}


def trial_sounds(size: Geometry, *lengths: int) -> Iterator[np.ndarray]:
    """Batches float32 [2, samples] of several lengths, or of those, of noise, a rising tone that stops halfway, clicks,
    and silence.
    """
    rng, rate = np.random.default_rng(0), size.sample_rate
    for samples in lengths or (size.segment_samples, round(2.3 * rate), 5 * rate):
        time = np.arange(samples) / rate
        noise = 0.1 * rng.standard_normal(samples)
        tone = np.where(2 * time < time[-1], 0.5 * np.sin(2 * np.pi * (100 * time + 300 * time**2)), 0.0)
        clicks = np.where(np.arange(samples) % (rate // 4) == 0, 0.9, 0.0)
        yield np.array([noise, tone], np.float32)
        yield np.array([clicks, np.zeros(samples)], np.float32)


def _segments(waveforms: Iterable[np.ndarray], live: Predictor) -> Outputs:
    """The test segments of all sounds, as the network takes them."""
    parts = []
    for waveform in waveforms:
        starts = test_starts(len(waveform), live.size)
        segments = Segments(np.zeros_like(starts), starts)
        parts.append(cut(next(excerpts([waveform], live.size, live.views)), segments, live.views))
    return {view: np.concatenate([part[view] for part in parts]) for view in live.views}


def _of_store(run: Run, views: Sequence[str]) -> Iterator[Outputs]:
    """A segment of each of CLIPS clips, from all over the run's store, where that is still at hand."""
    try:
        store = run.store()
    except InputError:
        return
    rows = np.unique(np.linspace(0, len(store) - 1, CLIPS).round().astype(int))
    yield cut(store, test_segments(rows, store.samples[rows], store.size, most=1), views)


def difference(path: Path, network: str, sound: str, subject: Subject) -> float:
    """Largest difference of a probability between the live network and the files of a version, where it has both.

    The files are loaded by their own runtime in a fresh process. What is compared are all branches of all segments of
    the trial sounds, and of segments of the run's store, and, of the file from waveforms, those and Eq. (6) for sounds
    of its length.

    Raises
    ------
    InputError
        If the runtime cannot load or run a file.
    """
    live = subject.live
    synthesised = _segments((each for batch in trial_sounds(live.size) for each in from_int16(to_int16(batch))), live)
    parts = [synthesised, *_of_store(subject.run, live.views)]
    segments = {view: np.concatenate([part[view] for part in parts]) for view in live.views}
    expected = {f"{network}/{branch}": values for branch, values in live.network(segments).items()}
    questions = {"branches": np.array(list(live.weights)), **{f"{network}/{view}": x for view, x in segments.items()}}
    if (path / sound).is_file():
        waveforms = from_int16(to_int16(np.concatenate(list(trial_sounds(live.size, subject.samples)))))
        answers = [live.predict(waveform, live.sample_rate) for waveform in waveforms]
        expected[f"{sound}/{PROBABILITIES}"] = np.stack([each.probabilities for each in answers])
        for branch in live.weights:
            expected[f"{sound}/{branch}"] = np.stack([each.branches[branch] for each in answers])
        questions[sound] = waveforms
    found = _in_a_fresh_process(path, questions)
    return float(np.max([np.abs(found[name] - values).max() for name, values in expected.items()]))  # NaN stays


def _in_a_fresh_process(path: Path, questions: Outputs) -> Outputs:
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "questions.npz", **questions)  # type: ignore[arg-type]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", __name__, str(path.resolve()), folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            (*_, reason) = done.stderr.strip().splitlines() or ["nothing"]
            raise InputError(f"expected files that run again in a fresh process, found {reason}; export a SavedModel")
        with np.load(Path(folder) / "answers.npz") as answers:
            return dict(answers)


def main() -> None:
    """Answer the questions in a folder by the files of a version."""
    path, folder = map(Path, sys.argv[1:])
    with np.load(folder / "questions.npz") as file:
        questions = dict(file)
    branches, answers = questions.pop("branches").tolist(), Outputs()
    for name in {question.split("/")[0] for question in questions}:
        if name in NETWORKS:
            views = {each.split("/")[1]: values for each, values in questions.items() if each.startswith(f"{name}/")}
            found = dict(NETWORKS[name](path / name, branches)(views))
        else:
            sound = OPENED[Path(name).suffix](path / name)
            rows = [sound(waveforms=waveform[np.newaxis]) for waveform in questions[name]]
            found = {branch: np.concatenate([row[branch] for row in rows]) for branch in (PROBABILITIES, *branches)}
        answers |= {f"{name}/{branch}": values for branch, values in found.items()}
    np.savez(folder / "answers.npz", **answers)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

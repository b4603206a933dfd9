"""Prediction on sounds of any kind: the same answers whole or in parts, alone or among others."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import multiview
from multiview.audio import AudioError, opened, read_audio, stream
from multiview.evaluation import self_ensemble
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import Run
from multiview.predict import Prediction, Predictor
from multiview.predict.batches import READ_AHEAD
from multiview.segments import Segments, cut, test_starts
from multiview.support import registry
from multiview.support.errors import InputError
from multiview.views import MEL, RAW, VIEWS, Excerpt, Sound, excerpts, extract, geometry, paper_views

RATE = 22050


def test_disagreement_by_hand() -> None:
    """Alike 0; each sure of another class 1; and one bit of the two of four branches where they fall into halves."""
    rows = np.eye(4)

    def prediction(*values: np.ndarray) -> Prediction:
        branches = {str(index): value for index, value in enumerate(values)}
        return Prediction("abcd", np.mean(values, axis=0), branches)

    assert prediction(rows[0] * 0.6 + 0.1, rows[0] * 0.6 + 0.1).disagreement == pytest.approx(0, abs=1e-12)
    assert prediction(*rows).disagreement == pytest.approx(1)
    assert prediction(rows[0], rows[0], rows[1], rows[1]).disagreement == pytest.approx(0.5)
    assert prediction(rows[0]).disagreement == 0


def test_top_is_in_order() -> None:
    prediction = Prediction("abc", np.array([0.2, 0.5, 0.3]), {"mel": np.array([0.9, 0.05, 0.05])})
    assert prediction.top(2) == [("b", 0.5), ("c", 0.3)]
    assert [name for name, _ in prediction.top()] == ["b", "c", "a"]
    assert prediction.top(1, "mel") == [("a", 0.9)]


def test_answers_are_those_of_the_test(tiny_trained: Run, clips: list[Path]) -> None:
    """All branches and Eq. (6), for files read together and for a waveform alone."""
    stored, predictor = Predictions.read(tiny_trained.predictions), multiview.load(tiny_trained.path, calibrated=False)
    fused = self_ensemble(stored.probabilities, stored.weights)
    for row, prediction in enumerate(predictor.predict_files(clips)):
        for branch, values in prediction.branches.items():
            np.testing.assert_allclose(values, stored.probabilities[branch][row], atol=1e-5)
        np.testing.assert_allclose(prediction.probabilities, fused[row], atol=1e-5)
    waveform, rate = soundfile.read(clips[0])
    np.testing.assert_allclose(predictor.predict(waveform, rate).probabilities, fused[0], atol=1e-5)


@pytest.mark.parametrize("sounds", [[(0.0, 1.2)], [(0.1, 0.11), (6.0, 6.5)], [(3.2, 3.3)], []])
def test_parts_without_sound_do_not_count(tiny_trained: Run, rng: np.random.Generator, sounds: list) -> None:
    """The mean is that of the segments with sound; of silence all classes are alike."""
    predictor = multiview.load(tiny_trained.path, calibrated=False)
    waveform = np.zeros(7 * RATE, np.float32)
    for begin, end in sounds:
        part = slice(round(begin * RATE), round(end * RATE))
        waveform[part] = 0.3 * rng.standard_normal(part.stop - part.start)
    starts, views = test_starts(len(waveform), predictor.size), extract(waveform, RATE)
    heard = [start for start in starts if np.abs(views["raw"][start : start + 33330]).max() > 1]
    assert len(heard) < len(starts) == 7 and bool(heard) == bool(sounds)
    found = predictor.predict(waveform, RATE)
    if heard:
        whole = Excerpt(RATE, views, offset=0, begin=0, end=0, final=True)
        outputs = predictor.network(cut(whole, Segments(np.zeros(len(heard), int), np.array(heard)), predictor.views))
        for branch, values in outputs.items():
            np.testing.assert_allclose(found.branches[branch], values.mean(axis=0), atol=1e-5)
    else:
        np.testing.assert_allclose(found.probabilities, 1 / 3, atol=1e-6)
    assert found.undecided() == (not heard)
    assert {found.best(), *(found.best(branch=each) for each in found.branches)} <= {
        *(predictor.classes if heard else ["unknown"])
    }


def test_waveforms_of_any_kind(tiny_trained: Run, rng: np.random.Generator) -> None:
    predictor = multiview.load(tiny_trained.path)
    mono = (0.3 * rng.standard_normal(50000)).clip(-0.9, 0.9)
    expected = predictor.predict(mono, RATE).probabilities
    for same in (np.stack([mono, mono], axis=1), np.stack([1.5 * mono, 0.5 * mono], axis=1), mono.astype(np.float32)):
        np.testing.assert_allclose(predictor.predict(same, RATE).probabilities, expected, atol=1e-4)
    integers = RAW.extract(Sound(mono, RATE))
    same = predictor.predict(RAW.for_network(integers), RATE).branches["raw"]
    np.testing.assert_array_equal(predictor.predict(integers, RATE).branches["raw"], same)
    for rate, samples in ((8000, 1), (48000, 100_000), (96000, 5)):
        assert predictor.predict(np.full(samples, 0.1), rate).probabilities.sum() == pytest.approx(1, abs=1e-4)
    for bad, rate, message in [
        (np.empty(0), RATE, r"found float64 \[0\]"),
        (np.zeros((2, 2, 2)), RATE, r"\[2, 2, 2\]"),
        (np.zeros(9, np.int64), RATE, "found int64"),
        (np.zeros((2, 50000)), RATE, r"found \[2, 50000\]; transpose"),
        (np.array([np.nan, 0]), RATE, "found NaN"),
        (np.array([1e9, 0]), RATE, "beyond 10000"),
        (np.zeros(9), 1, "found a rate of 1 Hz"),
    ]:
        with pytest.raises(InputError, match=message):
            predictor.predict(bad, rate)


@settings(max_examples=15, deadline=None)
@given(seconds=st.lists(st.floats(1.6, 40), min_size=1, max_size=8))
def test_clips_do_not_see_each_other(seconds: list[float]) -> None:
    """Batches run across clips; every clip gets the mean over its own segments, whatever lies beside it."""

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert 0 < len(segments["raw"]) <= 32
        return {"raw": segments["raw"].mean(axis=(1, 2))[:, np.newaxis]}

    predictor = Predictor(network, ["mean"], RATE, ["raw"], {"raw": 1.0})
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.wav" for n in range(len(seconds))]
        for n, path in enumerate(paths):
            soundfile.write(path, np.full(round(seconds[n] * RATE), (n + 1) / 16), RATE)
        predictions = list(predictor.predict_files(paths))
    assert len(predictions) == len(paths)
    for n, prediction in enumerate(predictions):
        assert prediction.probabilities[0] == pytest.approx((n + 1) / 16, rel=1e-3)


def test_full_batches_in_order_and_errors_in_their_places(tmp_path: Path) -> None:
    """Clips of 50, 30, 3 and 60 segments with unreadable ones around: batches of 32 and the rest."""
    batches, paths = [], []

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        batches.append(len(segments["raw"]))
        return {"raw": segments["raw"].mean(axis=(1, 2))[:, np.newaxis]}

    for n, seconds in enumerate((0, 50, 30, 0, 0, 3, 60, 0)):
        paths.append(tmp_path / f"{n}.wav")
        if seconds:
            soundfile.write(paths[-1], np.full(seconds * RATE, n / 16), RATE)
    answers = list(Predictor(network, ["mean"], RATE, ["raw"], {"raw": 1.0}).predict_files(paths))
    assert batches == [32, 32, 32, 32, 15] and len(answers) == len(paths)
    for n, answer in enumerate(answers):
        if n in (0, 3, 4, 7):
            assert isinstance(answer, AudioError) and "no such file" in str(answer)
        else:
            assert answer.probabilities[0] == pytest.approx(n / 16, rel=1e-3)


def test_errors_do_not_wait_for_a_full_batch(tmp_path: Path) -> None:
    """One sound of one segment, then files that are not there: what is said of each comes while others are read."""
    read, batches = [], []

    def paths() -> Iterator[Path]:
        soundfile.write(tmp_path / "a.wav", np.full(RATE, 0.5), RATE)
        yield tmp_path / "a.wav"
        for number in range(1000):
            read.append(number)
            yield tmp_path / "none.wav"

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        batches.append(len(segments["raw"]))
        return {"raw": segments["raw"].mean(axis=(1, 2))[:, np.newaxis]}

    ahead = []
    for number, answer in enumerate(Predictor(network, ["mean"], RATE, ["raw"], {"raw": 1.0}).predict_files(paths())):
        ahead.append(len(read) - number)
        assert isinstance(answer, AudioError) == (number > 0)
    assert len(ahead) == 1001 and batches == [1]
    assert max(ahead) <= 32 * (READ_AHEAD + 2)


def test_other_views_are_not_computed(mel_meter: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the paper's others nor a user's own, over which the store's segments are aligned."""

    def never(_: object) -> np.ndarray:
        raise AssertionError("was computed")

    before, waveform = registry.snapshot(), np.full(4 * RATE, 0.1, np.float32)
    expected = mel_meter.predict(waveform, RATE).probabilities
    coarse = dataclasses.replace(MEL, name="coarse", extract=never, paper=False)
    try:
        VIEWS.register(coarse)
        predictor = Predictor(mel_meter.network, ["quiet", "loud"], RATE, ["mel"], {"mel": 1.0}, ["mel", "coarse"])
        np.testing.assert_array_equal(predictor.predict(waveform, RATE).probabilities, expected)
        with pytest.raises(AssertionError, match="was computed"):
            Predictor(lambda _: {}, ["a"], RATE, ["coarse"], {"coarse": 1.0}).predict(waveform, RATE)
    finally:
        registry.restore(before)


@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("seconds", [0.001, 0.7, 1.4, 1.51])
def test_shorter_than_a_segment(rate: int, seconds: float) -> None:
    """Padded with silence at the end; S segments of S seconds, and at least one, from the first start to the last."""
    seen = []

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(segments)
        return {"multiview": np.ones((len(segments["raw"]), 1), np.float32)}

    waveform = np.linspace(0.1, 0.9, round(seconds * rate)).astype(np.float32)
    Predictor(network, ["a"], rate, paper_views(), {"multiview": 1.0}).predict(waveform, rate)
    ((segments,), size) = seen, geometry(rate)
    assert len(segments["raw"]) == max(1, round(seconds))
    padded = np.pad(waveform, (0, size.segment_samples - len(waveform)))
    np.testing.assert_allclose(segments["raw"][0, :, 0], padded[: size.segment("raw")], atol=2 / 32768)
    last = size.last_start(size.segment_samples)
    if len(segments["raw"]) == 2:
        np.testing.assert_allclose(segments["raw"][1, :, 0], padded[last:][: size.segment("raw")], atol=2 / 32768)
    np.testing.assert_array_equal(segments["cqt"][0, :, :, 0], extract(waveform, rate)["cqt"][: size.segment("cqt")])


def test_long_recordings_in_parts(rng: np.random.Generator) -> None:
    """Four minutes: segments cut from excerpts are those cut from the whole."""
    waveform = (0.1 * rng.standard_normal(240 * RATE)).astype(np.float32)
    waveform *= 1 + np.sin(np.arange(len(waveform)) / RATE)
    whole, size, next_begin = extract(waveform, RATE), geometry(RATE), 0
    for excerpt in excerpts(np.array_split(waveform, 77), size, paper_views()):
        assert excerpt.begin == next_begin
        next_begin = excerpt.end
        assert len(excerpt.values["raw"]) < 170 * RATE
        for start in (excerpt.begin, (excerpt.begin + excerpt.end) // 2, excerpt.end - 1):
            for view in paper_views():
                hop, length = size.view_hop(view), size.segment(view)
                here, there = (start - excerpt.offset) // hop, start // hop
                np.testing.assert_allclose(
                    excerpt.values[view][here : here + length], whole[view][there : there + length], atol=0.02
                )
    assert excerpt.final and next_begin == size.last_start(len(waveform)) + 1


# Prints the peak in MiB after a short file and after a long one, with nothing in the network's place.
MEMORY = """
import sys
from multiview.predict import Predictor
from multiview.views import paper_views
from tests.helpers.c_api import peak_memory

network = lambda segments: {"raw": segments["raw"].mean(axis=1)}
predictor = Predictor(network, ["mean"], 22050, paper_views(), {"raw": 1.0})
for path in sys.argv[1:]:
    (answer,) = predictor.predict_files([path])
    assert "silent" in answer.notes, answer
    print(peak_memory())
"""


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Four minutes and forty: the waveform would take 200 MiB more, its views 250, and its segments 450."""
    paths = [tmp_path / f"{minutes}.flac" for minutes in (4, 40)]
    for path, minutes in zip(paths, (4, 40), strict=True):
        with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC") as file:
            for _ in range(minutes):
                file.write(np.zeros(60 * RATE, np.int16))
    # What is freed goes back at once: how far a heap falls to pieces depends on what else the machine does.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", MEMORY, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    short, long = map(float, done.stdout.split())
    assert long - short < 60


def test_long_files_are_answered_like_the_whole(tmp_path: Path, mel_meter: Predictor, rng: np.random.Generator) -> None:
    """Three minutes at another rate, streamed, against the mean over the test segments of the whole waveform."""
    seconds, rate = 183.7, 16000
    sound = (0.1 * rng.standard_normal(round(seconds * rate))) * np.linspace(0.01, 1, round(seconds * rate))
    soundfile.write(tmp_path / "long.wav", sound, rate, subtype="FLOAT")
    (found,) = mel_meter.predict_files([tmp_path / "long.wav"])
    waveform = read_audio(tmp_path / "long.wav", RATE)
    mel, starts = extract(waveform, RATE)["mel"], test_starts(len(waveform), geometry(RATE))
    assert len(starts) == 184
    levels = [mel[start // 441 :][:75].mean() / -100 for start in starts]
    np.testing.assert_allclose(found.probabilities[0], np.mean(levels), atol=1e-4)
    whole = mel_meter.predict(sound, rate)
    np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=1e-4)


@pytest.mark.parametrize(("rate", "suffix"), [(22050, "wav"), (48000, "flac"), (11025, "ogg")])
def test_streams_are_the_whole_file(tmp_path: Path, rng: np.random.Generator, rate: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, 0.1 * rng.standard_normal((3 * rate, 2)), rate)
    with opened(path) as file:
        streamed = np.concatenate(list(stream(file, RATE)))
    whole = read_audio(path, RATE)
    assert abs(len(streamed) - len(whole)) <= 1
    np.testing.assert_allclose(streamed[: len(whole)], whole[: len(streamed)], atol=1e-4)


def test_front_door() -> None:
    """What `import multiview` gives, loaded when it is asked for."""
    from multiview import api, predict

    assert (multiview.load, multiview.train, multiview.evaluate) == (predict.load, api.train, api.evaluate)
    assert {"load", "prepare", "train", "evaluate", "report"} <= set(dir(multiview))
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        multiview.fly  # noqa: B018
    code = "import sys, multiview; print([each for each in ('numpy', 'keras', 'h5py') if each in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_made_before(tiny_trained: Run, clips: list[Path], tmp_path: Path) -> None:
    """Whose record names neither views nor plugins nor terms: the paper's views, and the same answers."""
    old, record = Run(tmp_path / "fold1"), tiny_trained.read()
    old.path.mkdir()
    old.model.write_bytes(tiny_trained.model.read_bytes())
    for name in ("views", "about"):
        del record["store"][name]
    for name in ("views", "backbone", "augmentations"):
        del record["settings"][name]
    del record["plugins"]
    old.record.write_text(json.dumps(record))
    new, before = multiview.load(tiny_trained.path), multiview.load(old.path)
    assert before.views == list(paper_views()) and before.size == new.size
    for here, there in zip(new.predict_files(clips[:2]), before.predict_files(clips[:2]), strict=True):
        np.testing.assert_array_equal(here.probabilities, there.probabilities)


def test_load_wants_a_run_or_an_export(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a run or an export, found none"):
        multiview.load(tmp_path)


def test_plain_keras(tiny_trained: Run, clips: list[Path]) -> None:
    """`load_model` and `predict` on the views of segments, as the README has it, without the trailing axis."""
    import keras

    model = keras.saving.load_model(tiny_trained.model)
    size = geometry(RATE)
    waveform = read_audio(clips[0], RATE)
    starts = test_starts(len(waveform), size)
    views = extract(waveform, RATE)
    inputs = {
        view: np.stack([values[start // size.view_hop(view) :][: size.segment(view)] for start in starts])
        for view, values in views.items()
    }
    inputs["raw"] = inputs["raw"] / np.float32(32768)
    outputs = model.predict(inputs, verbose=0)
    stored = Predictions.read(tiny_trained.predictions)
    for branch, values in outputs.items():
        np.testing.assert_allclose(values.mean(axis=0), stored.probabilities[branch][0], atol=1e-5)

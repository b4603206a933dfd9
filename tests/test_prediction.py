"""Prediction on sounds of any kind: the same answers whole or in parts, alone or among others, and over time."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import multiview
from multiview import cli
from multiview.audio import AudioError, opened, read_audio, stream
from multiview.evaluation import self_ensemble
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import Run
from multiview.predict import Prediction, Predictor, timeline
from multiview.segments import test_starts
from multiview.support import registry
from multiview.support.errors import InputError
from multiview.views import MEL, RAW, VIEWS, Sound, excerpts, extract, geometry, paper_views

RATE = 22050


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def clips(tiny_trained: Run, demo_index) -> list[Path]:
    """Test clips of the run, in the order of its predictions."""
    paths = {clip.id: clip.path for clip in demo_index.clips}
    return [paths[name] for name in Predictions.read(tiny_trained.predictions).clips]


@pytest.fixture
def mel_meter() -> Predictor:
    """Stands in for a network: `quiet` is as 'probable' as the mean level of a segment, in units of -100 dB."""

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        level = segments["mel"].mean(axis=(1, 2, 3)) / -100
        return {"mel": np.stack([level, 1 - level], axis=1).astype(np.float32)}

    return Predictor(network, ["quiet", "loud"], RATE, ["mel"], {"mel": 1.0})


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
    stored, predictor = Predictions.read(tiny_trained.predictions), multiview.load(tiny_trained.path)
    fused = self_ensemble(stored.probabilities, stored.weights)
    for row, prediction in enumerate(predictor.predict_files(clips)):
        for branch, values in prediction.branches.items():
            np.testing.assert_allclose(values, stored.probabilities[branch][row], atol=1e-5)
        np.testing.assert_allclose(prediction.probabilities, fused[row], atol=1e-5)
    waveform, rate = soundfile.read(clips[0])
    np.testing.assert_allclose(predictor.predict(waveform, rate).probabilities, fused[0], atol=1e-5)


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
        assert 0 < len(segments["raw"]) <= 64
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
    """Clips of 50, 30, 3 and 60 segments with unreadable ones around: batches of 64, 64 and the rest."""
    batches, paths = [], []

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        batches.append(len(segments["raw"]))
        return {"raw": segments["raw"].mean(axis=(1, 2))[:, np.newaxis]}

    for n, seconds in enumerate((0, 50, 30, 0, 0, 3, 60, 0)):
        paths.append(tmp_path / f"{n}.wav")
        if seconds:
            soundfile.write(paths[-1], np.full(seconds * RATE, n / 16), RATE)
    answers = list(Predictor(network, ["mean"], RATE, ["raw"], {"raw": 1.0}).predict_files(paths))
    assert batches == [64, 64, 15] and len(answers) == len(paths)
    for n, answer in enumerate(answers):
        if n in (0, 3, 4, 7):
            assert isinstance(answer, AudioError) and "no such file" in str(answer)
        else:
            assert answer.probabilities[0] == pytest.approx(n / 16, rel=1e-3)


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


@pytest.mark.parametrize(("rate", "suffix"), [(22050, "wav"), (48000, "flac"), (11025, "ogg")])
def test_streams_are_the_whole_file(tmp_path: Path, rng: np.random.Generator, rate: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, 0.1 * rng.standard_normal((3 * rate, 2)), rate)
    with opened(path) as file:
        streamed = np.concatenate(list(stream(file, RATE)))
    whole = read_audio(path, RATE)
    assert abs(len(streamed) - len(whole)) <= 1
    np.testing.assert_allclose(streamed[: len(whole)], whole[: len(streamed)], atol=1e-4)


def test_strip_keeps_means() -> None:
    """Of 0, 1, 2 ... a column of m values has the mean first + (m - 1) / 2, whatever was merged."""
    strip, count = timeline.Strip(1), 12345
    strip.add(np.arange(count, dtype=float)[:, np.newaxis])
    image, m = strip.image()[:, 0], strip.merged
    assert m == 8 and timeline.COLUMNS <= len(image) <= 2 * timeline.COLUMNS
    np.testing.assert_allclose(image[:-1], m * np.arange(len(image) - 1) + (m - 1) / 2)
    assert image[-1] == pytest.approx((m * (len(image) - 1) + count - 1) / 2)


def test_timeline_follows_the_sound(
    tmp_path: Path, mel_meter: Predictor, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three minutes with noise from second 60 to 120; rows every second, equal to the whole file's segments."""
    sound = 1e-4 * rng.standard_normal(180 * RATE)
    sound[60 * RATE : 120 * RATE] = 0.3 * rng.standard_normal(60 * RATE)
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    draw, drawn = timeline.draw, []
    monkeypatch.setattr(timeline, "draw", lambda *given: drawn.extend(given[3:5]) or draw(*given))
    timeline.timeline(mel_meter, tmp_path / "a.wav", tmp_path / "out", 1.0, "a.wav")
    table = pd.read_csv(tmp_path / "out" / "timeline.csv")
    assert list(table.columns) == ["start_seconds", "end_seconds", "quiet", "loud"]
    size = geometry(RATE)
    starts = np.arange(0, size.last_start(len(sound)) + 1, RATE)
    np.testing.assert_allclose(table["start_seconds"], starts / RATE, atol=1e-3)
    np.testing.assert_allclose(table["end_seconds"] - table["start_seconds"], size.segment("raw") / RATE, atol=2e-3)
    mel = extract(read_audio(tmp_path / "a.wav", RATE), RATE)["mel"]
    expected = [1 - mel[start // size.view_hop("mel") :][:75].mean() / -100 for start in starts]
    np.testing.assert_allclose(table["loud"], expected, atol=1e-4)
    assert np.asarray(Image.open(tmp_path / "out" / "timeline.png")).std() > 10
    # The picture has every frame once and in its place, over the bounds of the excerpts.
    (spectrogram, classes), merged = (strip.image() for strip in drawn), [strip.merged for strip in drawn]
    whole = len(spectrogram) - 1
    expected_image = mel[: whole * merged[0]].reshape(whole, merged[0], 64).mean(axis=1)
    np.testing.assert_allclose(spectrogram[:whole], expected_image, atol=1e-3)
    assert whole == len(mel) // merged[0] and merged[0] == 8
    np.testing.assert_allclose(classes[:, 1], expected, atol=1e-4)

    with pytest.raises(InputError, match="expected --hop"):
        timeline.timeline(mel_meter, tmp_path / "a.wav", tmp_path / "none", 0.0, "a.wav")
    assert not (tmp_path / "none").exists()


def test_broken_recording_leaves_the_old_timeline(tmp_path: Path, mel_meter: Predictor) -> None:
    (tmp_path / "timeline.csv").write_text("old")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="unreadable"):
        timeline.timeline(mel_meter, tmp_path / "a.wav", tmp_path, 1.0, "a.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "timeline.csv"]
    assert (tmp_path / "timeline.csv").read_text() == "old"


def test_folders_and_unreadable_files(
    tiny_trained: Run, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Found below a folder; what cannot be read is named, the others are answered, and the status says so."""
    (tmp_path / "sounds" / "more").mkdir(parents=True)
    for name in ("a.wav", "more/b.wav"):
        (tmp_path / "sounds" / name).write_bytes(clips[0].read_bytes())
    (tmp_path / "sounds" / "notes.txt").write_text("no sound")
    (tmp_path / "sounds" / "broken.flac").write_bytes(b"fLaC")
    assert run("predict", tiny_trained.path, tmp_path / "sounds", clips[1], "--json") == 1
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [Path(answer["file"]).name for answer in answers] == ["a.wav", "b.wav", clips[1].name]
    assert answers[0]["classes"] == answers[1]["classes"]
    errors = [line for line in err.splitlines() if "error:" in line]
    assert len(errors) == 1 and "broken.flac: unreadable" in errors[0]

    (tmp_path / "empty").mkdir()
    assert run("predict", tiny_trained.path, tmp_path / "empty", clips[1], "--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["file"] == str(clips[1]) and "empty: a folder without sound files" in err


def test_csv_has_all_classes(tiny_trained: Run, clips: list[Path], capsys: pytest.CaptureFixture) -> None:
    stored = Predictions.read(tiny_trained.predictions)
    assert run("predict", tiny_trained.path, *clips, "--csv", "--branches") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    fused = self_ensemble(stored.probabilities, stored.weights)
    np.testing.assert_allclose(table[stored.classes], fused, atol=1e-5)
    assert list(table["class"]) == [stored.classes[index] for index in fused.argmax(axis=1)]
    assert list(table["class_cqt"]) == [stored.classes[i] for i in stored.probabilities["cqt"].argmax(axis=1)]
    assert table["disagreement"].between(0, 1).all()


def test_branches_in_text_and_json(tiny_trained: Run, clips: list[Path], capsys: pytest.CaptureFixture) -> None:
    assert run("predict", tiny_trained.path, clips[0], "--branches", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["branches"]) == [*paper_views(), "multiview"] and 0 <= answer["disagreement"] <= 1
    assert run("predict", tiny_trained.path, clips[0], "--branches", "--top", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 1 + 5 and f"disagreement of the branches: {answer['disagreement']:.2f}" in lines[2]


def test_standard_input(
    tiny_trained: Run, clips: list[Path], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("predict", tiny_trained.path, clips[0], "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(clips[0].read_bytes())))
    assert run("predict", tiny_trained.path, "-", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**expected, "file": "-"}


def test_timelines_on_the_command_line(
    tiny_trained: Run, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("predict", tiny_trained.path, clips[0], "--timeline", "--hop", 0.25, "--to", tmp_path / "one") == 0
    table = pd.read_csv(tmp_path / "one" / "timeline.csv")
    assert len(table) == (geometry(RATE).last_start(2 * RATE)) // round(0.25 * RATE) + 1
    np.testing.assert_allclose(table.iloc[:, 2:].sum(axis=1), 1, atol=1e-3)
    assert (tmp_path / "one" / "timeline.png").is_file()
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"")
    assert run("predict", tiny_trained.path, *clips[:2], bad, "--timeline", "--to", tmp_path / "all") == 1
    expected = sorted(f"{path.name}.timeline" for path in clips[:2])
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == expected
    assert "bad.wav: unreadable" in capsys.readouterr().err
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bad.wav").write_bytes(b"")
    assert run("predict", tiny_trained.path, bad, tmp_path / "sub", "--timeline", "--to", tmp_path / "twice") == 1
    assert "found two bad.wav" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--hop", "1"], ["--to", "x"], ["--timeline", "--branches"], ["--top", "0"]])
def test_options_without_effect_are_refused(options: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("predict", "run", "a.wav", *options)
    assert "error:" in capsys.readouterr().err


def test_timelines_beside_the_recordings(
    tiny_trained: Run, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder of the sounds themselves; and where nothing can be written, it is not the sound that is blamed."""
    for path in clips[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert run("predict", tiny_trained.path, ".", "--timeline") == 0
    assert len(list(tmp_path.glob("*.timeline/timeline.csv"))) == 2
    (tmp_path / "file").write_text("")
    predictor = Predictor(lambda _: {}, ["a"], RATE, ["mel"], {"mel": 1.0})
    with pytest.raises(NotADirectoryError):
        timeline.timeline(predictor, tmp_path / clips[0].name, tmp_path / "file" / "x", 1.0, "a")


def test_odd_names_and_pipes(
    tiny_trained: Run, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A name that is no text, and a pipe in which nobody can look around."""
    odd = tmp_path / os.fsdecode(b"a\xff.wav")
    odd.write_bytes(clips[0].read_bytes())
    reading, writing = os.pipe()
    content = io.BytesIO()
    sound, rate = soundfile.read(clips[0])
    soundfile.write(content, sound, rate, format="AU")
    thread = threading.Thread(target=lambda: os.fdopen(writing, "wb").write(content.getvalue()))
    thread.start()
    assert run("predict", tiny_trained.path, odd, clips[0], f"/dev/fd/{reading}", "--json") == 0
    thread.join()
    os.close(reading)
    answers = [json.loads(line)["classes"] for line in capsys.readouterr().out.splitlines()]
    for answer in answers[1:]:
        assert answer == pytest.approx(answers[0], abs=1e-4)


def test_front_door() -> None:
    """What `import multiview` gives, loaded when it is asked for."""
    from multiview import predict
    from multiview.experiment.evaluate import evaluate
    from multiview.experiment.train import train

    assert (multiview.load, multiview.train, multiview.evaluate) == (predict.load, train, evaluate)
    assert {"load", "train", "evaluate"} <= set(dir(multiview))
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


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_timeline_of_a_short_sound(tmp_path: Path, mel_meter: Predictor, seconds: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(round(seconds * 8000), 0.1), 8000)
    timeline.timeline(mel_meter, tmp_path / "a.wav", tmp_path, 10.0, "a.wav")
    assert len(pd.read_csv(tmp_path / "timeline.csv")) == 1

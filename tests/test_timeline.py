"""Classes over time of a recording: the table, the picture, and what is left when one cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from multiview.audio import AudioError, read_audio
from multiview.experiment.run import Run
from multiview.predict import Predictor, timeline
from multiview.support import plots
from multiview.support.errors import InputError
from multiview.views import extract, geometry
from tests.helpers.commands import run

RATE = 22050


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


def test_of_silence_a_timeline_says_nothing(tmp_path: Path, live: Predictor, rng: np.random.Generator) -> None:
    """All classes are alike in rows of a segment without sound, and in no other."""
    sound = np.zeros(10 * RATE)
    sound[4 * RATE : 5 * RATE] = 0.3 * rng.standard_normal(RATE)
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    timeline.timeline(live, tmp_path / "a.wav", tmp_path / "out", 0.5, "a.wav")
    table = pd.read_csv(tmp_path / "out" / "timeline.csv").to_numpy()
    heard = (table[:, 1] > 4) & (table[:, 0] < 5)
    assert ((np.ptp(table[:, 2:], axis=1) > 0) == heard).all() and 0 < heard.sum() < len(heard)


def test_timeline_has_hertz_and_decibels(tmp_path: Path, mel_meter: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tone of 2 kHz is the brightest line, where the axis says 2 kHz; classes are named on their rows."""
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 2000 * np.arange(4 * RATE) / RATE), RATE)
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path, **options: drawn.append(figure) or path.touch())
    timeline.timeline(mel_meter, tmp_path / "a.wav", tmp_path / "out", 1.0, "a.wav")
    above, below, scale, _ = drawn[0].axes
    ticks = {label.get_text(): y for y, label in zip(above.get_yticks(), above.get_yticklabels(), strict=True)}
    loudest = above.images[0].get_array().mean(axis=1).argmax()
    assert above.get_ylabel() == "Hz" and scale.get_ylabel() == "mel, dB"
    assert abs(ticks["2k"] - loudest) <= 1 and above.get_ylim() == (-0.5, 63.5)
    rows = dict(zip([label.get_text() for label in below.get_yticklabels()], below.images[0].get_array(), strict=True))
    table = pd.read_csv(tmp_path / "out" / "timeline.csv")
    for name in ("quiet", "loud"):
        np.testing.assert_allclose(rows[name], table[name], atol=1e-4)
    plots.plt.close("all")


def test_broken_recording_leaves_the_old_timeline(tmp_path: Path, mel_meter: Predictor) -> None:
    (tmp_path / "timeline.csv").write_text("old")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="unreadable"):
        timeline.timeline(mel_meter, tmp_path / "a.wav", tmp_path, 1.0, "a.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "timeline.csv"]
    assert (tmp_path / "timeline.csv").read_text() == "old"


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_timeline_of_a_short_sound(tmp_path: Path, mel_meter: Predictor, seconds: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(round(seconds * 8000), 0.1), 8000)
    timeline.timeline(mel_meter, tmp_path / "a.wav", tmp_path, 10.0, "a.wav")
    assert len(pd.read_csv(tmp_path / "timeline.csv")) == 1


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

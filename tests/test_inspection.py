"""`--inspect`: counts, faults of single clips, and a picture in which the views are aligned."""

from __future__ import annotations

from pathlib import Path

import librosa
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import soundfile

from data_prep import inspection
from data_prep import prepare as command
from data_prep.datasets.base import ClipFile, Index
from multiview.segments import Segments, cut
from multiview.store import Store
from multiview.support import plots
from multiview.views import SAMPLE_RATES, VIEWS, Excerpt, paper_views

RATE = 22050


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of clips of which each has one known fault, or none."""
    folder, rng = tmp_path_factory.mktemp("faulty"), np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, 2 * RATE)
    half = noise.copy()
    half[RATE - 100 :] = 0
    peaks = noise.copy()
    peaks[::1000] = 1.0  # at full scale, but never in a row
    sounds = {
        "good.wav": noise,
        "clipped.wav": np.clip(noise * 4, -1, 1),
        "peaks.wav": peaks,
        "silent.wav": np.zeros(2 * RATE),
        "faint.wav": noise * 1e-3,  # peak at -66 dB
        "half.wav": half,
        "twin_a.wav": noise[::-1],
        "twin_b.wav": noise[::-1],
        "short.wav": noise[:RATE],
    }
    clips = []
    for number, (name, sound) in enumerate(sounds.items()):
        soundfile.write(folder / name, sound, RATE)
        clips.append(ClipFile(folder / name, name, number % 2, f"s{number // 2}", fold=number // 2 % 2 + 1))
    command.prepare("folder", Index(["even", "odd"], clips), folder / "s.h5", RATE)
    return Store(folder / "s.h5")


def test_faults_are_found(faulty: Store) -> None:
    clips = inspection.clip_table(faulty).set_index("id")
    assert list(clips.index[clips["clipped"]]) == ["clipped.wav"]
    assert list(clips.index[clips["peak"] < -60]) == ["silent.wav", "faint.wav"]
    assert list(clips.index[clips["zeros"] > 0.5]) == ["silent.wav", "half.wav"]
    assert clips.loc["peaks.wav", "peak"] == pytest.approx(0, abs=1e-3)
    assert clips.loc["faint.wav", "peak"] == pytest.approx(20 * np.log10(0.5e-3), abs=0.6)
    assert clips.loc["short.wav", "seconds"] == 1.0
    text = inspection.summary(faulty)
    for line in (
        "silent (peak below -60 dB of full scale): 2: silent.wav, faint.wav",
        "more than half digital silence: 2: silent.wav, half.wav",
        "clipped (3 samples in a row at full scale): 1: clipped.wav",
        "shorter than a segment (padded with silence): 1: short.wav",
        "duplicates (same samples): 1 groups, 2 clips",
        "  twin_a.wav, twin_b.wav  <- differ in class",
        "seconds a clip: 1.000 to 2.000, median 2.000",
    ):
        assert line in text.splitlines()


def test_clips_are_counted_by_class_and_fold(tiny_store: Store) -> None:
    counts = inspection.clips_per_class_and_fold(inspection.clip_table(tiny_store))
    assert list(counts.columns) == [f"fold {fold}" for fold in range(1, 6)] + ["all"]
    assert counts.loc[tiny_store.classes].drop(columns="all").eq(4).all(axis=None)
    assert counts.loc["all", "all"] == 60


def test_classes_may_be_called_anything(rng: np.random.Generator, tmp_path: Path) -> None:
    for name in ("all", "$^$", "a_b {x}", "class"):
        for number in range(2):
            (tmp_path / "sounds" / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "sounds" / name / f"{number}.wav", rng.uniform(-0.1, 0.1, RATE), RATE)
    store = str(tmp_path / "s.h5")
    assert (
        command.main(
            ["folder", "--audio", str(tmp_path / "sounds"), "--store", store, "--draw-folds", "2", "--jobs", "1"]
        )
        == 0
    )
    assert command.main(["--inspect", store]) == 0
    counts = inspection.clips_per_class_and_fold(inspection.clip_table(Store(store)))
    assert counts["all"].tolist() == [2, 2, 2, 2, 8]


def test_folds_come_in_order_and_evaluation_last() -> None:
    rows = [("a", fold, "development") for fold in (10, 2, 1)] + [("a", 0, "evaluation")]
    counts = inspection.clips_per_class_and_fold(pd.DataFrame(rows, columns=["class", "fold", "split"]))
    assert list(counts.columns) == ["fold 1", "fold 2", "fold 10", "evaluation", "all"]


def test_ranges_of_views_are_those_of_the_values(tiny_store: Store) -> None:
    table = inspection.view_table(tiny_store)
    for view in paper_views():
        values = tiny_store.values[view].astype(np.float64) / (32768 if view == "raw" else 1)
        expected = [values.min(), values.mean(), values.std(), values.max()]
        np.testing.assert_allclose(table.loc[view, ["min", "mean", "std", "max"]].astype(float), expected, rtol=1e-4)
    assert (table["not finite"] == 0).all()
    assert (table["silent bands"] == 0).all()


def test_bands_above_the_recordings_are_counted(rng: np.random.Generator, tmp_path: Path) -> None:
    """Of noise at 8 kHz, those that begin above 4 kHz, but for two at most that the resampler's transition reaches."""
    clips = []
    for number, level in enumerate(10 ** (np.linspace(-60, 0, 10) / 20) / 4):
        soundfile.write(tmp_path / f"{number}.wav", level * rng.standard_normal(16_000), 8000, subtype="FLOAT")
        clips.append(ClipFile(tmp_path / f"{number}.wav", f"{number}.wav", number % 2, str(number), fold=1))
    command.prepare("folder", Index(["even", "odd"], clips), tmp_path / "s.h5", RATE)
    found = inspection.view_table(Store(tmp_path / "s.h5"))["silent bands"]
    above = np.count_nonzero(librosa.mel_frequencies(66, fmin=0, fmax=RATE / 2)[:-2] > 4000)  # their lower edges
    assert found["cqt"] == found["gammatone"] == found["raw"] == 0
    assert above - 2 <= found["mel"] <= above


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("start", [0, 5000, 12_345])
def test_lines_bound_what_a_segment_takes(rate: int, start: int) -> None:
    """The steps that lie wholly between the lines are those that `cut` takes."""
    for view in paper_views():
        grid = VIEWS[view].grid(rate)
        steps = np.arange(grid.frames(3 * rate))
        clip = Excerpt(rate, {view: steps}, offset=0, begin=0, end=0, final=True)
        taken = cut(clip, Segments(np.array([0]), np.array([start])), [view])[view].ravel()
        taken = np.rint(taken / VIEWS[view].scale)
        begin, end = inspection.segment_bounds(grid, rate, start)
        firsts = steps * grid.hop
        lasts = firsts + {"raw": 1, "cqt": 0}.get(view, rate // 25)
        inside = (firsts >= begin * rate - 0.5) & (lasts <= end * rate + 0.5)
        np.testing.assert_array_equal(steps[inside], taken)


def test_picture_has_a_panel_for_each_class_and_view(tiny_store: Store, tmp_path: Path) -> None:
    assert command.main(["--inspect", str(tiny_store.path), "--to", str(tmp_path)]) == 0
    image = matplotlib.image.imread(tmp_path / f"{tiny_store.path.stem}_views.png")[..., :3]
    assert image.shape[1] > 600 and image.std() > 0.1
    # Spectrograms differ between classes: a rising chirp is not a falling one.
    left, middle = (image[:, int(image.shape[1] * at) :][:, :150] for at in (0.1, 0.42))
    assert np.abs(left - middle).mean() > 0.02


def test_panels_have_hertz_and_one_scale_of_decibels(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels stand in the bands of their frequencies, and 0 dB is the loudest value of every panel."""
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path, **options: drawn.append(figure))
    inspection.draw_views(tiny_store, tmp_path / "views.png")
    axes = drawn[0].axes
    for place, name in enumerate(("mel", "gammatone", "cqt")):
        assert axes[place].get_ylabel() == f"{name}, Hz"
        labels = [label.get_text() for label in axes[place].get_yticklabels()]
        ticks = dict(zip(labels, axes[place].get_yticks(), strict=True))
        frequencies = VIEWS[name].frequencies(RATE)
        assert frequencies[int(np.floor(ticks["1k"]))] <= 1000 <= frequencies[int(np.ceil(ticks["1k"]))]
        (image,) = axes[place].images
        assert image.get_clim() == (-80, 0) and image.get_array().max() == 0
    assert axes[3].get_ylabel() == "raw, full scale" and axes[4].get_ylabel() == ""
    assert axes[-1].get_ylabel() == "dB below the loudest of each panel"
    plots.plt.close("all")


def test_round_frequencies_at_the_axis() -> None:
    """Bands at 0, 100, ... Hz: 1 kHz is band 10; labels keep their distance, and are of what there is."""
    ticks = plots.frequency_ticks(np.arange(64) * 100.0, most=7)
    assert ticks[10.0] == "1k" and ticks[1.0] == "100" and "10k" not in ticks.values()
    assert np.diff(sorted(ticks)).min() >= 8
    assert plots.frequency_ticks(np.array([3.0, 7.0]), most=6) == {}


def test_store_without_waveforms_says_what_it_cannot_tell(
    faulty: Store, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    clips = [
        ClipFile(faulty.path.parent / clip.id, clip.id, clip.label, clip.source, clip.fold) for clip in faulty.clips()
    ]
    store = tmp_path / "s.h5"
    command.prepare("folder", Index(["even", "odd"], clips), store, RATE, views=["cqt"])
    assert command.main(["--inspect", str(store)]) == 0
    text = capsys.readouterr().out
    assert "silent, clipped and equal clips: not known, the store holds no raw" in text.splitlines()
    assert "shorter than a segment (padded with silence): 1: short.wav" in text.splitlines()
    assert list(inspection.view_table(Store(store)).index) == ["cqt"]
    assert matplotlib.image.imread(tmp_path / "s_views.png").std() > 0.1


def test_inspect_stands_alone(tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command.main(["--inspect", str(tmp_path / "none.h5")]) == 1
    error = capsys.readouterr().err.strip()
    assert "expected a store, found no file" in error and "\n" not in error
    for arguments in (
        ["demo", "--inspect", "s.h5"],
        [],
        ["demo"],
        ["demo", "--store", "s.h5", "--to", "x"],
        ["--inspect", "s.h5", "--jobs", "1"],
    ):
        with pytest.raises(SystemExit, match="2"):
            command.main(arguments)

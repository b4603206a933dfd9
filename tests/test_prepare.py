"""Datasets and the command that prepares them: layouts, folds, bad files, continued work."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from data_prep import extraction
from data_prep import prepare as command
from data_prep.datasets import demo, esc10, esc50
from multiview.audio import AudioError, read_audio
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.files import locked
from tests import trees


@pytest.fixture
def esc_tree(tmp_path: Path) -> Path:
    return trees.esc50(tmp_path / "ESC-50-master")


def edit_table(root: Path, edit) -> None:
    path = root / "meta" / "esc50.csv"
    edit(pd.read_csv(path)).to_csv(path, index=False)


def run(*arguments: object) -> int:
    """The command, with one process, which starts sooner."""
    own = ["--jobs", "1"] if "--store" in arguments and "--jobs" not in arguments else []
    return command.main([*map(str, arguments), *own])


def test_esc50_and_esc10_in_official_order(esc_tree: Path) -> None:
    full, subset = esc50.index(esc_tree), esc10.index(esc_tree.parent)  # one folder deeper is found, too
    assert list(full.classes) == ["dog", "cow", "rain"] and len(full.clips) == 30
    assert list(subset.classes) == ["dog", "rain"] and len(subset.clips) == 20
    clip = next(clip for clip in subset.clips if clip.id == "4-7004-B-7.wav")
    assert (clip.label, clip.fold, clip.source, clip.split) == (1, 4, "7004", "development")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.drop(columns=["fold", "src_file"]), "missing: fold, src_file"),
        (lambda t: t.iloc[:0], "lists no clips"),
        (
            lambda t: t.assign(fold=t.fold.replace(3, 4)),
            "1,970 of its 2,000 sound files are missing, all of fold 3",
        ),
        (lambda t: t.assign(fold=t.fold.astype(object).replace(5, "x")), "fold that is no whole number"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "more than once"),
    ],
)
def test_bad_tables_are_named(esc_tree: Path, capsys: pytest.CaptureFixture, edit, message: str) -> None:
    edit_table(esc_tree, edit)
    assert run("esc50", "--audio", esc_tree, "--store", esc_tree.parent / "s.h5") == 1
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not (esc_tree.parent / "s.h5").exists()


def test_missing_and_empty_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "empty").mkdir()
    for dataset, audio, message in (
        ("esc50", tmp_path / "nowhere", "expected a folder of sound files"),
        ("esc50", tmp_path / "empty", "esc50.csv"),
        ("folder", tmp_path / "empty", "expected at least two sub-folders"),
    ):
        assert run(dataset, "--audio", audio, "--store", tmp_path / "s.h5") == 1
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error
    assert run("esc10", "--store", tmp_path / "s.h5") == 2
    assert "expected --audio DIR" in capsys.readouterr().err


def spoil(audio: Path, names: list[str]) -> None:
    """Make files unreadable, each in another way."""
    ways = [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"RIFF no sound"),
        lambda path: soundfile.write(path, np.zeros(0), 22050),
        lambda path: soundfile.write(path, np.full(30_000, np.nan), 22050, subtype="FLOAT"),
        lambda path: soundfile.write(path, np.full(30_000, 1e25), 22050, subtype="FLOAT"),
    ]
    for name, way in zip(names, ways, strict=False):
        way(audio / name)


def test_unreadable_files_fail_unless_allowed(esc_tree: Path, capsys: pytest.CaptureFixture) -> None:
    names = [clip.id for clip in esc50.index(esc_tree).clips]
    spoil(esc_tree / "audio", names[::5])
    store = esc_tree.parent / "s.h5"
    arguments = ("esc50", "--audio", esc_tree, "--store", store, "--sample-rate", 22050)
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert "6 of 30 clips cannot be read" in error and "--allow-missing" in error and not store.exists()
    assert run(*arguments, "--allow-missing") == 0
    printed = capsys.readouterr()
    reasons = ["no such file", "unreadable", "unreadable", "no samples", "NaN", "samples beyond"]
    for name, why in zip(names[::5], reasons, strict=True):
        assert f"left out: {name}: {why}" in printed.err
    assert "24 clips" in printed.out and "6 clips left out" in printed.out
    assert set(Store(store).ids) == set(names) - set(names[::5])
    assert run(*arguments) == 0  # the finished store is recognised


def test_store_of_other_content_is_not_overwritten(esc_tree: Path, capsys: pytest.CaptureFixture) -> None:
    store = esc_tree.parent / "s.h5"
    arguments = ("--audio", esc_tree, "--store", store)
    assert run("esc10", *arguments, "--sample-rate", 22050) == 0
    before = store.read_bytes()
    capsys.readouterr()
    for call, expected, found in (
        (("esc50", *arguments, "--sample-rate", 22050), "dataset esc50", "esc10"),
        (("esc10", *arguments, "--sample-rate", 44100), "sample rate 44100", "22050"),
    ):
        assert run(*call) == 1
        error = capsys.readouterr().err
        assert f"expected {expected}, found {found}" in error
    edit_table(esc_tree, lambda t: t.assign(fold=t.fold.replace({1: 2, 2: 1})))
    assert run("esc10", *arguments, "--sample-rate", 22050) == 1
    assert "12 agree" in capsys.readouterr().err
    assert store.read_bytes() == before


def test_interrupted_work_is_continued_and_gives_the_same_bytes(
    esc_tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    index, one = esc50.index(esc_tree), esc_tree.parent / "one.h5"
    command.prepare("esc50", index, one, 22050, jobs=2)
    done, extract = [], extraction.extract

    def extract_ten(*arguments):
        if len(done) == 10:
            raise KeyboardInterrupt
        done.append(arguments)
        return extract(*arguments)

    two = esc_tree.parent / "two.h5"
    monkeypatch.setattr(extraction, "extract", extract_ten)
    with pytest.raises(KeyboardInterrupt):
        command.prepare("esc50", index, two, 22050, jobs=1)
    monkeypatch.setattr(extraction, "extract", extract)
    capsys.readouterr()
    command.prepare("esc50", index, two, 22050, jobs=1)
    assert "10 of 30 clips are extracted already" in capsys.readouterr().err
    assert one.read_bytes() == two.read_bytes()


def test_changed_sound_file_is_extracted_anew(esc_tree: Path, tmp_path: Path) -> None:
    index = esc50.index(esc_tree)
    parts = extraction.Parts(tmp_path / "s.h5", 22050)
    parts.extract(index.clips[:2], jobs=1)
    before = [parts.path(clip) for clip in index.clips[:2]]
    trees.write_tone(index.clips[0].path, samples=50_000)
    after = [parts.path(clip) for clip in index.clips[:2]]
    assert after[0] != before[0] and after[1] == before[1]


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("a.wav", 44100, 2, {"subtype": "PCM_24"}),
        ("b.flac", 48000, 1, {}),
        ("c.ogg", 22050, 1, {}),
        ("d.au", 8000, 1, {}),
        ("e.mp3", 44100, 2, {}),
    ],
)
def test_any_format_rate_and_channels_become_mono_at_the_rate(
    tmp_path: Path, name: str, rate: int, channels: int, options: dict
) -> None:
    t = np.arange(2 * rate) / rate
    sound = np.stack([0.6 * np.sin(2 * np.pi * 500 * t)] + [0 * t] * (channels - 1), axis=1)
    soundfile.write(tmp_path / name, sound, rate, **options)
    waveform = read_audio(tmp_path / name, 22050)
    assert waveform.dtype == np.float32 and len(waveform) == pytest.approx(2 * 22050, abs=2400)
    middle = waveform[11025 : 11025 + 22050]
    spectrum = 2 * np.abs(np.fft.rfft(middle)) / len(middle)  # 1 Hz a bin
    assert spectrum.argmax() == 500 and spectrum[500] == pytest.approx(0.6 / channels, rel=0.05)


def test_unreadable_audio_says_why(tmp_path: Path) -> None:
    (tmp_path / "damaged.au").write_bytes(b"?" * 1000)  # would pass for headerless mu-law
    with pytest.raises(AudioError, match="no header"):
        read_audio(tmp_path / "damaged.au", 22050)
    with pytest.raises(AudioError, match="no such file"):
        read_audio(tmp_path / "none.wav", 22050)


def test_demo_is_the_same_everywhere_and_shares_no_source_between_folds(tmp_path: Path) -> None:
    first, second = demo.index(tmp_path / "a"), demo.index(tmp_path / "b")
    for one, other in zip(first.clips[::13], second.clips[::13], strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
    folds = pd.DataFrame({"source": [c.source for c in first.clips], "fold": [c.fold for c in first.clips]})
    assert folds.groupby("source")["fold"].nunique().eq(1).all()
    assert pd.crosstab([c.label for c in first.clips], [c.fold for c in first.clips]).eq(8).all(axis=None)


def test_second_call_on_a_store_says_so(esc_tree: Path, capsys: pytest.CaptureFixture) -> None:
    store = esc_tree.parent / "s.h5"
    with locked(esc_tree.parent / "s.lock", "test", "none"):
        assert run("esc50", "--audio", esc_tree, "--store", store) == 1
    assert "is being prepared by another process" in capsys.readouterr().err
    assert not store.exists()


def test_temporary_files_of_a_store_of_similar_name_are_left(esc_tree: Path) -> None:
    other = esc_tree.parent / ".s.22050.0123456789ab.tmp.h5"
    other.write_bytes(b"of a call that runs")
    assert run("esc50", "--audio", esc_tree, "--store", esc_tree.parent / "s.h5", "--sample-rate", 22050) == 0
    assert other.exists()


def test_damaged_part_is_made_anew_by_the_next_call(esc_tree: Path, capsys: pytest.CaptureFixture) -> None:
    index, store = esc50.index(esc_tree), esc_tree.parent / "s.h5"
    parts = extraction.Parts(store, 22050)
    parts.extract(index.clips, jobs=1)
    parts.path(index.clips[3]).write_bytes(b"")
    arguments = ("esc50", "--audio", esc_tree, "--store", store, "--sample-rate", 22050)
    assert run(*arguments) == 1
    assert f"the views of {index.clips[3].id} were damaged" in capsys.readouterr().err.splitlines()[-1]
    assert run(*arguments) == 0


def test_store_that_cannot_be_trained_on_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = "path,label,fold\n" + "".join(f"{n}.wav,{'ab'[n % 2]},1\n" for n in range(4))
    for number in range(4):
        trees.write_tone(tmp_path / f"{number}.wav")
    (tmp_path / "t.csv").write_text(rows)
    assert run("folder", "--csv", tmp_path / "t.csv", "--store", tmp_path / "s.h5", "--sample-rate", 22050) == 0
    assert "note:" in (error := capsys.readouterr().err) and "class 'a' has no clip to train on in fold 1" in error


def test_formats_by_all_their_names(tmp_path: Path) -> None:
    from multiview.audio import sound_files

    for name in ("a.WAV", "b.opus", "c.aifc", "d.snd", "e.mp3", "f.oga", "g.raw", "h.txt", ".i.wav"):
        (tmp_path / name).touch()
    assert [path.name for path in sound_files(tmp_path)] == ["a.WAV", "b.opus", "c.aifc", "d.snd", "e.mp3", "f.oga"]


@pytest.mark.parametrize("store", [".", "/", "sounds"])
def test_folder_is_no_store(tmp_path: Path, store: str, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sounds").mkdir()
    with pytest.raises(SystemExit, match="2"):
        run("demo", "--store", store)
    assert "expected --store FILE.h5, found the folder" in capsys.readouterr().err


def test_leftovers_of_a_killed_call_are_removed(esc_tree: Path) -> None:
    leftover = esc_tree.parent / ".s.0123456789ab.tmp.h5"
    leftover.write_bytes(b"half")
    assert run("esc50", "--audio", esc_tree, "--store", esc_tree.parent / "s.h5", "--sample-rate", 22050) == 0
    assert not leftover.exists()


def test_other_seed_makes_other_sounds(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert demo.index(tmp_path, seed=1).clips[0].path.read_bytes() != demo.index(tmp_path).clips[0].path.read_bytes()
    assert run("demo", "--store", tmp_path / "s.h5") == 0
    assert run("demo", "--store", tmp_path / "s.h5", "--seed", 1) == 1
    assert "exists with other clips" in capsys.readouterr().err


def test_options_that_do_not_apply_are_refused(capsys: pytest.CaptureFixture) -> None:
    for arguments in (("esc10", "--store", "s.h5", "--draw-folds", 3), ("demo", "--store", "s.h5", "--jobs", 0)):
        with pytest.raises(SystemExit, match="2"):
            run(*arguments)
    assert "--draw-folds does not go with esc10; it is for folder" in capsys.readouterr().err


def test_software_is_recorded(tiny_store: Store) -> None:
    import h5py
    import librosa

    with h5py.File(tiny_store.path) as file:
        assert json.loads(file.attrs["software"])["librosa"] == librosa.__version__


def test_no_call_leaves_its_lock(esc_tree: Path) -> None:
    store = esc_tree.parent / "stores" / "s.h5"
    for path in (esc_tree / "audio").iterdir():
        path.write_bytes(b"no sound")
    assert run("esc50", "--audio", esc_tree, "--store", store) == 1
    assert not list(store.parent.glob("*.lock")) and not store.exists()
    for path in (esc_tree / "audio").iterdir():
        trees.write_tone(path)
    assert run("esc50", "--audio", esc_tree, "--store", store, "--sample-rate", 22050) == 0
    assert [path.name for path in store.parent.iterdir()] == ["s.h5"]


def test_a_lock_that_goes_with_its_holder_still_lets_one_in_at_a_time(tmp_path: Path) -> None:
    """Many hold it in turn, each for a moment, and none beside another."""
    inside, most, turns = [0], [0], [0]

    def take() -> None:
        for _ in range(20):
            try:
                with locked(tmp_path / "x.lock", "test", "none"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.001)
                    inside[0] -= 1
                    turns[0] += 1
            except InputError:
                pass

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and turns[0] >= 20 and not list(tmp_path.iterdir())


def test_too_little_of_a_published_dataset_is_refused_before_work(esc_tree: Path, capsys) -> None:
    edit_table(esc_tree, lambda t: t[t.fold == 5])
    call = ("esc50", "--audio", esc_tree, "--store", esc_tree.parent / "s.h5")
    assert run(*call) == 1
    error = capsys.readouterr().err.strip()
    assert "1,994 of its 2,000 sound files are missing, all of fold 1, 2, 3, 4 among them" in error
    assert run(*call, "--allow-missing") == 1
    error = capsys.readouterr().err.strip()
    assert "with 6 of the 2,000 clips no fold can be trained on" in error and "\n" not in error

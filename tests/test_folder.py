"""Anyone's own sounds: sub-folders as classes, tables, drawn folds."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import arguments, checks, extraction
from data_prep import prepare as command
from data_prep.datasets import folder
from multiview.store import Store
from multiview.support.errors import InputError
from tests import trees
from tests.fuzz import tables
from tests.fuzz.runner import cases, here
from tests.helpers.commands import nobody


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for name, count in (("bell", 7), ("wind", 12)):
        for number in range(count):
            trees.write_tone(tmp_path / "sounds" / name / f"{number}.wav", samples=2000 + number)
    (tmp_path / "sounds" / "bell" / "notes.txt").write_text("not a sound")
    return tmp_path / "sounds"


def prepare_folder(store: Path, *arguments: object) -> int:
    return command.main(
        ["folder", "--store", str(store), "--sample-rate", "22050", "--jobs", "1", *map(str, arguments)]
    )


def test_folder_takes_sub_folders_as_classes_and_stores_its_folds(class_folders: Path, tmp_path: Path) -> None:
    assert prepare_folder(tmp_path / "s.h5", "--audio", class_folders, "--draw-folds", 3, "--seed", 4) == 0
    store = Store(tmp_path / "s.h5")
    assert store.classes == ["bell", "wind"] and len(store) == 19
    assert "bell/0.wav" in store.ids and len(set(store.sources)) == 19
    counts = pd.crosstab(store.labels, store.folds)
    assert list(counts.columns) == [1, 2, 3]
    assert counts.loc[0].between(2, 3).all() and (counts.loc[1] == 4).all()


def test_folder_folds_follow_the_seed(class_folders: Path) -> None:
    def drawn(seed: int) -> list[int]:
        return [clip.fold for clip in folder.index(class_folders, seed=seed).clips]

    assert drawn(1) == drawn(1) != drawn(2)


def test_folder_with_too_few_clips_for_the_folds(class_folders: Path) -> None:
    with pytest.raises(InputError, match="expected 2 to 7 folds, as many as class 'bell'"):
        folder.index(class_folders, draw_folds=8)


def write_table(path: Path, rows: list[dict]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False, encoding="utf-8-sig")
    return path


def own_rows(root: Path, **columns) -> list[dict]:
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.wav"))
    return [
        {"path": path, "label": path.split("/")[0], **{name: of(number) for name, of in columns.items()}}
        for number, path in enumerate(paths)
    ]


def test_table_gives_folds_sources_and_splits(class_folders: Path, tmp_path: Path) -> None:
    rows = own_rows(
        class_folders,
        fold=lambda n: n % 2 + 1,
        source=lambda n: f"day {n % 4}",
        split=lambda n: ("development", "evaluation")[n % 4 == 3],
        note=lambda n: "any",
    )
    rows[3]["fold"] = ""  # an evaluation clip needs none
    assert prepare_folder(tmp_path / "s.h5", "--csv", write_table(class_folders / "clips.csv", rows)) == 0
    store = Store(tmp_path / "s.h5")
    assert list(store.ids) == [row["path"] for row in rows]
    assert list(store.sources) == [row["source"] for row in rows]
    assert list(store.splits) == [row["split"] for row in rows]
    assert [store.classes[label] for label in store.labels] == [row["label"] for row in rows]
    inside = store.splits == "development"
    assert list(store.folds[inside]) == [row["fold"] for row in rows if row["split"] == "development"]
    assert not store.folds[~inside].any()


def test_table_paths_begin_at_audio_and_keep_labels_as_text(class_folders: Path, tmp_path: Path) -> None:
    rows = [{**row, "label": {"bell": "007", "wind": "NA"}[row["label"]]} for row in own_rows(class_folders)]
    csv = write_table(tmp_path / "elsewhere.csv", rows)
    index = folder.index(class_folders, csv=csv, draw_folds=3)
    assert index.classes == ["007", "NA"] and all(clip.path.is_file() for clip in index.clips)


@settings(max_examples=25, deadline=None)
@given(sources=st.lists(st.integers(1, 5), min_size=4, max_size=12), wanted=st.integers(2, 4), seed=st.integers(0, 9))
def test_drawn_folds_keep_sources_whole(
    tmp_path_factory: pytest.TempPathFactory, sources: list[int], wanted: int, seed: int
) -> None:
    rows = [
        {"path": f"{label}-{source}-{clip}.wav", "label": label, "source": f"{label}-{source}"}
        for label in "ab"
        for source, clips in enumerate(sources)
        for clip in range(clips)
    ]
    csv = write_table(tmp_path_factory.mktemp("t") / "t.csv", rows)
    clips = folder.index(None, csv=csv, draw_folds=wanted, seed=seed).clips
    fold_of: dict[str, set[int]] = {}
    for clip in clips:
        fold_of.setdefault(clip.source, set()).add(clip.fold)
    assert all(len(found) == 1 for found in fold_of.values())
    assert {clip.fold for clip in clips} == set(range(1, wanted + 1))


@settings(max_examples=25, deadline=None)
@given(days=st.lists(st.sets(st.sampled_from("abc"), min_size=1), min_size=6, max_size=10), seed=st.integers(0, 9))
def test_sources_of_several_classes_leave_no_fold_without_a_class(
    tmp_path_factory: pytest.TempPathFactory, days: list[set[str]], seed: int
) -> None:
    rows = [
        {"path": f"{label}-{day}.wav", "label": label, "source": f"day {day}"}
        for day, labels in enumerate(days)
        for label in sorted(labels)
    ]
    counts = pd.Series([row["label"] for row in rows]).value_counts()
    if len(counts) < 2 or counts.min() < 3:
        return
    csv = write_table(tmp_path_factory.mktemp("t") / "t.csv", rows)
    try:
        clips = folder.index(None, csv=csv, draw_folds=3, seed=seed).clips
    except InputError as error:
        assert "say fewer --draw-folds" in str(error)
        return
    drawn = pd.crosstab([clip.label for clip in clips], [clip.fold for clip in clips])
    assert drawn.shape == (len(counts), 3) and drawn.gt(0).all(axis=None)
    assert pd.Series([c.fold for c in clips]).groupby([c.source for c in clips]).nunique().eq(1).all()


@pytest.mark.parametrize(
    "text",
    [
        "path,label,fold,split\na\\1.wav,x,1.0,Development\na/2.wav,y,2.0,Development\na/3.wav,y,,EVALUATION\n",
        "\ufeffPath;Label;Fold;Split\n./a/1.wav;x;1;development\na//2.wav;y;2;development\na/3.wav;y;;evaluation\n;;;\n",
        "path,label,fold,split\n\na/1.wav, x ,1,development\n\na/2.wav,y,2,development\na/3.wav,y,0,evaluation\n,,,\n",
    ],
    ids=["pandas", "semicolons", "blanks"],
)
def test_tables_of_spreadsheets_are_understood(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    clips = folder.index(None, csv=tmp_path / "t.csv").clips
    assert [(clip.id, clip.label, clip.fold, clip.split) for clip in clips] == [
        ("a/1.wav", 0, 1, "development"),
        ("a/2.wav", 1, 2, "development"),
        ("a/3.wav", 1, 0, "evaluation"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,Label\na.wav,x,x\n", "expected every column once, found 'label' more than once"),
        ("path,label\na, b.wav,x\nc.wav,y\n", "as many cells in every line"),
        ("path,label\n\na.wav,x\n\nb.wav,\n", "line 5: expected a value for label"),
        ("path,label,fold\na.wav,x,1\nb.wav,y,1\n./a.wav,x,2\n", "found 'a.wav' more than once"),
        ("file,label\na.wav,x\n", "expected a first line with path,label"),
        ("path,label\na.wav,x\nb.wav,\n", "line 3: expected a value for label, found none"),
        ("path,label\na.wav,x\nb.wav\n", "line 3: expected a value for label, found none"),
        (
            "path,label,fold\na.wav,x,1\nb.wav,y,0\n",
            "line 3: expected a fold that is a whole number from 1 to 1000, found",
        ),
        ("path,label,fold\na.wav,x,1\nb.wav,y,1.5\n", "found '1.5'"),
        ("path,label,split\na.wav,x,train\n", "expected split development or evaluation, found 'train'"),
        ("path,label\na.wav,x\n", "expected at least two labels, found 1"),
        ("path,label,fold\na.wav,x,1\nb.wav,y,1\na.wav,x,2\n", "found 'a.wav' more than once"),
        ("path,label,fold\na.wav,x,1\nb.wav,y,1\nc.wav,x,3\n", "found none in fold 2"),
        ("path,label,fold,source\na.wav,x,1,s\nb.wav,y,2,s\n", "found source 's' in fold 1 and 2"),
        (
            "path,label,split,source\na.wav,x,evaluation,s\nb.wav,y,development,s\n",
            "found source 's' in evaluation and development",
        ),
        ("", "expected a CSV table"),
        ("path,label\na.wav,x\ncaf\xe9.wav,y\n", "expected a CSV table in UTF-8, found the byte 0xe9 in line 3; save"),
        ("\xff\xfep\0a\0t\0h\0", "found UTF-16; save it"),
        ("\xef\xbb\xbfpath,label\na.wav,\0x\nb.wav,y\n", "found a NUL in line 2"),
        ("path,label,fold\na.wav,x,1\nb.wav,\x1b[2Jy,1\n", "found class '\\x1b[2Jy'; rename it"),
        ('path,label,fold\na.wav,x,1\n"b\n.wav",y,1\n', r"found clip 'b\n.wav'; rename it"),
        ("path,label,fold\na.wav,x,1\nb.wav," + "y" * 256 + ",1\n", "at most 255 bytes, found class 'yyyyy"),
        ("path,label,fold\na.wav,x,1\n" + "b" * 4097 + ",y,1\n", "at most 4,096 bytes, found clip 'bbbb"),
        ("path,label,fold\na.wav,x,1\nb.wav,y," + "1" * 5000 + "\n", "line 3: expected a fold that is a whole number"),
        ("path,label,fold\na.wav,x,1\nb.wav,y,\u0663\n", "found '\u0663'; mend it"),
        ("path,label\n" + "a" * 10**8, "found more than 32 MiB; save it"),
        ("path,label\n" + "a" * 10**5, "found a line of more than 64 KiB"),
        ("\n" * (2**20 + 1), "found more than 1,048,576 lines"),
        ("path,label" + "," * 300 + "\na.wav,x\n", "found more than 256 columns"),
        ('path,label\n"a.wav,x\nb.wav,y\n', "as many cells in every line"),
    ],
)
def test_bad_table_is_one_line(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture) -> None:
    csv = tmp_path / "clips.csv"
    csv.write_bytes(text.encode("utf-8" if "\u0663" in text else "latin-1"))
    assert prepare_folder(tmp_path / "s.h5", "--csv", csv) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and len(error) < 1000


def test_table_with_folds_takes_no_drawing_options(class_folders: Path, tmp_path: Path) -> None:
    csv = write_table(class_folders / "clips.csv", own_rows(class_folders, fold=lambda n: n % 2 + 1))
    with pytest.raises(InputError, match="gives the folds itself"):
        folder.index(None, csv=csv, seed=1)
    csv = write_table(class_folders / "c.csv", own_rows(class_folders, split=lambda n: "evaluation"))
    with pytest.raises(InputError, match="which are the test set"):
        folder.index(None, csv=csv, draw_folds=3)
    with pytest.raises(InputError, match="expected a table at .*none.csv, found no file"):
        folder.index(None, csv=tmp_path / "none.csv")


def test_what_is_not_used_is_counted_and_named(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (class_folders / "cover.jpg").write_bytes(b"\xff\xd8\xff no sound")
    for name in (".DS_Store", "wind/Thumbs.db"):
        trees.touch(class_folders / name)
    trees.write_tone(class_folders / "stray.wav")
    (class_folders / "rain").mkdir()
    assert prepare_folder(tmp_path / "s.h5", "--audio", class_folders) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("not used")] == [
        "not used, as without a sound: 1 sub-folder: rain",
        "not used, as in no sub-folder: 1 file: stray.wav",
        "not used, as no sound: 2 files: bell/notes.txt, cover.jpg",
        "not used, hidden or of the system: 2 files",
    ]


def test_what_lies_beside_the_clips_of_a_table_is_named(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    csv = write_table(class_folders / "bell" / "clips.csv", own_rows(class_folders)[1:])
    assert prepare_folder(tmp_path / "s.h5", "--csv", csv, "--audio", class_folders) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("not used")] == [
        "not used, as not in the table: 1 file: bell/0.wav",
        "not used, as no sound: 1 file: bell/notes.txt",
    ]


def test_recordings_of_phones_become_a_dataset(tmp_path: Path, rng) -> None:
    """m4a, 48 kHz, stereo; one without a suffix; as many folds as the smallest class has recordings."""
    for name, seconds in (("bark", (2, 3, 4)), ("howl", (2, 2.5, 3, 5))):
        for number, length in enumerate(seconds):
            path = tmp_path / "dogs" / name / (f"{number}.m4a" if number else "memo")
            trees.write_encoded(path, rng.uniform(-0.1, 0.1, (round(length * 48000), 2)), 48000, "aac", "ipod")
    assert prepare_folder(tmp_path / "s.h5", "--audio", tmp_path / "dogs") == 0
    store = Store(tmp_path / "s.h5")
    assert store.dataset == store.about.label == "dogs" and store.classes == ["bark", "howl"]
    assert list(store.ids) == [
        "bark/1.m4a",
        "bark/2.m4a",
        "bark/memo",
        "howl/1.m4a",
        "howl/2.m4a",
        "howl/3.m4a",
        "howl/memo",
    ]
    np.testing.assert_allclose(store.samples / 22050, [3, 4, 2, 2.5, 3, 5, 2], atol=0.05)
    assert set(store.folds) == {1, 2, 3}


def test_a_file_that_is_two_clips_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a link, or by its whole path in a table: else it might be tested and trained on."""
    for name in ("a", "b"):
        for number in range(3):
            trees.touch(tmp_path / "d" / name / f"{number}.wav")
    table = ["path,label,fold", *(f"{name}/{number}.wav,{name},{number + 1}" for name in "ab" for number in range(3))]
    (tmp_path / "d" / "c.csv").write_text("\n".join([*table, f"{tmp_path}/d/a/0.wav,a,2"]))
    assert prepare_folder(tmp_path / "s.h5", "--csv", tmp_path / "d" / "c.csv") == 1
    assert "expected every sound file once, found one that is 'a/0.wav' and '" in capsys.readouterr().err
    (tmp_path / "d" / "a" / "link.wav").symlink_to(tmp_path / "d" / "a" / "0.wav")
    assert prepare_folder(tmp_path / "s.h5", "--audio", tmp_path / "d") == 1
    assert "found one that is 'a/0.wav' and 'a/link.wav'; leave one out" in capsys.readouterr().err
    for name in ("a", "b"):
        for number in range(3):
            trees.write_tone(tmp_path / "d" / name / f"{number}.wav", samples=40_000)
    (tmp_path / "d" / "c.csv").unlink()
    with monkeypatch.context() as patch:  # a store of before that was refused is as it should be
        patch.setattr(checks, "_check_files", lambda *_: None)
        assert prepare_folder(tmp_path / "s.h5", "--audio", tmp_path / "d") == 0
    assert prepare_folder(tmp_path / "s.h5", "--audio", tmp_path / "d") == 0


def test_recordings_shorter_than_a_segment_are_padded_and_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("a", "b"):
        for number in range(3):
            trees.write_tone(tmp_path / "d" / name / f"{number}.wav", samples=40_000)
    trees.write_tone(tmp_path / "d" / "a" / "blip.wav", samples=50)
    assert prepare_folder(tmp_path / "s.h5", "--audio", tmp_path / "d") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "shorter than a segment" in line]
    assert line.startswith("note: 1 recording is shorter") and line.endswith("padded with silence: a/blip.wav")
    assert len(Store(tmp_path / "s.h5")) == 7


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"Dog": 3, "dog": 3}, "differ in more than the case of letters, spaces and .*, found 'Dog' and 'dog'"),
        ({"caf\u00e9": 3, "cafe\u0301": 3}, r"how accents are written, found '.*caf.*' and '.*caf.*'; rename one"),
        ({"a dog": 3, "a\u00a0dog": 3}, r"spaces and how accents are written, found 'a dog' and 'a\\xa0dog'"),
        ({"dog": 3, "cat": 1}, "at least two recordings of each class, .* found one of 'cat'"),
    ],
)
def test_classes_that_cannot_be_learned_are_one_line(
    tmp_path: Path, classes: dict[str, int], message: str, capsys: pytest.CaptureFixture
) -> None:
    for name, count in classes.items():
        for number in range(count):
            trees.touch(tmp_path / "d" / name / f"{number}.wav")
    assert prepare_folder(tmp_path / "s.h5", "--audio", tmp_path / "d") == 1
    error = capsys.readouterr().err.strip()
    assert re.search(message, error) and "\n" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]  # no lock, no folder


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "..", ".hidden", "a\nb", "a:b", "end ", "-x", "x" * 101, "esc50", "GTZAN", "gtzan_1_of_2", "all"],
)
def test_a_name_that_is_none_is_refused(class_folders: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare_folder(class_folders / "s.h5", "--audio", class_folders, f"--name={name}")
    last = capsys.readouterr().err.splitlines()[-1]
    assert "argument --name: expected" in last and "name" in last


def test_names_come_from_the_folder_or_the_table(class_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def named(*words: object) -> str:
        return arguments.parse(["folder", "--store", "s.h5", *map(str, words)]).name

    csv = write_table(class_folders.parent / "Mes oiseaux é.csv", own_rows(class_folders))
    monkeypatch.chdir(class_folders)
    assert named("--audio", ".") == named("--audio", class_folders) == "sounds"
    assert named("--csv", csv) == "Mes oiseaux é" and named("--csv", csv, "--audio", ".") == "Mes oiseaux é"
    assert named("--audio", ".", "--name", "dogs") == "dogs"
    assert named() == ""
    esc = class_folders.parent / "esc10"
    esc.mkdir()
    with pytest.raises(SystemExit, match="2"):
        named("--audio", esc)


def test_a_store_that_differs_in_case_only_is_refused(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert prepare_folder(tmp_path / "Dogs.h5", "--audio", class_folders) == 0
    capsys.readouterr()
    assert prepare_folder(tmp_path / "dogs.h5", "--audio", class_folders) == 1
    assert "Dogs.h5 exists: expected a --store that differs in more than the case" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("*ogs*")} == {"Dogs.h5"}


def test_help_is_about_folders(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["folder", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--audio DIR folder with a sub-folder of sounds for each class" in text and "--name NAME" in text
    assert "download" not in text and "esc10" not in text and " --folds" not in text


def test_names_that_no_store_takes_are_refused_before_any_sound_is_read(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "read_audio", lambda *_: pytest.fail("reads a sound"))
    for name in (b"a\xff.wav", b"b\xff.wav"):
        trees.write_tone(tmp_path / "tone.wav")
        (tmp_path / "tone.wav").rename(class_folders / "bell" / os.fsdecode(name))
    assert prepare_folder(tmp_path / "s.h5", "--audio", class_folders) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected names in UTF-8, without control characters and of at most 4,096 bytes" in line
    assert line.endswith("found clip 'bell/a\\udcff.wav', 'bell/b\\udcff.wav'; rename it")
    (class_folders / "bell").rename(class_folders / os.fsdecode(b"caf\xe9"))
    assert prepare_folder(tmp_path / "s.h5", "--audio", class_folders) == 1
    assert "found class 'caf\\udce9'; rename it" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sounds"]


def test_names_of_other_scripts_come_back_as_they_are(tmp_path: Path) -> None:
    for name in ("犬", "chien é"):
        for number in range(2):
            trees.write_tone(tmp_path / "d" / name / f"{number} 🐕\u00a0.wav", samples=2000)
    assert prepare_folder(tmp_path / "s.h5", "--audio", tmp_path / "d") == 0
    store = Store(tmp_path / "s.h5")
    assert store.classes == ["chien é", "犬"] and store.ids[-1] == "犬/1 🐕\u00a0.wav"


def test_folders_that_cannot_be_read_are_named_and_count_as_missing(capsys: pytest.CaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "sounds"
        for place in ("bell", "wind", "bell/shut", "rain"):
            for number in range(3):
                trees.write_tone(root / place / f"{number}.wav", samples=2000)
        (root / "lost+found").mkdir()
        for place in ("", "/sounds", "/sounds/bell", "/sounds/wind"):
            Path(name + place).chmod(0o777)
        for place in ("bell/shut", "rain", "lost+found"):
            (root / place).chmod(0)
        with nobody():
            assert prepare_folder(Path(name) / "s.h5", "--audio", root) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert f"2 folders cannot be read: {root}/bell/shut, {root}/rain; make that possible" in line
            assert "or go on without with --allow-missing" in line
            assert prepare_folder(Path(name) / "s.h5", "--audio", root, "--allow-missing") == 0
            assert "not used: 2 folders that cannot be read: bell/shut, rain\n" in capsys.readouterr().err
        assert Store(Path(name) / "s.h5").classes == ["bell", "wind"]
        with nobody():
            assert prepare_folder(Path(name) / "t.h5", "--audio", root / "rain") == 1
        assert "expected a folder that may be read, found" in capsys.readouterr().err
        for place in ("bell/shut", "rain", "lost+found"):
            (root / place).chmod(0o755)


def test_pipes_sockets_and_broken_links_let_nobody_wait(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(class_folders / "wind")  # a socket's path is short
    os.mkfifo(class_folders / "bell" / "pipe.wav")
    os.mkfifo(class_folders / "wind" / "pipe")
    with socket.socket(socket.AF_UNIX) as open_socket:
        open_socket.bind("socket.wav")
        assert prepare_folder(tmp_path / "s.h5", "--audio", class_folders) == 0
    assert (
        "not used, as pipe, socket or device: 3 files: bell/pipe.wav, wind/pipe, wind/socket.wav\n"
        in capsys.readouterr().err
    )
    # In a table, where they are asked for.
    (class_folders / "wind" / "broken.wav").symlink_to("nowhere.wav")
    rows = [*own_rows(class_folders), {"path": "/dev/zero", "label": "wind"}]
    assert {"bell/pipe.wav", "wind/broken.wav", "wind/socket.wav"} < {row["path"] for row in rows}
    csv = write_table(tmp_path / "t.csv", rows)
    assert prepare_folder(tmp_path / "t.h5", "--csv", csv, "--audio", class_folders, "--allow-missing") == 0
    error = capsys.readouterr().err
    for path in ("bell/pipe.wav", "wind/socket.wav", "/dev/zero"):
        assert f"left out: {path}: a pipe or device and no file" in error
    assert "left out: wind/broken.wav: no such file" in error
    os.mkfifo(tmp_path / "pipe.csv")
    assert prepare_folder(tmp_path / "u.h5", "--csv", tmp_path / "pipe.csv", "--audio", class_folders) == 1
    assert "found a folder, pipe or device" in capsys.readouterr().err


def test_mutated_tables(tmp_path: Path) -> None:
    """An index that a store can hold, or a line; `tests.fuzz tables` has thousands."""
    found = here(tables.make_case(tmp_path), cases(tables, 400), tmp_path)
    assert not found.failed, found.failed
    assert found.refused > 400 / 10 and found.read > 400 / 20  # both sides were tried

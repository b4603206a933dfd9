"""Anyone's own sounds: sub-folders as classes, tables, drawn folds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import prepare as command
from data_prep.datasets import folder
from multiview.store import Store
from multiview.support.errors import InputError
from tests import trees


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
        ("path,label,fold\na.wav,x,1\nb.wav,y,0\n", "line 3: expected a fold that is a whole number from 1, found '0'"),
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
        ("", "is not a CSV table"),
        ("path,label\n\xff\xfe", "is not a CSV table in UTF-8"),
    ],
)
def test_bad_table_is_one_line(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture) -> None:
    csv = tmp_path / "clips.csv"
    csv.write_bytes(text.encode("latin-1"))
    assert prepare_folder(tmp_path / "s.h5", "--csv", csv) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


def test_table_with_folds_takes_no_drawing_options(class_folders: Path, tmp_path: Path) -> None:
    csv = write_table(class_folders / "clips.csv", own_rows(class_folders, fold=lambda n: n % 2 + 1))
    with pytest.raises(InputError, match="gives the folds itself"):
        folder.index(None, csv=csv, seed=1)
    csv = write_table(class_folders / "c.csv", own_rows(class_folders, split=lambda n: "evaluation"))
    with pytest.raises(InputError, match="which are the test set"):
        folder.index(None, csv=csv, draw_folds=3)
    with pytest.raises(InputError, match="found no file; check --csv"):
        folder.index(None, csv=tmp_path / "none.csv")

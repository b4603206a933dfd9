"""Runs on the clips of another store: which classes are the same, which clips were heard, nothing overwritten."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from multiview.cli import main
from multiview.experiment.elsewhere import evaluate_elsewhere, matched
from multiview.experiment.heard import heard
from multiview.experiment.initial import Initial
from multiview.experiment.run import Run
from multiview.experiment.schema import HEARD
from multiview.experiment.train import train
from multiview.settings import make_settings
from multiview.splits import make_split
from multiview.store import Store
from multiview.support import files
from multiview.support.errors import InputError
from tests.fuzz.records import make_trained


@pytest.mark.parametrize(
    ("known", "others", "expected"),
    [
        (["dog", "sea_waves"], ["cat", "dog", "sea_waves"], {"dog": "dog", "sea_waves": "sea_waves"}),
        (["dog", "sea_waves"], ["Sea Waves", "DOG"], {"Sea Waves": "sea_waves", "DOG": "dog"}),
        (["dog"], ["dog", "Dog"], {"dog": "dog"}),  # two that might be it: the one that is
        (["dog"], ["Dog", "DOG"], {}),
        (["é"], ["É", "e"], {"É": "é"}),
        (
            ["caf\u00e9", "sea-waves"],
            ["Cafe\u0301", "Sea waves"],
            {"Cafe\u0301": "caf\u00e9", "Sea waves": "sea-waves"},
        ),
        (["1.5", "C++", "🐶", "दिन", "-"], ["15", "C#", "🐱", "दान", "_"], {}),
    ],
)
def test_classes_are_matched_by_name(known: list[str], others: list[str], expected: dict[str, str]) -> None:
    assert matched(known, others) == expected


@pytest.fixture
def other(tiny_store: Store, tmp_path: Path):
    """The same clips, under other names of clips and classes."""

    def make(classes: list[str], renamed: slice) -> Store:
        path = shutil.copyfile(tiny_store.path, tmp_path / "other.h5")
        with h5py.File(path, "r+") as file:
            file["classes"][:] = classes
            ids = file["clips/id"].asstr()[:]
            ids[renamed] = [f"new-{name}" for name in ids[renamed]]
            file["clips/id"][:] = ids
            file.attrs["fingerprint"] = "0" * 64
            file.attrs["dataset"] = "others"
        return Store(path)

    return make


def test_on_its_own_test_clips_it_says_what_it_said(
    tiny_store: Store, tiny_trained: Run, other, tmp_path: Path
) -> None:
    """Of its own store only the test fold was not heard; the answers are those of the ordinary test."""
    own = json.loads(tiny_trained.metrics.read_text())
    before = {path.name: path.read_bytes() for path in tiny_trained.path.iterdir() if path.is_file()}
    found = evaluate_elsewhere(tiny_trained, tiny_store, tmp_path / "out")
    assert found["clips"] == own["clips"] == 12 and found["left_out"] == {"classes": [], "heard": 48}
    assert found["accuracy"] == found["accuracy_among"] == own["accuracy"]
    assert {path.name: path.read_bytes() for path in tiny_trained.path.iterdir() if path.is_file()} == before
    # Without its own store it tells them by the fingerprint; with another one, by name, from its own.
    copy = Run(shutil.copytree(tiny_trained.path, tmp_path / "moved"))
    record = json.loads(copy.record.read_text())
    record["store"]["path"] = "gone.h5"
    copy.record.write_text(json.dumps(record))
    assert evaluate_elsewhere(copy, tiny_store, tmp_path / "out")["left_out"]["heard"] == 48
    again = evaluate_elsewhere(tiny_trained, other(tiny_store.classes, slice(0, 0)), tmp_path / "out")
    assert again["accuracy"] == own["accuracy"]


def renamed(source: Path, path: Path, call: Callable[[int, str], str]) -> Store:
    """The same clips in another store, called by their class and their number in it."""
    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        labels = file["clips/label"][()].tolist()
        file["clips/id"][:] = [call(labels[:row].count(label), "abc"[label]) for row, label in enumerate(labels)]
        file.attrs["fingerprint"] = hashlib.sha256(path.name.encode()).hexdigest()
    return Store(path)


@pytest.fixture
def numbered(tiny_store: Store, tmp_path: Path) -> tuple[Store, Run]:
    """Own sounds, `a/00.wav`, `b/00.wav` and so on, and a run on them that learnt nothing."""
    store = renamed(tiny_store.path, tmp_path / "numbered.h5", lambda number, name: f"{name}/{number:02d}.wav")
    with h5py.File(store.path, "r+") as file:  # each number is tested in one class and heard in another
        file["clips/fold"][:] = [1 + (int(name[2:4]) + "abc".index(name[0])) % 5 for name in store.ids]
        file["clips/source"][:] = list(store.ids)
    make_trained(store.path, tmp_path / "trained")
    return Store(store.path), Run(tmp_path / "trained")


def test_numbers_that_repeat_from_class_to_class_are_different_clips(
    tiny_store: Store, numbered: tuple[Store, Run], tmp_path: Path
) -> None:
    """In its own store none of its test clips was heard; in another one, none of other folders."""
    store, run = numbered
    split = make_split(store, 1, 0)
    tested, others = ({store.ids[row] for row in rows} for rows in (split.test, [*split.train, *split.validation]))
    assert {name[2:] for name in tested} <= {name[2:] for name in others}
    assert set(heard(run, store)) == others
    found = Initial.of(make_settings(store, "mel", 1, "demo", init=str(run.path)), store, split)
    assert found is not None and found.views == ("mel",)
    assert evaluate_elsewhere(run, store, tmp_path / "out")["left_out"]["heard"] == len(others) == 60 - len(tested)

    def known(call: Callable[[int, str], str]) -> set[str]:
        return set(heard(run, renamed(tiny_store.path, tmp_path / "new.h5", call)))

    assert known(lambda number, name: f"{name}/{number:02d}.ogg") == {f"{name[:4]}.ogg" for name in others}
    assert known(lambda number, name: f"my/{name.upper()}/{number:02d}.wav") == {
        f"my/{name[0].upper()}{name[1:]}" for name in others
    }
    assert known(lambda number, name: f"new_{name}/{number:02d}.wav") == set()
    assert known(lambda number, name: f"{name}/{number + 50}.wav") == set()
    # Without folders, any number that was heard in some class: here all.
    assert len(known(lambda number, name: f"{number:02d}.wav")) == 20


def test_a_run_without_folders_may_have_heard_a_clip_of_any(
    tiny_store: Store, tiny_trained: Run, tmp_path: Path
) -> None:
    """Of a collection of single files, copied into folders of classes and to another format."""
    own, names = heard(tiny_trained, tiny_store), iter(map(str, tiny_store.ids))
    new = renamed(tiny_store.path, tmp_path / "new.h5", lambda number, name: f"{name}/{Path(next(names)).stem}.flac")
    assert len(own) == 48 and [Path(name).stem for name in heard(tiny_trained, new)] == [Path(n).stem for n in own]


def test_what_a_starter_model_lists_is_found_in_any_folder(numbered: tuple[Store, Run]) -> None:
    store, run = numbered
    record = json.loads(run.record.read_text())
    record["store"] = {**{k: v for k, v in record["store"].items() if k != "path"}, "fingerprint": "0" * 64}
    run.record.write_text(json.dumps({**record, HEARD: ["audio/03.ogg"]}))
    assert heard(run, store) == ["a/03.wav", "b/03.wav", "c/03.wav"]


def test_it_says_where_it_cannot_tell_what_was_heard(
    tiny_store: Store, tiny_trained: Run, other, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A run whose store is gone: of a copy with another fingerprint, all clips count."""
    moved = Run(shutil.copytree(tiny_trained.path, tmp_path / "moved"))
    copy = other(tiny_store.classes, slice(0, 0))
    assert evaluate_elsewhere(tiny_trained, copy, tmp_path / "out")["heard_known"] is True
    assert "note:" not in capsys.readouterr().err
    found = evaluate_elsewhere(moved, copy, tmp_path / "out")
    assert found["clips"] == 60 and found["heard_known"] is False
    assert "is gone or changed: clips of it that are in" in capsys.readouterr().err
    for run, known in ((tiny_trained, True), (moved, False)):
        asked = make_settings(copy, "mel", 1 if run is moved else 0, "demo", init=str(run.path), epochs=1, width=1 / 32)
        assert train(copy, asked, tmp_path / f"from_{known}").read()["heard_known"] is known
        assert ("is gone or changed: clips of it that are in" in capsys.readouterr().err) is not known


def test_classes_that_it_does_not_know_are_left_out(
    tiny_store: Store, tiny_trained: Run, other, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first, second, third = tiny_store.classes
    store = other([first.upper().replace("_", " "), "something else", third], slice(0, None))
    status = main(["evaluate", str(tiny_trained.path), "--store", str(store.path), "--to", str(tmp_path / "out")])
    said, found = capsys.readouterr(), json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert status == 0 and f"40 clips of {first}, {third}" in said.out, said.out
    assert "something else" in said.err, said.err
    assert found["classes"] == [first, third] and found["left_out"] == {"classes": ["something else"], "heard": 0}
    with h5py.File(tmp_path / "out" / "predictions.h5") as file:
        labels, values = file["label"][()], file["probability/mel"][()]
    assert sorted(set(labels.tolist())) == [0, 2] and values.shape == (40, 3)
    assert found["accuracy"]["mel"] == pytest.approx(np.mean(values.argmax(1) == labels))
    assert found["accuracy_among"]["mel"] == pytest.approx(np.mean(values[:, [0, 2]].argmax(1) * 2 == labels))


def test_refusals(tiny_store: Store, tiny_trained: Run, other, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def refused(message: str, *words: str | Path) -> None:
        assert main(["evaluate", *map(str, words)]) == (2 if message.startswith("expected --to") else 1)
        assert message in capsys.readouterr().err

    strange = other(["x", "y", "z"], slice(0, None))
    refused("has not heard, found 0 of such classes", tiny_trained.path, "--store", strange.path)
    refused("expected --to with --store and one run", tiny_trained.path, "--to", tmp_path)
    refused("expected --to DIR for the results of the starter model esc10", "esc10", "--store", strange.path)
    other_run = Run(shutil.copytree(tiny_trained.path, tmp_path / "other_run"))
    before = {path: path.read_bytes() for path in other_run.path.iterdir() if path.is_file()}
    for run in (tiny_trained, other_run):
        words = tiny_trained.path, "--store", tiny_store.path, "--to", run.path
        refused(f"found the run {run.path}, which has its own; name another with --to", *words)
    assert {path: path.read_bytes() for path in other_run.path.iterdir() if path.is_file()} == before
    with h5py.File(strange.path, "r+") as file:
        file.attrs["sample_rate"] = 44100
    with pytest.raises(InputError):  # the views' parameters are those of the other rate, or the rate is the wrong one
        evaluate_elsewhere(tiny_trained, Store(strange.path), tmp_path / "out")


def test_leftovers_of_a_killed_call(tiny_store: Store, tiny_trained: Run, tmp_path: Path) -> None:
    """Those of a killed one go; those of a living one, of other commands and what a user calls alike do not."""
    stale = {f".{name}.0123456789ab.tmp.{suffix}" for name, suffix in (("predictions", "h5"), ("metrics", "json"))}
    others = {".metrics.tmp.json", ".metrics.0123456789ab.tmp.txt", ".run.0123456789ab.tmp.json", "metrics.tmp"}
    for name in stale | others:
        (tmp_path / name).touch()

    def there() -> set[str]:
        return {path.name for path in tmp_path.iterdir()} - {"elsewhere.lock"}

    with files.locked(tmp_path / "elsewhere.lock", "held"), pytest.raises(InputError, match="is being written by anot"):
        evaluate_elsewhere(tiny_trained, tiny_store, tmp_path)
    assert there() == stale | others
    evaluate_elsewhere(tiny_trained, tiny_store, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == others | {"predictions.h5", "metrics.json"}

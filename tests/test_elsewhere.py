"""Runs on the clips of another store: which classes are the same, which clips were heard, nothing overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from multiview.cli import main
from multiview.experiment.elsewhere import evaluate_elsewhere, matched
from multiview.experiment.run import Run
from multiview.store import Store
from multiview.support.errors import InputError


@pytest.mark.parametrize(
    ("known", "others", "expected"),
    [
        (["dog", "sea_waves"], ["cat", "dog", "sea_waves"], {"dog": "dog", "sea_waves": "sea_waves"}),
        (["dog", "sea_waves"], ["Sea Waves", "DOG"], {"Sea Waves": "sea_waves", "DOG": "dog"}),
        (["dog"], ["dog", "Dog"], {"dog": "dog"}),  # two that might be it: the one that is
        (["dog"], ["Dog", "DOG"], {}),
        (["é"], ["É", "e"], {"É": "é"}),
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
        assert main(["evaluate", *map(str, words)]) == 1
        assert message in capsys.readouterr().err

    strange = other(["x", "y", "z"], slice(0, None))
    refused("has not heard, found 0 of such classes", tiny_trained.path, "--store", strange.path)
    refused("expected --to with --store and one run", tiny_trained.path, "--to", tmp_path)
    refused("expected --to DIR for the results of the starter model esc10", "esc10", "--store", strange.path)
    with h5py.File(strange.path, "r+") as file:
        file.attrs["sample_rate"] = 44100
    with pytest.raises(InputError):  # the views' parameters are those of the other rate, or the rate is the wrong one
        evaluate_elsewhere(tiny_trained, Store(strange.path), tmp_path / "out")

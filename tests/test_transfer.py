"""Starting from a trained network: what is taken, what stays frozen, that a cut training ends the same, refusals."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from data_prep.datasets import DATASETS
from data_prep.datasets.base import Index
from data_prep.prepare import prepare
from multiview.experiment import recorder
from multiview.experiment.initial import Initial
from multiview.experiment.run import Run
from multiview.experiment.train import train
from multiview.export.model_card import model_card
from multiview.networks import encoder
from multiview.settings import Settings, from_record, make_settings
from multiview.splits import EVERY_CLIP, make_split
from multiview.starters import located
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.transfer import statistics_of
from tests.helpers.runs import kept_weights, rows
from tests.test_recorder import Crash

QUICK = {"width": 1 / 32, "epochs": 4, "window": 2, "warm_up_epochs": 1, "batch_size": 16}


def settings_of(store: Store, system: str = "mel", fold: int = EVERY_CLIP, **changes) -> Settings:
    return make_settings(store, system, fold, "demo", **{**QUICK, **changes})


@pytest.fixture(scope="module")
def other_store(demo_index: Index, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The first two classes alone, and of those the first two thirds of the sources."""
    clips = [clip for clip in demo_index.clips if clip.label < 2 and clip.id.endswith("-0.wav")]
    index = dataclasses.replace(demo_index, classes=demo_index.classes[:2], clips=clips)
    path = tmp_path_factory.mktemp("stores") / "two.h5"
    prepare("demo", index, path, 22050, about=DATASETS["demo"].about())
    return Store(path)


def weights(run: Run, view: str) -> dict[str, list[np.ndarray]]:
    """Those of the network of a view in the kept model, by layer."""
    return {name: layer.get_weights() for name, layer in encoder(run.load_model(), view).items()}


@pytest.mark.backend
def test_frozen_networks_stay_and_new_heads_learn(other_store: Store, tiny_trained: Run, tmp_path: Path) -> None:
    """Frozen throughout, on other classes and a subset of the views: weights and statistics are those of the source."""
    path = str(tiny_trained.path)
    settings = settings_of(other_store, "multiview", views="mel,raw", init=path, freeze_epochs=9, averaging=0.5)
    run = train(other_store, settings, tmp_path / "run")
    for view in ("mel", "raw"):
        mine, theirs = weights(run, view), weights(tiny_trained, view)
        assert set(mine) == set(theirs) and any("norm" in name for name in mine)
        for name, values in theirs.items():
            for one, other in zip(mine[name], values, strict=True):
                np.testing.assert_array_equal(one, other, err_msg=name)
    models = run.load_model(), tiny_trained.load_model()
    (mean, deviation), expected = (statistics_of(each, ["mel"])["mel"] for each in models)
    np.testing.assert_allclose([mean, deviation], expected, rtol=1e-6)
    losses = [float(row["train_loss_mel"]) for row in rows(run)]
    assert losses[-1] < losses[0]
    record = run.read()["started_from"]
    assert record["store"]["dataset"] == "demo" and record["settings"]["fold"] == 1 and "path" not in record["store"]
    assert from_record(run.read()["settings"]) == settings


@pytest.mark.backend
def test_thawed_networks_learn_as_if_nothing_had_been(
    tiny_store: Store, tiny_trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen for two epochs of four; cut in the first half and at its end, it ends bit for bit as undisturbed."""
    settings = settings_of(tiny_store, init=str(tiny_trained.path), freeze_epochs=2, averaging=0.5)
    whole = train(tiny_store, settings, tmp_path / "whole")
    theirs, mine = weights(tiny_trained, "mel"), weights(whole, "mel")
    assert not np.array_equal(theirs["mel_conv1"][0], mine["mel_conv1"][0])

    monkeypatch.setattr(recorder, "CHECKPOINT_SHARE", float("inf"))
    write = recorder.Recorder.write_checkpoint

    def crash_after(self: recorder.Recorder, model: keras.Model) -> None:
        write(self, model)
        if len(self.evaluations) in (2, 3):
            raise Crash

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(recorder.Recorder, "write_checkpoint", crash_after)
            with pytest.raises(Crash):
                train(tiny_store, settings, tmp_path / "parts")
    parts = train(tiny_store, settings, tmp_path / "parts")
    assert parts.history.read_text() == whole.history.read_text()
    for one, other in zip(kept_weights(parts), kept_weights(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_it_starts_is_what_the_source_says(tiny_store: Store, tiny_trained: Run, tmp_path: Path) -> None:
    """Same clips, same branch: with the source's own heads the losses would be its own; with new ones, chance."""
    run = train(tiny_store, settings_of(tiny_store, init=str(tiny_trained.path), epochs=1), tmp_path / "run")
    assert float(rows(run)[0]["val_loss_mel"]) == pytest.approx(np.log(3), abs=0.4)


def test_validation_clips_that_were_heard_are_counted(
    tiny_store: Store, tiny_trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """None where the split is the same; of another seed's those that trained there; and of all clips."""
    theirs = make_split(tiny_store, 1, 0)
    for fold, seed in ((1, 0), (1, 3), (EVERY_CLIP, 0)):
        split = make_split(tiny_store, fold, seed)
        expected = len(np.intersect1d(split.validation, theirs.train))
        settings = settings_of(tiny_store, fold=fold, seed=seed, init=str(tiny_trained.path))
        found = Initial.of(settings, tiny_store, split)
        assert found is not None and found.validation_heard == expected
        said = f"was trained on {expected} of the {len(split.validation)} validation clips"
        assert (said in capsys.readouterr().err) == (expected > 0)
    run = train(tiny_store, settings_of(tiny_store, fold=1, seed=3, init=str(tiny_trained.path), epochs=1), tmp_path)
    assert run.read()["validation_heard"] > 0


def test_refusals(tiny_store: Store, tiny_trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str, **changes) -> None:
        with pytest.raises(InputError, match=message):
            train(tiny_store, settings_of(tiny_store, **{"init": str(tiny_trained.path), **changes}), tmp_path / "run")

    refused("expected --init with a trained run or the name of a starter model, found none at nowhere", init="nowhere")
    (tmp_path / "exports" / "1").mkdir(parents=True)
    (tmp_path / "exports" / "1" / "export.json").touch()
    for export in ("exports", "exports/1"):
        refused("found an export at .*name the run that it was made from", init=str(tmp_path / export))
    refused("--freeze-epochs from 0, with --init or --pretrained, found 2 with neither", init=None, freeze_epochs=2)
    refused("expected --pretrained with a --backbone of mobilenet", pretrained="imagenet")
    refused("has not heard the test clips of fold 2, found [0-9]+ of them in its training", fold=2)
    refused(r"layer mel_conv1: expected weights of shapes \[\(3, 3, 1, 2\).*found \[\(3, 3, 1, 1\)", width=1 / 16)
    refused("layer mel_mobilenetv3small: expected weights of shapes .*, found no such layer", backbone="mobilenet")
    monkeypatch.setattr(Run, "system", lambda self: settings_of(tiny_store, "raw").resolve())
    refused("expected --init with a network on mel at 22050 Hz, found one on raw at 22050 Hz; name another")


def test_of_a_changed_source_it_is_another_run(tiny_store: Store, tiny_trained: Run, tmp_path: Path) -> None:
    """What counts is the content of the file, not where it lies."""
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("run.json", "model.keras"):
        (moved / name).write_bytes((tiny_trained.path / name).read_bytes())
    one, other = (settings_of(tiny_store, init=str(path)) for path in (tiny_trained.path, moved))
    assert one == other
    run = Run(tmp_path / "run")
    run.begin(tiny_store, one)
    run.begin(tiny_store, other)
    (moved / "model.keras").write_bytes(b"another")
    with pytest.raises(InputError, match=r"holds another run: init .* instead of .*moved"):
        run.begin(tiny_store, settings_of(tiny_store, init=str(moved)))


def test_card_names_what_is_inherited(tiny_store: Store, tiny_trained: Run, tmp_path: Path) -> None:
    """And the credits that a licence asks for go along."""
    source = Run(shutil.copytree(tiny_trained.path, tmp_path / "source"))
    source.attribution.write_text("dog bark by nfrae")
    run = train(tiny_store, settings_of(tiny_store, init=str(source.path), epochs=1), tmp_path / "run")
    card = model_card(run, 1, {"classes": ["a"], "sample_rate": 22050, "weights": {"mel": 1.0}})
    assert "Started from a network trained on demo" in card and "asks for: `ATTRIBUTION.txt`" in card
    assert run.attribution.read_text() == "dog bark by nfrae"


def test_starter_model_knows_which_clips_it_has_heard(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever format they are passed on; its run directory has no store to ask."""
    record = Run(located("esc10")).read()
    assert len(set(record["heard"])) == 400 and "path" not in record["store"]
    tested = np.flatnonzero(tiny_store.folds == 1)
    monkeypatch.setitem(record, "heard", [Path(str(tiny_store.ids[tested[0]])).with_suffix(".ogg").name])
    monkeypatch.setattr(Run, "read", lambda self: record)
    with pytest.raises(InputError, match=f"found 1 of them in its training, {tiny_store.ids[tested[0]]} first"):
        Initial.of(settings_of(tiny_store, fold=1, init="esc10"), tiny_store, make_split(tiny_store, 1, 0))

"""Settings: what a preset leaves open, what is recorded, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest

from multiview.augment import Augmentation
from multiview.settings import PRESETS, from_record, make_settings, of_one_branch
from multiview.splits import make_split
from multiview.store import Store
from multiview.support.errors import InputError, UsageError
from multiview.views import MEL, VIEWS


def test_choice_of_views_is_recorded_only_where_it_is_one(tiny_store: Store) -> None:
    plain = make_settings(tiny_store, "multiview", 1, "demo")
    assert plain.views is None
    assert make_settings(tiny_store, "multiview", 1, "demo", views="raw,cqt,gammatone,mel") == plain
    assert make_settings(tiny_store, "multiview", 1, "demo", views="raw,mel").views == "mel,raw"
    assert make_settings(tiny_store, "mel", 1, "demo", views="mel").views is None


def test_records_of_before_are_read(tiny_store: Store) -> None:
    settings = make_settings(tiny_store, "concat", 2, "small", seed=3)
    record = json.loads(json.dumps(asdict(settings)))
    for younger in ("views", "backbone", "augmentations", "blending", "precision"):
        del record[younger]
    found = from_record(record)
    assert (found.views, found.blending, found.averaging, found.joint_gradient) == (None, "paper", None, True)
    for younger in ("keep", "schedule", "joint_gradient", "view_dropout", "skip_silence"):
        del record[younger]
    assert from_record(record) == replace(settings, keep="first_best")


def test_silence_is_skipped_by_modern_alone(
    tiny_store: Store, registries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for preset in PRESETS:
        assert make_settings(tiny_store, "mel", 1, preset).skip_silence == (preset == "modern")
    assert not make_settings(tiny_store, "mel", 1, "modern", skip_silence=False).skip_silence
    VIEWS.register(replace(MEL, name="own", paper=False, silence=None))
    monkeypatch.setattr(tiny_store, "views", ["own"])
    assert not make_settings(tiny_store, "own", 1, "modern").skip_silence
    with pytest.raises(InputError, match="expected --skip-silence with a view that declares silence, found own; leave"):
        make_settings(tiny_store, "own", 1, "demo", skip_silence=True)


def test_augmentations_that_a_view_cannot_take_are_refused_before_training(
    tiny_store: Store, registries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a grid says so before its first run; the line has those that it can take."""
    VIEWS.register(replace(MEL, name="own", paper=False, mix=None))
    monkeypatch.setattr(tiny_store, "views", ["own"])
    message = "expected views that declare mix with the augmentation mix, found own; declare it, or say --augmentations"
    with pytest.raises(UsageError, match=f"{message} gain,masks$"):
        make_settings(tiny_store, "own", 1, "modern")
    assert make_settings(tiny_store, "own", 1, "modern", augmentations="gain,masks").augmentations == "gain,masks"
    with pytest.raises(InputError, match="augmentation none: field name: expected another, none is a word for none"):
        Augmentation("none", "nothing")


def test_words_for_nothing_are_nothing(tiny_store: Store) -> None:
    plain = make_settings(tiny_store, "mel", 1, "demo")
    assert make_settings(tiny_store, "mel", 1, "modern", augmentations="") == make_settings(
        tiny_store, "mel", 1, "modern", augmentations="none"
    )
    assert make_settings(tiny_store, "mel", 1, "demo", averaging=0.0, augmentations="none") == plain
    assert make_settings(tiny_store, "mel", 1, "demo", view_dropout=0.5) == plain  # there is no other view
    assert make_settings(tiny_store, "concat", 1, "demo", view_dropout=0.5).view_dropout == 0.5
    for system in ("mel", "concat"):  # of one branch, whose gradient is the only one
        assert make_settings(tiny_store, system, 1, "demo", joint_gradient=False).joint_gradient
    assert not make_settings(tiny_store, "multiview", 1, "demo", joint_gradient=False).joint_gradient
    for changes, window in (({}, 3), ({"blending": "uniform"}, 5), ({"blending": "uniform", "keep": "loss"}, 3)):
        assert make_settings(tiny_store, "multiview", 1, "demo", window=3, **changes).window == window


def test_a_preset_that_stretches_takes_enough_steps(tiny_store: Store, registries: None) -> None:
    """As many epochs as make the least steps, in whole evaluations, unless the user says how many."""
    clips = len(make_split(tiny_store, 1, 0).train)
    PRESETS.register(replace(PRESETS["modern"], name="own", epochs=3, batch_size=4, least_steps=1000))
    each = math.ceil(clips / 4)
    assert make_settings(tiny_store, "mel", 1, "own").epochs == 5 * math.ceil(1000 / each / 5)
    assert make_settings(tiny_store, "mel", 1, "own", batch_size=1).epochs == 5 * math.ceil(1000 / clips / 5)
    assert make_settings(tiny_store, "mel", 1, "own", epochs=2).epochs == 2
    PRESETS.register(replace(PRESETS["own"], name="longer", least_steps=each))
    assert make_settings(tiny_store, "mel", 1, "longer").epochs == 5


@pytest.mark.parametrize(("epochs", "every"), [(240, 5), (12, 4), (7, 1), (2, 2), (1, 1)])
def test_evaluations_divide_the_epochs(tiny_store: Store, epochs: int, every: int) -> None:
    """Five epochs apart, or as many fewer as end with the last epoch."""
    assert make_settings(tiny_store, "mel", 1, "modern", epochs=epochs).evaluation_epochs == every


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blending": "clever"}, "expected a blending of paper, fixed_references, .*; found 'clever'"),
        (
            {"backbone": "huge"},
            "expected a backbone of crnn, separable, strided, mobilenet, efficientnet, resnet; found 'huge'",
        ),
        ({"backbone": "video=crnn"}, "expected --backbone with a view there is"),
        ({"augmentations": "gain,noise"}, "expected an augmentation of mix, gain, masks, crops; found 'noise'"),
        ({"views": "mel,video"}, "expected a view of"),
        (
            {"gradient_checkpointing": True, "backbone": "mel=mobilenet"},
            "a backbone of crnn, separable, found mobilenet",
        ),
        ({"keep": "best"}, "expected --keep of first_best, last_best, loss, end, found 'best'"),
        ({"schedule": "linear"}, "expected --schedule of steps, cosine, found 'linear'"),
        ({"averaging": 1.0}, "expected --averaging from 0 to below 1, found 1.0"),
        ({"view_dropout": -0.1}, "expected --view-dropout from 0 to below 1, found -0.1"),
        ({"view_dropout": math.nan}, "expected --view-dropout from 0 to below 1, found nan"),
        ({"seed": -1}, "expected --seed from 0 to 999999, found -1"),
        ({"seed": -1, "preset": "modern"}, "expected --seed from 0 to 999999, found -1"),  # which draws a split first
    ],
)
def test_unknown_names_are_refused(tiny_store: Store, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_settings(tiny_store, "multiview", 1, **{"preset": "demo", **changes})


def test_one_branch_has_all_the_weight_by_any_rule(tiny_store: Store) -> None:
    """So a rule and its window make no other run of it, unless that smooths the loss by which a network is kept."""
    plain = make_settings(tiny_store, "mel", 1, "demo")
    assert make_settings(tiny_store, "mel", 1, "demo", blending="dwa", window=3, joint_gradient=False) == plain
    recorded = json.loads(json.dumps(asdict(plain))) | {"blending": "dwa", "window": 3}  # as before
    assert of_one_branch(from_record(recorded)) == plain
    assert make_settings(tiny_store, "mel", 1, "demo", window=3, keep="loss").window == 3
    assert make_settings(tiny_store, "multiview", 1, "demo", blending="dwa", window=3).window == 3


def test_store_without_a_view_says_which(tiny_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_store, "views", ("mel", "raw"))
    message = "system multiview takes the views mel,gammatone,cqt,raw, .* holds mel,raw: gammatone,cqt missing"
    with pytest.raises(InputError, match=message):
        make_settings(tiny_store, "multiview", 1, "demo")
    assert make_settings(tiny_store, "multiview", 1, "demo", views="mel,raw").views == "mel,raw"

"""What a training says before it begins: how much is coming, and whether that is enough."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.datasets import DATASETS, demo
from multiview import callbacks
from multiview.experiment.outlook import Outlook
from multiview.experiment.train import train
from multiview.settings import PRESETS, Preset, Settings, make_settings
from multiview.splits import make_split
from multiview.store import Store
from multiview.support.words import spoken
from tests import trees


def outlook(settings: Settings, **changes: object) -> Outlook:
    """400 clips of ten classes at 22.05 kHz, but for `changes`."""
    found = Outlook("esc10 mel fold 1", settings, 22050, 3000, 293, 27, 80, ("dog", 26), 10)
    return dataclasses.replace(found, **changes)


@pytest.fixture
def settings(tiny_store: Store) -> Settings:
    return make_settings(tiny_store, "mel", 1, "small")


def test_what_is_coming(settings: Settings) -> None:
    """293 clips in batches of 32 are ten steps, the last one of five clips."""
    assert outlook(settings).lines() == [
        "esc10 mel fold 1: 293 training clips of 10 classes, 27 for validation, 80 for test; "
        "60 epochs of 10 steps: 600 in all"
    ]


def test_too_few_steps_and_clips_say_the_bound_why_and_what_to_do(settings: Settings) -> None:
    """24 steps: 12 clips in one batch for 24 epochs. For 540 one has to train for 540 epochs."""
    few = outlook(dataclasses.replace(settings, epochs=24), train=12, rarest=("dog", 1))
    assert few.steps == 24
    steps, clips = few.warnings()
    assert "24 steps in all: preset small was made for 540 or more (ESC-10)" in steps
    assert "say --epochs 540, or --preset modern, or record more" in steps
    assert "class dog has 1 training clip: preset small was made for 23 or more a class (ESC-10)" in clips
    assert "leave out or merge the rarest classes" in clips


def test_presets_that_take_more_steps_are_named(settings: Settings, registries: None) -> None:
    """What is named has enough steps for itself, at this rate: 100 clips are 13 steps of 8, 3,900 in 300 epochs."""
    longer = dataclasses.replace(PRESETS["small"], name="longer", batch_size=8, epochs=300, least_steps=3900)
    PRESETS.register(longer)
    PRESETS.register(dataclasses.replace(longer, name="longest", least_steps=3901))
    PRESETS.register(dataclasses.replace(longer, name="other_rate", sample_rate=44100))
    (warning,) = outlook(settings, train=100).warnings()
    assert "say --epochs 135, or --preset modern or longer, or record more" in warning


def test_a_preset_may_have_no_bound(settings: Settings, registries: None) -> None:
    names = {field.name for field in dataclasses.fields(Preset)} - {"least_steps", "least_clips", "made_for", "name"}
    PRESETS.register(Preset(name="free", **{name: getattr(PRESETS["small"], name) for name in names}))
    assert outlook(dataclasses.replace(settings, preset="free"), train=2, rarest=("dog", 1)).warnings() == []


def bounds(dataset: str, audio: Path, batch_size: int, epochs: int, folds: range) -> tuple[int, int]:
    """The fewest steps and training clips of a class on any fold of a dataset."""
    table = trees.table(dataset, DATASETS[dataset].index(audio))
    rows = [make_split(table, fold, 0).train for fold in folds]
    steps = min(epochs * -(-len(each) // batch_size) for each in rows)
    return steps, min(int(np.bincount(table.labels[each])[list(set(table.labels))].min()) for each in rows)


def test_the_demo_is_what_its_preset_was_made_for(tmp_path: Path) -> None:
    preset = PRESETS["demo"]
    expected = bounds("demo", tmp_path, preset.batch_size, preset.epochs, range(1, 2))
    assert (preset.least_steps, preset.least_clips) == expected
    assert demo.index(tmp_path).clips


def test_esc_10_and_esc_50_are_what_the_presets_were_made_for(real_audio: Callable[[str], Path]) -> None:
    preset, folds = PRESETS["small"], range(1, 6)
    expected = bounds("esc10", real_audio("esc10"), preset.batch_size, preset.epochs, folds)
    assert (preset.least_steps, preset.least_clips) == expected
    steps, clips = bounds("esc50", real_audio("esc50_16k"), PRESETS["paper"].batch_size, 3000, folds)
    assert clips == PRESETS["paper"].least_clips
    # GTZAN: 1,000 clips, a tenth for test, a tenth of the rest for validation; 1,500 epochs.
    assert PRESETS["paper"].least_steps == 1500 * -(-810 // 64) < steps


def test_training_says_it(tiny_store: Store, tiny_settings, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tiny_store, tiny_settings("mel", epochs=2), tmp_path / "run")
    said = capsys.readouterr().err
    split = make_split(tiny_store, 1, 0)
    assert f"demo mel fold 1: {len(split.train)} training clips of 3 classes" in said
    assert "preset demo was made for 126 or more (the demo's synthesised sounds)" in said
    assert "to go" in said
    train(tiny_store, tiny_settings("mel", epochs=2), tmp_path / "run")
    assert "training clips" not in capsys.readouterr().err


def test_time_is_that_of_the_steps_after_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A step takes 3 s, the first one 100 s, and an evaluation nothing: after 10 of 1210 steps 3,600 s are left."""
    clock = itertools.chain([100.0], itertools.repeat(127.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = callbacks.Progress("run", 1210, 0, "mel")
    evaluation = type("Evaluation", (), {"evaluation": 0, "accuracy": {"mel": 0.5}})()
    progress.show(evaluation)
    for step in range(10):
        progress.on_train_batch_end(step)
    for _ in range(2):
        progress.show(evaluation)
    assert capsys.readouterr().err.count("run: about 1 h 0 min to go") == 1


@pytest.mark.parametrize(("seconds", "said"), [(7.4, "7 s"), (720, "12 min"), (12_000, "3 h 20 min")])
def test_times_as_people_say_them(seconds: float, said: str) -> None:
    assert spoken(seconds) == said

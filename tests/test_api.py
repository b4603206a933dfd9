"""The library's front door: its arguments are the commands' options, its tables what is on disk."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

import multiview
from data_prep.arguments import _dataset_parser
from data_prep.datasets import DATASETS
from multiview import api, cli
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import Run
from multiview.settings import make_settings
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.programs import called
from multiview.support.registry import Registry
from tests.helpers import runs

# Options that a process has, and a library has not: plugins are modules that one imports.
OF_COMMANDS = {"help", "plugin", "plan"}
NOTHING = (None, False, inspect.Parameter.empty)  # left to the command


def actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {each.dest: each for each in parser._actions if each.dest not in OF_COMMANDS}


def of_multiview(command: str) -> dict[str, argparse.Action]:
    (commands,) = (each.choices for each in cli.make_parser()._actions if each.dest == "command")
    return actions(commands[command])


def of_prepare() -> dict[str, argparse.Action]:
    """Those of any dataset; what datasets add of their own goes into `options`."""
    found: dict[str, argparse.Action] = {}
    for dataset in DATASETS.values():
        own = {option.name for option in dataset.options}
        found |= {name: each for name, each in actions(_dataset_parser(dataset)).items() if name not in own}
    return found


@pytest.mark.parametrize(
    ("function", "options", "more"),
    [
        (api.train, of_multiview("train"), {"callbacks", "path"}),
        (api.prepare, of_prepare(), {"dataset", "options"}),
        (api.evaluate, {name: each for name, each in of_multiview("evaluate").items() if name != "runs"}, {"run"}),
    ],
    ids=["train", "prepare", "evaluate"],
)
def test_arguments_are_the_options(function, options: Mapping[str, argparse.Action], more: set[str]) -> None:
    """Their names, defaults, and choices but those of registries, which plugins add to."""
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function, {**vars(api), "keras": keras})
    assert set(parameters) == {*options, *more}
    for name, option in options.items():
        default = parameters[name].default
        if name == "jobs":  # all cores, which the command counts
            assert default is None
        else:
            suppressed = option.default is argparse.SUPPRESS
            assert default == option.default or (default in NOTHING and (suppressed or not option.default)), name
        # The store of prepare is asked for by hand, as --plan needs none; train has settings instead of its three.
        by_settings = function is api.train and name in ("system", "fold", "preset")
        asked = (option.required and not by_settings) or (function is api.prepare and name == "store")
        assert (default is inspect.Parameter.empty) == asked, name
        if option.choices and name in ("precision", "keep", "schedule"):
            literal = next(each for each in (hints[name], *typing.get_args(hints[name])) if typing.get_args(each))
            values = literal if typing.get_origin(literal) is typing.Literal else typing.get_args(literal)[0]
            assert set(typing.get_args(values)) == set(option.choices), name
        elif option.choices:
            assert name == "sample_rate" or isinstance(option.choices, Registry | tuple | list | dict), name


@pytest.fixture(scope="module")
def run(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[tuple[int, dict]]]:
    """Trained and tested from Python, and what a callback heard."""
    heard: list[tuple[int, dict]] = []
    listener = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append((epoch, dict(logs))))
    path = tmp_path_factory.mktemp("api") / "multiview" / "fold1"
    found = multiview.train(
        tiny_store.path, path, system="multiview", fold=1, preset="demo", epochs=2, window=1,
        views=["mel", "raw"], callbacks=[listener],
    )  # fmt: skip
    multiview.evaluate(path)
    return found, heard


def test_settings_are_those_of_the_command(run: tuple, tiny_store: Store) -> None:
    """The command of the same options finds the run to be its own, and trained."""
    words = ["--system", "multiview", "--fold", "1", "--preset", "demo", "--epochs", "2", "--window", "1"]
    assert cli.main(["train", str(tiny_store.path), "--run", str(run[0].path), "--views", "mel,raw", *words]) == 0


def test_callbacks_hear_every_evaluation(run: tuple) -> None:
    found, heard = run
    rows = runs.rows(found)[1:]
    assert [epoch for epoch, _ in heard] == [0, 1]
    for (_, logs), row in zip(heard, rows, strict=True):
        assert {name: logs[name] for name in row if name.endswith("mel")} == {
            name: pytest.approx(value) for name, value in row.items() if name.endswith("mel")
        }


def test_settings_in_place_of_options(run: tuple, tiny_store: Store, tiny_settings, tmp_path: Path) -> None:
    """`train(store, settings, path)`: equal ones are the same run."""
    asked = {"system": "multiview", "fold": 1, "preset": "demo"}
    settings = make_settings(tiny_store, **asked, epochs=2, window=1, views="mel,raw")
    found, changed = run[0], run[0].model.stat().st_mtime_ns
    assert multiview.train(tiny_store, settings, found.path).path == found.path
    assert found.model.stat().st_mtime_ns == changed
    with pytest.raises(InputError, match="expected settings or system, epochs, found both"):
        multiview.train(tiny_store, settings, tmp_path / "run", system="mel", epochs=3)
    with pytest.raises(InputError, match="found no path"):
        multiview.train(tiny_store, settings)
    with pytest.raises(InputError, match="none.h5"):
        multiview.train(tmp_path / "none.h5", settings, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_callback_may_end_the_training(run: tuple, tiny_store: Store, tmp_path: Path) -> None:
    """The run is finished with what it has, and says so; also where networks are frozen, which would be thawed next."""
    stop = keras.callbacks.EarlyStopping("val_loss_mel", mode="max", min_delta=100.0, patience=2)
    asked = {"system": "mel", "fold": 1, "preset": "demo", "epochs": 6, "init": run[0].path, "freeze_epochs": 4}
    found = multiview.train(tiny_store, tmp_path, **asked, callbacks=[stop])
    last = stop.stopped_epoch + 1
    assert last < 4 and found.read()["stopped"] == {"evaluation": last, "epoch": last}
    assert list(multiview.history_table(found).index) == list(range(last + 1))
    assert found.model.is_file() and multiview.evaluate(found)["clips"] > 0
    assert "stopped" not in run[0].read()


def test_to_a_callback_frozen_and_thawed_is_one_training(run: tuple, tiny_store: Store, tmp_path: Path) -> None:
    """It begins once, ends once, and keeps what it knows; Keras's own log has all rows."""

    class Heard(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list = []

        def on_train_begin(self, logs: dict | None = None) -> None:
            self.heard.append("begin")

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            self.heard.append(epoch)

        def on_train_end(self, logs: dict | None = None) -> None:
            self.heard.append("end")

    listener, log = Heard(), keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    asked = {"system": "mel", "fold": 1, "preset": "demo", "epochs": 4, "init": run[0].path, "freeze_epochs": 2}
    multiview.train(tiny_store, tmp_path / "run", **asked, callbacks=[listener, log])
    assert listener.heard == ["begin", 0, 1, 2, 3, "end"]
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().split()[1:]] == ["0", "1", "2", "3"]


def test_tables_say_what_is_on_disk(run: tuple) -> None:
    found, _ = run
    history = multiview.history_table(found)
    assert list(history.index) == [0, 1, 2] and list(history["epoch"]) == [0, 1, 2]
    metrics = multiview.metrics_table(found, found.path)
    assert len(metrics) == 2 * 4  # two views, the joint branch, self-ensemble
    wanted = json.loads(found.metrics.read_text())["accuracy"]
    assert dict(zip(metrics["branch"][:4], metrics["accuracy"][:4], strict=True)) == wanted

    table = multiview.predictions_table(found)
    said = Predictions.read(found.predictions)
    np.testing.assert_array_equal(table.xs("mel", level="branch").to_numpy(), said.probabilities["mel"])
    true = table.index.get_level_values("true")
    decided = table.max(axis=1) > table.min(axis=1)
    right = pd.Series(decided & (table.idxmax(axis=1) == true)).groupby(table.index.get_level_values("branch")).mean()
    assert right.to_dict() == pytest.approx(wanted)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)


def test_report_is_a_function_and_a_package(run: tuple, capsys: pytest.CaptureFixture) -> None:
    table = multiview.report(run[0].path.parents[1])
    assert set(table["system"]) == {"multiview", "self_ensemble"}
    assert importlib.import_module("multiview.report.build").PAGE == "report.html"
    assert callable(multiview.report)


def test_prepare_in_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from tests import trees

    for label in ("low", "high"):
        for take in range(5):
            trees.write_tone(tmp_path / "sounds" / label / f"{take}.wav", 22050)
    store = multiview.prepare(
        "folder", tmp_path / "s.h5", audio=tmp_path / "sounds", sample_rate=22050, views=["mel"], name="mine", jobs=1
    )
    assert (store.dataset, list(store.classes), list(store.views), len(store)) == ("mine", ["high", "low"], ["mel"], 10)
    again = multiview.prepare("folder", tmp_path / "s.h5", audio=tmp_path / "sounds", views="mel", name="mine", jobs=1,
                              sample_rate=22050)  # fmt: skip
    assert again.fingerprint == store.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "none"}, "expected DATASET of .*; found none"),
        ({"dataset": "esc10"}, "expected --audio"),
        ({"dataset": "esc10", "audio": "nowhere"}, "nowhere"),
        ({"dataset": "esc10", "options": {"csv": "x.csv"}}, "--csv does not go with esc10; it is for folder"),
        ({"dataset": "demo", "views": ["smell"]}, "smell"),
    ],
)
def test_refusals_of_prepare_are_one_line(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        multiview.prepare(store=tmp_path / "s.h5", **arguments)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "float8"}, "argument --precision: invalid choice: 'float8'"),
        ({"keep": "best"}, "argument --keep: invalid choice: 'best'"),
        ({"epochs": "many"}, "argument --epochs: expected a whole number of at most 9 digits, found 'many'"),
        ({"epochs": True}, "argument --epochs: expected one argument"),
        ({"epochs": -1}, "expected --epochs above 0, found -1"),
        ({"learning_rate": [1, 2]}, "argument --learning-rate: invalid float value: '1,2'"),
        ({"joint_gradient": "yes"}, "yes"),
        ({"init": "nowhere"}, "nowhere"),
        ({"fold": None, "preset": None}, "expected system, fold and preset, found no fold and no preset"),
        ({"path": "elsewhere"}, "expected settings before the path elsewhere"),
        ({"callbacks": keras.callbacks.Callback()}, "expected a list of callbacks, found <keras"),
        ({"fold": 0}, "expected a fold, counted from 1, or 'all'; found 0"),
        ({"fold": "one"}, "expected a fold, counted from 1, or 'all'; found 'one'"),
        ({"blending": "none"}, "none"),
        ({"callbacks": [print]}, "expected callbacks that are keras.callbacks.Callback, found <built-in"),
        ({"views": ["mel", "smell"]}, "smell"),
    ],
)
def test_wrong_arguments_are_one_line(changes: dict, message: str, tiny_store: Store, tmp_path: Path) -> None:
    arguments = {"system": "multiview", "fold": 1, "preset": "demo", **changes}
    with pytest.raises(InputError, match=message) as error:
        multiview.train(tiny_store, tmp_path / "run", **arguments)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_evaluate_on_another_store(run: tuple, tiny_store: Store, tmp_path: Path) -> None:
    """Of the run's own store, the test fold is what it has not heard."""
    own = json.loads(run[0].metrics.read_text())
    found = multiview.evaluate(run[0], store=tiny_store.path, to=tmp_path / "out")
    assert found["accuracy"] == own["accuracy"] and found["clips"] == own["clips"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == found
    assert json.loads(run[0].metrics.read_text()) == own
    with pytest.raises(InputError, match="expected `to` with `store`, found it without"):
        multiview.evaluate(run[0], to=tmp_path / "out")
    with pytest.raises(InputError, match="expected --to DIR for the results of the starter model esc10, found"):
        multiview.evaluate("esc10", store=tiny_store)


def test_tables_of_what_is_not_there(tmp_path: Path, tiny_recorder) -> None:
    for table in (multiview.history_table, multiview.metrics_table, multiview.predictions_table, multiview.evaluate):
        with pytest.raises(InputError, match="expected a run directory with a run.json, found none"):
            table(tmp_path / "none")
    untested, _, _ = tiny_recorder()
    for table in (multiview.metrics_table, multiview.predictions_table):
        with pytest.raises(InputError, match="expected a tested run, found no metrics.json"):
            table(untested)


def test_a_missing_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected the command no-such-command beside"):
        called("no-such-command", [])


def test_every_name_is_there_and_importing_is_quick() -> None:
    """Under 0.3 s of a core, the best of five, and neither TensorFlow nor NumPy."""
    assert all(callable(getattr(multiview, name)) for name in multiview.__all__)
    code = """
import os, sys
begin = os.times()
import multiview
end = os.times()
assert not {"numpy", "keras", "tensorflow"} & set(sys.modules)
print(end.user + end.system - begin.user - begin.system)"""
    times = [float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
             for _ in range(5)]  # fmt: skip
    assert min(times) < 0.3

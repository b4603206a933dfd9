"""Many runs: which there are, their commands, and what is refused."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path

import pytest

from multiview import cli
from multiview.experiment.grid import ablation_changes, tasks
from multiview.experiment.run import Run
from multiview.settings import PRESETS, make_settings
from multiview.store import Store
from multiview.support.errors import InputError, UsageError


def test_runs_of_several_seeds(tiny_store: Store, tmp_path: Path) -> None:
    """Those of the first go by the fold alone; each command trains with its own."""
    grid = tasks(tiny_store, tmp_path, "demo", ["mel"], [2, 1], ["window3"], seed=[4, 0, 4])
    names = [task.name for task in grid]
    assert names[:4] == ["mel/fold2", "ablations/window3/fold2", "mel/fold2_seed0", "ablations/window3/fold2_seed0"]
    assert len(names) == 8 and {task.kind for task in grid} == {"mel", "ablations/window3"}
    seeds = [cli.make_parser().parse_args(task.command[1:]).seed for task in grid]
    assert seeds == 2 * [4, 4, 0, 0]
    args = cli.make_parser().parse_args(["grid", "s.h5", "--results", "r", "--preset", "demo", "--seed", "4,0"])
    assert args.seed == [4, 0]


def test_commands_make_the_runs_of_the_grid(tiny_store: Store, tmp_path: Path) -> None:
    grid = tasks(
        tiny_store, tmp_path, "demo", ablations=["uniform", "window3", "interval7", "without_cqt"], seed=4, epochs=9
    )
    assert len(grid) == 5 * (6 + 4)
    assert [task.name for task in grid[4:10]] == [
        "concat/fold1",
        "multiview/fold1",
        "ablations/uniform/fold1",
        "ablations/window3/fold1",
        "ablations/interval7/fold1",
        "ablations/without_cqt/fold1",
    ]
    for task in tasks(tiny_store, tmp_path, "demo", ["mel"], [1], joint_gradient=False, averaging=0.0):
        args = cli.make_parser().parse_args(task.command[1:])
        assert args.joint_gradient is False and args.averaging == 0
    for task in tasks(tiny_store, tmp_path, "demo", ["mel", "cqt", "concat"], [1], backbone="mel=crnn"):
        args = cli.make_parser().parse_args(task.command[1:])
        assert args.backbone == (None if args.system == "cqt" else "mel=crnn")
    for task in grid:
        program, *arguments = task.command
        args = cli.make_parser().parse_args(arguments)
        assert Path(program) == Path(sys.executable).parent / "multiview"
        assert args.run == task.run.path == tmp_path / task.name
        kind, fold = task.name.rsplit("/fold", 1)
        system = "multiview" if kind.startswith("ablations") else kind
        assert (args.system, str(args.fold), args.seed, args.epochs) == (system, fold, 4, 9)
        changes = {"window3": {"window": 3}, "interval7": {"evaluation_interval": 7}}
        change = changes.get(kind.removeprefix("ablations/"), {})
        assert args.views == ("mel,gammatone,raw" if kind == "ablations/without_cqt" else None)
        assert args.blending == ("uniform" if kind == "ablations/uniform" else None)
        for name in ("window", "evaluation_interval", "batch_size", "learning_rate"):
            assert getattr(args, name) == change.get(name)


@pytest.mark.parametrize("name", ["window", "window0", "interval-5", "clever", "", "without_", "without_video", "mel"])
def test_unknown_ablations_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected ablations of paper, fixed_references, uniform, .*, windowN"):
        ablation_changes(name)


def test_any_rule_but_the_presets_own_is_an_ablation(tiny_store: Store, tmp_path: Path, registries: None) -> None:
    PRESETS.register(dataclasses.replace(PRESETS["demo"], name="calm", blending="uniform"))
    (task,) = tasks(tiny_store, tmp_path, "calm", ["mel"], [1], ablations=["paper"])[1:]
    args = cli.make_parser().parse_args(task.command[1:])
    assert (task.name, args.blending, args.preset) == ("ablations/paper/fold1", "paper", "calm")
    for preset, own in (("calm", "uniform"), ("demo", "paper")):
        with pytest.raises(InputError, match=f"ablations/{own} is what preset {preset} does anyway; drop it"):
            tasks(tiny_store, tmp_path, preset, ["mel"], [1], ablations=[own])
    # Weights that are uniform throughout, of a network that is kept at the end, have no W.
    with pytest.raises(InputError, match="ablations/window5 is what preset modern does anyway; drop it"):
        tasks(tiny_store, tmp_path, "modern", ["mel"], [1], ablations=["window5"])


def test_unknown_systems_and_folds_are_refused(tiny_store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a system of mel"):
        tasks(tiny_store, tmp_path, "demo", ["video"])
    with pytest.raises(InputError, match="ablations/window5 is what preset demo does anyway"):
        tasks(tiny_store, tmp_path, "demo", ["mel"], ablations=["window5"])
    assert len(tasks(tiny_store, tmp_path, "demo", ["mel", "mel"], [1, 1], ["uniform", "uniform"])) == 2
    with pytest.raises(InputError, match="has the folds 1, 2, 3, 4, 5, not fold 7"):
        tasks(tiny_store, tmp_path, "demo", ["mel"], [7])


def test_trained_weights_go_to_the_systems_that_take_them(tiny_store: Store, tmp_path: Path) -> None:
    """The others train without, and with no frozen epochs; where none takes them, that is refused."""
    chosen = {"backbone": "mobilenet", "pretrained": "imagenet", "freeze_epochs": 2}
    for task in tasks(tiny_store, tmp_path, "demo", folds=[1], ablations=["without_mel"], **chosen):
        args = cli.make_parser().parse_args(task.command[1:])
        has = not task.name.startswith("raw")
        assert (str(args.pretrained), args.freeze_epochs) == (("imagenet", 2) if has else ("None", None)), task.name
    with pytest.raises(UsageError, match="expected --pretrained with a system that takes its weights, found raw"):
        tasks(tiny_store, tmp_path, "demo", ["raw"], **chosen)
    with pytest.raises(UsageError, match="expected --pretrained with a --backbone of mobilenet, .*found crnn"):
        tasks(tiny_store, tmp_path, "demo", ["raw"], pretrained="imagenet")


@pytest.mark.parametrize("epochs", [5, -5])
def test_frozen_epochs_of_nothing_are_refused(tiny_store: Store, tmp_path: Path, epochs: int) -> None:
    with pytest.raises(UsageError, match=f"with --init or --pretrained, found {epochs} with neither"):
        tasks(tiny_store, tmp_path, "demo", ["mel"], [1], freeze_epochs=epochs)


def test_a_damaged_run_says_so_itself(tiny_store: Store, tmp_path: Path) -> None:
    """In its turn; the others run."""
    grid = tasks(tiny_store, tmp_path, "demo", ["mel", "cqt"], [1])
    grid[0].run.path.mkdir(parents=True)
    grid[0].run.record.write_text("damaged")
    assert len(tasks(tiny_store, tmp_path, "demo", ["mel", "cqt"], [1])) == 2


def test_a_run_that_failed_before_its_first_evaluation_may_be_another(tiny_store: Store, tmp_path: Path) -> None:
    """As `train` has it: what there was too little memory for is asked for with smaller batches."""
    (task,) = tasks(tiny_store, tmp_path, "demo", ["mel"], [1], batch_size=32)
    task.run.begin(tiny_store, make_settings(tiny_store, "mel", 1, "demo", batch_size=32))
    with pytest.raises(InputError, match="batch_size 32 instead of 8"):
        tasks(tiny_store, tmp_path, "demo", ["mel"], [1], batch_size=8)
    task.run.update(status="failed", reason="too little memory")
    assert len(tasks(tiny_store, tmp_path, "demo", ["mel"], [1], batch_size=8)) == 1


def test_settings_that_do_nothing_do_not_make_another_run(tiny_store: Store, tmp_path: Path) -> None:
    """Of a single branch; recorded as they were given, they continue it."""
    plain = make_settings(tiny_store, "mel", 1, "demo")
    odd = dataclasses.replace(plain, window=plain.window + 3, blending="uniform")
    for path, given in ((tmp_path / "odd", odd), (tmp_path / "plain", plain)):
        Run(path).begin(tiny_store, given)
        for other in (odd, plain):
            Run(path).check(tiny_store, other)
        with pytest.raises(InputError, match="batch_size"):
            Run(path).check(tiny_store, dataclasses.replace(plain, batch_size=3))


def test_command_line_lists_commands_and_state(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["grid", str(tiny_store.path), "--results", str(tmp_path / "my results"), "--preset", "demo"]
    assert cli.main([*arguments, "--systems", "mel,raw", "--folds", "1,2", "--print-commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and shlex.split(lines[1])[-1] == "float32"
    assert str(tmp_path / "my results" / "raw" / "fold1") in shlex.split(lines[1])
    assert cli.main([*arguments, "--status", "--ablations", "averaged"]) == 0
    assert "35 runs: 0 done, 0 running, 0 interrupted, 0 failed, 35 to do" in capsys.readouterr().err
    assert not (tmp_path / "my results").exists()
    assert cli.main([*arguments, "--ablations", "x"]) == 2
    assert "expected ablations of" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main([*arguments, "--jobs", "0"])
    assert "argument --jobs: expected a whole number of at least 1, found 0" in capsys.readouterr().err


def test_other_run_in_the_grids_place_is_refused(tiny_store: Store, tmp_path: Path, tiny_settings) -> None:
    run = Run(tmp_path / "mel" / "fold1")
    run.begin(tiny_store, make_settings(tiny_store, "mel", 1, "demo", seed=1))
    run.metrics.write_text("{}")
    with pytest.raises(InputError, match="holds another run: seed 1 instead of 0"):
        tasks(tiny_store, tmp_path, "demo", ["mel"], [1], seed=0)
    assert tasks(tiny_store, tmp_path, "demo", ["mel"], [1], seed=1)[0].state() == "done"

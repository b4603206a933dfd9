"""From a dataset to Table 3: prepare, grid, report, each a command of its own; what is done is skipped."""

from __future__ import annotations

import argparse
import functools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from multiview import options
from multiview.experiment.grid import Task, seeds_of, tasks
from multiview.experiment.grid import planned as runs
from multiview.settings import PRESETS
from multiview.store import About, Store
from multiview.support.errors import InputError, exit_status
from multiview.support.files import twin
from multiview.support.programs import command
from multiview.views import SAMPLE_RATES, in_order, paper_views

ALL = "all"  # the paper's datasets
DEFAULT_PRESET = "paper"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `multiview reproduce` takes beside the options of a grid and of every training."""
    add = parser.add_argument
    add(
        "dataset",
        metavar="DATASET",
        help=f"see multiview-prepare --list; or {ALL}, the paper's three, in folders below --audio",
    )
    add("--preset", choices=PRESETS, help=f"(the dataset's, or {DEFAULT_PRESET})")
    add("--audio", type=Path, metavar="DIR", help="the dataset; not needed once its store is made")
    add(
        "--allow-missing",
        action="store_true",
        help="go on when more than 5 %% of the clips are missing or unreadable: a protocol of its own",
    )
    add("--sample-rate", type=options.whole, choices=sorted(SAMPLE_RATES), help="Hz; the preset's or the dataset's own")
    add("--root", type=Path, default=Path(), metavar="DIR", help="gets stores/, results/ and audio/ (here)")
    parser.epilog = (
        "The options of multiview-prepare DATASET, such as --download, --name, --csv or --without-faulty, are taken,\n"
        "too.\n"
        "Leaves the store in stores/, and runs, table, pictures and page in results/DATASET/PRESET/; with other\n"
        f"clips or views than the paper's in folders that say so.\n\n{parser.epilog}"
    )


@dataclass(frozen=True)
class Plan:
    """What is to be done for one dataset, checked before anything is written or downloaded."""

    prepare: list[str]
    store: Path
    results: Path  # of all datasets
    folder: str  # in that of the dataset
    preset: str
    grid: dict[str, Any]

    def place(self) -> Path:
        """Where the runs go, once the store is there: only it knows whether clips were left out."""
        return self.results / Store(self.store).dataset / self.folder

    def tasks(self, args: argparse.Namespace) -> list[Task]:
        """The runs; those that are there are refused here if they are others."""
        folds = options.numbers(self.grid["folds"]) if self.grid["folds"] else None
        changes = options.changes(args)
        return tasks(Store(self.store), self.place(), self.preset, args.systems, folds, args.ablations, **changes)


def reproduce(args: argparse.Namespace) -> int:
    """Carry out `multiview reproduce`; its exit status.

    Raises
    ------
    InputError
        If the commands are not installed.
    """
    if args.dataset != ALL:
        return _one(args, args.dataset)
    if args.folds or args.sample_rate or args.views or set(args.others) - {"--download"}:
        _refuse(args, f"{ALL} runs each dataset as the paper does: drop --folds, --sample-rate and the like")
    listed = json.loads(_asked(args, ["--list", "--json"]))
    failed = False
    for dataset in (each["name"] for each in listed if each["paper"]):
        print(f"== {dataset}", file=sys.stderr, flush=True)
        try:
            status = exit_status("multiview", functools.partial(_one, args, dataset))
        except SystemExit as refused:  # with its reason on standard error
            status = int(refused.code or 0)
        if status == 130:
            return status
        failed = failed or status != 0
    return int(failed)


def _one(args: argparse.Namespace, dataset: str) -> int:
    return _carry_out(_plan(args, dataset), args)


def _refuse(args: argparse.Namespace, message: str) -> NoReturn:
    args.parser.error(message)
    raise AssertionError


def _asked(args: argparse.Namespace, words: Sequence[str]) -> str:
    """What `multiview-prepare` answers; its refusals are ours."""
    answer = subprocess.run(command("multiview-prepare", words), stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode:
        raise SystemExit(answer.returncode)
    return answer.stdout


def _plan(args: argparse.Namespace, dataset: str) -> Plan:
    """The commands for a dataset; misuse ends here, with status 2, before anything is written."""
    root, words = args.root.absolute(), [dataset, *args.others, *(["--allow-missing"] if args.allow_missing else [])]
    audio = args.audio
    if audio is None and "--download" in args.others:
        audio = root / "audio" / dataset
    words += options.words({"audio": audio, "views": args.views})
    planned = json.loads(_asked(args, [*words, *options.words({"sample_rate": args.sample_rate}), "--plan"]))

    preset = args.preset or planned["preset"] or DEFAULT_PRESET
    wanted = PRESETS[preset].sample_rate
    rate = args.sample_rate or wanted or planned["sample_rates_own"]
    if wanted and rate != wanted:
        _refuse(args, f"preset {preset} is for --sample-rate {wanted}, found {rate}")
    views = in_order(args.views.split(",")) if args.views else paper_views()
    folds = ",".join(map(str, args.folds)) if args.folds else planned["folds"]
    others = "" if views == paper_views() else f"_{'-'.join(views)}"
    store = root / "stores" / f"{planned['dataset']}_{rate}{others}.h5"
    results = root / "results"
    if other := twin(results / planned["dataset"]):
        raise InputError(
            f"{other} has the results of {other.name}: expected a name that differs from it in more than the case of "
            "letters; say another with --name"
        )
    _check_settings(args, preset, store, rate)

    chosen = {"preset": preset, "folds": folds, "jobs": args.jobs, "cluster": args.cluster}
    chosen |= {"systems": args.systems and ",".join(args.systems), "ablations": ",".join(args.ablations) or None}
    return Plan(
        prepare=command("multiview-prepare", [*words, *options.words({"store": store, "sample_rate": rate})]),
        store=store,
        results=results,
        folder=f"{preset}{others}",
        preset=preset,
        grid={**chosen, **options.changes(args)},
    )


def _check_settings(args: argparse.Namespace, preset: str, path: Path, rate: int) -> None:
    """Refuse what no store could be trained with, before there is one."""
    store: Any = SimpleNamespace(path=path, sample_rate=rate, about=About(), require=lambda *_: None)
    changes = {name: value for name, value in options.changes(args).items() if value is not None}
    changes.setdefault("epochs", 1)  # how many a preset takes may depend on the clips
    try:
        for seed in seeds_of(changes):
            runs(store, preset, args.systems, 1, args.ablations, {**changes, "seed": seed})
    except InputError as error:
        _refuse(args, str(error))


def _grid(plan: Plan, args: argparse.Namespace) -> list[str]:
    words = [str(plan.store), *options.words({"results": plan.place(), **plan.grid})]
    words += [f"--{name.replace('_', '-')}" for name in ("status", "print_commands") if getattr(args, name)]
    return command("multiview", ["grid", *words])


def _carry_out(plan: Plan, args: argparse.Namespace) -> int:
    """Run the stages; the exit status of the first that fails, but a run that fails does not keep the report.

    Raises
    ------
    InputError
        If there are other runs where these would go.
    """
    begin = time.monotonic()
    if args.status or args.print_commands:
        if not plan.store.is_file():
            _refuse(args, f"expected the store {plan.store}, found none; prepare it first")
        return _stage(_grid(plan, args))
    if status := _stage(plan.prepare, quiet=True):
        return status
    grid = plan.tasks(args)
    trained = _stage(_grid(plan, args))
    if trained == 130:
        return trained
    if status := _stage(command("multiview", ["report", str(plan.place())])):
        return status
    minutes, seconds = divmod(round(time.monotonic() - begin), 60)
    print(f"time: {minutes} min {seconds} s", flush=True)
    if absent := [task.name for task in grid if task.state() != "done"]:
        print(f"multiview: error: the report is without {', '.join(absent)}; see above", file=sys.stderr)
    return trained


def _stage(words: Sequence[str], quiet: bool = False) -> int:
    """Exit status of a command, which is left to save its state when it is interrupted."""
    process = subprocess.Popen(words, stdout=sys.stderr if quiet else None)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        return 130

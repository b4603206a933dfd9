"""`multiview`: train, evaluate, report, predict, export and reproduce."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multiview import options
from multiview.blending import BLENDINGS
from multiview.export.formats import FORMATS, PRECISIONS, SECONDS
from multiview.settings import PRESETS, make_settings
from multiview.splits import EVERY_CLIP
from multiview.starters import STARTERS, located
from multiview.support import plugins
from multiview.support.errors import InputError, UsageError, exit_status
from multiview.support.lean import import_keras
from multiview.support.parser import Parser
from multiview.systems import system_names

if TYPE_CHECKING:
    from multiview.experiment.run import Run

# Read by the libraries when Keras is first imported, which the commands below do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

HOP_SECONDS = 0.5  # of a timeline


def _train_options(command: Parser) -> None:
    command.add_argument("store", type=Path, metavar="STORE", help="made by multiview-prepare")
    command.add_argument("--system", required=True, choices=system_names())
    command.add_argument(
        "--fold",
        required=True,
        type=options.fold,
        metavar="N|all",
        help="the fold to test on; all: hold none out, for use; the few clips that validate and calibrate stay",
    )
    command.add_argument("--preset", required=True, choices=PRESETS)
    command.add_argument("--run", required=True, type=Path, metavar="DIR", help="the run directory")
    options.add_training_options(command)
    options.add_blending_option(command)
    command.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="losses, accuracies, weights and the confusion matrix of the test for TensorBoard, as training goes",
    )
    add = command.add_argument
    add(
        "--devices", type=options.whole, default=1, metavar="N",
        help="devices that share each batch of this one network, of each worker (1); needs KERAS_BACKEND=jax",
    )  # fmt: skip
    add("--workers", type=options.names, metavar="LIST", help="host:port of each process that shares it, or TF_CONFIG")
    add("--worker", type=options.whole, metavar="INDEX", help="which of them this is; 0 writes the run")


def _train(args: argparse.Namespace) -> None:
    from multiview.store import Store

    store = Store(args.store)
    changes = {**options.changes(args), "blending": args.blending}
    settings = make_settings(store, args.system, args.fold, args.preset, **changes)

    import_keras()
    from multiview.blending import DivergedError
    from multiview.experiment.evaluate import evaluate
    from multiview.experiment.placement import Placement
    from multiview.experiment.run import Run
    from multiview.experiment.train import train
    from multiview.tensorboard import curves

    placement = Placement.of(args.devices, args.workers, args.worker, os.environ)
    drawn = curves(Run(args.run), args.tensorboard) if placement.index == 0 else []
    try:
        run = train(store, settings, args.run, drawn, placement)
    except DivergedError as error:
        raise InputError(
            f"training stopped: {error}; the last good state is kept in {args.run}, "
            "a lower --learning-rate in another --run may help"
        ) from error
    if placement.index:
        print(f"{placement.name(placement.index)} is done; the run is that of {placement.name(0)}")
        return
    if settings.fold != EVERY_CLIP and not run.metrics.exists():
        evaluate(run)
    for each in drawn:
        each.finish()
    if settings.fold == EVERY_CLIP:
        print(f"{args.run}: trained for use, no clip is left to test on; the runs of folds say how well it may do")
        return
    _print_metrics(run)


def _grid_options(command: Parser) -> None:
    command.add_argument("store", type=Path, metavar="STORE", help="made by multiview-prepare")
    command.add_argument("--results", required=True, type=Path, metavar="DIR", help="where SYSTEM/foldN runs go")
    command.add_argument("--preset", required=True, choices=PRESETS)
    add_grid_options(command)
    options.add_training_options(command, several_seeds=True)


def add_grid_options(command: Parser) -> None:
    """What is to be run, and where."""
    add = command.add_argument
    add("--systems", type=options.names, metavar="LIST", help=f"of {','.join(system_names())} (all)")
    add("--folds", type=options.numbers, metavar="LIST", help="folds to test on (all of the dataset's)")
    add(
        "--ablations", type=options.names, default=[], metavar="LIST",
        help=f"more multi-view runs, of {','.join(BLENDINGS)} but the preset's own, windowN, intervalN, without_VIEW",
    )  # fmt: skip
    add(
        "--jobs",
        type=options.at_least(1),
        default=1,
        metavar="N",
        help="runs at a time, one a GPU where there are several (1)",
    )
    add("--cluster", metavar="ADDRESS", help="run on the workers of a Dask scheduler, tcp://host:port")
    add("--print-commands", action="store_true", help="print the command of each run to do, and end")
    add(
        "--status",
        action="store_true",
        help="print what is done, running, failed and to do, and the time left",
    )


def _grid(args: argparse.Namespace) -> int:
    from multiview.experiment.grid import tasks
    from multiview.experiment.running import TO_RUN, overview, run_grid
    from multiview.store import Store

    # Absolute for a cluster, whose workers have working directories of their own.
    store, results = (path.absolute() if args.cluster else path for path in (args.store, args.results))
    changes = options.changes(args)
    grid = tasks(Store(store), results, args.preset, args.systems, args.folds, args.ablations, **changes)
    if args.print_commands:
        for task in grid:
            if task.state() in TO_RUN:
                print(shlex.join(task.command))
        return 0
    if args.status:
        print(overview(grid, args.jobs), file=sys.stderr)
        return 0
    missing = run_grid(grid, args.jobs, args.cluster)
    for task in missing:
        if task.state() == "running":
            print(f"left to another process: {task.name}; repeat the command when it has ended", file=sys.stderr)
        else:
            print(f"failed: {task.name}, see {task.log}", file=sys.stderr)
    return 1 if missing else 0


def _evaluate_options(command: Parser) -> None:
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    command.add_argument(
        "--store",
        type=Path,
        metavar="OTHER.h5",
        help="test on its clips of the same classes, but those that the run has heard, instead of on the run's fold",
    )
    command.add_argument("--to", type=Path, metavar="DIR", help="with --store: where the results go (RUN/on_DATASET)")


def _print_metrics(run: Run) -> None:
    from multiview.guessing import Guessing, Share

    metrics, tested = run.read_metrics(), run.read_predictions()
    scores = ", ".join(f"{name} {100 * value:.2f} %" for name, value in metrics["accuracy"].items())
    print(f"{run.path}: {metrics['clips']} test clips of fold {metrics['fold']}: {scores}")
    guessing = Guessing.of(tested.labels, len(tested.classes))
    share = Share.of(metrics["accuracy"][run.system().scored], metrics["clips"])
    verdict = "better" if share.beats(guessing) else "not shown to be better; more clips or a longer training may help"
    print(f"without listening, {guessing}: {run.system().scored} (95 % interval {share}) is {verdict}")


def _evaluate(args: argparse.Namespace) -> None:
    from multiview.experiment.run import Run

    if args.to and (args.store is None or len(args.runs) > 1):
        raise UsageError("expected --to with --store and one run, found it without; drop it")
    if args.store:
        _evaluate_elsewhere(args)
        return
    runs = [Run(located(path)) for path in args.runs]
    for run in runs:
        run.read()
    import_keras()
    from multiview.experiment.evaluate import evaluate

    for run in runs:
        evaluate(run)
        _print_metrics(run)


def _evaluate_elsewhere(args: argparse.Namespace) -> None:
    from multiview.api import evaluate
    from multiview.store import Store

    store = Store(args.store)
    for path in args.runs:
        found = evaluate(path, store=store, to=args.to)
        print(f"{path} on {args.store}: {found['clips']} clips of {', '.join(found['classes'])}")
        out = found["left_out"]
        if out["heard"]:
            print(f"left out: {out['heard']} clips that it has heard", file=sys.stderr)
        if out["classes"]:
            print(f"left out: the clips of {', '.join(out['classes'])}, which it does not know", file=sys.stderr)
        for name, text in (("accuracy", "of all its classes"), ("accuracy_among", "of these classes alone")):
            print(f"{text}: {', '.join(f'{row} {100 * value:.2f} %' for row, value in found[name].items())}")


def _report_options(command: Parser) -> None:
    command.add_argument("directory", type=Path, metavar="DIR", help="with SYSTEM/foldN runs below it")


def _report(args: argparse.Namespace) -> None:
    from multiview.report import report

    report(args.directory)


def _predict_options(command: Parser) -> None:
    add, formats = command.add_argument, command.add_mutually_exclusive_group()
    add("model", type=Path, metavar="MODEL", help=f"a run, an export, or a starter model: {', '.join(STARTERS)}")
    add("audio", nargs="+", metavar="AUDIO", help="sound files, folders of them, or - for standard input")
    add("--top", type=options.whole, default=3, metavar="N", help="classes to print (3); --csv has all")
    add("--branches", action="store_true", help="what each branch says, and how much they disagree")
    add("--threshold", type=float, metavar="P", help="the class is `unknown` where the best is less probable (0 to 1)")
    add("--raw-probabilities", action="store_true", help="as the network gives them, without its temperatures")
    for form, text in (("json", "one object a line"), ("csv", "one row a file, one column a class")):
        formats.add_argument(f"--{form}", dest="format", action="store_const", const=form, default="text", help=text)
    formats.add_argument(
        "--timeline",
        action="store_true",
        help="for recordings of any length: timeline.csv and timeline.png, classes over time",
    )
    add("--hop", type=float, metavar="S", help=f"seconds between rows of a timeline ({HOP_SECONDS})")
    add(
        "--to", type=Path, metavar="DIR",
        help="where a timeline goes (here); for several recordings, in sub-folders NAME.timeline",
    )  # fmt: skip


def _predict(args: argparse.Namespace) -> int:
    if args.top < 1:
        args.parser.error(f"expected --top of at least 1, found {args.top}")
    if args.timeline and (args.branches, args.threshold) != (False, None):
        args.parser.error("--branches and --threshold do not go with --timeline")
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        args.parser.error(f"expected --threshold of 0 to 1, found {args.threshold:g}")
    if not args.timeline and (args.hop, args.to) != (None, None):
        args.parser.error("--hop and --to need --timeline")
    from multiview.predict import load
    from multiview.predict.output import Wanted, print_answers, write_timelines
    from multiview.predict.recordings import recordings

    predictor = load(args.model, calibrated=not args.raw_probabilities)
    if args.timeline:
        import multiview.support.plots  # noqa: F401  what is not installed is said before hours of work
    with recordings(args.audio) as sounds:
        if args.timeline:
            hop_seconds = HOP_SECONDS if args.hop is None else args.hop
            failed = write_timelines(predictor, sounds, args.to or Path(), hop_seconds)
        else:
            wanted = Wanted(args.top, args.branches, args.threshold or 0.0)
            failed = print_answers(predictor, sounds, args.format, wanted)
    return int(failed > 0)


def _export_options(command: Parser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help=f"or a starter model: {', '.join(STARTERS)}")
    command.add_argument("--to", required=True, type=Path, metavar="DIR", help="gets DIR/1, DIR/2 ...")
    texts = "; ".join(f"{name}: {each.text}" for name, each in FORMATS.items())
    command.add_argument("--format", choices=FORMATS, default="savedmodel", help=f"(savedmodel) {texts}")
    command.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the weights in files (float32)")
    command.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S",
        help=f"length of the sounds that sound.tflite or sound.onnx takes ({SECONDS:g}); a SavedModel takes any",
    )  # fmt: skip


def _export(args: argparse.Namespace) -> None:
    FORMATS[args.format].check(args.precision)  # before Keras, which takes a while
    import_keras()
    from multiview.export.write import export

    print(export(args.run, args.to, args.format, args.precision, args.seconds))


def _app_options(command: Parser) -> None:
    command.add_argument(
        "path",
        type=Path,
        metavar="MODEL|REPORT",
        help=f"a run, an export, a directory with a report, or a starter model: {', '.join(STARTERS)}",
    )
    command.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (127.0.0.1)")
    command.add_argument("--port", type=options.whole, default=7860, metavar="N", help="0 for any that is free (7860)")


def _app(args: argparse.Namespace) -> None:
    from multiview.app.server import serve

    serve(args.path, args.host, args.port)


def _reproduce_options(command: Parser) -> None:
    from multiview.experiment.reproduce import add_options

    add_options(command)
    add_grid_options(command)
    options.add_training_options(command, several_seeds=True)


def _reproduce(args: argparse.Namespace) -> int:
    from multiview.experiment.reproduce import reproduce

    return reproduce(args)


@dataclass(frozen=True)
class Command:
    """A command: what it does, an example, its options, and its function, which gives an exit status or None."""

    text: str
    example: str
    options: Callable[[Parser], None]
    function: Callable[[argparse.Namespace], int | None]
    dataset_options: bool = False  # whether it takes those of multiview-prepare, too


COMMANDS = {
    "train": Command(
        "Train one system on one fold, test it, or continue where it stopped.",
        "multiview train stores/esc10_22050.h5 --system multiview --fold 1 --preset small \\\n"
        "      --run results/esc10/small/multiview/fold1",
        _train_options,
        _train,
    ),
    "grid": Command(
        "Train all systems on all folds: what is done is skipped, what was interrupted goes on.",
        "multiview grid stores/esc10_22050.h5 --results results/esc10/small --preset small --folds 1,2",
        _grid_options,
        _grid,
    ),
    "evaluate": Command(
        "Test the kept model of runs again.",
        "multiview evaluate results/esc10/small/*/fold1",
        _evaluate_options,
        _evaluate,
    ),
    "report": Command(
        "Table 3 and Figure 2 from the runs below a directory.",
        "multiview report results/esc10/small",
        _report_options,
        _report,
    ),
    "predict": Command(
        "Classes of sounds, most probable first. Exit status 1 if any could not be read.",
        "multiview predict results/esc10/small/multiview/fold1 clip.wav folder --top 3",
        _predict_options,
        _predict,
    ),
    "export": Command(
        "A SavedModel for TensorFlow Serving, or files for LiteRT or ONNX, as the next version in a directory.",
        "multiview export results/esc10/small/multiview/fold1 --to exports/esc10",
        _export_options,
        _export,
    ),
    "app": Command(
        "A page to drop or record sounds on: their views, playback, what each branch says. Needs the extra [app].",
        "multiview app results/esc10/small/multiview/fold1",
        _app_options,
        _app,
    ),
    "reproduce": Command(
        "Prepare a dataset, train the systems on its folds and report: what is done is skipped.",
        "multiview reproduce esc10 --preset small --audio ESC-50-master --folds 1",
        _reproduce_options,
        _reproduce,
        dataset_options=True,
    ),
}


def make_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser("multiview", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        each = commands.add_parser(
            name,
            help=command.text,
            description=command.text,
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.options(each)
        options.add_plugin_option(each)
        each.set_defaults(function=command.function, parser=each)
    return parser


def _run(argv: list[str] | None) -> int | None:
    plugins.load(options.plugins_in(argv))
    parser = make_parser()
    args, others = parser.parse_known_args(argv)
    if others and not COMMANDS[args.command].dataset_options:
        args.parser.error(f"unrecognized arguments: {' '.join(others)}")
    args.others = others
    return args.function(args)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `multiview`."""
    return exit_status("multiview", lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())

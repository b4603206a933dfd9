"""What `multiview-prepare` is asked for: a parser a dataset, made of the datasets' declarations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import joblib

from data_prep.datasets import DATASETS, Dataset, Option
from data_prep.naming import NAME, name_of
from multiview.options import add_plugin_option, at_least
from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.support.parser import Parser
from multiview.views import SAMPLE_RATES, in_order, paper_views

PROGRAM = "multiview-prepare"
USAGE = """%(prog)s DATASET --audio DIR --store FILE.h5 [options]
       %(prog)s DATASET --help
       %(prog)s --inspect FILE.h5 [--to DIR] [--check]
       %(prog)s --list [--json]"""
EXAMPLE = "--store stores/esc10_22050.h5 --sample-rate 22050"
LOOKING = ("--inspect", "--to", "--check", "--list", "--json")
FETCHING = (
    Option("--download", "fetch what is not in --audio yet (audio/DATASET)", {"action": "store_true"}),
    Option("--mirror", "folder with the archives, instead of the official server", {"metavar": "URL"}),
)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line, checked; plugins are loaded.

    Returns
    -------
    Namespace
        With `dataset`, and `options`: what of its own was given, by name. Where a store or the datasets are to be
        looked at, `dataset` is None.

    Raises
    ------
    SystemExit
        With status 2 and a line that says what is wrong.
    InputError
        If a plugin cannot be loaded, or what it declares does not fit.
    """
    parser = Parser(PROGRAM, usage=USAGE, add_help=False)
    add_plugin_option(parser)
    given, rest = parser.parse_known_args(argv)
    plugins.load(given.plugin)  # first, for what there is to choose from depends on them
    if not rest or rest[0].startswith("-"):
        return _parse_looking(rest)
    if rest[0] not in DATASETS:
        parser.error(f"expected DATASET of {', '.join(DATASETS)}; found {rest[0]}")
    return _parse_dataset(DATASETS[rest[0]], rest[1:])


# Without a dataset


def _parse_looking(argv: list[str]) -> argparse.Namespace:
    datasets = "\n".join(f"  {dataset.name:<10} {dataset.summary}" for dataset in DATASETS.values())
    parser = Parser(
        PROGRAM,
        usage=USAGE,
        description="Turn the sound files of a dataset into a store of views, or look at a store.",
        epilog=f"datasets:\n{datasets}\n\nexample:\n  {PROGRAM} esc10 --audio ESC-50-master {EXAMPLE}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inspect", type=Path, metavar="FILE.h5", help="print what is in a store; draw FILE_views.png")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the picture goes (beside the store)")
    parser.add_argument("--check", action="store_true", help="with --inspect: every value against the fingerprint")
    parser.add_argument("--list", action="store_true", help="print the datasets, their licences and options")
    parser.add_argument("--json", action="store_true", help="with --list: as JSON")
    add_plugin_option(parser)
    args, unknown = parser.parse_known_args(argv)
    if not args.inspect and not args.list:
        first = ", DATASET first" if unknown else ""
        parser.error(f"expected DATASET and --store FILE.h5, or --inspect FILE.h5{first}")
    alone = "--inspect FILE.h5" if args.inspect else "--list"
    with_it = {
        "--list": args.inspect and args.list,
        "--json": args.inspect and args.json,
        "--to": args.list and args.to,
        "--check": args.list and args.check,
    }
    found = [*(flag for flag, given in with_it.items() if given), *unknown]
    if found:
        parser.error(f"expected {alone} alone, found {' '.join(found)} with it")
    return argparse.Namespace(**vars(args), dataset=None)


# With one


def _dataset_parser(dataset: Dataset) -> Parser:
    source = dataset.source
    parser = Parser(
        f"{PROGRAM} {dataset.name}",
        usage="%(prog)s --audio DIR --store FILE.h5 [options]",
        description=f"{dataset.label}: {dataset.summary}"
        + (f" Licence: {source.licence} ({source.page})." if source else ""),
        epilog=f"example: %(prog)s {_example(dataset)}",
    )
    where_to = ", or to download it to" if source else ""
    parser.add_argument("--audio", type=Path, metavar="DIR", help=f"{dataset.audio}{where_to}")
    parser.add_argument("--store", type=Path, metavar="FILE.h5", help="the store to write")
    parser.add_argument(
        "--sample-rate", type=at_least(0), choices=sorted(SAMPLE_RATES), help=f"Hz; {dataset.sample_rate} by default"
    )
    parser.add_argument("--views", type=_views, metavar="LIST", help=f"what to store ({','.join(paper_views())})")
    parser.add_argument(
        "--allow-missing", action="store_true", help="go on when more than 5 %% of the clips are missing or unreadable"
    )
    parser.add_argument("--plan", action="store_true", help="check what was asked for, print it as JSON, write nothing")
    add_plugin_option(parser)
    where = parser.add_argument_group("where the work is done")
    where.add_argument(
        "--jobs", type=at_least(1), default=joblib.cpu_count(), metavar="N", help="processes (all cores)"
    )
    where.add_argument("--cluster", metavar="ADDRESS", help="on the workers of a Dask scheduler, tcp://host:port")
    own = parser.add_argument_group(f"of {dataset.name}")
    for option in (*(FETCHING if source else ()), *((NAME,) if dataset.named else ()), *dataset.options):
        _add_option(own, dataset, option)
    return parser


def _example(dataset: Dataset) -> str:
    name = "my_sounds" if dataset.named else dataset.name
    return f"--audio {name if dataset.named else 'DIR'} {EXAMPLE.replace('esc10', name)}"


def _add_option(group: Any, dataset: Dataset, option: Option) -> None:
    try:
        group.add_argument(option.flag, help=option.help, default=argparse.SUPPRESS, **option.keywords)
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise InputError(
            f"dataset {dataset.name}: field options: expected a new flag with keywords of add_argument, "
            f"found {option.flag} ({error}); mend it"
        ) from error


def _views(text: str) -> tuple[str, ...]:
    try:
        return in_order(name.strip() for name in text.split(",") if name.strip())
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parse_dataset(dataset: Dataset, argv: list[str]) -> argparse.Namespace:
    parser = _dataset_parser(dataset)
    args, unknown = parser.parse_known_args(argv, argparse.Namespace(download=False, mirror=None, name=None))
    _check_unknown(parser, dataset, unknown)
    if not args.store and not args.plan:
        parser.error("expected DATASET and --store FILE.h5, or --inspect FILE.h5")
    if args.store and (not args.store.name or args.store.is_dir()):
        parser.error(f"expected --store FILE.h5, found the folder {args.store}")
    if args.mirror and not args.download:
        parser.error("--mirror goes with --download")
    names = (option.name for option in dataset.options)
    options = {name: getattr(args, name) for name in names if hasattr(args, name)}
    try:
        name = name_of(dataset, args.name, args.audio, options)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    return argparse.Namespace(**vars(args) | {"dataset": dataset, "options": options, "name": name})


def _check_unknown(parser: Parser, dataset: Dataset, unknown: list[str]) -> None:
    """Refuse what this dataset cannot be asked for, and say which one can."""
    if not unknown:
        return
    flag = next((each.partition("=")[0] for each in unknown if each.startswith("-")), unknown[0])
    owners = [each.name for each in DATASETS.values() if flag in {option.flag for option in each.options}]
    if owners:
        parser.error(f"{flag} does not go with {dataset.name}; it is for {' and '.join(owners)}")
    if flag in {option.flag for option in FETCHING}:
        parser.error(f"{flag} does not go with {dataset.name}: it is not published")
    if flag == NAME.flag:
        parser.error(f"{flag} does not go with {dataset.name}: it has its name; sounds of your own go with folder")
    if flag in LOOKING:
        parser.error(f"{flag} does not go with a dataset; say {PROGRAM} --help")
    parser.error(f"expected the options of --help, found {' '.join(unknown)}")

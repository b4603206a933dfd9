"""Options that several commands share: those of every training, by the field of `Settings` that they change."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from multiview.augment import AUGMENTATIONS
from multiview.backbones import BACKBONES, DEFAULT
from multiview.blending import BLENDINGS
from multiview.settings import KEEP, PRECISIONS, SCHEDULES
from multiview.splits import EVERY_CLIP
from multiview.starters import STARTERS, is_starter
from multiview.support.errors import InputError
from multiview.support.parser import Parser
from multiview.support.words import shown
from multiview.systems import JOINT_SYSTEMS
from multiview.views import VIEWS, paper_views

SEEDS = "(0); several: runs with each, which the report takes together"


def _listed(registry) -> str:
    return _words({name: entry.text for name, entry in registry.items()})


def _words(kinds: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in kinds.items()).replace("%", "%%")


def training_options() -> dict[str, dict]:
    """Field of `Settings` to what argparse takes; made anew, as plugins add names."""
    return {
        "seed": {"type": whole, "metavar": "N", "default": 0, "help": "(0)"},
        "epochs": {"type": whole, "metavar": "N", "help": "E of the schedule (the preset's)"},
        "batch_size": {"type": whole, "metavar": "N", "help": "segments a step (the preset's)"},
        "learning_rate": {"type": float, "metavar": "X", "help": "after the warm-up (the preset's)"},
        "window": {"type": whole, "metavar": "N", "help": "W of Algorithm 1, in evaluations (the preset's)"},
        "evaluation_interval": {
            "type": whole,
            "metavar": "N",
            "help": "steps from one evaluation to the next (the preset's epochs)",
        },
        "precision": {"choices": PRECISIONS, "default": "float32", "help": "of the arithmetic (float32)"},
        "keep": {"choices": KEEP, "help": f"which network (the preset's). {_words(KEEP)}"},
        "schedule": {"choices": SCHEDULES, "help": f"of the learning rate (the preset's). {_words(SCHEDULES)}"},
        "averaging": {
            "type": float,
            "metavar": "DECAY",
            "help": "evaluate and keep an exponential average of the weights; 0 for none (the preset's)",
        },
        "joint_gradient": {
            "action": argparse.BooleanOptionalAction,
            "help": "whether the joint branch trains the views' networks, too (the preset's)",
        },
        "view_dropout": {
            "type": float,
            "metavar": "P",
            "help": "probability that the joint branch misses a view in training (0)",
        },
        "skip_silence": {
            "action": argparse.BooleanOptionalAction,
            "help": "whether segments without sound do not count in an answer (the preset's)",
        },
        "views": {
            "metavar": "LIST",
            "help": f"views of {' and '.join(JOINT_SYSTEMS)}, of {','.join(VIEWS)} ({','.join(paper_views())})",
        },
        "backbone": {
            "metavar": "NAME|VIEW=NAME,...",
            "help": f"network of all or some views ({DEFAULT}). {_listed(BACKBONES)}",
        },
        "augmentations": {
            "metavar": "LIST",
            "help": f"changes of training batches, or none (the preset's). {_listed(AUGMENTATIONS)}",
        },
        "gradient_checkpointing": {
            "action": argparse.BooleanOptionalAction,
            "help": "compute activations again in the gradient: less memory, more time (no)",
        },
        "init": {
            "type": there,
            "metavar": "MODEL",
            "help": f"start the views' networks from those of a run, or of a starter model, {', '.join(STARTERS)}; "
            "the classifiers start anew, for other classes, too",
        },
        "pretrained": {
            "type": there,
            "metavar": "imagenet|FILE",
            "help": "start image networks from weights for images, which Keras downloads, or from a file of them",
        },
        "freeze_epochs": {
            "type": whole,
            "metavar": "N",
            "help": "epochs, in whole evaluations, during which what --init or --pretrained gave stays as it is (0)",
        },
    }


def add_training_options(command: argparse.ArgumentParser, several_seeds: bool = False) -> None:
    """Add all of them; `several_seeds` for a command that makes many runs."""
    more = {"seed": {"type": numbers, "metavar": "N,...", "default": [0], "help": SEEDS}} if several_seeds else {}
    for name, keywords in {**training_options(), **more}.items():
        command.add_argument(f"--{name.replace('_', '-')}", **keywords)


def add_blending_option(command: argparse.ArgumentParser) -> None:
    """The rule for the weights of one run; a grid has ablations instead."""
    command.add_argument(
        "--blending",
        choices=BLENDINGS,
        help=f"weights of the branches (the preset's). {_listed(BLENDINGS)}",
    )


def add_plugin_option(command: argparse.ArgumentParser) -> None:
    """Modules that register a user's own kinds."""
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE|FILE.py",
        help="registers your own views, datasets, backbones, rules or augmentations; may be repeated",
    )


def plugins_in(argv: list[str] | None) -> list[str]:
    """The plugins that a command line names, which have to be there before the others of its words are read."""
    parser = Parser("multiview", add_help=False)
    add_plugin_option(parser)
    return parser.parse_known_args(argv)[0].plugin


def changes(args: argparse.Namespace) -> dict:
    """The settings that a command line changes."""
    return {name: getattr(args, name) for name in training_options()}


class _Parser(Parser):
    """Whose refusals do not end the process."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def read(given: Mapping[str, Any]) -> dict:
    """Settings by name as a command line of them changes them, for those who have values and not words.

    Raises
    ------
    InputError
        For what the command line would refuse.
    """
    parser = _Parser(add_help=False)
    add_training_options(parser)
    add_blending_option(parser)
    return vars(parser.parse_args(words(given)))


def words(given: Mapping[str, Any]) -> list[str]:
    """The command line of options by name; those that are None are left out, and what is a flag is one."""
    found = []
    for name, value in given.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            found += [f"--{option}", ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    return found


def there(text: str) -> str:
    """Type of an option that takes a path or a name: absolute where it is a path, as jobs may start anywhere."""
    return str(Path(text).absolute()) if Path(text).exists() and not is_starter(text) else text


def whole(text: str) -> int:
    """Type of an option that takes a whole number, which nobody needs with more digits."""
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected a whole number of at most 9 digits, found {shown(text)}")
    return int(text)


def at_least(least: int) -> Callable[[str], int]:
    """Type of an option that takes a whole number from `least` on."""

    def read(text: str) -> int:
        if (found := whole(text)) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, found {found}")
        return found

    return read


def names(text: str) -> list[str]:
    """Type of an option that takes a list of words."""
    return text.split(",")


def fold(text: str) -> int:
    """Type of an option that takes a fold, or `all` for none to test on."""
    if text == "all":
        return EVERY_CLIP
    if (number := whole(text)) == EVERY_CLIP:
        raise argparse.ArgumentTypeError(f"expected a fold, counted from 1, or all; found {number}")
    return number


def numbers(text: str) -> list[int]:
    """Type of an option that takes a list of whole numbers."""
    return [whole(each) for each in text.split(",")]

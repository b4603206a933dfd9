"""What every dataset declares: where its clips are, their labels, folds and sources, its archives and options."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multiview.options import at_least
from multiview.store import About
from multiview.support.errors import InputError
from multiview.support.registry import Registry
from multiview.views import SAMPLE_RATES


@dataclass(frozen=True)
class ClipFile:
    """A clip before it is read. `label` indexes the classes; the rest is as in `multiview.store.Clip`."""

    path: Path
    id: str
    label: int
    source: str
    fold: int = 0
    split: str = "development"


@dataclass(frozen=True)
class Index:
    """A dataset on disk: its class names and its clips in a fixed order.

    `published` is how many clips the dataset has where it is published, None where that is open; `notes` are lines for
    the user, said when the store is there; `closed` are the folders that cannot be read.
    """

    classes: Sequence[str]
    clips: Sequence[ClipFile]
    published: int | None = None
    notes: Sequence[str] = ()
    closed: Sequence[Path] = ()

    def there(self) -> Index:
        """Without the clips whose files are missing."""
        return replace(self, clips=[clip for clip in self.clips if os.path.exists(clip.path)])


@dataclass(frozen=True)
class Archive:
    """A file to download and unpack. The sums are as other public loaders state them.

    Of a server that sends far more than `size` bytes, as published, nothing is taken.
    """

    url: str
    md5: str
    size: int | None = None

    @property
    def name(self) -> str:
        """File name on disk."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Source:
    """Where a dataset is published, and on what terms; an archive of more than `files` files is not unpacked."""

    page: str
    licence: str
    archives: Sequence[Archive]
    non_commercial: bool = False
    files: int = 10_000  # and folders


@dataclass(frozen=True)
class Option:
    """What a dataset can be asked for beside the clips themselves.

    Parameters
    ----------
    flag : str
        On the command line, `--without-faulty`; the index function takes it as `without_faulty`.
    help : str
        A few words on it.
    keywords : mapping
        Keywords of `ArgumentParser.add_argument`.
    variant : bool
        Whether it takes other clips to other folds than the paper: the store then names it with the dataset.
    replaces_audio : bool
        Whether the dataset can be found by it, without --audio.
    """

    flag: str
    help: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    variant: bool = False
    replaces_audio: bool = False

    @property
    def name(self) -> str:
        """The argument of the index function."""
        return self.flag.removeprefix("--").replace("-", "_")


@dataclass(frozen=True)
class Dataset:
    """A dataset: all that is known about it.

    Parameters
    ----------
    name, label : str
        On the command line and in files, and for people.
    sample_rate : int
        In Hz, of the store unless the user asks for another.
    index : callable
        `index(audio: Path | None, **options) -> Index`, which lists the clips and reads no sound.
    summary : str
        A sentence for `--help`.
    options : sequence of Option
        What only this dataset can be asked for.
    source : Source, optional
        Where it is published, and on what terms.
    epochs, validation_sources
        E of Sec. 3.1.3, and the sources of each class that validate: a number, or a share of those there are.
    paper : bool
        Whether it is one of the paper's three.
    preset, folds : str, optional
        What `multiview reproduce` takes by default.
    synthesised : bool
        Whether `index` makes the sounds itself, by default beside the store.
    named : bool
        Whether it is anyone's own, and the user names it: with --name, or by the name of the folder or table.
    audio : str
        What --audio is.
    """

    name: str
    label: str
    sample_rate: int
    index: Callable[..., Index]
    summary: str = ""
    options: Sequence[Option] = ()
    source: Source | None = None
    epochs: int = 1500
    validation_sources: int | float = 0.1
    paper: bool = False
    preset: str | None = None
    folds: str | None = None
    synthesised: bool = False
    named: bool = False
    audio: str = "folder with the dataset"

    def __post_init__(self) -> None:
        def check(fits: bool, name: str, expected: str, found: object) -> None:
            if not fits:
                raise InputError(f"dataset {self.name}: field {name}: expected {expected}, found {found!r}; mend it")

        rates = " or ".join(map(str, SAMPLE_RATES))
        check(self.name != "all", "name", "another, as `all` means the paper's three", self.name)
        check(self.sample_rate in SAMPLE_RATES, "sample_rate", f"{rates} Hz", self.sample_rate)
        check(callable(self.index), "index", "a function", self.index)
        check(isinstance(self.epochs, int) and self.epochs > 0, "epochs", "a whole number from 1", self.epochs)
        share = self.validation_sources
        check(share >= 1 if isinstance(share, int) else 0 < share < 1, "validation_sources", "a number or share", share)
        taken = inspect.signature(self.index).parameters
        for option in self.options:
            check(option.flag.startswith("--"), "options", "a flag that begins with --", option.flag)
            check(option.name in taken, "options", f"that index takes {option.name}", list(taken))

    def stored_name(self, options: Mapping[str, Any], name: str = "") -> str:
        """What its store says as its name: with the variants among `options`, it is another protocol.

        `name` is what the user calls it.
        """
        return "_".join([name or self.name, *self.variants(options)])

    def about(self, options: Mapping[str, Any] | None = None, name: str = "") -> About:
        """What travels with its store, made with `options`; `name` is what the user calls it."""
        options = options or {}
        source = self.source
        return About(
            label=" ".join([name or self.label, *(each.replace("_", " ") for each in self.variants(options))]),
            epochs=self.epochs,
            validation_sources=self.validation_sources,
            page=source.page if source else "",
            licence=source.licence if source else "",
            non_commercial=bool(source and source.non_commercial),
            synthesised=self.synthesised,
        )

    def variants(self, options: Mapping[str, Any]) -> list[str]:
        """Those of `options` that make another protocol, in the order of their declaration."""
        return [option.name for option in self.options if option.variant and option.name in options]


def name_of_part(name: str, clips: int, published: int | None) -> str:
    """What `clips` of the clips of a published dataset are called: another protocol than all of them."""
    return name if published is None or clips >= published else f"{name}_{clips}_of_{published}"


def is_part(found: str, name: str) -> bool:
    """Whether `found` is the dataset `name`, or a part of it as `name_of_part` calls it."""
    return re.fullmatch(rf"{re.escape(name)}(_\d+_of_\d+)?", found) is not None


DATASETS: Registry[Dataset] = Registry("dataset")


def seed_option(of: str) -> Option:
    """`--seed N`, in whatever is drawn."""
    return Option("--seed", f"{of} (0)", {"type": at_least(0), "metavar": "N"})

"""What datasets, their classes and clips may be called: in a store, its results, titles and model cards."""

from __future__ import annotations

import argparse
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.datasets.base import DATASETS, Dataset, Option

FORBIDDEN = frozenset('/\\:*?"<>|')  # in names of files, on some system
LONGEST = 100  # bytes
ALL = "all"  # of `multiview reproduce`


def is_text(name: str) -> bool:
    """Whether a name can be stored and be shown in a line: it is UTF-8, without control characters."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def name_type(text: str) -> str:
    """Type of --name: what can be the name of a file everywhere, and is not that of another dataset.

    Raises
    ------
    ArgumentTypeError
        For any other.
    """
    if not text.isprintable() or set(text) & FORBIDDEN or text.strip(" .") != text or text[:1] in ("", "-"):
        raise argparse.ArgumentTypeError(
            f"expected a name for files, without {' '.join(sorted(FORBIDDEN))} and without spaces, dots or a - at its "
            f"ends, found {ascii(text) if not text.isprintable() else repr(text)}"
        )
    if len(text.encode()) > LONGEST:
        raise argparse.ArgumentTypeError(f"expected a name of at most {LONGEST} bytes, found {len(text.encode())}")
    for taken in (ALL, *(each.name for each in DATASETS.values() if not each.named)):
        # Variants and parts of a dataset begin with its name.
        if f"{text.lower()}_".startswith(f"{taken}_"):
            raise argparse.ArgumentTypeError(f"expected another name than that of the dataset {taken}, found {text!r}")
    return text


NAME = Option(
    "--name",
    "what this dataset is called: its store, results and titles (the name of the folder or table)",
    {"type": name_type, "metavar": "NAME"},
)


def name_of(dataset: Dataset, name: str | None, audio: Path | None, options: Mapping[str, Any]) -> str:
    """The name of a dataset: its own, or what the user calls it; empty where nothing tells.

    Raises
    ------
    ArgumentTypeError
        If the name of the user's folder or table is none.
    """
    if not dataset.named or name:
        return name or dataset.name
    tables = [options[option.name] for option in dataset.options if option.replaces_audio and option.name in options]
    if not (tables or audio):
        return ""
    found = tables[0].stem if tables else os.path.basename(os.path.abspath(audio or ""))
    try:
        return name_type(found)
    except argparse.ArgumentTypeError as error:
        where = next(option.flag for option in dataset.options if option.replaces_audio) if tables else "--audio"
        raise argparse.ArgumentTypeError(f"the name of {where}: {error}; say another with {NAME.flag}") from error

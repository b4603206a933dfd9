"""Tables of clips, in which anything may be: read as text, within bounds that no table of sounds comes near."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from multiview.support.errors import InputError
from multiview.support.words import shown

MAX_BYTES = 32 * 2**20  # some 300,000 clips
MAX_LINES = 2**20
MAX_LINE = 2**16  # bytes
MAX_COLUMNS = 256
SEPARATORS = ",;\t"


def _text(path: Path, kind: str, advice: str) -> str:
    """The whole file."""

    def refuse(found: str) -> InputError:
        return InputError(f"{path}: expected {kind} in UTF-8, found {found}; {advice}")

    if not path.exists():
        raise InputError(f"expected a table at {path}, found no file; check its path")
    if not path.is_file():  # a pipe would let us wait
        raise refuse("a folder, pipe or device")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise refuse(f"more than {MAX_BYTES >> 20} MiB")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise refuse("UTF-16")
    if b"\0" in content:
        raise refuse(f"a NUL in line {_line(content, content.index(0))}")
    if max(content.count(b"\n"), content.count(b"\r")) > MAX_LINES:
        raise refuse(f"more than {MAX_LINES:,} lines")
    lines = content.splitlines()
    if any(len(line) > MAX_LINE for line in lines):
        raise refuse(f"a line of more than {MAX_LINE >> 10} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(f"the byte 0x{content[error.start]:02x} in line {_line(content, error.start)}") from error


def _line(content: bytes, place: int) -> int:
    return len((content[:place] + b"?").splitlines())


def read_table(path: Path, kind: str, advice: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The cells of a table as text without spaces around it, empty where there is none; the index counts lines from 1.

    Parameters
    ----------
    kind, advice : str
        What the table should be, and what to do if it is not.
    columns : sequence of str, optional
        Those of a table without names in its first line, separated by tabs, from the left. By default a first line has
        the names, which come in lower case, and tells what separates cells, a comma, a semicolon or a tab.

    Raises
    ------
    InputError
        If there is no such file, or it is no table in UTF-8 with as many cells in every line, or beyond all bounds.
    """
    text = _text(path, kind, advice)
    head = text[: MAX_LINE + 1].splitlines()[:1]
    separator = "\t" if columns else next((mark for mark in SEPARATORS if head and mark in head[0]), ",")
    if head and head[0].count(separator) >= MAX_COLUMNS:
        raise InputError(f"{path}: expected {kind}, found more than {MAX_COLUMNS} columns; {advice}")
    named: dict[str, Any] = {"header": None, "names": columns, "usecols": range(len(columns))} if columns else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a line with more cells than the first
            rows = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                skip_blank_lines=False,
                **named,
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected {kind} with as many cells in every line ({reason}); {advice}") from error
    rows = rows.rename(columns=lambda name: str(name).strip().lower()).fillna("")
    if not rows.columns.is_unique:
        twice = rows.columns[rows.columns.duplicated()][0]
        raise InputError(f"{path}: expected every column once, found {shown(twice)} more than once; rename one")
    rows = rows.apply(lambda cells: cells.astype(str).str.strip())
    rows.index += 1 if columns else 2
    return rows[(rows != "").any(axis=1)]


def whole_numbers(cells: pd.Series, least: int, most: int) -> pd.Series:
    """The whole numbers in cells of text, float; NaN where a cell has none, or one below or above.

    Spreadsheets write 1.0 for 1.
    """
    numbers = pd.to_numeric(cells.str.extract(r"^([0-9]{1,9})(?:\.0*)?$", expand=False))
    return numbers.where(numbers.between(least, most))

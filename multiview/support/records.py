"""Records on disk that may lie: JSON is bounded, and checked against a declaration of all of it, before it is used.

A check takes a value and its name, and raises a ValueError that says what was expected and what was found.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from multiview.support.errors import InputError
from multiview.support.words import counted

MOST_BYTES = 2**24  # of a record
MOST_DEPTH = 50
MOST = 10**12  # of any number; a word has as many characters as MOST_WORD at most
MOST_WORD = 10_000
MOST_DIGITS = 40
Check = Callable[[Any, str], None]


def damaged(path: Path, reason: object, advice: str) -> InputError:
    """The line on a file that is not what it should be."""
    return InputError(f"{path} is damaged ({' '.join(str(reason).split())}); {advice}")


def bounded_text(path: Path, most: int = MOST_BYTES) -> str:
    """Content of a file of text.

    Raises
    ------
    ValueError
        If it is no plain file, of more than `most` bytes, or not in UTF-8.
    """
    if not path.is_file():
        raise ValueError("expected a file, found none")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"expected at most {most >> 20} MiB, found more")
    return content.decode("utf-8")


def parse(text: str, check: Check, name: str = "the record") -> Any:
    """JSON whose values, none of them NaN or infinite, are as `check` wants them.

    Raises
    ------
    ValueError
        With what was expected and found.
    """
    try:
        found = json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
        _check_depth(found)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, found something else: {error}") from None
    except RecursionError:
        raise ValueError(f"expected {name} at most {MOST_DEPTH} deep, found more") from None
    check(found, name)
    return found


def read_record(path: Path, check: Check, advice: str) -> Any:
    """A JSON file.

    Raises
    ------
    InputError
        If it is missing or not as `check` wants it, with `advice`.
    """
    try:
        return parse(bounded_text(path), check)
    except ValueError as error:
        raise damaged(path, error, advice) from error


def _refuse_constant(found: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, found {found}")


def _integer(found: str) -> int:
    if len(found) > MOST_DIGITS:
        raise ValueError(f"expected numbers of at most {MOST_DIGITS} digits, found {len(found)}")
    return int(found)


def _check_depth(found: Any, most: int = MOST_DEPTH) -> None:
    if not most:
        raise RecursionError
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        _check_depth(each, most - 1)


def _refuse(name: str, expected: str, found: Any) -> NoReturn:
    raise ValueError(f"expected {name} as {expected}, found {reprlib.repr(found)}")


def whole(low: int = 0, high: int = MOST) -> Check:
    """A whole number."""

    def check(found: Any, name: str) -> None:
        if type(found) is not int or not low <= found <= high:
            _refuse(name, f"a whole number from {low} to {high}", found)

    return check


def number(low: float = 0, high: float = MOST) -> Check:
    """A finite number."""

    def check(found: Any, name: str) -> None:
        if type(found) not in (int, float) or not low <= found <= high:  # NaN is not
            _refuse(name, f"a number from {low:g} to {high:g}", found)

    return check


def word(found: Any, name: str) -> None:
    """A text of any kind."""
    if not isinstance(found, str) or len(found) > MOST_WORD:
        _refuse(name, f"text of at most {MOST_WORD:,} characters", found)
    found.encode("utf-8")  # a ValueError for half a character


def flag(found: Any, name: str) -> None:
    """True or false."""
    if not isinstance(found, bool):
        _refuse(name, "true or false", found)


def one_of(known: Collection[Any]) -> Check:
    """One of some words or numbers."""

    def check(found: Any, name: str) -> None:
        if type(found) not in {type(each) for each in known} or found not in known:
            _refuse(name, f"one of {', '.join(map(str, known))}", found)

    return check


def maybe(check: Check) -> Check:
    """The same, or null."""
    return lambda found, name: None if found is None else check(found, name)


def listed(check: Check, least: int = 0, most: int = 10**6, once: bool = False) -> Check:
    """A list of such; `once` where all of it differ."""

    def each(found: Any, name: str) -> None:
        if not isinstance(found, list) or not least <= len(found) <= most:
            _refuse(name, f"a list of {least} to {most}", found)
        for place, value in enumerate(found):
            check(value, f"{name}[{place}]")
        if once and len(set(found)) < len(found):
            _refuse(name, "names, each once", found)

    return each


def mapping(check: Check) -> Check:
    """An object with such values under any names."""

    def each(found: Any, name: str) -> None:
        _check_object(found, name)
        for key, value in found.items():
            check(value, f"{name}.{reprlib.repr(key)[1:-1]}")

    return each


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with some fields, and perhaps with others; what is younger than this code is let be."""

    def check(found: Any, name: str) -> None:
        _check_object(found, name)
        if missing := [key for key in required if key not in found]:
            _refuse(name, f"an object with {', '.join(missing)}", found)
        for key, each in {**required, **(optional or {})}.items():
            if key in found:
                each(found[key], f"{name}.{key}")

    return check


def made_by(make: Callable[[Any], object]) -> Check:
    """What a function takes that raises a ValueError, or the like, for anything else."""

    def check(found: Any, name: str) -> None:
        try:
            make(found)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"{name}: {error}") from error

    return check


def _check_object(found: Any, name: str) -> None:
    if not isinstance(found, dict):
        _refuse(name, "an object", found)
    if len(found) > MOST_WORD:
        raise ValueError(f"expected at most {counted(MOST_WORD, 'field')} in {name}, found {len(found)}")

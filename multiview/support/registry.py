"""Registries: the one place that knows the views, systems, datasets and other kinds there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from multiview.support.errors import InputError


class Named(Protocol):
    """A declaration: what is registered has a name."""

    @property
    def name(self) -> str:
        """How commands, files and columns call it."""


T = TypeVar("T", bound=Named)
_ALL: list[Registry] = []


class Registry(Mapping[str, T], Generic[T]):
    """Declarations of one kind by name, in the order in which they were made.

    Parameters
    ----------
    kind : str
        What messages call an entry, such as `view`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        _ALL.append(self)

    def register(self, entry: T) -> T:
        """Add a declaration, and give it back.

        Raises
        ------
        InputError
            If the name is taken, or is no plain word, as file and column names need it.
        """
        name = entry.name
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(
                f"field name of a {self.kind}: expected letters, digits and _, found {name!r}; rename the {self.kind}"
            )
        if name in self._entries:
            raise InputError(
                f"field name of a {self.kind}: expected a new name, found {name!r}, which is declared already; "
                f"rename the {self.kind}"
            )
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def find(self, name: Any) -> T:
        """The entry of a name that a user or a file gave.

        Raises
        ------
        InputError
            If there is none; the message has those there are.
        """
        if name not in self._entries:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise InputError(f"expected {article} {self.kind} of {', '.join(self)}; found {name!r}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def snapshot() -> dict[str, list[str]]:
    """The names in all registries, by kind."""
    return {registry.kind: list(registry) for registry in _ALL}


def restore(state: Mapping[str, list[str]]) -> None:
    """Take out of all registries what was added since `snapshot` gave `state`."""
    for registry in _ALL:
        kept = set(state.get(registry.kind, ()))
        registry._entries = {name: entry for name, entry in registry._entries.items() if name in kept}

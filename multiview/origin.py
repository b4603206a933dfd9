"""Where weights come from that a run starts with: a file, known by its content."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from multiview.starters import is_starter, located
from multiview.support.errors import InputError
from multiview.support.records import fields, word


@dataclass(frozen=True)
class Origin:
    """A run, a starter model or a file of weights that others start from. Two with the same content are equal.

    Attributes
    ----------
    path : str
        As the user gave it: what it is called may change.
    sha256 : str
        Of the file with the weights; empty where Keras provides and checks it.
    """

    path: str = field(compare=False)
    sha256: str = ""

    @classmethod
    def of_model(cls, path: str | Path) -> Origin:
        """That of a trained run, or of a starter model.

        Raises
        ------
        InputError
            If there is no trained network at `path`.
        """
        model = located(path) / "model.keras"
        if not model.is_file():
            export = any(each.is_file() for each in (Path(path, "export.json"), *Path(path).glob("*/export.json")))
            found = f"an export at {path}; name the run that it was made from" if export else f"none at {path}"
            raise InputError(f"expected --init with a trained run or the name of a starter model, found {found}")
        return cls(str(path), _digest(model, model.stat().st_mtime_ns))

    @classmethod
    def of_weights(cls, path: str | Path) -> Origin:
        """That of a file of weights, or of weights that Keras has under the name `path`."""
        file = Path(path)
        return cls(str(path), _digest(file, file.stat().st_mtime_ns) if file.is_file() else "")

    def relative_to(self, folder: Path) -> Origin:
        """The same with its path from `folder` on, if that is a path."""
        is_path = Path(self.path).exists() and not is_starter(self.path)
        return replace(self, path=os.path.relpath(self.path, folder)) if is_path else self

    def __str__(self) -> str:
        return f"{self.path} {self.sha256[:12]}".strip()

    @classmethod
    def of_record(cls, record: Mapping | None) -> Origin | None:
        """What `run.json` has."""
        return None if record is None else cls(record["path"], record["sha256"])


RECORD = fields({"path": word, "sha256": word})


@functools.lru_cache(maxsize=8)
def _digest(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

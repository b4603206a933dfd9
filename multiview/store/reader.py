"""Reading a store: nothing of a file is believed before it is checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multiview.store.schema import BEFORE, FORMAT_VERSION, SPLITS, About, Clip
from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.support.hdf5 import checked, integers, text
from multiview.views import SAMPLE_RATES, VIEWS, Geometry, geometry, in_order, parameters

if TYPE_CHECKING:
    import h5py

# h5py is loaded where a store is: exports answer without.

MOST_FOLDS, MOST_SAMPLES = 2**31 - 1, 2**40
NOT_IN_NAMES = frozenset("/\\\0")


def _name(found: Any) -> str:
    """The name of a dataset, which results are called by, too."""
    name = str(found)
    if not name.isprintable() or set(name) & NOT_IN_NAMES or name in ("", ".", ".."):
        raise ValueError(f"expected the name of a dataset, found {name!r}")
    return name


def _rate(found: Any) -> int:
    if found not in SAMPLE_RATES:
        raise ValueError(f"expected a sample_rate of {' or '.join(map(str, SAMPLE_RATES))}, found {str(found)[:40]!r}")
    return int(found)


def _fingerprint(found: Any) -> str:
    """SHA-256 of what a store holds, in hexadecimal digits."""
    if not re.fullmatch("[0-9a-f]{64}", str(found)):
        raise ValueError(f"expected a fingerprint of 64 hexadecimal digits, found {str(found)[:80]!r}")
    return str(found)


def _about(found: Any, dataset: str) -> About:
    """The protocol that was recorded; that of before where there is none."""
    return BEFORE.get(dataset, About(dataset)) if found is None else About.of_record(found)


class Store:
    """A complete store, opened for reading.

    Attributes
    ----------
    dataset, sample_rate, fingerprint, classes, about
        As recorded; `classes` is a list of names.
    views : tuple of str
        The views that it holds.
    size : Geometry
        Sizes at its rate.
    ids, splits, sources : str arrays [clips]
    labels, folds, samples : int64 arrays [clips]
    values, offsets : dict
        By view: the memory-mapped values, and int64 [clips + 1] into their first axis.

    Raises
    ------
    InputError
        If the file is missing, truncated, foreign, unfinished, made with other view parameters, or needs a plugin.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"expected a store, found no file {path}; make one with multiview-prepare")
        import h5py

        again = "delete it and run multiview-prepare again"
        try:
            with h5py.File(self.path, "r") as file:
                self._read(file, again)
        except PermissionError:
            raise
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is truncated, damaged or not a store ({reason}); {again}") from error

    def _read(self, file: h5py.File, again: str) -> None:
        version = file.attrs.get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"{self.path}: expected a store of format_version {FORMAT_VERSION}, found {version}; {again}"
            )
        if not file.attrs["complete"]:
            raise InputError(f"{self.path} was never finished; {again}")
        self.dataset = _name(file.attrs["dataset"])
        self.sample_rate = _rate(file.attrs["sample_rate"])
        plugins.require(self.path, json.loads(file.attrs.get("plugins", "{}")))
        self.views = self._check_views(json.loads(file.attrs["views"]), again)
        self.size: Geometry = geometry(self.sample_rate, self.views)
        self.about = _about(json.loads(file.attrs.get("about", "null")), self.dataset)
        self.left_out = [str(name) for name in json.loads(file.attrs.get("left_out", "[]"))]
        self._read_clips(file)
        self.offsets = {view: self._read_offsets(file, view) for view in self.views}
        self.values = {view: self._open_values(file, view) for view in self.views}
        self._hashed = "fingerprint" in file.attrs
        # Other writers may not have hashed the values; the table of clips then stands for them.
        table = json.dumps([vars(clip) for clip in self.clips()]).encode()
        self.fingerprint = _fingerprint(file.attrs.get("fingerprint", hashlib.sha256(table).hexdigest()))

    def _read_clips(self, file: h5py.File) -> None:
        self.classes = text(file, "classes")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"expected names of classes, each once, found {len(self.classes)}, not all different")
        ids = text(file, "clips/id")
        splits, sources = (text(file, f"clips/{name}", len(ids)) for name in ("split", "source"))
        if unknown := set(splits) - set(SPLITS):
            raise ValueError(f"expected clips/split of {' or '.join(SPLITS)}, found {sorted(unknown)[0]!r}")
        self.ids, self.splits, self.sources = (np.array(column, object) for column in (ids, splits, sources))
        self.labels, self.folds, self.samples = (
            integers(file, f"clips/{name}", len(ids), low, high)
            for name, low, high in (
                ("label", 0, len(self.classes) - 1),
                ("fold", 0, MOST_FOLDS),
                ("samples", 1, MOST_SAMPLES),
            )
        )

    def _read_offsets(self, file: h5py.File, view: str) -> np.ndarray:
        """Where the clips of a view begin, each long enough for its last segment."""
        offsets = checked(file, f"views/{view}/offsets", (len(self) + 1,), np.int64)[()]
        grid, samples = self.size.grid(view), np.maximum(self.samples, self.size.segment_samples)
        reach = self.size.last_start(samples, np.minimum) // grid.hop + grid.segment
        if offsets[0] != 0 or (offsets[:-1] > offsets[1:] - reach).any():
            raise ValueError(f"expected views/{view}/offsets from 0, as far apart as the clips are long")
        return offsets

    def _open_values(self, file: h5py.File, view: str) -> np.ndarray:
        """The values without reading them where the file's layout allows it."""
        shape = (int(self.offsets[view][-1]), *VIEWS[view].band_shape)
        dataset = checked(file, f"views/{view}/values", shape, VIEWS[view].dtype)
        offset = dataset.id.get_offset()
        if offset is None or dataset.size == 0:
            return dataset[()]
        return np.memmap(dataset.file.filename, dataset.dtype, "r", offset, dataset.shape)

    def _check_views(self, found: dict[str, dict], again: str) -> tuple[str, ...]:
        try:
            views = in_order(found)
            expected = parameters(self.sample_rate, views)
        except ValueError as error:
            raise InputError(f"{self.path}: {error}; {again}") from error
        except InputError as error:
            raise InputError(f"{self.path}: {error}; if it is of a plugin, say --plugin, else {again}") from error
        for view in views:
            for key, value in expected[view].items():
                if found[view].get(key) != value:
                    raise InputError(
                        f"{self.path}: expected {view} with {key} = {value!r}, found {found[view].get(key)!r}; {again}"
                    )
        return views

    def verify(self, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> None:
        """Read every value: all are finite, and they are those that the fingerprint was taken of.

        Parameters
        ----------
        progress : callable, optional
            Wraps the rows as they are read, such as `tqdm`.

        Raises
        ------
        InputError
            With the first clip whose values are not finite, or if the fingerprint is of others.
        """
        digest = hashlib.sha256()
        for column in zip(*(vars(clip).values() for clip in self.clips()), strict=True):
            digest.update(json.dumps(column).encode())
        for row in progress(range(len(self))):
            for view in self.views:
                values = np.ascontiguousarray(self.clip(view, row))
                if not np.isfinite(values).all():
                    raise InputError(
                        f"{self.path}: expected finite values, found others in {view} of {self.ids[row]}; "
                        "delete it and run multiview-prepare again"
                    )
                digest.update(values.data)
        if self._hashed and digest.hexdigest() != self.fingerprint:
            raise InputError(
                f"{self.path}: expected values of the fingerprint {self.fingerprint[:12]}, found others "
                f"({digest.hexdigest()[:12]}); delete it and run multiview-prepare again"
            )

    def require(self, views: Sequence[str], who: str) -> None:
        """Refuse to go on without some of `views`, which `who` takes.

        Raises
        ------
        InputError
            With the views that are missing, and those there are.
        """
        missing = [view for view in views if view not in self.views]
        if missing:
            raise InputError(
                f"{who} takes the views {','.join(views)}, {self.path} holds {','.join(self.views)}: "
                f"{','.join(missing)} missing; choose others with --views, or prepare a store with them"
            )

    def clip(self, view: str, row: int) -> np.ndarray:
        """The stored values of one clip, along time."""
        begin, end = self.offsets[view][row : row + 2]
        return self.values[view][begin:end]

    def __len__(self) -> int:
        return len(self.ids)

    def clips(self) -> list[Clip]:
        """The table of clips, row by row."""
        columns = (self.ids, self.labels, self.folds, self.splits, self.sources, self.samples)
        return [
            Clip(str(i), int(label), int(fold), str(split), str(source), int(samples))
            for i, label, fold, split, source, samples in zip(*columns, strict=True)
        ]

    def relative_to(self, folder: str | Path) -> str:
        """Path of the store as seen from `folder`, for records that may move with it."""
        return os.path.relpath(self.path, folder)

"""The feature store: one HDF5 file with views of every clip of a dataset.

Root attributes say what it holds (`format_version`, `dataset`, `sample_rate`, `views`, `software`,
`complete`, `fingerprint`, `left_out`, `about`, `plugins`); group `clips` has one row a clip; `views/VIEW`
holds `values`, the clips end to end along time, and `offsets` [clips + 1] where each begins.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.support.files import check_space, replacing
from multiview.views import VIEWS, Geometry, geometry, in_order, paper_views, parameters

if TYPE_CHECKING:
    import h5py

# h5py is loaded where a store is: exports answer without.

FORMAT_VERSION = 1
_CLIP_COLUMNS = {"id": str, "label": np.int64, "fold": np.int64, "split": str, "source": str, "samples": np.int64}


@dataclass(frozen=True)
class Clip:
    """One row of a store's table of clips.

    `fold` is 1-based, 0 where there is none; `split` is `development` or `evaluation`; clips that
    share `source` must stay on one side of a split; `samples` is the length before any padding.
    """

    id: str
    label: int
    fold: int
    split: str
    source: str
    samples: int


@dataclass(frozen=True)
class About:
    """What travels with a dataset's features, so that nothing later has to know the dataset.

    Parameters
    ----------
    label : str
        How people read its name.
    epochs : int
        E of Sec. 3.1.3.
    validation_sources : int or float
        Sources of each class drawn for validation: a number, or a share of those there are.
    page, licence : str
        Where it is published, and on what terms; empty where that is not known.
    non_commercial : bool
        Whether the terms forbid commercial use.
    synthesised : bool
        Whether the sounds are of no use outside of this project.
    """

    label: str = ""
    epochs: int = 1500
    validation_sources: int | float = 0.1
    page: str = ""
    licence: str = ""
    non_commercial: bool = False
    synthesised: bool = False


# Of stores that were made before their datasets' protocol travelled with them.
_BEFORE = {
    "esc50": About("ESC-50", epochs=3000, validation_sources=2),
    "esc10": About("ESC-10", epochs=3000, validation_sources=2),
    "demo": About("demo", validation_sources=4, synthesised=True),
}


def write_store(
    path: str | Path,
    *,
    dataset: str,
    sample_rate: int,
    classes: Sequence[str],
    clips: Sequence[Clip],
    features: Iterable[dict[str, np.ndarray]],
    software: dict[str, str],
    left_out: Sequence[str] = (),
    views: Sequence[str] | None = None,
    about: About | None = None,
) -> None:
    """Write a complete store beside `path` and move it there.

    Parameters
    ----------
    clips : sequence of Clip
        The rows, in order.
    features : iterable of dict
        For each clip its views, as `multiview.views.extract` returns them; one clip at
        a time is in memory.
    left_out : sequence of str
        Names of clips that belong to the dataset but could not be read.
    views : sequence of str, optional
        The views to hold, the paper's four by default.
    about : About, optional
        The dataset's protocol and terms.
    """
    views = paper_views() if views is None else in_order(views)
    size, digest = geometry(sample_rate, views), hashlib.sha256()
    attributes = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset,
        "sample_rate": sample_rate,
        "views": json.dumps(parameters(sample_rate, views), sort_keys=True),
        "software": json.dumps(software, sort_keys=True),
        "left_out": json.dumps(list(left_out)),
        "about": json.dumps(asdict(about or _BEFORE.get(dataset, About(dataset))), sort_keys=True),
        "plugins": json.dumps(plugins.record({"view": views}), sort_keys=True),
        "complete": False,
    }
    samples = [max(clip.samples, size.segment_samples) for clip in clips]
    lengths = {view: [size.frames(view, each) for each in samples] for view in views}
    offsets = {view: np.concatenate([[0], np.cumsum(lengths[view])]).astype(np.int64) for view in views}
    import h5py

    text = h5py.string_dtype("utf-8")
    with replacing(path) as temporary:
        check_space(temporary, _payload(offsets) + 2**20 + 1024 * len(clips))
        with h5py.File(temporary, "w") as file:
            file.attrs.update(attributes)
            # Without times, the same clips give the same bytes.
            file.create_dataset("classes", data=list(classes), dtype=text, track_times=False)
            for column, dtype in _CLIP_COLUMNS.items():
                rows = [getattr(clip, column) for clip in clips]
                kind = text if dtype is str else dtype
                file.create_dataset(f"clips/{column}", data=rows, dtype=kind, track_times=False)
                digest.update(json.dumps(rows).encode())
            _write_values(file, offsets, features, digest)
            file.attrs["fingerprint"] = digest.hexdigest()
            file.attrs["complete"] = True


def _shape(view: str, offsets: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    return (int(offsets[view][-1]), *VIEWS[view].band_shape)


def _payload(offsets: Mapping[str, np.ndarray]) -> int:
    """Bytes of the values of all views."""
    return sum(math.prod(_shape(view, offsets)) * np.dtype(VIEWS[view].dtype).itemsize for view in offsets)


def _write_values(
    file: h5py.File, offsets: Mapping[str, np.ndarray], features: Iterable[dict[str, np.ndarray]], digest: Any
) -> None:
    """The group `views`, clip by clip; `digest` takes the values in the order in which they come."""
    values = {}
    for view in offsets:
        # Not chunked: readers map the values straight from the file.
        shape, dtype = _shape(view, offsets), np.dtype(VIEWS[view].dtype)
        values[view] = file.create_dataset(f"views/{view}/values", shape, dtype, track_times=False)
        file.create_dataset(f"views/{view}/offsets", data=offsets[view], track_times=False)
    for index, clip in enumerate(features):
        for view in offsets:
            begin, end = offsets[view][index : index + 2]
            values[view][begin:end] = clip[view]
            digest.update(np.ascontiguousarray(clip[view]).data)


def _values(dataset: h5py.Dataset) -> np.ndarray:
    """The values without reading them where the file's layout allows it."""
    offset = dataset.id.get_offset()
    if offset is None or dataset.size == 0:
        return dataset[()]
    return np.memmap(dataset.file.filename, dataset.dtype, "r", offset, dataset.shape)


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
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is truncated or not a store ({reason}); {again}") from error

    def _read(self, file: h5py.File, again: str) -> None:
        version = file.attrs.get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"{self.path}: expected a store of format_version {FORMAT_VERSION}, found {version}; {again}"
            )
        if not file.attrs["complete"]:
            raise InputError(f"{self.path} was never finished; {again}")
        self.dataset = str(file.attrs["dataset"])
        self.sample_rate = int(file.attrs["sample_rate"])
        plugins.require(self.path, json.loads(file.attrs.get("plugins", "{}")))
        self.views = self._check_views(json.loads(file.attrs["views"]), again)
        self.size: Geometry = geometry(self.sample_rate, self.views)
        self.about = self._read_about(json.loads(file.attrs.get("about", "null")))
        self.left_out = json.loads(file.attrs.get("left_out", "[]"))
        self.classes = [str(name) for name in file["classes"].asstr()[()]]
        columns = file["clips"]
        self.ids, self.splits, self.sources = (columns[name].asstr()[()] for name in ("id", "split", "source"))
        self.labels, self.folds, self.samples = (columns[name][()] for name in ("label", "fold", "samples"))
        self.offsets = {view: file[f"views/{view}/offsets"][()] for view in self.views}
        self.values = {view: _values(file[f"views/{view}/values"]) for view in self.views}
        # Other writers may not have hashed the values; the table of clips then stands for them.
        table = json.dumps([vars(clip) for clip in self.clips()]).encode()
        self.fingerprint = str(file.attrs.get("fingerprint") or hashlib.sha256(table).hexdigest())

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

    def _read_about(self, found: dict | None) -> About:
        if found is None:
            return _BEFORE.get(self.dataset, About(self.dataset))
        return About(**{field.name: found[field.name] for field in fields(About) if field.name in found})

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

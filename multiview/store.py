"""The feature store: one HDF5 file with the four views of every clip of a dataset.

Root attributes say what it holds (`format_version`, `dataset`, `sample_rate`, `views`, `software`,
`complete`, `fingerprint`, `left_out`); group `clips` has one row a clip; `views/VIEW` holds `values`,
the clips end to end along time, and `offsets` [clips + 1] where each begins.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from data_prep.views import BANDS, VIEWS, geometry, parameters
from multiview.errors import InputError
from multiview.files import check_space, replacing

FORMAT_VERSION = 1
_TEXT = h5py.string_dtype("utf-8")
_CLIP_COLUMNS = {
    "id": _TEXT,
    "label": np.int64,
    "fold": np.int64,
    "split": _TEXT,
    "source": _TEXT,
    "samples": np.int64,
}


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
) -> None:
    """Write a complete store beside `path` and move it there.

    Parameters
    ----------
    clips : sequence of Clip
        The rows, in order.
    features : iterable of dict
        For each clip its views, as `data_prep.views.extract` returns them; one clip at
        a time is in memory.
    left_out : sequence of str
        Names of clips that belong to the dataset but could not be read.
    """
    path = Path(path)
    size, digest = geometry(sample_rate), hashlib.sha256()
    lengths = {view: [size.frames(view, max(clip.samples, size.segment_samples)) for clip in clips] for view in VIEWS}
    offsets = {view: np.concatenate([[0], np.cumsum(lengths[view])]).astype(np.int64) for view in VIEWS}
    shapes = {view: (int(offsets[view][-1]),) + (() if view == "raw" else (BANDS,)) for view in VIEWS}
    dtypes = {view: np.dtype(np.int16 if view == "raw" else np.float32) for view in VIEWS}
    payload = sum(math.prod(shapes[view]) * dtypes[view].itemsize for view in VIEWS)
    with replacing(path) as temporary:
        check_space(temporary, payload + 2**20 + 1024 * len(clips))
        with h5py.File(temporary, "w") as file:
            # Without times, the same clips give the same bytes.
            create = functools.partial(file.create_dataset, track_times=False)
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["dataset"] = dataset
            file.attrs["sample_rate"] = sample_rate
            file.attrs["views"] = json.dumps(parameters(sample_rate), sort_keys=True)
            file.attrs["software"] = json.dumps(software, sort_keys=True)
            file.attrs["left_out"] = json.dumps(list(left_out))
            file.attrs["complete"] = False
            create("classes", data=list(classes), dtype=_TEXT)
            for column, dtype in _CLIP_COLUMNS.items():
                rows = [getattr(clip, column) for clip in clips]
                create(f"clips/{column}", data=rows, dtype=dtype)
                digest.update(json.dumps(rows).encode())
            values = {}
            for view in VIEWS:
                # Not chunked: readers map the values straight from the file.
                values[view] = create(f"views/{view}/values", shapes[view], dtypes[view])
                create(f"views/{view}/offsets", data=offsets[view])
            for index, clip in enumerate(features):
                for view in VIEWS:
                    begin, end = offsets[view][index : index + 2]
                    values[view][begin:end] = clip[view]
                    digest.update(np.ascontiguousarray(clip[view]))
            file.attrs["fingerprint"] = digest.hexdigest()
            file.attrs["complete"] = True


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
    dataset, sample_rate, fingerprint, classes
        As recorded; `classes` is a list of names.
    ids, splits, sources : str arrays [clips]
    labels, folds, samples : int64 arrays [clips]
    values, offsets : dict
        By view: the memory-mapped values, and int64 [clips + 1] into their first axis.

    Raises
    ------
    InputError
        If the file is missing, truncated, foreign, unfinished, or made with other view parameters.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"expected a store, found no file {path}; make one with multiview-prepare")
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
        self._check_views(json.loads(file.attrs["views"]), again)
        self.left_out = json.loads(file.attrs.get("left_out", "[]"))
        self.classes = [str(name) for name in file["classes"].asstr()[()]]
        columns = file["clips"]
        self.ids, self.splits, self.sources = (columns[name].asstr()[()] for name in ("id", "split", "source"))
        self.labels, self.folds, self.samples = (columns[name][()] for name in ("label", "fold", "samples"))
        self.offsets = {view: file[f"views/{view}/offsets"][()] for view in VIEWS}
        self.values = {view: _values(file[f"views/{view}/values"]) for view in VIEWS}
        # Other writers may not have hashed the values; the table of clips then stands for them.
        table = json.dumps([vars(clip) for clip in self.clips()]).encode()
        self.fingerprint = str(file.attrs.get("fingerprint") or hashlib.sha256(table).hexdigest())

    def _check_views(self, found: dict, again: str) -> None:
        try:
            expected = parameters(self.sample_rate)
        except ValueError as error:
            raise InputError(f"{self.path}: {error}; {again}") from error
        for view in VIEWS:
            for key, value in expected[view].items():
                if found.get(view, {}).get(key) != value:
                    raise InputError(
                        f"{self.path}: expected {view} with {key} = {value!r}, "
                        f"found {found.get(view, {}).get(key)!r}; {again}"
                    )

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

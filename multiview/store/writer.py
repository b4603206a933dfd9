"""Writing a store: the only place that does."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multiview.store.schema import BEFORE, COLUMNS, FORMAT_VERSION, About, Clip
from multiview.support import plugins
from multiview.support.files import check_space, replacing
from multiview.views import VIEWS, geometry, in_order, paper_views, parameters

if TYPE_CHECKING:
    import h5py


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
        "about": json.dumps(asdict(about or BEFORE.get(dataset, About(dataset))), sort_keys=True),
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
            for column, dtype in COLUMNS.items():
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

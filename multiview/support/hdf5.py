"""Reading HDF5 files that may lie: a dataset is checked, what it is and where, before any of it is read or mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

MOST_COMPRESSED = 10  # times: sounds pack less, and what packs better might fill the memory
SLACK = 2**24  # bytes that may pack better: columns of numbers
FEW = 8  # words that are read at once, as each may be as long as the file
MOST_OVERHEAD = 2**20  # bytes of a chunk beyond its dataset

Shape = tuple[int | None, ...]  # None for any length


def checked(file: h5py.File, name: str, shape: Shape, dtype: Any = None) -> h5py.Dataset:
    """A dataset whose values are in the file itself, as many as it says.

    Parameters
    ----------
    dtype : dtype or type, optional
        `str` for text; any integers by default.

    Raises
    ------
    ValueError
        With what was expected and found.
    """
    import h5py

    for path in _path(name):
        if not isinstance(file.get(path, getlink=True), h5py.HardLink):
            raise ValueError(f"expected {path} in the file itself, found {'a link' if path in file else 'none'}")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise ValueError(f"expected a dataset {name}, found none")
    fits = len(found.shape) == len(shape) and all(want in (None, have) for want, have in zip(shape, found.shape))
    if not (fits and _is(found.dtype, dtype)):
        raise ValueError(
            f"expected {name} as {_said(dtype)} {_lengths(shape)}, found {found.dtype} {_lengths(found.shape)}"
        )
    _check_layout(found, os.stat(found.file.filename).st_size)
    return found


def text(file: h5py.File, name: str, length: int | None = None) -> list[str]:
    """A dataset of text, [length].

    Raises
    ------
    ValueError
        If it is none, no UTF-8, or longer than its file, as when many words are in one place of it.
    """
    dataset, size = checked(file, name, (length,), str), os.stat(file.filename).st_size
    found: list[str] = []
    for begin in range(0, len(dataset), FEW):
        few = [str(each) for each in dataset.asstr()[begin : begin + FEW]]
        size -= sum(map(len, few))
        if size < 0:
            raise ValueError(f"expected {name} no longer than its file, found more")
        found += few
    return found


def integers(file: h5py.File, name: str, length: int, low: int, high: int) -> np.ndarray:
    """A dataset of integers of any kind from `low` to `high`; int64 [length].

    Raises
    ------
    ValueError
        If it is none, or any is out of range.
    """
    found = checked(file, name, (length,))[()]
    wrong = found[(found < low) | (found > high)]
    if len(wrong):
        raise ValueError(f"expected {name} from {low} to {high}, found {wrong[0]}")
    return found.astype(np.int64)


def check_all(file: h5py.File, size: int) -> None:
    """Refuse a file of `size` bytes unless all of its values are in it as they are, not packed, and all links, too.

    Raises
    ------
    ValueError
        With what was expected and found.
    """
    import h5py

    def check(name: str, found: h5py.Group | h5py.Dataset) -> None:
        if isinstance(found, h5py.Group):
            for each in found:
                if not isinstance(found.get(each, getlink=True), h5py.HardLink):
                    raise ValueError(f"expected {name}/{each} in the file itself, found a link")
        elif isinstance(found, h5py.Dataset) and found.shape is not None:
            _check_layout(found, size, most=1)

    check("", file)
    file.visititems(check)


def _path(name: str) -> Iterator[str]:
    """The groups on the way to a name, and it."""
    path = PurePosixPath(name)
    yield from (str(each) for each in reversed(path.parents) if each.name)
    yield name


def _is(found: np.dtype, wanted: Any) -> bool:
    import h5py

    if wanted is str:
        return h5py.check_string_dtype(found) is not None
    return found.kind in "iu" if wanted is None else found == np.dtype(wanted)


def _said(dtype: Any) -> str:
    return "integers" if dtype is None else "text" if dtype is str else str(np.dtype(dtype))


def _lengths(shape: Shape) -> str:
    return f"[{', '.join('any' if each is None else str(each) for each in shape)}]"


def _check_layout(found: h5py.Dataset, size: int, most: float = MOST_COMPRESSED) -> None:
    """Refuse values that are elsewhere, beyond the end of the file, or declared and not there."""
    if found.is_virtual or found.external:
        raise ValueError(f"expected the values of {found.name} in the file itself, found them in others")
    item = found.id.get_type().get_size()
    needed, stored, offset = found.size * item, found.id.get_storage_size(), found.id.get_offset()
    chunk = int(np.prod(found.chunks, dtype=object)) * item if found.chunks else 0
    if stored > size or (offset or 0) + (needed if offset is not None else 0) > size:
        raise ValueError(f"expected {found.name} within the {size} bytes of the file, found it beyond their end")
    slack = SLACK if most > 1 and stored else 0
    if needed > most * stored + slack or chunk > needed + MOST_OVERHEAD:
        raise ValueError(f"expected the values of {found.name}, found {stored} bytes that stand for {needed}")

"""Reading the zip archives that NumPy and Keras write: nothing is unpacked before its size and kind are known."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MOST_MEMBERS = 100_000
# What reading a zip archive, or an array's header, may raise where it is none.
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError, LookupError,
           TypeError, SyntaxError, tokenize.TokenError)  # fmt: skip


@contextmanager
def opened(path: Path, most: int = MOST_MEMBERS) -> Iterator[zipfile.ZipFile]:
    """An archive of at most so many members, each a file of a name of its own that is stored as it is.

    So what is read of it is no more than the file itself has.

    Raises
    ------
    ValueError
        If it is none.
    OSError
        If the file cannot be read.
    """
    try:
        if not path.is_file():
            raise ValueError("expected a file, found none")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > most or len(set(archive.namelist())) < len(members):
                raise ValueError(f"expected at most {most:,} members, each once, found {len(members):,}")
            size = path.stat().st_size
            for each in members:
                if each.compress_type != zipfile.ZIP_STORED or each.file_size != each.compress_size:
                    raise ValueError(f"expected {each.filename[:100]!r} uncompressed, found it packed")
            if (total := sum(each.file_size for each in members)) > size:
                raise ValueError(f"expected members within the {size:,} bytes of the file, found {total:,}")
            yield archive
    except DAMAGED as error:
        raise ValueError(str(error)[:200] or type(error).__name__) from error  # headers of any length may be in it


def array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of an archive that `numpy.savez` wrote.

    Parameters
    ----------
    dtype : dtype or type
        `str` for text of any length.

    Raises
    ------
    ValueError
        If it is another, by its header, or not all there.
    """
    member = f"{name}.npy"
    if member not in archive.NameToInfo:
        raise ValueError(f"expected an array {name}, found none")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"expected {name} in version 1 or 2 of its format, found {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        have, in_columns, found = read(file)
        fits = found.kind == "U" if dtype is str else found == np.dtype(dtype)
        if have != shape or not fits:
            wanted = "text" if dtype is str else np.dtype(dtype)
            raise ValueError(f"expected {name} as {wanted} {list(shape)}, found {found} {list(have)}")
        rest = archive.NameToInfo[member].file_size - file.tell()
        needed = found.itemsize * int(np.prod(shape, dtype=object))
        if needed != rest:
            raise ValueError(f"expected {needed:,} bytes of {name}, found {rest:,}")
        return np.ndarray(shape, found, file.read(), order="F" if in_columns else "C")

"""Archives from a server, in which anything may be: unpacked where they hold what a dataset has, plain files."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from tqdm import tqdm

from data_prep.naming import is_text
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.support.words import shown

MAX_RATIO = 20  # of unpacked to packed size: sound files do not come near it
SLACK = 64 * 2**20  # bytes that a small archive may hold beyond that

MAX_NAME, MAX_PART = 1024, 200  # bytes of a name, and of each folder in it; a temporary name takes more
MAX_HEADER = 2**14  # bytes that describe a file in a tar archive
MAX_ENTRY = 2**10  # those in a zip archive, on average
CHUNK = 2**16
COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
# What the standard library raises for an archive that it cannot read; and OSError without a number.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error,
           EOFError, RuntimeError, ValueError, OverflowError, LookupError)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    is_plain: bool  # a file as any other, or a folder
    info: Any


# Zip


class _Directory(io.BufferedReader):
    """A file of which no more than `most` bytes are read at once, as the whole directory of a zip archive would be."""

    def __init__(self, raw: io.FileIO, most: int) -> None:
        super().__init__(raw)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._most:
            raise zipfile.BadZipFile(f"expected a directory of at most {self._most >> 10} KiB, found {size >> 10}")
        return super().read(size)


class _Zip:
    def __init__(self, path: Path, most_files: int, stack: ExitStack) -> None:
        raw = stack.enter_context(io.FileIO(path))
        directory = stack.enter_context(_Directory(raw, 2**16 + MAX_ENTRY * most_files))
        self._archive = stack.enter_context(zipfile.ZipFile(directory))

    def members(self) -> Iterator[_Member]:
        for info in self._archive.infolist():
            # The upper half holds Unix's file type, where there is one.
            is_folder = info.filename.endswith("/")
            plain = is_folder or info.external_attr >> 28 in (0, 0o10)
            # Not the file name that goes to the first NUL alone.
            yield _Member(info.orig_filename, info.file_size, is_folder, plain, info)

    def open(self, member: _Member) -> IO[bytes]:
        return self._archive.open(member.info)


# Tar


class _Info(tarfile.TarInfo):
    """A header, refused where what follows would be read into memory whatever its size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Info:
        info = super().frombuf(buf, encoding, errors)
        describes = info.type not in tarfile.SUPPORTED_TYPES or info.type in (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if info.size < 0:
            raise tarfile.ReadError(f"expected a size from 0, found {info.size:,}")
        if describes and info.size > MAX_HEADER:
            raise tarfile.ReadError(f"expected a header of at most {MAX_HEADER >> 10} KiB, found {info.size:,} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("expected plain files, found one with holes")
        return info

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError("expected plain files, found one with holes")  # their map may be of any length


class _Tar:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        file = stack.enter_context(path.open("rb"))
        begin = file.read(max(map(len, COMPRESSIONS)))
        file.seek(0)
        for magic, unpacked in COMPRESSIONS.items():
            if begin.startswith(magic):
                file = stack.enter_context(unpacked(file))
        self._archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:", tarinfo=_Info))

    def members(self) -> Iterator[_Member]:
        for info in self._archive:
            plain = info.isdir() or (info.isreg() and not info.issparse())
            yield _Member(info.name, info.size, info.isdir(), plain, info)

    def open(self, member: _Member) -> IO[bytes]:
        return cast("IO[bytes]", self._archive.extractfile(member.info))  # a plain file has one


# Both


@contextmanager
def _opened(path: Path, most_files: int) -> Iterator[_Zip | _Tar]:
    try:
        with ExitStack() as stack:
            yield _Zip(path, most_files, stack) if zipfile.is_zipfile(path) else _Tar(path, stack)
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk, not of the archive
        reason = str(error)[:200]  # a name of any length may be in it
        raise InputError(f"{path} is damaged or no archive ({reason}); delete it and repeat") from error


def unpack(path: Path, folder: Path, most_files: int) -> None:
    """Unpack a zip or tar archive into `folder`; files that are there with the right size are kept.

    Each file appears under its name when it is whole, so an interrupted call can be repeated.

    Parameters
    ----------
    most_files : int
        Files and folders that it may hold.

    Raises
    ------
    InputError
        If the archive is damaged, a member would land outside of `folder`, has a name that is none or is no plain
        file, there are too many of them, or the unpacked size is absurd or does not fit on the disk; nothing is
        written then.
    """
    root = folder.resolve()
    with _opened(path, most_files) as archive:
        todo = [member for member in _checked(archive, path, root, most_files) if not _is_there(root, member)]
        root.mkdir(parents=True, exist_ok=True)
        needed, free = sum(member.size for member in todo), shutil.disk_usage(root).free
        if needed > free:
            raise InputError(f"{path} needs {needed >> 20} MiB in {folder}, found {free >> 20} MiB; free some space")
        for member in tqdm(todo, desc=f"unpack {path.name}", unit="file", disable=not todo):
            target = (root / member.name).resolve()
            with archive.open(member) as content, replacing(target) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(content, file, CHUNK)


def _checked(archive: _Zip | _Tar, path: Path, root: Path, most_files: int) -> list[_Member]:
    """The files of an archive, all of which may be unpacked below `root`."""

    def refuse(expected: str, found: str) -> InputError:
        return InputError(f"{path}: expected {expected}, found {found}; do not use this archive")

    limit = MAX_RATIO * path.stat().st_size + SLACK
    files: dict[PurePosixPath, _Member] = {}
    total = 0
    for count, member in enumerate(archive.members(), start=1):
        if count > most_files:
            raise refuse(f"at most {most_files:,} files", "more")
        of_a_file = member.is_folder or PurePosixPath(member.name).parts  # `.` names the folder itself
        if member.size < 0 or not (member.is_plain and of_a_file and _is_inside(root, member.name)):
            raise refuse(f"plain files below {root}", shown(member.name))
        total += member.size
        if total > limit:
            raise refuse(f"at most {limit >> 20} MiB unpacked", "more")
        if not member.is_folder:
            files[PurePosixPath(member.name)] = member
    if not files:
        raise refuse("files", "none")
    for name in files:
        if both := next((folder for folder in name.parents if folder in files), None):
            raise refuse("files and folders of different names", f"both called {shown(str(both))}")
    return list(files.values())


def _is_inside(root: Path, name: str) -> bool:
    """Whether a file of this name can be made on any disk, and lies below `root`, links that are there followed."""
    parts = PurePosixPath(name).parts
    if not is_text(name) or len(name.encode()) > MAX_NAME or any(len(part.encode()) > MAX_PART for part in parts):
        return False
    return not name.startswith("/") and ".." not in parts and (root / name).resolve().is_relative_to(root)


def _is_there(root: Path, member: _Member) -> bool:
    target = (root / member.name).resolve()
    return target.is_file() and target.stat().st_size == member.size

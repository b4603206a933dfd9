"""Archives of a dataset: download, check, unpack. What is there already is never fetched again."""

from __future__ import annotations

import functools
import gzip
import lzma
import os
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pooch
import requests
from tqdm import tqdm

from data_prep.datasets.base import Archive, Source
from multiview.support.errors import InputError
from multiview.support.files import locked, replacing

TIMEOUT = (10, 60)  # seconds to connect, and without a byte
RETRIES = 4
TRY_AGAIN = (requests.codes.request_timeout, requests.codes.too_many_requests)
CHUNK = 2**16  # bytes, of which the last is lost when the connection is cut
MAX_RATIO = 20  # of unpacked to packed size: sound files do not come near it
HEADER = 512  # bytes that a file costs at least
SLACK = 64 * 2**20  # bytes that a small archive may hold beyond that
# What the standard library raises for an archive that it cannot read.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def _download(url: str, target: str, part: Path) -> None:
    """Fetch `url` into `target`, going on where an earlier call left `part`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            raise requests.ConnectionError("the file on the server is shorter than what is here")
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        length = response.headers.get("content-length")
        total = None if length is None else int(length) + (have if resumed else 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=file.tell(), desc=part.stem, unit="B", unit_scale=True) as progress,
        ):
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
            size = file.tell()
    if total is not None and size < total:
        raise requests.ConnectionError(f"the connection was cut at {size} of {total} bytes")
    os.replace(part, target)


def fetch(archive: Archive, folder: Path, source: Source) -> Path:
    """Path of the archive in `folder`, downloaded unless it is there and its sum is right.

    A download that was cut goes on where it stopped, in this call and in the next.

    Raises
    ------
    InputError
        If the server does not deliver, or delivers something else; the message says what to do.
    """
    path = folder / archive.name
    by_hand = f"get {archive.name} from {source.page} or from someone who has it, put it into {folder}, and repeat"
    if path.exists() and (found := pooch.file_hash(path, alg="md5")) != archive.md5:
        raise InputError(
            f"{path}: expected MD5 {archive.md5}, found {found}; delete it to download it again, or {by_hand}"
        )
    registry = pooch.create(
        folder,
        base_url="",
        registry={archive.name: f"md5:{archive.md5}"},
        urls={archive.name: archive.url},
        retry_if_failed=RETRIES,
    )
    try:
        downloader = functools.partial(_checked_download, archive=archive, path=path, by_hand=by_hand)
        return Path(registry.fetch(archive.name, downloader=downloader))
    except requests.RequestException as error:
        raise _refused(archive, error, by_hand) from error


def _refused(archive: Archive, error: requests.RequestException, by_hand: str) -> InputError:
    return InputError(f"{archive.url} does not deliver ({' '.join(str(error).split())}); {by_hand}")


def _checked_download(url: str, target: str, _: object, archive: Archive, path: Path, by_hand: str) -> None:
    """What Pooch calls to fetch `url` into `target`, a temporary name; it tries again on the errors of requests."""
    part = path.with_name(f"{path.name}.part")
    try:
        if part.exists() and pooch.file_hash(part, alg="md5") == archive.md5:
            os.replace(part, target)  # a call was killed between the last byte and here
        else:
            _download(url, target, part)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status >= 500 or status in TRY_AGAIN:
            raise
        raise _refused(archive, error, by_hand) from error  # asking again would not help
    found = pooch.file_hash(target, alg="md5")
    if found != archive.md5:
        # Kept, for it may be good: servers pack anew what they offer.
        kept = path.with_name(f"{path.name}.unchecked")
        os.replace(target, kept)
        raise InputError(
            f"{url}: expected MD5 {archive.md5}, found {found}; look at {kept}: if it is what you want, "
            f"unpack it into {path.parent.parent} and repeat; otherwise delete it and {by_hand}"
        )


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    is_safe: bool  # a plain file or a folder that stays where it is unpacked
    info: Any


class _Zip:
    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)

    def members(self, root: Path) -> Iterator[_Member]:
        for info in self.archive.infolist():
            # The upper half holds Unix's file type, where there is one.
            plain = info.is_dir() or info.external_attr >> 28 in (0, 0o10)
            inside = (root / info.filename).resolve().is_relative_to(root)
            safe = plain and inside and not PurePosixPath(info.filename).is_absolute()
            yield _Member(info.filename, info.file_size, info.is_dir(), safe, info)

    def open(self, member: _Member) -> IO[bytes]:
        return self.archive.open(member.info)


class _Tar:
    def __init__(self, path: Path) -> None:
        self.archive = tarfile.open(path)

    def members(self, root: Path) -> Iterator[_Member]:
        for info in self.archive:
            try:
                # The filter would take the slash from an absolute name, and let links pass that stay inside.
                safe = tarfile.data_filter(info, str(root)).name == info.name and (info.isfile() or info.isdir())
            except tarfile.FilterError:
                safe = False
            yield _Member(info.name, info.size, info.isdir(), safe, info)

    def open(self, member: _Member) -> IO[bytes]:
        content = self.archive.extractfile(member.info)
        assert content  # a plain file
        return content


@contextmanager
def _opened(path: Path) -> Iterator[_Zip | _Tar]:
    try:
        opened = _Zip(path) if zipfile.is_zipfile(path) else _Tar(path)
        with opened.archive:
            yield opened
    except DAMAGED as error:
        raise InputError(f"{path} is damaged or no archive ({error}); delete it and repeat") from error


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`; files that are there with the right size are kept.

    Each file appears under its name when it is whole, so an interrupted call can be repeated.

    Raises
    ------
    InputError
        If the archive is damaged, a member would land outside of `folder` or is no plain file, or
        the unpacked size is absurd or does not fit on the disk; nothing is written then.
    """
    root = folder.resolve()
    with _opened(path) as archive:
        todo = [member for member in _checked(archive, path, root) if not _is_there(root, member)]
        needed, free = sum(member.size for member in todo), shutil.disk_usage(root).free
        if needed > free:
            raise InputError(f"{path} needs {needed >> 20} MiB in {folder}, found {free >> 20} MiB; free some space")
        for member in tqdm(todo, desc=f"unpack {path.name}", unit="file", disable=not todo):
            target = (root / member.name).resolve()
            with archive.open(member) as content, replacing(target) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(content, file, CHUNK)


def _checked(archive: _Zip | _Tar, path: Path, root: Path) -> list[_Member]:
    """The files of an archive, all of which may be unpacked below `root`."""
    limit = MAX_RATIO * path.stat().st_size + SLACK
    files, total = [], 0
    for member in archive.members(root):
        if not member.is_safe:
            raise InputError(
                f"{path}: expected plain files below {root}, found {member.name!r}; do not use this archive"
            )
        total += HEADER + member.size
        if total > limit:
            raise InputError(
                f"{path}: expected at most {limit >> 20} MiB unpacked, found more; do not use this archive"
            )
        if not member.is_folder:
            files.append(member)
    return files


def _is_there(root: Path, member: _Member) -> bool:
    target = (root / member.name).resolve()
    return target.is_file() and target.stat().st_size == member.size


def download(source: Source, folder: Path, mirror: str | None = None) -> None:
    """Fetch the archives of a dataset into `folder/archives` and unpack them into `folder`.

    Parameters
    ----------
    mirror : str, optional
        Address of a folder with the same archives, to use instead of the official servers.
    """
    print(f"licence: {source.licence} ({source.page})", file=sys.stderr)
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    with locked(archives / "download.lock", f"{folder} is being downloaded", ".*.tmp*"):
        for archive in source.archives:
            if mirror:
                archive = Archive(f"{mirror.rstrip('/')}/{archive.name}", archive.md5)
            unpack(fetch(archive, archives, source), folder)
    print(f"{archives} may be deleted once the store is made", file=sys.stderr)

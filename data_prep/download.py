"""Archives of a dataset, downloaded and checked, from servers that may say anything. What is there is not fetched."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pooch
import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from data_prep.archives import unpack
from data_prep.datasets.base import Archive, Source
from multiview.support.errors import InputError
from multiview.support.files import locked

TIMEOUT = (10, 60)  # seconds to connect, and without a byte
LEAST_SPEED, WINDOW = 1024, 60  # bytes a second, and the seconds over which they are counted
RETRIES = 4
TRY_AGAIN = (requests.codes.request_timeout, requests.codes.too_many_requests)
CHUNK = 2**16  # bytes
GREATER = 1.25  # than published is what another packing of the same files may be
MAX_BYTES = 16 * 2**30  # of an archive whose size is not known


@contextmanager
def _answer(url: str, have: int) -> Iterator[requests.Response]:
    """What a server says to a request for a file from byte `have` on; for all of it where it has nothing there.

    Raises
    ------
    requests.RequestException, ValueError
        If that is nothing to begin with.
    """
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status = response.status_code
        if not have or status != requests.codes.requested_range_not_satisfiable:
            response.raise_for_status()
            part = response.headers.get("content-range", f"bytes {have}-")
            if status == requests.codes.partial_content and not part.startswith(f"bytes {have}-"):
                raise ValueError(f"expected bytes from {have}, found {part}")
            if status not in (requests.codes.ok, requests.codes.partial_content):
                raise ValueError(f"expected a file, found status {status}")
            if response.headers.get("content-type", "").lower().startswith("text/html"):
                raise ValueError("expected an archive, found a page")
            yield response
            return
    with _answer(url, 0) as response:
        yield response


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """What a server sends, as it comes and as it is, a gzip encoding that was not asked for included.

    Raises
    ------
    requests.ConnectionError
        If the connection is cut, or slower than the least speed.
    """
    begin, count = time.monotonic(), 0
    while True:
        try:
            piece = response.raw.read1(CHUNK, decode_content=False)
        except (HTTPError, OSError) as error:
            raise requests.ConnectionError(str(error.args[0] if error.args else error)) from error
        if not piece:
            return
        yield piece
        count += len(piece)
        if (seconds := time.monotonic() - begin) > WINDOW:
            if count < LEAST_SPEED * seconds:
                raise requests.ConnectionError(f"{count / seconds:.0f} bytes a second; expected {LEAST_SPEED} at least")
            begin, count = time.monotonic(), 0


def _receive(response: requests.Response, place: Path, begin: int, size: int | None) -> None:
    """Write an answer to `place` from byte `begin` on, as far as it comes; `size` is that of the whole as published.

    Raises
    ------
    requests.ConnectionError
        If it does not come to its end.
    ValueError
        If it is far more than published; `place` is as it was before then.
    """
    stated, most = response.headers.get("content-length", ""), int(GREATER * size) if size else MAX_BYTES
    total = begin + int(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 20 else None
    if total is None and response.headers.get("transfer-encoding") is None:
        total = size  # nothing else tells a whole file from a cut one
    much = f"expected at most {most:,} bytes, found"
    if total is not None and total > most:
        raise ValueError(f"{much} {total:,}")
    with (
        place.open("ab" if begin else "wb") as file,
        tqdm(total=total, initial=begin, desc=place.stem, unit="B", unit_scale=True) as progress,
    ):
        for piece in _pieces(response):
            if file.tell() + len(piece) > most:
                file.truncate(begin)
                raise ValueError(f"{much} more")
            file.write(piece)
            progress.update(len(piece))
        reached = file.tell()
    if total is not None and reached < total:
        raise requests.ConnectionError(f"the connection was cut at {reached} of {total} bytes")


def _download(archive: Archive, target: Path, part: Path) -> None:
    """Fetch an archive into `target`, going on where an earlier call left `part`.

    A server that begins anew does not cost what is in `part` until it has sent more.
    """
    have = part.stat().st_size if part.exists() else 0
    with _answer(archive.url, have) as response:
        resumed = have and response.status_code == requests.codes.partial_content
        place = part if resumed or not have else part.with_name(f"{part.name}.anew")
        try:
            _receive(response, place, have if resumed else 0, archive.size)
        except requests.RequestException:
            if place != part and place.stat().st_size > have:
                os.replace(place, part)
            raise
    os.replace(place, target)


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


def _refused(archive: Archive, error: Exception, by_hand: str) -> InputError:
    return InputError(f"{archive.url} does not deliver ({' '.join(str(error).split())}); {by_hand}")


def _checked_download(url: str, target: str, _: object, archive: Archive, path: Path, by_hand: str) -> None:
    """What Pooch calls to fetch `url` into `target`, a temporary name; it tries again on the errors of requests."""
    part = path.with_name(f"{path.name}.part")
    try:
        if part.exists() and pooch.file_hash(part, alg="md5") == archive.md5:
            os.replace(part, target)  # a call was killed between the last byte and here
        else:
            _download(archive, Path(target), part)
    except (requests.ConnectionError, requests.Timeout):
        raise
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status >= 500 or status in TRY_AGAIN:
            raise
        raise _refused(archive, error, by_hand) from error  # asking again would not help
    except (requests.RequestException, HTTPError, ValueError) as error:  # nonsense, to an address or in an answer
        raise _refused(archive, error, by_hand) from error
    found = pooch.file_hash(target, alg="md5")
    if found != archive.md5:
        # Kept, for it may be good: servers pack anew what they offer.
        kept = path.with_name(f"{path.name}.unchecked")
        os.replace(target, kept)
        raise InputError(
            f"{url}: expected MD5 {archive.md5}, found {found}; look at {kept}: if it is what you want, "
            f"unpack it into {path.parent.parent} and repeat; otherwise delete it and {by_hand}"
        )
    for each in (part, part.with_name(f"{part.name}.anew")):
        each.unlink(missing_ok=True)


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
                archive = replace(archive, url=f"{mirror.rstrip('/')}/{archive.name}")
            unpack(fetch(archive, archives, source), folder, source.files)
    print(f"{archives} may be deleted once the store is made", file=sys.stderr)

"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from multiview.support.errors import InputError

PATIENCE = 1.0  # seconds that a lock may be held by one who only looks whether it is
DIGITS = 12  # that make a temporary name unique
_UNIQUE = "[0-9a-f]" * DIGITS
ANY_LEFTOVERS = f".*.{_UNIQUE}.tmp*"  # pattern of the temporary names of any path


def leftovers(path: Path) -> str:
    """Pattern of the temporary names of `path`, and of no other file."""
    return f".{glob.escape(path.stem)}.{_UNIQUE}.tmp{glob.escape(path.suffix)}"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success make it durable and rename it to `path`.

    The temporary name keeps the suffix, which Keras and HDF5 go by. On any exception the temporary
    file is removed and `path` stays as it was. It may be made a folder where `path` is not there yet.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique on all machines that share the folder.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:DIGITS]}.tmp{path.suffix}")
    try:
        yield temporary
        for each in (*temporary.rglob("*"), temporary):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)  # which disk it is; errors of writing do not say
        raise
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: str | Path, holder: str, *leftovers: str) -> Iterator[None]:
    """Hold the lock file `path`; the lock goes with the process, however that ends, and the file with the lock.

    What lies beside it and matches any of `leftovers`, which a killed process did not finish, is removed.

    Raises
    ------
    InputError
        If another process holds it; `holder` says what that one does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=PATIENCE):
            for pattern in leftovers:
                for stale in path.parent.glob(pattern):
                    _remove(stale)
            try:
                yield
            finally:
                # While it is held: who waits for this file takes no lock on one that is gone.
                path.unlink(missing_ok=True)
    except filelock.Timeout as error:
        raise InputError(f"{holder} by another process; wait for it") from error


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock file `path`."""
    if not path.exists():
        return False
    try:
        with filelock.FileLock(path, timeout=PATIENCE / 5):
            return False
    except filelock.Timeout:
        return True
    except PermissionError:  # another user's: the file goes with its lock, unless that process was killed
        return True
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return False  # nobody writes there


def twin(path: Path) -> Path | None:
    """What lies beside `path` under a name that differs in the case of letters only, and on some disks is the same."""

    def folded(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()

    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return next((each for each in beside if each.name != path.name and folded(each.name) == folded(path.name)), None)


def check_space(path: Path, size: int) -> None:
    """Fail now, with a plain OSError, if `size` bytes do not fit at `path`.

    HDF5 cannot recover from a disk that fills up under it: closing the file may end the process.
    """
    if not hasattr(os, "posix_fallocate"):
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    finally:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

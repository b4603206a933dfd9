"""Archives of every kind that is read, unpacked into a folder of their own."""

from __future__ import annotations

import gzip
import io
import itertools
import re
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from data_prep.archives import unpack
from tests.fuzz.runner import Case

SEED = 20213
FAILED: tuple[int, ...] = ()
MOST_FILES = 500


def originals() -> list[bytes]:
    """Small archives of every kind that is read."""
    rng = np.random.default_rng(SEED)
    files = {"a/b.wav": rng.bytes(3000), "a/c.txt": b"text" * 500, "long " * 30 + ".txt": b"", "é/d.wav": bytes(600)}
    found = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", kind) as archive:
            for name, inside in files.items():
                archive.writestr(name, inside)
        found.append(content.getvalue())
    for mode, form in itertools.product(("w:", "w:gz", "w:bz2", "w:xz"), (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode=mode, format=form) as archive:
            for name, inside in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(inside)
                archive.addfile(info, io.BytesIO(inside))
        found.append(content.getvalue())
    return found


def mutant(number: int, whole: list[bytes]) -> bytes:
    """Archive `number`: bytes changed, anywhere or where headers are, words of extreme values, cut, grown, doubled.

    Of those that are compressed, half are changed inside.
    """
    rng = np.random.default_rng([SEED, number])
    content = whole[number % len(whole)]
    packed = content.startswith(b"\x1f\x8b") and rng.random() < 0.5
    values = bytearray(gzip.decompress(content) if packed else content)
    heads = [place for mark in (b"PK", b"ustar") for place in places(values, mark)] or [0]
    for _ in range(rng.integers(1, 5)):
        near = max(0, min(len(values) - 1, int(rng.choice(heads)) + int(rng.integers(-257, 64))))
        place = near if rng.random() < 0.7 else int(rng.integers(len(values)))
        kind = rng.integers(7)
        if kind < 2:
            values[place] = rng.integers(256)
        elif kind == 2:
            extreme = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
            values[place : place + 4] = struct.pack("<I", extreme)
        elif kind == 3:
            values[place : place + 12] = rng.choice([b"77777777777\0", b"\x80" + b"\xff" * 11, b"-0000000001\0"])
        elif kind == 4:
            del values[place:]
        elif kind == 5:
            values[place:place] = rng.bytes(int(rng.integers(1, 600)))
        else:
            values += values[place:]
        if not values:
            break
    if packed:
        return gzip.compress(bytes(values), 1)
    return bytes(values)


def places(content: bytes, mark: bytes) -> list[int]:
    return [found.start() for found in re.finditer(re.escape(mark), content)]


def make_case(folder: Path) -> Case:
    """What takes the number of a case and a folder."""
    whole, path, to = originals(), folder / "archive", folder / "out"

    def case(number: int, _: Path) -> None:
        path.write_bytes(mutant(number, whole))
        try:
            unpack(path, to, MOST_FILES)
        finally:
            shutil.rmtree(to, ignore_errors=True)
            assert {each.name for each in folder.iterdir()} == {"archive"}  # nothing escaped

    return case

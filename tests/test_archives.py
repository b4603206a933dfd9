"""Archives: what is unpacked, and what is refused before a file is written."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import itertools
import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from data_prep import archives
from multiview.support.errors import InputError
from tests import trees
from tests.fuzz.runner import in_processes

MOST = 500
SECONDS, MEBIBYTES = 2.0, 300  # of a CPU for one; of the process
unpack = functools.partial(archives.unpack, most_files=MOST)


@pytest.mark.parametrize("make", [trees.make_zip, trees.make_tar])
def test_archives_are_unpacked_and_whole_files_kept(tmp_path: Path, make) -> None:
    members = {"a/b.txt": b"one", "a/c/d.txt": b"two", "e.txt": b"three"}
    path, folder = make(tmp_path / "archive", members), tmp_path / "out"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b.txt").write_bytes(b"ONE")  # whole, as far as its size says
    (folder / "e.txt").write_bytes(b"th")  # half
    unpack(path, folder)
    found = {item.relative_to(folder).as_posix(): item.read_bytes() for item in folder.rglob("*") if item.is_file()}
    assert found == {**members, "a/b.txt": b"ONE"}


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "link/evil.txt", "."])
@pytest.mark.parametrize("make", [trees.make_zip, trees.make_tar])
def test_no_path_escapes(tmp_path: Path, make, name: str) -> None:
    folder, outside = tmp_path / "out", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    path = make(tmp_path / "archive", {"good.txt": b"x", name: b"y"})
    with pytest.raises(InputError, match="expected plain files below .*do not use this archive"):
        unpack(path, folder)
    assert not list(outside.iterdir()) and not (folder / "good.txt").exists()
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    for kind, target in itertools.product(kinds, ("/etc/passwd", "b")):  # one that stays inside, too
        path = trees.make_tar(tmp_path / "archive", {"b": b"", "a": b""}, type=kind, linkname=target)
        with pytest.raises(InputError, match="expected plain files"):
            unpack(path, tmp_path / "out")
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16  # a symbolic link
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="expected plain files"):
        unpack(tmp_path / "archive", tmp_path / "out")


@pytest.mark.parametrize("make", [trees.make_zip, trees.make_tar])
def test_bombs_are_refused(tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SLACK", 2**20)
    (tmp_path / "out").mkdir()
    path = make(tmp_path / "archive", {"zeros": bytes(20 * 2**20)})
    with pytest.raises(InputError, match=r"expected at most \d+ MiB unpacked, found more"):
        unpack(path, tmp_path / "out")
    path = make(tmp_path / "archive", {str(number): b"" for number in range(MOST + 1)})
    with pytest.raises(InputError, match=f"expected at most {MOST} files, found more"):
        unpack(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_what_does_not_fit_on_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = trees.make_zip(tmp_path / "archive", {"a": b"12345"})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 6, 4))
    with pytest.raises(InputError, match="free some space"):
        unpack(path, tmp_path)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = trees.make_zip(tmp_path / "a.zip", {"a": bytes(range(256)) * 100}).read_bytes()
    spoiled = bytearray(whole)
    spoiled[60:90] = b"?" * 30
    zipped = gzip.compress(b"no tar")
    for content in (b"no archive", b"", bytes(spoiled), zipped, zipped[:-4]):
        (tmp_path / "archive").write_bytes(content)
        with pytest.raises(InputError, match="is damaged or no archive"):
            unpack(tmp_path / "archive", tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "archive"]


# Hostile ones


def tar_header(name: str = "a", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def pax_header(**records: object) -> bytes:
    """What describes the next member; lengths count themselves."""
    lines = b""
    for key, value in records.items():
        text = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(text) + 1
        while length != len(text) + len(str(length)):
            length = len(text) + len(str(length))
        lines += str(length).encode() + text
    padded = lines.ljust(-(-len(lines) // 512) * 512, b"\0")
    return tar_header("pax", len(lines), tarfile.XHDTYPE) + padded


def zip_directory(entries: int) -> bytes:
    """A zip archive of so many empty files of one name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a", b"")
    whole = content.getvalue()
    begin, end = whole.index(b"PK\1\2"), whole.index(b"PK\5\6")
    directory = whole[begin:end] * entries
    return (
        whole[:begin] + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), begin, 0)
    )


END = bytes(1024)
HOSTILE = {
    "pax header of 3 GiB": lambda: gzip.compress(tar_header("pax", 3 * 2**30, tarfile.XHDTYPE) + bytes(2**20)),
    "global header of 3 GiB": lambda: tar_header("pax", 3 * 2**30, tarfile.XGLTYPE),
    "long name of 3 GiB": lambda: tar_header("././@LongLink", 3 * 2**30, tarfile.GNUTYPE_LONGNAME),
    "long link of 3 GiB": lambda: bz2.compress(tar_header("././@LongLink", 3 * 2**30, tarfile.GNUTYPE_LONGLINK)),
    "200,000 empty files": lambda: gzip.compress(tar_header() * 200_000 + END, 1),
    "200,000 empty files, zip": lambda: zip_directory(200_000),
    "8,000 empty files, zip": lambda: zip_directory(8_000),
    "100,000 headers of headers": lambda: gzip.compress(pax_header(comment="x") * 100_000 + tar_header() + END, 1),
    "file of 3 TiB": lambda: tar_header("a", 3 * 2**40) + END,
    "file of 3 TiB by its pax header": lambda: pax_header(size=3 * 2**40) + tar_header() + END,
    "negative size": lambda: tar_header("a", -512) + END,
    "negative size by its pax header": lambda: pax_header(size=-512) + tar_header() + END,
    "length of 5,000 digits": lambda: tar_header("p", 5002, tarfile.XHDTYPE) + b"9" * 5000 + b" a" + bytes(1000) + END,
    "holes": lambda: tar_header("a", 512, tarfile.GNUTYPE_SPARSE) + END,
    "holes by a map without end": lambda: gzip.compress(
        pax_header(GNU__sparse__major=1, GNU__sparse__minor=0) + tar_header("a", 2**26) + b"1" * 2**26, 1
    ),
    "NUL in a name": lambda: pax_header(path="a\0b") + tar_header("a", 1) + b"x" + END,
    "control character in a name": lambda: tar_header("a\x1b[2J") + END,
    "name that is not UTF-8": lambda: tar_header(os.fsdecode(b"a\xff")) + END,
    "name of 300 bytes": lambda: tar_header("a" * 300) + END,
    "name of 5,000 bytes": lambda: tar_header("a/" * 2500 + "b") + END,
    "name on another disk": lambda: tar_header("//server/a") + END,
    "file and folder of one name": lambda: tar_header("a", 1) + b"x".ljust(512) + tar_header("a/b") + END,
    "xz with a dictionary of 4 GiB": lambda: lzma_with_dictionary(),
}  # fmt: skip


def lzma_with_dictionary() -> bytes:
    whole = bytearray(lzma.compress(bytes(2000)))
    place = whole.index(b"\x21\x01") + 2  # the property of filter LZMA2, its dictionary's size
    whole[place] = 40
    header = 4 * (whole[12] + 1)
    whole[12 + header - 4 : 12 + header] = struct.pack("<I", zlib.crc32(bytes(whole[12 : 12 + header - 4])))
    return bytes(whole)


# Unpacks each archive below a folder in one process.
UNPACKER = """
import json, pathlib, sys, time
from data_prep.archives import unpack
from multiview.support.errors import InputError
from tests.helpers.c_api import peak_memory

base, found = peak_memory(), {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    begin = time.process_time()
    try:
        unpack(path, pathlib.Path(sys.argv[2]) / path.name, 500)
        said = ""
    except InputError as error:
        said = str(error)
    found[path.name] = [said, time.process_time() - begin]
print(json.dumps([found, peak_memory(), base]))
"""


def unpack_all(folder: Path, to: Path) -> tuple[dict[str, tuple[str, float]], float]:
    """By archive what was said, or nothing, and the seconds of a CPU; and the peak of the process in MiB."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", UNPACKER, str(folder), str(to)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    found, peak, _ = json.loads(done.stdout.splitlines()[-1])
    return found, peak


def test_hostile_archives_are_refused_soon_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in HOSTILE.items():
        (tmp_path / "in" / name.replace(" ", "_")).write_bytes(content())
    found, peak = unpack_all(tmp_path / "in", tmp_path / "out")
    for name, (said, seconds) in found.items():
        assert said, name
        assert seconds < SECONDS, name
        assert len(said) < 600 and said.isprintable(), name
    assert peak < MEBIBYTES
    assert not (tmp_path / "out").exists()
    assert "a header of at most 16 KiB, found 3,221,225,472 bytes" in found["pax_header_of_3_GiB"][0]
    assert "at most 500 files, found more" in found["200,000_empty_files"][0]
    assert "a directory of at most 564 KiB, found" in found["200,000_empty_files,_zip"][0]


def test_names_of_other_scripts_and_folders_of_one_name(tmp_path: Path) -> None:
    names = ["犬/吠える.wav", "犬/chien é.wav", "./dog/🐕.wav", "dog//b.wav"]
    for make in (trees.make_zip, trees.make_tar):
        unpack(make(tmp_path / "archive", {name: b"x" for name in names}), tmp_path / make.__name__)
        found = {path.relative_to(tmp_path / make.__name__) for path in (tmp_path / make.__name__).rglob("*.wav")}
        assert found == set(map(Path, names))


def test_mutated_archives() -> None:
    """An answer or a line for each, and nothing outside of its folder; `tests.fuzz archives` has thousands."""
    found = in_processes("archives", 400)
    assert found.ok, found
    assert found.refused > 400 / 3 and found.read > 400 / 20  # both sides were tried
    assert found.slowest < SECONDS and found.peak_mib < MEBIBYTES and found.longest < 600

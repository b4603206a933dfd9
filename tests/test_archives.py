"""Archives: what is unpacked, and what is refused before a file is written."""

from __future__ import annotations

import functools
import gzip
import itertools
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_prep import archives
from multiview.support.errors import InputError
from tests import trees

MOST = 500
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


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "link/evil.txt"])
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

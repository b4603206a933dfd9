"""Stores that lie: each is read as what it is or refused in one line, in little time and memory."""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep import prepare
from multiview import cli
from multiview.store import Store
from multiview.support.errors import InputError
from tests.fuzz.mutations import remade
from tests.fuzz.runner import in_processes

SECONDS, MEBIBYTES = 5.0, 200  # for one store
Edit = Callable[[h5py.File], object]


def with_value(name: str, place: int | slice, value: object) -> Edit:
    return lambda file: file[name].__setitem__(place, value)


def attribute(name: str, value: object) -> Edit:
    return lambda file: file.attrs.__setitem__(name, value)


def about(**changes: object) -> Edit:
    return lambda file: file.attrs.__setitem__("about", json.dumps(json.loads(file.attrs["about"]) | changes))


def elsewhere(file: h5py.File) -> None:
    """The values of mel as bytes of another file of the machine."""
    shape = file["views/mel/values"].shape
    del file["views/mel/values"]
    file.create_dataset("views/mel/values", shape, np.float32, external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(file["views/mel/values"].shape, np.float32)
    layout[:100] = h5py.VirtualSource("other.h5", "values", (100, 64))
    del file["views/mel/values"]
    file.create_virtual_dataset("views/mel/values", layout)


def linked(kind: type, *arguments: str) -> Edit:
    def edit(file: h5py.File) -> None:
        del file["views/mel"]
        file["views/mel"] = kind(*arguments)

    return edit


HOSTILE: dict[str, tuple[Edit, str]] = {
    "text for values": (
        remade("views/mel/values", data=None, shape=(10_000, 64), dtype=h5py.string_dtype()),
        "expected views/mel/values as float32",
    ),
    "references for values": (
        remade("views/raw/values", data=None, shape=(100,), dtype=h5py.ref_dtype),
        "expected views/raw/values as int16",
    ),
    "doubles for values": (remade("views/mel/values", dtype=np.float64), "found float64"),
    "swapped bytes": (remade("views/mel/values", dtype=">f4"), "found >f4"),
    "a rank too many": (
        lambda file: remade("views/mel/values", data=file["views/mel/values"][()][..., np.newaxis])(file),
        r"found float32 \[\d+, 64, 1\]",
    ),
    "a group for values": (
        lambda file: (file.__delitem__("views/mel/values"), file.create_group("views/mel/values")),
        "expected a dataset views/mel/values",
    ),
    "no values": (remade("views/mel/values", data=h5py.Empty("f4")), "expected a dataset views/mel/values"),
    "another file's data": (elsewhere, "in the file itself, found them in others"),
    "virtual data": (virtual, "in the file itself, found them in others"),
    "a link to another file": (linked(h5py.ExternalLink, "other.h5", "/views/mel"), "in the file itself, found a link"),
    "a link that goes round": (linked(h5py.SoftLink, "/views/mel"), "in the file itself, found"),
    "declared rows": (
        lambda file: [
            remade(name, data=None, shape=(10**11,), dtype=kind)(file)
            for name, kind in (("clips/id", h5py.string_dtype()), ("clips/label", "i8"))
        ],
        "expected the values of /clips/id, found 0 bytes that stand for",
    ),
    "chunked zeros": (
        remade("views/raw/values", data=None, shape=(3 * 2**30,), dtype="i2", chunks=(2**20,), compression="gzip"),
        "expected views/raw/values as int16",
    ),
    "a long view of zeros": (
        lambda file: (
            with_value("views/raw/offsets", -1, 3 * 2**30)(file),
            remade("views/raw/values", data=None, shape=(3 * 2**30,), dtype="i2", chunks=(2**20,))(file),
        ),
        "expected the values of /views/raw/values, found 0 bytes that stand for",
    ),
    "offsets that fall": (with_value("views/mel/offsets", 3, 0), "expected views/mel/offsets from 0"),
    "offsets below 0": (with_value("views/mel/offsets", 0, -5), "expected views/mel/offsets from 0"),
    "offsets beyond the end": (with_value("views/mel/offsets", -1, 10**9), "expected views/mel/values as float32"),
    "offsets as doubles": (remade("views/mel/offsets", dtype="f8"), "expected views/mel/offsets as int64"),
    "a label too high": (with_value("clips/label", 2, 99), "expected clips/label from 0 to 2, found 99"),
    "a label below 0": (with_value("clips/label", 2, -1), "expected clips/label from 0 to 2, found -1"),
    "labels as text": (remade("clips/label", data=["a"] * 60, dtype=h5py.string_dtype()), "clips/label as integers"),
    "few labels": (remade("clips/label", data=[0, 1]), r"expected clips/label as integers \[60\], found int64 \[2\]"),
    "a fold below 0": (with_value("clips/fold", 0, -3), "expected clips/fold from 0"),
    "no samples": (with_value("clips/samples", 0, 0), "expected clips/samples from 1"),
    "years of samples": (with_value("clips/samples", 0, 2**62), "expected clips/samples from 1"),
    "clips that are longer than their views": (with_value("clips/samples", 5, 10**6), "as far apart as the clips are"),
    "a third split": (with_value("clips/split", 0, "test"), "of development or evaluation, found 'test'"),
    "one class twice": (lambda file: with_value("classes", 0, file["classes"][1])(file), "each once"),
    "ids that are no text": (with_value("clips/id", 0, b"\xff\xfe"), "not a store .*utf-8"),
    "a name that is a path": (attribute("dataset", "../../etc"), "expected the name of a dataset"),
    "a rate that is none": (attribute("sample_rate", "fast"), "expected a sample_rate of 44100 or 22050, found 'fast'"),
    "a rate without end": (attribute("sample_rate", np.inf), "expected a sample_rate of 44100 or 22050, found 'inf'"),
    "views as a list": (attribute("views", "[1, 2]"), "view"),
    "views nested deeply": (attribute("views", "[" * 30_000), "not a store"),
    "a protocol as a list": (attribute("about", "[1]"), "not a store"),
    "epochs as text": (about(epochs="many"), "expected about with epochs like 1500, found 'many'"),
    "no validation": (about(validation_sources=-1), "expected about with validation_sources like"),
    "a fingerprint of another type": (
        attribute("fingerprint", np.ones(3)),
        r"expected a fingerprint of 64 hexadecimal digits, found '\[1\. 1\. 1\.\]'",
    ),
    "a fingerprint that is none": (attribute("fingerprint", b"\xff"), "expected a fingerprint of 64 hexadecimal"),
}


@pytest.fixture
def hostile(tiny_store: Store, tmp_path: Path) -> Callable[[Edit], Path]:
    def make(edit: Edit) -> Path:
        path = tmp_path / "store.h5"
        shutil.copy(tiny_store.path, path)
        with h5py.File(path, "a") as file:
            edit(file)
        return path

    return make


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_store_is_refused(hostile: Callable, name: str, capsys: pytest.CaptureFixture) -> None:
    """In one line that says what is wrong, by whoever reads it."""
    edit, message = HOSTILE[name]
    path = hostile(edit)
    begin = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(InputError, match=message):
        Store(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - begin < SECONDS and peak < MEBIBYTES * 2**20
    train = ["train", str(path), "--system", "mel", "--fold", "1", "--preset", "demo", "--run", str(path.parent / "r")]
    for main, words in ((prepare.main, ["--inspect", str(path)]), (cli.main, train)):
        status, error = main(words), capsys.readouterr().err
        assert status == 1 and error.count("\n") == 1 and "error: " in error
    assert not (path.parent / "r").exists()


def test_words_in_one_place_are_counted(hostile: Callable) -> None:
    """60 references to one word of 4 MiB, 240 MiB in all: refused before they are read."""
    word = "x" * 2**22
    path = hostile(remade("clips/source", data=[word] + ["y"] * 59, dtype=h5py.string_dtype()))
    with h5py.File(path, "r") as file:
        place = file["clips/source"].id
        begin, size = place.get_offset(), place.get_storage_size() // 60
    content = bytearray(path.read_bytes())
    content[begin : begin + 60 * size] = content[begin : begin + size] * 60
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError, match="expected clips/source no longer than its file, found more"):
        Store(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEBIBYTES * 2**20


def test_values_are_checked_on_request(hostile: Callable, tiny_store: Store, capsys: pytest.CaptureFixture) -> None:
    """All of them, which opening a store does not; other writers may not have hashed them."""
    tiny_store.verify()
    picture = ["--to", str(tiny_store.path.parent)]
    assert prepare.main(["--inspect", str(tiny_store.path), "--check", *picture]) == 0
    assert "every value is finite, and what was written" in capsys.readouterr().out
    for name, edit, message in (
        ("nan", with_value("views/mel/values", 7, np.nan), f"found others in mel of {tiny_store.ids[0]}"),
        ("changed", with_value("views/raw/values", 7, 1234), "expected values of the fingerprint"),
        (
            "moved",
            lambda file: with_value("clips/fold", 3, file["clips/fold"][3] % 4 + 1)(file),
            "expected values of the fingerprint",
        ),
    ):
        path = hostile(edit)
        assert len(Store(path)) == 60, name
        assert prepare.main(["--inspect", str(path), "--check"]) == 1
        assert message in capsys.readouterr().err
    hostile(lambda file: file.attrs.__delitem__("fingerprint"))
    Store(path).verify()
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["--list", "--check"])


def test_mutated_stores(tiny_store: Store) -> None:
    """Edited by HDF5, or byte by byte: read, or refused in a line; `tests.fuzz stores` has thousands."""
    found = in_processes("stores", 80, tiny_store.path)
    assert found.ok, found
    assert found.refused > 80 / 4 and found.read > 80 / 20  # both sides were tried
    assert found.slowest < SECONDS

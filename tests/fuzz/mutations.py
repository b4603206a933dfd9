"""Changes of files: of any bytes, and of JSON, tables, HDF5 and zip archives as what they are."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

DEEP = 100_000  # brackets
# What a value may be instead; text stands in the file as it is.
VALUES = ["null", "[]", "{}", '""', '"x"', "true", "-1", "0", "1.5", "1e400", "1e300", "NaN", "-Infinity", "9" * 400,
          "9" * 5000, "4294967296", '"\\ud800"', '"../../etc"', '"' + "a" * 20_000 + '"', "[null]", '{"a": {}}',
          "[" * DEEP + "]" * DEEP, '{"a":' * 200 + "1" + "}" * 200]  # fmt: skip
CELLS = ["", "nan", "inf", "-1", "1e400", "x", "9" * 5000, "0x10", "1_0", '"', '"1\n2"', "\0", "é", " 1 ", "0.5"]
MARK = "\1mark\1"


def any_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with bytes changed, mostly in its header; or cut, grown, or with parts at wrong places."""
    values = np.frombuffer(content, np.uint8).copy()
    header = min(len(values), 128)
    kind = rng.integers(5)
    if kind == 0:
        values[rng.integers(header, size=rng.integers(1, 8))] = rng.integers(256)
    elif kind == 1:  # sizes and counts are little words of extreme values
        place = rng.integers(max(1, header - 4))
        extreme = rng.choice(np.array([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF], np.uint64))
        values[place : place + 4] = np.frombuffer(np.uint32(extreme).tobytes(), np.uint8)[: len(values) - place]
    elif kind == 2:
        values = values[: rng.integers(len(values))]
    elif kind == 3:
        values[rng.integers(len(values), size=max(1, len(values) // 50))] ^= np.uint8(rng.integers(1, 256))
    else:
        begin, end = np.sort(rng.integers(len(values), size=2))
        values = np.concatenate([values[:end], values[begin:]])
    return values.tobytes()


def _places(found: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of JSON and key in it."""
    for key, value in list(found.items() if isinstance(found, dict) else enumerate(found)):
        yield found, key
        if isinstance(value, dict | list):
            yield from _places(value)


def any_json(content: bytes, rng: np.random.Generator) -> bytes:
    """One value replaced, taken away, put elsewhere, or under another name."""
    found = json.loads(content)
    places = list(_places(found))
    holder, key = places[rng.integers(len(places))]
    kind = rng.integers(8)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        other, name = places[rng.integers(len(places))]
        holder[key] = json.loads(json.dumps(other[name]))
    elif kind == 2 and isinstance(holder, dict):
        holder[f"{key}é"] = holder.pop(key)
    elif kind == 3 and isinstance(holder[key], list):
        holder[key] = holder[key] * int(rng.integers(2, 4))
    elif kind == 4 and type(holder[key]) in (int, float):
        holder[key] = [holder[key] + 1, -holder[key], holder[key] * 1e9, str(holder[key])][rng.integers(4)]
    else:
        value = VALUES[rng.integers(len(VALUES))]
        if rng.random() < 0.1:
            return value.encode()
        holder[key] = MARK
        return json.dumps(found).replace(json.dumps(MARK), value, 1).encode()
    return json.dumps(found).encode()


def any_table(content: bytes, rng: np.random.Generator) -> bytes:
    """One cell, column or line of a CSV file."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row, kind = int(rng.integers(len(rows))), rng.integers(6)
    cell = int(rng.integers(len(rows[row])))
    if kind == 0:
        rows = [each[:cell] + each[cell + 1 :] for each in rows]
    elif kind == 1:
        del rows[row]
    elif kind == 2:
        rows.insert(row, rows[rng.integers(len(rows))])
    elif kind == 3:
        rows[row] = rows[row] * 2 if rng.random() < 0.5 else rows[row][:cell]
    else:
        rows[row][cell] = CELLS[rng.integers(len(CELLS))]
    return "\r\n".join(map(",".join, rows)).encode()


def remade(name: str, **changes: object) -> Callable[[h5py.File], None]:
    """Make a dataset anew, with other arguments of `create_dataset`, and its attributes."""

    def edit(file: h5py.File) -> None:
        data, attributes = file[name][()], dict(file[name].attrs)
        del file[name]
        kinds = {"dtype": h5py.string_dtype()} if data.dtype == object else {}
        file.create_dataset(name, **({"data": data} | kinds | changes)).attrs.update(attributes)

    return edit


def any_hdf5(rng: np.random.Generator, file: h5py.File) -> None:
    """One change of a place that is drawn: a value, a type, a length, an attribute, or nothing there."""
    names: list[str] = []
    file.visititems(lambda name, each: names.append(name) if isinstance(each, h5py.Dataset) else None)
    name = str(rng.choice(names))
    kind = rng.integers(8)
    holders = [each for each in (file, *map(file.get, names)) if len(each.attrs)]
    if kind == 0:
        del file[name]
    elif kind == 1:
        remade(name, data=None, shape=tuple(rng.integers(0, 2000, rng.integers(0, 4))), dtype=rng.choice(["i1", "f8"]))(
            file
        )
    elif kind == 2 and holders:
        attributes = holders[rng.integers(len(holders))].attrs
        key = str(rng.choice(list(attributes)))
        attributes[key] = [b"\xff", "", "null", "[[]]", "{}", -1, 2**62, np.nan, np.zeros((2, 2))][rng.integers(9)]
    elif kind == 3 and file[name].dtype != object and file[name].ndim:
        place = rng.integers(max(1, len(file[name])))
        file[name][place] = rng.choice([-1, 0, 1, 127, *([np.nan, 1e30] if file[name].dtype.kind == "f" else [])])
    elif kind == 4 and file[name].ndim:
        remade(name, data=file[name][: len(file[name]) // 2])(file)
    elif kind == 5 and file[name].dtype.kind in "if":
        remade(name, data=None, shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000), compression="gzip")(file)
    elif kind == 6:
        del file[name]
        file[name] = [h5py.SoftLink(f"/{name}"), h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink("/")][
            rng.integers(3)
        ]
    elif file[name].ndim:
        remade(name, data=np.repeat(file[name][()], 2, axis=0), chunks=True, compression="gzip")(file)


def rezipped(path: Path, change: Callable[[str, bytes], bytes], kind: int = zipfile.ZIP_STORED) -> None:
    """Write an archive anew, each member changed."""
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w", kind) as target:
        for name, content in members.items():
            target.writestr(name, change(name, content))

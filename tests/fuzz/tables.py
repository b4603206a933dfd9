"""Tables of clips: anyone's own, ESC-50's and DCASE2016's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.checks import check_index
from data_prep.datasets import dcase2016, esc10
from data_prep.datasets import folder as own
from tests.fuzz.runner import Case

SEED = 20214
FAILED: tuple[int, ...] = ()
PIECES = ["", ",", ";", "\t", '"', "\n", "\r", "\r\n", "\0", "\ufeff", "é", "🐕", "1" * 5000, "-1", "0", "1e9", "nan",
          "inf", "NA", "٣", "../../x.wav", "/etc/passwd", "a" * 5000, "\x1b[2J", "True", "evaluation", "development",
          "path", "label", "fold", "'", "\\", " " * 70_000, "\u2028", "\x85"]  # fmt: skip


def mutant(number: int, whole: bytes) -> bytes:
    """Table `number`: pieces put in, taken out, changed; bytes changed; lines doubled and cut."""
    rng = np.random.default_rng([SEED, number])
    values = bytearray(whole)
    for _ in range(rng.integers(1, 5)):
        begin, end = np.sort(rng.integers(len(values) + 1, size=2))
        kind = rng.integers(6)
        piece = str(rng.choice(PIECES)).encode()
        if kind < 2:
            values[begin:begin] = piece
        elif kind == 2:
            values[begin : min(end, begin + 20)] = piece
        elif kind == 3 and values:
            values[min(begin, len(values) - 1)] = rng.integers(256)
        elif kind == 4:
            del values[begin : min(end, begin + 60)]
        else:
            values[end:end] = values[begin:end]
    return bytes(values)


def originals() -> list[bytes]:
    """Twelve clips of two classes in each."""
    rows = [(number, "ab"[number % 2], number // 4 + 1) for number in range(12)]
    tables = [
        "path,label,fold,source,split\n"
        + "".join(f"{n}.wav,{label},{fold},s{n},development\n" for n, label, fold in rows),
        "filename,fold,target,category,esc10,src_file,take\n"
        + "".join(f"{n}.wav,{fold},{n % 2},{label},True,{n},A\n" for n, label, fold in rows),
        "".join(f"audio/{n}.wav\t{label}\n" for n, label, _ in rows),
    ]
    return [each.encode() for each in tables]


def make_case(folder: Path) -> Case:
    """What takes the number of a case and a folder."""
    whole, esc = originals(), folder / "esc"
    (esc / "meta").mkdir(parents=True)
    paths = [folder / "own.csv", esc / "meta" / "esc50.csv", folder / "meta.txt"]
    readers = [lambda path: own.index(None, csv=path), lambda _: esc10.index(esc), dcase2016._read]

    def case(number: int, _: Path) -> None:
        which = number % 3
        paths[which].write_bytes(mutant(number, whole[which]))
        found = readers[which](paths[which])
        if which < 2:  # an index that a store can hold
            check_index("mutant", found, allow_missing=True)
            assert all("\0" not in clip.id and clip.id.encode() for clip in found.clips)

    return case

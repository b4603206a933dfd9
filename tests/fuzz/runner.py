"""Runs the cases of a fuzzer: here, or in processes of their own, so that one that dies is seen."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from multiview.support.errors import InputError

SECONDS = 10.0  # for a case
STUCK = 300  # seconds, after which a process is ended
LONGEST = 2000  # characters of a line
Case = Callable[[int, Path], None]


@dataclass
class Summary:
    """What became of the cases: how many were read and refused, and the numbers of all others with what they said."""

    read: int = 0
    refused: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    crashed: list[int] = field(default_factory=list)
    slowest: float = 0.0
    peak_mib: float = 0.0

    @property
    def cases(self) -> int:
        return self.read + self.refused + len(self.failed) + len(self.crashed)

    def add(self, number: int, said: str | None, trace: str, seconds: float) -> None:
        """Count a case."""
        self.slowest = max(self.slowest, seconds)
        if not trace and (said and ("\n" in said or len(said) > LONGEST)):
            trace = f"more than a line: {said[:200]}"
        if not trace and seconds > SECONDS:
            trace = f"{seconds:.1f} s"
        if trace:
            self.failed[number] = trace
        elif said is None:
            self.read += 1
        else:
            self.refused += 1

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.refused} refused, {self.read} read, {len(self.crashed)} crashes "
            f"{self.crashed[:20]}, {len(self.failed)} tracebacks {list(self.failed)[:20]}, "
            f"slowest {self.slowest:.2f} s, peak {self.peak_mib:.0f} MiB"
        )


def one(case: Case, number: int, folder: Path) -> tuple[str | None, str, float]:
    """What a case said if it was refused, the traceback if it should not have ended as it did, and its seconds."""
    said, trace, clocks = None, "", (time.perf_counter, time.process_time)
    begin = [clock() for clock in clocks]
    try:
        case(number, folder)
    except InputError as error:
        said = str(error)
    except Exception:
        trace = traceback.format_exc()
    # The less of both: others may have the cores, and several threads count several times.
    return said, trace, min(clock() - before for clock, before in zip(clocks, begin, strict=True))


def here(case: Case, numbers: Iterable[int], folder: Path) -> Summary:
    """Run cases in this process."""
    found = Summary()
    for number in numbers:
        found.add(number, *one(case, number, folder))
    return found


def in_processes(name: str, count: int) -> Summary:
    """Run cases 0, 1, ... of the module `tests.fuzz.NAME`; a process that dies is followed by another.

    Interrupted, it gives what was found so far.
    """
    found = Summary()
    with contextlib.suppress(KeyboardInterrupt):
        _run_all(found, name, count)
    return found


def _run_all(found: Summary, name: str, count: int) -> None:
    begin = 0
    while begin < count:
        for number, said, trace, seconds, peak in _process(name, begin, count):
            found.add(number, said, trace, seconds)
            found.peak_mib = max(found.peak_mib, peak)
            if trace:
                print(f"case {number}: {trace}", file=sys.stderr, flush=True)
            begin = number + 1
        if begin < count:
            found.crashed.append(begin)
            print(f"case {begin}: the process died", file=sys.stderr, flush=True)
            begin += 1


def _process(name: str, first: int, count: int) -> Iterator[tuple]:
    command = [sys.executable, "-m", "tests.fuzz.runner", name, str(first), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('["case",'):
                yield tuple(json.loads(line)[1:])


def main() -> None:
    """A process: cases from a number on, a line of JSON each."""
    from tests.helpers.c_api import peak_memory

    name, first, count = sys.argv[1], *map(int, sys.argv[2:])
    module = importlib.import_module(f"tests.fuzz.{name}")
    with tempfile.TemporaryDirectory() as folder:
        case = module.make_case(Path(folder))
        for number in range(first, count):
            faulthandler.dump_traceback_later(STUCK, exit=True)
            result = one(case, number, Path(folder))
            print(json.dumps(["case", number, *result, peak_memory()]), flush=True)


if __name__ == "__main__":
    main()

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from multiview.support.errors import InputError

SECONDS, WAIT = 10.0, 60.0  # for a case, of work and in all
MEBIBYTES = 1536  # of a process
STUCK = 300  # seconds, after which a process is ended
LONGEST = 2000  # characters of a line
PER_PROCESS = 500  # cases, as TensorFlow frees no graph
MOST_DEAD = 20  # processes without an answer from any
ROOT = Path(__file__).parents[2]
Case = Callable[[int, Path], None]


@dataclass
class Summary:
    """What became of the cases: how many were read and refused, and the numbers of all others with what they said."""

    read: int = 0
    refused: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    crashed: list[int] = field(default_factory=list)
    slowest: float = 0.0
    longest: int = 0  # characters of what was said
    peak_mib: float = 0.0

    @property
    def cases(self) -> int:
        return self.read + self.refused + len(self.failed) + len(self.crashed)

    @property
    def ok(self) -> bool:
        """Whether every case ended as it has to, in the memory that a process may take."""
        return not self.failed and not self.crashed and self.peak_mib <= MEBIBYTES

    def add(self, number: int, said: str | None, trace: str, seconds: float) -> None:
        """Count a case."""
        self.slowest, self.longest = max(self.slowest, seconds), max(self.longest, len(said or ""))
        if not trace and said and (len(said) > LONGEST or not said.isprintable()):
            trace = f"no line of text: {said[:200]!r}"
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
    wall, work = (clock() - before for clock, before in zip(clocks, begin, strict=True))
    if wall > WAIT:
        trace = trace or f"{wall:.0f} s in all"
    # The less of both: others may have the cores, and several threads count several times.
    return said, trace, min(wall, work)


def here(case: Case, numbers: Iterable[int], folder: Path) -> Summary:
    """Run cases in this process."""
    found = Summary()
    for number in numbers:
        found.add(number, *one(case, number, folder))
    return found


def cases(module: ModuleType, count: int) -> list[int]:
    """Numbers 0, 1, ... and those that once failed."""
    return sorted({*range(count), *module.FAILED})


def in_processes(name: str, count: int, *given: Path) -> Summary:
    """Run cases of the module `tests.fuzz.NAME`, whose `make_case` takes what is given after a folder.

    A process that dies is followed by another. Interrupted, it gives what was found so far.
    """
    found = Summary()
    with contextlib.suppress(KeyboardInterrupt):
        _run_all(found, name, count, given)
    return found


def _run_all(found: Summary, name: str, count: int, given: Sequence[Path]) -> None:
    left = cases(importlib.import_module(f"tests.fuzz.{name}"), count)
    bar = tqdm(total=len(left), desc=name, unit="case", disable=None)
    while left:
        numbers = left[:PER_PROCESS]
        for number, said, trace, seconds, peak in _process(name, numbers, given):
            found.add(number, said, trace, seconds)
            found.peak_mib = max(found.peak_mib, peak)
            if number in found.failed:
                bar.write(f"case {number}: {found.failed[number]}", sys.stderr)
            numbers.remove(number)
            left.remove(number)
            bar.update()
        if numbers:
            found.crashed.append(numbers[0])
            left.remove(numbers[0])
            bar.write(f"case {numbers[0]}: the process died", sys.stderr)
            bar.update()
            if len(found.crashed) == found.cases == MOST_DEAD:
                raise RuntimeError(f"{name}: nothing runs, see above")
    bar.close()


def _process(name: str, numbers: Sequence[int], given: Sequence[Path]) -> Iterator[tuple]:
    command = [sys.executable, "-m", "tests.fuzz.runner", name, json.dumps(numbers), *map(str, given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('["case",'):
                yield tuple(json.loads(line)[1:])


def main() -> None:
    """A process: a line of JSON for each of its cases."""
    from tests.helpers.c_api import peak_memory

    name, numbers, *given = sys.argv[1:]
    module = importlib.import_module(f"tests.fuzz.{name}")
    with tempfile.TemporaryDirectory() as folder:
        case = module.make_case(Path(folder), *map(Path, given))
        for number in json.loads(numbers):
            faulthandler.dump_traceback_later(STUCK, exit=True)
            result = one(case, number, Path(folder))
            print(json.dumps(["case", number, *result, peak_memory()]), flush=True)


if __name__ == "__main__":
    main()

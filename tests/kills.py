"""Real kills: each command killed at random moments and repeated leaves what an undisturbed one does.

    python -m tests.kills [--kills 50] [--seed 0] [--commands prepare,train,evaluate,elsewhere,report,...]

The kills are dealt out over the commands, at most CHAIN to one try, half of them at a moment of the undisturbed time,
half a little after something new is on disk. Then the command is repeated to its end. What two undisturbed calls leave
alike has to be the same, bit for bit: files, members of archives, entries of JSON. What was measured, and what two of
them do not leave alike (dates), has to be there. Logs and locks are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from multiview.options import names

ROOT = Path(__file__).parents[1]
CHAIN = 3
MADE = {"export": "exports/1/export.json"}  # not made again where it is, as the next call makes another version
MEASURED = ("training_seconds", "checkpoint_seconds", "peak_memory_mib")
POLL = 0.005  # seconds
SOON = 0.2  # seconds after something new is on disk
QUICK = ["--preset", "demo", "--epochs", "6", "--batch-size", "4"]
COMMANDS: dict[str, list[str]] = {  # in a folder with these inputs
    "prepare": ["data_prep.prepare", "demo", "--audio", "../audio", "--store", "s.h5", "--sample-rate", "22050",
                "--jobs", "1"],
    "train": ["multiview.cli", "train", "tiny.h5", "--system", "cqt", "--fold", "1", *QUICK, "--run", "run"],
    "evaluate": ["multiview.cli", "evaluate", "trained"],
    "elsewhere": ["multiview.cli", "evaluate", "trained", "--store", "tiny.h5", "--to", "tested"],  # its test clips
    "report": ["multiview.cli", "report", "results"],
    "export": ["multiview.cli", "export", "trained", "--to", "exports"],
    "grid": ["multiview.cli", "grid", "tiny.h5", "--results", "grid", "--systems", "mel,cqt", "--folds", "1", *QUICK],
    "timeline": ["multiview.cli", "predict", "trained", "../long.wav", "--timeline"],
}  # fmt: skip


def entries(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Leaves of JSON by their way."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from entries(f"{name} {key}", each)
    else:
        yield name, repr(value)


def parts(name: str, content: bytes) -> Iterator[tuple[str, str]]:
    """A file as entries, if it is JSON, or a digest."""
    if name.endswith(".json"):
        yield from entries(name, json.loads(content))
    else:
        yield name, hashlib.sha256(content).hexdigest()


def contents(folder: Path) -> dict[str, str]:
    """All that is in a folder, by file and place."""
    found: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".log", ".lock")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".keras", ".npz"):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    found |= dict(parts(f"{name} {member}", archive.read(member)))
        else:
            found |= dict(parts(name, path.read_bytes()))
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> set[str]:
    """Places where two folders differ, or that only one has."""
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def prepare_inputs(folder: Path) -> None:
    """A tiny store, a run that learnt nothing, results of several runs, and a recording."""
    import numpy as np
    import soundfile

    from tests.helpers.results import write_runs

    subprocess.run([sys.executable, "-m", "tests.fuzz.subjects", str(folder)], cwd=ROOT, check=True, **silent())
    shutil.rmtree(folder / "exports")
    write_runs(folder / "results")
    soundfile.write(folder / "long.wav", 0.1 * np.random.default_rng(0).standard_normal(60 * 22050), 22050)


def silent() -> dict[str, int]:
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def fresh(folder: Path) -> Path:
    """The folder that a command works in, as it is before it."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("trained", "results"):
        shutil.copytree(folder / name, work / name)
    (work / "tiny.h5").symlink_to(folder / "tiny.h5")
    return work


def start(work: Path, command: str) -> subprocess.Popen:
    call = [sys.executable, "-m", *COMMANDS[command]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(call, cwd=work, env=environment, start_new_session=True, **silent())


def news(folder: Path) -> int:
    """A number that changes with what is on disk."""
    with contextlib.suppress(FileNotFoundError):  # what is renamed meanwhile
        return hash(tuple((path, path.stat().st_size) for path in sorted(folder.rglob("*"))))
    return 0


def undisturbed(folder: Path, command: str) -> tuple[dict[str, str], float, int]:
    """What it leaves, its seconds, and how often something new was on disk."""
    work, begin = fresh(folder), time.monotonic()
    process, before, changes = start(work, command), news(work), 0
    while process.poll() is None:
        changes, before = changes + ((now := news(work)) != before), now
        time.sleep(POLL)
    assert process.returncode == 0, command
    return contents(work), time.monotonic() - begin, changes


def killed(work: Path, command: str, draw: random.Random, seconds: float, changes: int) -> bool:
    """Start and kill; False if it ended before."""
    begin, before, process = time.monotonic(), news(work), start(work, command)
    moment, left = draw.uniform(0, seconds), draw.randint(1, max(1, changes)) if draw.random() < 0.5 else 0
    while process.poll() is None and (left or time.monotonic() - begin < moment):
        if left and (now := news(work)) != before:
            left, before, moment = left - 1, now, time.monotonic() - begin + draw.uniform(0, SOON)
        time.sleep(POLL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def attack(folder: Path, command: str, kills: int, draw: random.Random) -> tuple[int, set[str]]:
    """Kills after which all was the same, and the places where even undisturbed calls differ."""
    (whole, seconds, changes), (again, *_) = undisturbed(folder, command), undisturbed(folder, command)
    loose, done, same = differences(whole, again) | {place for place in whole if place.endswith(MEASURED)}, 0, 0
    while done < kills:
        work, count, status = fresh(folder), 0, 0
        made = work / MADE.get(command, "nothing")
        while count < min(CHAIN, kills - done) and not made.exists():
            if not killed(work, command, draw, seconds, changes):
                break
            count += 1
        if not made.exists():
            status = start(work, command).wait()
        found = contents(work)
        strange = (differences(whole, found) - loose) | (whole.keys() ^ found.keys())
        if status or strange:
            print(f"{command}: status {status} after {count} kills, other than undisturbed: {sorted(strange)[:10]}")
        else:
            same += count
        done += count
    return same, loose


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what became of the kills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", type=names, default=list(COMMANDS))
    args = parser.parse_args(arguments)
    draw, total = random.Random(args.seed), 0
    counts = Counter(itertools.islice(itertools.cycle(args.commands), args.kills))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_inputs(folder)
        for command, kills in counts.items():
            same, loose = attack(folder, command, kills, draw)
            print(
                f"{command}: {same} of {kills} kills end as undisturbed; of what is measured or dated: {kinds(loose)}",
                flush=True,
            )
            total += same
    print(f"{total} of {args.kills} kills end as undisturbed")
    return int(total < args.kills)


def kinds(places: set[str]) -> str:
    """What they are called."""
    return ", ".join(sorted({place.split()[-1] for place in places})) or "nothing"


if __name__ == "__main__":
    raise SystemExit(main())

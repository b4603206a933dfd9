"""A disk that fills up: one line from every command that writes, nothing lost, and nothing left in its way."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multiview.experiment.run import Run
from multiview.store import Store
from multiview.support import errors, files
from tests.fuzz.records import make_trained
from tests.helpers.commands import run as command
from tests.helpers.results import write_runs

ADVICE = "free some disk space and repeat the command, nothing finished is lost"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk in memory of so many KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def make(kibibytes: int) -> Path:
        with contextlib.suppress(OSError):
            call = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(disk)]
            subprocess.run(call, capture_output=True, check=False)
        if not disk.is_mount():
            pytest.skip("needs the right to mount a disk in memory, as root has it")
        return disk

    yield make
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


def test_commands_on_a_full_disk(
    tiny_store: Store, small_disk: Callable[[int], Path], capsys: pytest.CaptureFixture
) -> None:
    """Export, report and test each fail in a line, and succeed by the same command where there is room."""
    disk = small_disk(2**16)
    write_runs(disk / "results")
    shutil.copy(tiny_store.path, disk / "tiny.h5")
    make_trained(disk / "tiny.h5", disk / "run")
    assert command("evaluate", disk / "run") == 0
    metrics = (disk / "run" / "metrics.json").read_bytes()
    capsys.readouterr()
    for words, made in (
        (("export", disk / "run", "--to", disk / "exports"), "exports/1/saved_model.pb"),
        (("report", disk / "results"), "results/report.html"),
        (("evaluate", disk / "run"), "run/metrics.json"),
    ):
        filling = disk / "filling"
        with filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(2**12)):
                pass
        before = sorted(disk.rglob("*"))
        assert command(*words) == 1
        line = capsys.readouterr().err.strip()
        assert line.endswith(ADVICE) and line.count("\n") == 0, line
        added = {path.name for path in set(disk.rglob("*")) - set(before)}
        assert added <= {"exports"} and (disk / "run" / "metrics.json").read_bytes() == metrics
        filling.unlink()
        assert command(*words) == 0 and (disk / made).stat().st_size
        assert not [path for path in disk.rglob("*") if ".tmp" in path.name]
        capsys.readouterr()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("Can't write (errno = 28, error message = 'x')"),
     RuntimeError("{{function_node x}} a/b; No space left on device [Op:SaveV2]")],
)  # fmt: skip
def test_whoever_says_so(error: Exception, capsys: pytest.CaptureFixture) -> None:
    """The system, HDF5 and TensorFlow; any other error than these is no user's mistake."""

    def fail() -> None:
        raise error

    assert errors.exit_status("multiview", fail) == 1
    assert capsys.readouterr().err.endswith(f"{ADVICE}\n")
    with pytest.raises(RuntimeError, match="else"):
        errors.exit_status("multiview", lambda: (_ for _ in ()).throw(RuntimeError("else")))


KILLED = """
import os, signal, sys
from multiview import cli
from multiview.support import files

def killed(source, target):
    if os.path.basename(target) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

replace, files.os.replace = os.replace, killed
cli.main(sys.argv[2:])
"""


def test_what_a_killed_command_left_is_removed_by_the_next(tiny_store: Store, tmp_path: Path) -> None:
    """Test and report, killed between writing a file and giving it its name."""
    run, results = Run(tmp_path / "run"), write_runs(tmp_path / "results")
    make_trained(tiny_store.path, run.path)
    for words, name, folder in (
        (["evaluate", str(run.path)], "predictions.h5", run.path),
        (["report", str(results)], "table.csv", results),
    ):
        done = subprocess.run([sys.executable, "-c", KILLED, name, *words], capture_output=True, check=False)
        assert done.returncode == -9, done.stderr
        assert list(folder.glob(files.ANY_LEFTOVERS))
        assert command(*words) == 0
        assert not list(folder.glob(files.ANY_LEFTOVERS)) and not list(folder.glob("*.lock"))
        assert (folder / name).is_file()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Only what has a temporary name of ours is a leftover."""
    for name in (".notes.tmp.txt", "a.tmp", ".x.0123456789ab.tmp.json"):
        (tmp_path / name).touch()
    with files.locked(tmp_path / "l.lock", "it is held", files.ANY_LEFTOVERS):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".notes.tmp.txt", "a.tmp", "l.lock"]

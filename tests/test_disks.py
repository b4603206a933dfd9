"""Disks that are full, out of inodes or read-only: a line, nothing lost, and the same command ends it after."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from data_prep import prepare
from multiview.experiment.run import Run
from multiview.predict.predictor import Predictor
from multiview.predict.timeline import timeline
from multiview.store import Store
from multiview.support import errors, files
from multiview.support.errors import InputError
from tests import trees
from tests.fuzz.records import make_trained
from tests.helpers.commands import run as command
from tests.helpers.results import write_runs

AGAIN = "and repeat the command, nothing finished is lost"
FULL = (
    "expected room on the disk, found ",
    f"; free some disk space, or delete some files where df -i shows no inodes left, {AGAIN}",
)
READ_ONLY = ("expected a disk to write to, found ", f"; make it writable, or name another place, {AGAIN}")


class Disk:
    """A disk in memory, which takes no more in any of the ways that disks have."""

    def __init__(self, path: Path) -> None:
        self.path, self._filling = path, path / "filling"

    def mount(self, *options: str) -> None:
        with contextlib.suppress(OSError):
            call = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.path)]
            subprocess.run(call, capture_output=True, check=False)

    def full(self, room: int = 0) -> None:
        with self._filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(2**12)):
                pass
        os.truncate(self._filling, self._filling.stat().st_size - room)

    def out_of_inodes(self) -> None:
        self._filling.mkdir()
        with contextlib.suppress(OSError):
            for number in itertools.count():
                (self._filling / str(number)).touch()

    def read_only(self) -> None:
        self.mount("remount", "ro")

    def mend(self) -> None:
        self.mount("remount", "rw")
        files._remove(self._filling)

    def content(self) -> dict[Path, bytes]:
        """All files, but what fills the disk."""
        found = (path for path in self.path.rglob("*") if self._filling not in (path, *path.parents))
        return {path: path.read_bytes() for path in found if path.is_file()}


@pytest.fixture
def disk(tiny_store: Store, trained: Path, tmp_path: Path) -> Iterator[Disk]:
    """With a store, a run and sounds on it."""
    made = Disk(tmp_path / "disk")
    made.path.mkdir()
    made.mount("size=64m", "nr_inodes=300")
    if not made.path.is_mount():
        pytest.skip("needs the right to mount a disk in memory, as root has it")
    shutil.copytree(trained, made.path, dirs_exist_ok=True)
    yield made
    # Lazily, as the store of a training may still be mapped.
    subprocess.run(["umount", "--lazy", str(made.path)], check=True)


@pytest.fixture(scope="module")
def trained(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a run on it that was tested, runs to report and sounds."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(tiny_store.path, folder / "tiny.h5")
    make_trained(folder / "tiny.h5", folder / "run")
    assert command("evaluate", folder / "run") == 0
    write_runs(folder / "results")
    for name in ("bell/0.wav", "bell/1.wav", "wind/0.wav", "wind/1.wav"):
        trees.write_tone(folder / "sounds" / name)
    return folder


# Words, of which @ is the disk; a file that is there at the end; the bytes left on a full one, enough to begin with.
COMMANDS = {
    "prepare": ("folder --audio @/sounds --store @/new/s.h5 --sample-rate 22050 --jobs 1", "new/s.h5", 2**19),
    "train": ("train @/tiny.h5 --system mel --fold 1 --run @/new --preset demo --epochs 1", "new/metrics.json", 2**17),
    "grid": ("grid @/tiny.h5 --results @/new --systems mel --folds 1 --preset demo --epochs 1",
             "new/mel/fold1/metrics.json", 0),
    "evaluate": ("evaluate @/run", "run/metrics.json", 2**12),
    "evaluate elsewhere": ("evaluate @/run --store @/tiny.h5 --to @/new", "new/metrics.json", 2**12),
    "report": ("report @/results", "results/report.html", 2**17),
    "export": ("export @/run --to @/new", "new/1/saved_model.pb", 2**17),
    "timeline": ("predict @/run @/sounds/bell/0.wav --timeline --to @/new", "new/timeline.png", 2**14),
}  # fmt: skip
SAY_MORE = {"prepare", "train", "grid"}  # of how far they are
LEAVE_PARTS = {*SAY_MORE, "report", "evaluate elsewhere"}  # each of them finished


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_on_a_disk_that_takes_no_more(name: str, disk: Disk, capsys: pytest.CaptureFixture) -> None:
    """Whatever is in the way, and whatever each time leaves: the same command ends it once all is well.

    What is there stays as it was, byte for byte; what is new is whole. Only the log of a grid's run grows, and what a
    run writes as it goes, which begins where the checkpoint is.
    """
    words, made, room = COMMANDS[name]
    main = prepare.main if name == "prepare" else lambda argv: command(*argv)
    argv = words.replace("@", str(disk.path)).split()
    ways = ((disk.read_only, READ_ONLY), (disk.out_of_inodes, FULL), (disk.full, FULL), (lambda: disk.full(room), FULL))
    for spoil, (expected, advice) in ways if room else ways[:-1]:
        before = disk.content()
        spoil()
        assert main(argv) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        said = [line for line in lines if ": error: " in line or "Error" in line]
        assert len(said) == 1 and f": error: {expected}" in said[0] and said[0].endswith(advice), lines
        assert lines == said or name in SAY_MORE
        after = disk.content()
        assert {path: after[path] for path in before} == before
        assert len(after) == len(before) or name in LEAVE_PARTS
        assert not _unfinished(disk)
        disk.mend()
    assert main(argv) == 0, capsys.readouterr().err
    assert (disk.path / made).stat().st_size and not _unfinished(disk)


def _unfinished(disk: Disk) -> list[Path]:
    return [path for path in disk.path.rglob("*") if ".tmp" in path.name or path.suffix == ".lock"]


def test_answers_to_a_file_on_a_disk_that_takes_no_more(disk: Disk, capsys: pytest.CaptureFixture) -> None:
    """A line where there is no room for them, and no complaint at the end; who only reads a disk needs none on it."""
    words = "predict", disk.path / "run", disk.path / "sounds" / "bell" / "0.wav"
    before = disk.content()
    for spoil in (disk.read_only, disk.out_of_inodes):
        spoil()
        assert command(*words) == 0 and capsys.readouterr().out
        disk.mend()
    for form in ("--json", "--csv"):
        answers = disk.path / form
        with answers.open("w") as file, contextlib.redirect_stdout(file):
            disk.full()
            assert command(*words, form) == 1
        line = capsys.readouterr().err.strip()
        assert line.startswith(f"multiview: error: {FULL[0]}") and line.endswith(FULL[1]) and line.count("\n") == 0
        disk.mend()
        with answers.open("w") as file, contextlib.redirect_stdout(file):
            assert command(*words, form) == 0
        assert answers.stat().st_size
        answers.unlink()
    assert disk.content() == before


def test_the_state_of_a_grid_on_a_read_only_disk(disk: Disk, capsys: pytest.CaptureFixture) -> None:
    """A lock that a killed training left is nobody's."""
    run = Run(disk.path / "new" / "mel" / "fold1")
    files.write_json(run.path / "run.lock", {})
    disk.read_only()
    words = f"grid {disk.path}/tiny.h5 --results {disk.path}/new --systems mel --folds 1 --preset demo --status"
    assert command(*words.split()) == 0 and "fold1 to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, FULL),
        (errno.EROFS, READ_ONLY),
        (errno.EDQUOT, ("expected room within the quota", "or have the quota raised, {AGAIN}")),
        (errno.EFBIG, ("expected files of any size", "or name a disk that takes larger ones, {AGAIN}")),
    ],
)
def test_whoever_says_so(number: int, words: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    """The system, HDF5, which gives the number, and TensorFlow, which gives the words."""
    for error, found in (
        (OSError(number, os.strerror(number)), f"[Errno {number}] {os.strerror(number)}"),
        (OSError(f"Can't write (errno = {number}, error message = 'x')"), f"(errno = {number}, "),
        (
            RuntimeError(f"{{{{function_node x}}}} a/b; {os.strerror(number)} [Op:SaveV2]"),
            f" a/b; {os.strerror(number)}; ",
        ),
    ):

        def fail(error: Exception = error) -> None:
            raise error

        assert errors.exit_status("multiview", fail) == 1
        line = capsys.readouterr().err
        assert words[0] in line and found in line and line.endswith(f"{words[1].format(AGAIN=AGAIN)}\n"), line


@pytest.mark.backend
def test_too_little_memory_is_one_line(capsys: pytest.CaptureFixture) -> None:
    """NumPy's, and that of the backend at hand: 364 TiB."""
    for compute, words in (
        (lambda: np.ones((10**7, 10**7), "float32"), "Unable to allocate 364. TiB"),
        (lambda: keras.ops.ones((10**7, 10**7)), "4" + 14 * "0" if keras.backend.backend() == "jax" else "10000000,1"),
    ):
        assert errors.exit_status("multiview", compute) == 1
        line = capsys.readouterr().err
        assert line.startswith("multiview: error: expected memory for what is computed, found ") and words in line
        assert "--gradient-checkpointing" in line and line.endswith(f"{AGAIN}\n") and line.count("\n") == 1, line


def test_temporary_files(disk: Disk, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound from a pipe and what a converter needs, where all folders for them are full or have little room."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(disk.path)])
    monkeypatch.setattr("sys.stdin", (disk.path / "sounds" / "bell" / "0.wav").open())
    disk.full()
    assert command("predict", disk.path / "run", "-") == 1
    line = capsys.readouterr().err
    assert "expected room for temporary files" in line and line.endswith(f"a folder with room in TMPDIR, {AGAIN}\n")
    disk.mend()
    assert command("predict", disk.path / "run", "-") == 0

    import tensorflow as tf

    from multiview.export import light

    def convert() -> bytes:
        weights = tf.Variable(tf.random.normal((100, 1000)))
        specs = {"x": tf.TensorSpec([1, 100], tf.float32, "x")}
        service = SimpleNamespace(module=tf.Module())
        service.module.weights = weights
        return light._converted(service, lambda x: {"y": x @ weights}, specs, "float32")

    disk.full(room=2**14)
    with pytest.raises(OSError, match=f"No space left on device: '{disk.path}'"):
        convert()
    disk.mend()
    assert convert()


def test_any_other_error_is_no_users_mistake() -> None:
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
    """Test, report and timeline, killed between writing a file and giving it its name."""
    run, results, sound = Run(tmp_path / "run"), write_runs(tmp_path / "results"), tmp_path / "a.wav"
    make_trained(tiny_store.path, run.path)
    trees.write_tone(sound)
    for words, name, folder in (
        (["evaluate", str(run.path)], "predictions.h5", run.path),
        (["report", str(results)], "table.csv", results),
        (["predict", str(run.path), str(sound), "--timeline", "--to", str(tmp_path)], "timeline.png", tmp_path),
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


def test_leftovers_of_a_timeline(mel_meter: Predictor, tmp_path: Path) -> None:
    """Those of a killed one go; those of a living one, of other commands and what a user calls alike do not."""
    trees.write_tone(tmp_path / "a.wav")
    stale = {f".timeline.0123456789ab.tmp.{suffix}" for suffix in ("csv", "png")}
    others = {".timeline.tmp.csv", ".timeline.0123456789ab.tmp.txt", ".run.0123456789ab.tmp.json", "timeline.tmp"}
    for name in stale | others:
        (tmp_path / name).touch()

    def there() -> set[str]:
        return {path.name for path in tmp_path.iterdir()} - {"a.wav", "timeline.lock"}

    with files.locked(tmp_path / "timeline.lock", "held"), pytest.raises(InputError, match="is being written"):
        timeline(mel_meter, tmp_path / "a.wav", tmp_path, 1.0, "a.wav")
    assert there() == stale | others
    timeline(mel_meter, tmp_path / "a.wav", tmp_path, 1.0, "a.wav")
    assert there() == others | {"timeline.csv", "timeline.png"}

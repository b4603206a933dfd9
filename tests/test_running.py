"""The runs of a grid under way: what state they are in, several at once, on a cluster, interruptions and failures."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from multiview.experiment.grid import Task
from multiview.experiment.run import Run
from multiview.experiment.running import overview, run_grid
from multiview.history import columns
from tests.helpers.commands import nobody
from tests.helpers.results import record


def fake(tmp_path: Path, name: str, script: str, system: str = "mel") -> Task:
    """A run whose command is a line of Python; afterwards it counts as done unless it failed."""
    run = Run(tmp_path / "results" / name)
    script = f"import os, sys, time, pathlib; run = pathlib.Path({str(run.path)!r}); {script}"
    script += "; run.joinpath('metrics.json').write_text('{}')"
    content = json.dumps({**record(system=system), "training_seconds": 120})
    script += f"; run.joinpath('run.json').write_text({content!r})"
    return Task(name, tmp_path / "store.h5", run, (sys.executable, "-c", script))


def finish(task: Task, seconds: float | None = None, epochs: int = 2, **entries) -> None:
    task.run.path.mkdir(parents=True, exist_ok=True)
    content = {**record(epochs=epochs), **entries}
    if seconds is not None:
        task.run.metrics.write_text("{}")
        content["training_seconds"] = seconds
    task.run.record.write_text(json.dumps(content))


def under_way(task: Task, epoch: int, seconds: float) -> None:
    """A run of 100 epochs whose checkpoint is at `epoch`."""
    finish(task, status="running", epochs=100)
    rows = [dict.fromkeys(columns(["mel"]), 0), {**dict.fromkeys(columns(["mel"]), 0), "evaluation": 1, "epoch": epoch}]
    state = {"rows": rows, "best_row": rows[0], "seconds": seconds}
    np.savez(task.run.checkpoint, record=np.array(json.dumps(state)), other=np.zeros(3))


def test_overview_says_what_is_done_running_and_to_do(tmp_path: Path) -> None:
    grid = [fake(tmp_path, f"{kind}/fold{fold}", "pass") for kind in ("mel", "raw") for fold in (1, 2, 3)]
    assert overview(grid).splitlines()[0] == "6 runs: 0 done, 0 running, 0 interrupted, 0 failed, 6 to do"
    finish(grid[0], 600)
    finish(grid[1], 1200)
    finish(grid[3], status="failed")
    finish(grid[4], status="interrupted")
    with grid[5].run.locked():
        lines = overview(grid).splitlines()
        # One mel at 15 minutes, and three raws of which none is finished or has a checkpoint.
        assert lines[0] == (
            "6 runs: 2 done, 1 running, 1 interrupted, 1 failed, 1 to do; about 15 min left and 3 of unknown time"
        )
        assert lines[1].split(None, 1) == ["mel", "fold1 done, fold2 done, fold3 to do"]
        assert lines[2].split(None, 1) == ["raw", "fold1 failed 0%, fold2 interrupted 0%, fold3 running 0%"]
        # Its pace makes 40 minutes of a raw, of which it has 30 to go: 15 + 40 + 40 of the others would follow it.
        under_way(grid[5], 25, 600)
        lines = overview(grid).splitlines()
        assert "about 2 h 5 min left" in lines[0] and "unknown" not in lines[0]
        assert lines[2].endswith("fold3 running 25%")
    assert "about 2 h 5 min left" in overview(grid)  # interrupted, it goes on from its checkpoint
    finish(grid[4], 3600)  # a finished run says more than a pace: an hour for a raw, 45 minutes for the rest of one
    # Two places: mel until 15 and then raw 3 until 60, raw 1 until 60.
    assert "about 1 h 0 min left, 2 at a time" in overview(grid, at_once=2)
    # Three: the longest alone decides.
    assert "about 1 h 0 min left, 3 at a time" in overview(grid, at_once=3)
    with grid[5].run.locked():  # 45, and meanwhile mel and then raw 1 until 75
        assert "about 1 h 15 min left, 2 at a time" in overview(grid, at_once=2)


def test_as_many_at_a_time_as_run_now(tmp_path: Path) -> None:
    """Of four runs of 100 minutes two are on their way, as on a cluster, with 80 and 50 minutes to go."""
    grid = [fake(tmp_path, f"mel/fold{fold}", "pass") for fold in (1, 2, 3, 4)]
    under_way(grid[0], 20, 1200)
    under_way(grid[1], 50, 3000)
    with grid[0].run.locked(), grid[1].run.locked():
        # 50 + 100 on one place, 80 + 100 on the other.
        assert "about 3 h 0 min left, 2 at a time" in overview(grid)
    # One after the other: 80 + 50 + 100 + 100.
    assert "about 5 h 30 min left\n" in overview(grid)


def test_progress_is_what_need_not_be_done_again(tmp_path: Path) -> None:
    task = fake(tmp_path, "mel/fold1", "pass")
    assert task.run.progress() == (0, 0)
    under_way(task, 75, 90)
    assert task.run.progress() == (0.75, 90)
    task.run.checkpoint.write_bytes(b"half")
    assert task.run.progress() == (0, 0)
    finish(task, training_seconds=120)
    task.run.model.touch()  # trained, and not tested yet
    assert task.run.progress() == (1, 120)


def test_progress_of_a_real_checkpoint(tiny_recorder) -> None:
    run, recorder, record = tiny_recorder(interval=6, epochs=8)
    for _ in range(2):  # steps 0 and 6 of 24
        record(1)
    recorder.write_checkpoint(SimpleNamespace(variables=[], optimizer=SimpleNamespace(variables=[])))
    assert run.progress() == (0.25, recorder.seconds)


def test_several_run_at_once_and_one_failure_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Two runs that each wait for the other end only if they run at the same time; each has its GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    meet = (
        "mine, other = (run.parent / f'{name}.met' for name in (run.name, 'fold' + str(3 - int(run.name[-1])))); "
        "mine.write_text(os.environ['CUDA_VISIBLE_DEVICES']); "
        "[time.sleep(0.01) for _ in range(1000) if not other.exists()]; assert other.exists()"
    )
    grid = [fake(tmp_path, f"mel/fold{fold}", meet) for fold in (1, 2)]
    grid.append(fake(tmp_path, "raw/fold1", "print('no luck'); sys.exit(1)"))
    grid.append(fake(tmp_path, "raw/fold2", "pass"))
    failed = run_grid(grid, jobs=2)
    assert [task.name for task in failed] == ["raw/fold1"]
    assert [task.state() for task in grid] == ["done", "done", "failed", "done"]
    assert "no luck" in failed[0].log.read_text()
    used = {(tmp_path / "results" / "mel" / f"fold{fold}.met").read_text() for fold in (1, 2)}
    assert used == {"3", "5"}
    printed = capsys.readouterr().err
    assert (
        printed.startswith("4 runs: 0 done, 0 running, 0 interrupted, 0 failed, 4 to do\n")
        and "[4/4]" in printed
        and "raw/fold1 failed with exit status 1" in printed
        and "no luck" not in printed
    )


def test_alone_its_output_is_shown_and_logged(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    task = fake(tmp_path, "mel/fold1", "print('training', flush=True)")
    assert run_grid([task]) == []
    assert "training" in capfd.readouterr().err and "training" in task.log.read_text()
    assert run_grid([task]) == []  # done
    assert "[1/" not in capfd.readouterr().err


def test_what_another_process_runs_is_left_to_it(tmp_path: Path) -> None:
    """The second task becomes taken while the first one runs."""
    second = fake(tmp_path, "mel/fold2", "run.joinpath('ran').touch()")
    lock = second.run.path / "run.lock"
    held = tmp_path / "held"
    holder = f"import filelock, os, pathlib, time; lock = filelock.FileLock({str(lock)!r}); lock.acquire(); "
    holder += f"pathlib.Path({str(held)!r}).write_text(str(os.getpid())); time.sleep(60)"
    first = fake(
        tmp_path,
        "mel/fold1",
        f"import subprocess; os.makedirs({str(second.run.path)!r}); "
        f"subprocess.Popen([sys.executable, '-c', {holder!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        f"[time.sleep(0.05) for _ in range(200) if not os.path.exists({str(held)!r})]",
    )
    try:
        assert run_grid([first, second]) == [second]
        assert first.state() == "done" and second.state() == "running"
        assert not (second.run.path / "ran").exists()
    finally:
        os.kill(int(held.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_alone_it_stops_its_runs(tmp_path: Path, jobs: int) -> None:
    """As by a supervisor, which does not reach the children; a run prints more than a pipe would hold."""
    chatter = "[print('x' * 1000, flush=True) or run.joinpath('began').touch() for _ in iter(int, 1)]"
    found = [fake(tmp_path, f"mel/fold{fold}", chatter) for fold in range(1, jobs + 2)]
    script = f"""
import signal, sys
from pathlib import Path
from multiview.experiment.grid import Task
from multiview.experiment.running import run_grid
from multiview.experiment.run import Run
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
tasks = {[(task.name, str(task.store), str(task.run.path), task.command[2]) for task in found]!r}
run_grid([Task(name, Path(store), Run(run), (sys.executable, "-c", line)) for name, store, run, line in tasks], {jobs})
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while sum((task.run.path / "began").exists() for task in found) < jobs and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) != 0
        sizes = [task.log.stat().st_size for task in found[:jobs]]
        time.sleep(0.3)
        assert sizes == [task.log.stat().st_size for task in found[:jobs]] and min(sizes) > 2**17
        assert not found[-1].log.exists()  # none begins once it is told to end
        assert not any(task.run.failure.exists() for task in found)
    finally:
        with contextlib.suppress(ProcessLookupError):  # none is left, as it should be
            os.killpg(process.pid, signal.SIGKILL)


def test_on_a_cluster_each_worker_takes_runs(
    cluster: tuple[str, list], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    wait = (
        "run.parent.joinpath(run.name + '.met').write_text(str(os.getppid())); "
        "[time.sleep(0.01) for _ in range(1000) if len(list(run.parent.glob('*.met'))) < 2]; "
        "assert len(list(run.parent.glob('*.met'))) == 2"
    )
    grid = [fake(tmp_path, f"mel/fold{fold}", wait) for fold in (1, 2)]
    grid.append(fake(tmp_path, "raw/fold1", "sys.exit(2)"))
    under_way(grid[2], 50, 1200)
    assert [task.name for task in run_grid(grid, cluster=cluster[0])] == ["raw/fold1"]
    assert "about 20 min left, 2 at a time and 2 of unknown time" in capsys.readouterr().err.splitlines()[0]
    assert [task.state() for task in grid[:2]] == ["done", "done"]
    parents = {int(path.read_text()) for path in (tmp_path / "results" / "mel").glob("*.met")}
    assert parents <= {worker.pid for worker in cluster[1]} and len(parents) == 2


def test_looking_does_not_disturb(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.path.mkdir()
    (run.path / "run.lock").touch()
    stop = threading.Event()
    looker = threading.Thread(target=lambda: [run.is_locked() for _ in iter(stop.is_set, True)])
    looker.start()
    for _ in range(100):
        with run.locked():
            pass
    stop.set()
    looker.join()


def test_another_user_s_run_is_seen_running() -> None:
    """Whose lock file one may read and not write; the superuser has to be somebody else to see it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        Path(folder, "run.lock").touch(mode=0o444)
        with nobody():
            assert Run(folder).is_locked()


def test_gpus_are_counted_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiview.experiment.running import visible_gpus

    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == []


def test_a_run_that_fails_before_it_begins_counts_as_failed(tmp_path: Path) -> None:
    """Also one that is ended from outside; begun again, it is as any other."""
    grid = [fake(tmp_path, "mel/fold1", "sys.exit(2)"), fake(tmp_path, "raw/fold1", "os.kill(os.getpid(), 9)")]
    assert len(run_grid(grid)) == 2
    assert [task.run.why_failed() for task in grid] == [
        "its command ended with exit status 2; see train.log",
        "its command ended with signal 9, perhaps for want of memory; see train.log",
    ]
    assert overview(grid).startswith("2 runs: 0 done, 0 running, 0 interrupted, 2 failed, 0 to do")
    assert run_grid([fake(tmp_path, "mel/fold1", "pass")]) == []
    assert overview(grid).startswith("2 runs: 1 done, 0 running, 0 interrupted, 1 failed, 0 to do")


def test_interrupted_runs_say_how_far_they_are(tmp_path: Path) -> None:
    grid = [fake(tmp_path, f"mel/fold{fold}", "pass") for fold in (1, 2)]
    under_way(grid[0], 40, 600)
    (first, line) = overview(grid).splitlines()
    assert first.startswith("2 runs: 0 done, 0 running, 1 interrupted, 0 failed, 1 to do")
    assert line.split(None, 1) == ["mel", "fold1 interrupted 40%, fold2 to do"]

"""The runs of a grid under way: how far they are, and running them in turn, several at once, or on a cluster."""

from __future__ import annotations

import contextlib
import heapq
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import joblib

from multiview.experiment.grid import Task
from multiview.experiment.run import STATES
from multiview.support.parallel import workers
from multiview.support.words import spoken

SECONDS_BETWEEN_LOOKS = 0.5  # at what a command has printed
TO_RUN = ("interrupted", "failed", "to do")  # states of what a grid runs


def overview(grid: Sequence[Task], at_once: int = 1) -> str:
    """The states of all, how far what is begun is, a line a kind, and how long the rest may take (`time_left`)."""
    states = {task.name: task.state() for task in grid}
    kinds: dict[str, list[str]] = defaultdict(list)
    for task in grid:
        how_far = "" if states[task.name] in ("done", "to do") else f" {task.run.progress()[0]:.0%}"
        kinds[task.kind].append(f"{task.run.path.name} {states[task.name]}{how_far}")
    lines = [f"  {kind:28} {', '.join(cells)}" for kind, cells in kinds.items()]
    counts = [f"{sum(state == each for each in states.values())} {state}" for state in STATES]
    return "\n".join([f"{len(grid)} runs: {', '.join(counts)}{time_left(grid, states, at_once)}", *lines])


def time_left(grid: Sequence[Task], states: Mapping[str, str], at_once: int = 1) -> str:
    """About how long the tasks that `states` names and are not done take, from now until the last one ends.

    A whole run takes as long as the finished ones of its kind in `grid` did, on average; where none
    is finished, as long as those under way will at their pace. The running ones go on side by side, and the
    others follow in their order, `at_once` at a time or as many as run now.
    """
    share: dict[str, float] = {}
    finished: dict[str, list[float]] = defaultdict(list)
    begun: dict[str, list[float]] = defaultdict(list)
    for task in grid:
        share[task.name], seconds = task.run.progress()
        if seconds and share[task.name]:
            times = finished if share[task.name] == 1 else begun
            times[task.kind].append(seconds / share[task.name])
    whole = {kind: sum(times) / len(times) for kind, times in {**begun, **finished}.items()}

    rest = [task for task in grid if states.get(task.name, "done") != "done"]
    known = {task.name: whole[task.kind] * (1 - share[task.name]) for task in rest if task.kind in whole}
    if not known:
        return ""
    running = [task.name for task in rest if states[task.name] == "running"]
    places = [known.get(name, 0.0) for name in running] + [0.0] * (at_once - len(running))  # seconds until each is free
    heapq.heapify(places)
    for name in known:
        if name not in running:
            heapq.heapreplace(places, places[0] + known[name])
    side_by_side, unknown = min(len(places), len(rest)), len(rest) - len(known)
    several = f", {side_by_side} at a time" if side_by_side > 1 else ""
    others = f" and {unknown} of unknown time" if unknown else ""
    return f"; about {spoken(max(places))} left{several}{others}"


def visible_gpus() -> list[str]:
    """Indices of NVIDIA's GPUs that this process may use."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [each for each in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if each]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return re.findall(r"^GPU (\d+)", listed, re.MULTILINE)


class Running:
    """The commands under way, each waited for in a thread of its own, where no interruption comes."""

    def __init__(self) -> None:
        self.stopped = False
        self._processes: set[subprocess.Popen] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def one(self, process: subprocess.Popen) -> Iterator[None]:
        """While `process` is waited for; it does not outlive an error here."""
        with self._lock:
            self._processes.add(process)
            if self.stopped:
                process.send_signal(signal.SIGINT)
        try:
            yield
        except BaseException:
            process.send_signal(signal.SIGINT)  # it saves its state
            process.wait()
            raise
        finally:
            with self._lock:
                self._processes.discard(process)

    def stop(self) -> None:
        """End all, which save their states; none begins from here on."""
        with self._lock:
            self.stopped, processes = True, list(self._processes)
            for process in processes:
                process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()


def run_command(command: Sequence[str], log: Path, environment: dict[str, str], relay: bool, running: Running) -> int:
    """Run a command, its output into `log` and, if `relay`, to this process's stderr, too; its exit status.

    The command writes its log by itself, so it lives on if this process is killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file, log.open("rb") as shown:
        shown.seek(0, os.SEEK_END)
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
        with running.one(process):
            ended = False
            while not ended:
                try:
                    ended = process.wait(timeout=SECONDS_BETWEEN_LOOKS) is not None
                except subprocess.TimeoutExpired:
                    pass
                if relay:
                    sys.stderr.buffer.write(shown.read())
                    sys.stderr.flush()
            return process.returncode


class _Turn:
    """Runs tasks on this machine, each on a GPU of its own where there are several."""

    def __init__(self, jobs: int, relay: bool) -> None:
        self.relay, self.running, gpus = relay, Running(), visible_gpus()
        self.places: queue.Queue[dict[str, str]] = queue.Queue()
        for number in range(jobs):
            self.places.put({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if jobs > 1 and gpus else {})

    def __call__(self, task: Task) -> tuple[Task, int | None]:
        if self.running.stopped or task.state() in ("done", "running"):  # by another process in the meantime
            return task, None
        place = self.places.get()
        try:
            return task, _attempt(task, place, self.relay, self.running)
        finally:
            self.places.put(place)


def _on_cluster(task: Task) -> tuple[Task, int | None]:
    if task.state() in ("done", "running"):
        return task, None
    return task, _attempt(task, {}, False, Running())


def _attempt(task: Task, environment: dict[str, str], relay: bool, running: Running) -> int:
    """Exit status of the command of a task; where it fails, the run says so from then on."""
    status = run_command(task.command, task.log, environment, relay, running)
    if status and not running.stopped and not task.run.is_locked():  # by a process that was faster
        ended = f"signal {-status}, perhaps for want of memory" if status < 0 else f"exit status {status}"
        task.run.leave_word(f"its command ended with {ended}; see {task.log.name}")
    return status


def run_grid(grid: Sequence[Task], jobs: int = 1, cluster: str | None = None) -> list[Task]:
    """Run what is not done, after an overview of it; one run that fails does not stop the others.

    Parameters
    ----------
    jobs : int
        Runs at a time on this machine; with several GPUs, one each.
    cluster : str, optional
        Address of a Dask scheduler, whose workers run them instead, one a worker thread.

    Returns
    -------
    list of Task
        Those that are not done at the end: they failed, or another process still runs them.
    """
    rest = [task for task in grid if task.state() in TO_RUN]
    folders = {path.absolute() for task in rest for path in (task.store.parent, task.run.path.parent)}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    one, ended = _on_cluster if cluster else _Turn(jobs, relay=jobs == 1), set()
    with contextlib.ExitStack() as stack, workers(jobs, cluster, sorted(folders), backend="threading") as at_once:
        if isinstance(one, _Turn):
            stack.callback(one.running.stop)
        print(overview(grid, at_once), file=sys.stderr)
        # A batch of one: joblib would otherwise give a worker several short ones in a row.
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
        for task, status in parallel(joblib.delayed(one)(task) for task in rest):
            ended.add(task.name)
            result = f"failed with exit status {status}" if status else task.state()
            states = {each.name: each.state() for each in grid if each.name not in ended}
            left = time_left(grid, states, at_once)
            print(f"[{len(ended)}/{len(rest)}] {task.name} {result}{left}", file=sys.stderr)
    return [task for task in grid if task.state() != "done"]

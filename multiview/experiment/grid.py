"""Many runs: all systems on all folds, and the ablations; in turn, several at once, or on a cluster."""

from __future__ import annotations

import contextlib
import heapq
import itertools
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
from dataclasses import dataclass
from pathlib import Path

import joblib

from multiview import backbones, options
from multiview.blending import BLENDINGS
from multiview.experiment.run import ABLATIONS, STATES, Run, Trial
from multiview.settings import Settings, make_settings
from multiview.splits import folds as folds_of
from multiview.store import Store
from multiview.support import plugins, programs
from multiview.support.errors import InputError, UsageError, usage
from multiview.support.parallel import workers
from multiview.support.words import spoken
from multiview.systems import JOINT, JOINT_SYSTEMS, find_system, system_names
from multiview.views import in_order, paper_views

SECONDS_BETWEEN_LOOKS = 0.5  # at what a command has printed
TO_RUN = ("interrupted", "failed", "to do")  # states of what a grid runs


@dataclass(frozen=True)
class Task:
    """One run of the grid: its name, such as `mel/fold1`, its directory and the command that makes it."""

    name: str
    store: Path
    run: Run
    command: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The name without fold and seed: runs of a kind take about as long."""
        return self.name.rsplit("/", 1)[0]

    @property
    def log(self) -> Path:
        """What the command printed."""
        return self.run.path / "train.log"

    def state(self) -> str:
        """As `Run.state`."""
        return self.run.state()


def ablation_changes(name: str, views: Sequence[str] | None = None) -> dict[str, str | int]:
    """The setting that an ablation changes.

    A blending other than the preset's own, `window5`, `interval100` (in steps), or `without_mel`, which leaves out one
    of `views`, those of the multi-view network: the paper's four by default.

    Raises
    ------
    InputError
        For any other name.
    """
    if name in BLENDINGS:
        return {"blending": name}
    if number := re.fullmatch(r"(window|interval)([1-9]\d*)", name):
        return {{"window": "window", "interval": "evaluation_interval"}[number[1]]: int(number[2])}
    views = views or paper_views()
    left_out = name.removeprefix("without_")
    if left_out in views and left_out != name:
        return {"views": ",".join(view for view in views if view != left_out)}
    raise UsageError(
        f"expected ablations of {', '.join(BLENDINGS)}, windowN or intervalN with a number N, or without_VIEW of "
        f"{', '.join(views)}; found {name!r}"
    )


def _given(changes: dict) -> dict:
    return {key: value for key, value in changes.items() if value is not None}


def tasks(
    store: Store,
    results: Path,
    preset: str,
    systems: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    ablations: Sequence[str] = (),
    **changes,
) -> list[Task]:
    """The runs of a grid, fold by fold.

    Parameters
    ----------
    systems : sequence of str or None
        None for one a view and those on several.
    folds : sequence of int or None
        None for all of the store's.
    changes
        Of the preset's settings, for every run; those that are None are left to the preset. `views` is for the
        systems on several. `seed` may be several, for runs with each: those with the first in `foldN`, those with
        another, S, in `foldN_seedS`.

    Raises
    ------
    InputError
        For an unknown preset, system, fold or ablation, or a directory that holds another run.
    """
    known, changes, found = folds_of(store), _given(changes), []
    seeds = seeds_of(changes)
    for trial in itertools.starmap(Trial, itertools.product(dict.fromkeys(folds or known), seeds)):
        if trial.fold not in known:
            raise InputError(f"{store.path} has the folds {', '.join(map(str, known))}, not fold {trial.fold}")
        changes["seed"] = trial.seed
        for kind, settings, chosen in planned(store, preset, systems, trial.fold, ablations, changes):
            name = f"{kind}/{trial.folder(first=seeds[0])}"
            run = Run(results / name)
            _check(run, store, settings)
            found.append(Task(name, store.path, run, _command(store, settings, run, chosen)))
    return found


def seeds_of(changes: Mapping) -> list[int]:
    """The seeds that are asked for, each once; 0 where none is."""
    seeds = changes.get("seed") or 0
    return list(dict.fromkeys([seeds] if isinstance(seeds, int) else seeds))


def _check(run: Run, store: Store, settings: Settings) -> None:
    """Refuse a run that is of other settings, done or begun; one that is damaged says so itself."""
    try:
        if not run.is_begun():
            return
        run.read()
    except InputError:
        return
    run.check(store, settings)


def planned(
    store: Store,
    preset: str,
    systems: Sequence[str] | None,
    fold: int,
    ablations: Sequence[str],
    changes: dict,
) -> list[tuple[str, Settings, dict]]:
    """The runs of a fold: where they go, their settings, and what was chosen to make them.

    Of the store, only its rate, protocol and views are asked where `changes` say how many epochs.

    Raises
    ------
    InputError
        For what cannot be trained.
    """
    views = in_order(changes["views"].split(",")) if "views" in changes else None
    chosen = dict.fromkeys(systems or system_names(views or paper_views()))
    kinds: list[tuple[str, str, dict]] = [(system, system, {}) for system in chosen]
    kinds += [(f"{ABLATIONS}/{name}", JOINT, ablation_changes(name, views)) for name in dict.fromkeys(ablations)]
    found = []
    for kind, system, change in kinds:
        own = _own(changes, system, change.get("views", changes.get("views")))
        settings = make_settings(store, system, fold, preset, **{**own, **change})
        if change and settings == make_settings(store, system, fold, preset, **own):
            raise UsageError(f"{kind} is what preset {preset} does anyway; drop it")
        found.append((kind, settings, {**own, **change}))
    if changes.get("pretrained") and not any(settings.pretrained for _, settings, _ in found):
        with usage():
            backbones.able(changes.get("backbone"), views or paper_views())
        raise UsageError(f"expected --pretrained with a system that takes its weights, found {', '.join(chosen)}")
    return found


def _own(changes: dict, system: str, views: str | None) -> dict:
    """Those of the grid's changes that go with a system: choices of views with several, networks with its views."""
    own = changes if system in JOINT_SYSTEMS else {key: value for key, value in changes.items() if key != "views"}
    if "backbone" in own:
        mine = find_system(system, views.split(",") if views and system in JOINT_SYSTEMS else None).views
        own = {**own, "backbone": ",".join(backbones.parts(own["backbone"], mine)) or None}
        if not backbones.loaders(own["backbone"], mine):
            own = {**own, "pretrained": None}
    if changes.get("pretrained") and not (own.get("init") or own.get("pretrained")):
        own = {**own, "freeze_epochs": None}
    return _given(own)


def _command(store: Store, settings: Settings, run: Run, changes: dict) -> tuple[str, ...]:
    """What trains and tests a run; absolute, as a job of a cluster starts anywhere."""
    command = [programs.script("multiview"), "train", str(store.path.absolute()), "--system", settings.system]
    command += ["--fold", str(settings.fold), "--preset", settings.preset, "--run", str(run.path.absolute())]
    command += options.words(changes)
    return (*command, *(text for plugin in plugins.given() for text in ("--plugin", plugin)))


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
        task.run.failed(f"its command ended with {ended}; see {task.log.name}")
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

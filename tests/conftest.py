"""Fixtures: synthesised audio, stores and runs that many tests share."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

# Read when Keras is first imported, here and in the processes that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# JAX takes longer to compile these tiny networks than to train them; some tests put one on several devices.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=5")

import filelock

import multiview
from data_prep.datasets import DATASETS, demo
from data_prep.datasets.base import Index
from data_prep.prepare import prepare
from multiview.experiment.predictions import Predictions
from multiview.experiment.run import Run
from multiview.predict.predictor import Predictor
from multiview.settings import Settings, make_settings
from multiview.store import Store
from multiview.support import plugins, registry

DATA = Path(os.environ.get("MULTIVIEW_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def registries() -> Iterator[None]:
    """What a test registers, itself or by plugins, is gone after it."""
    before = registry.snapshot()
    yield
    registry.restore(before)
    plugins.forget()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20210606)


@pytest.fixture(scope="session")
def real_audio() -> Callable[[str], Path]:
    """The folder of a real dataset by its name; its licence keeps it out of the project, so tests may have to skip."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.is_dir():
            pytest.skip(f"needs the real clips in {folder}; name their parent in MULTIVIEW_DATA")
        return folder

    return find


@pytest.fixture(scope="session")
def demo_index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return demo.index(tmp_path_factory.mktemp("demo"))


def make_tiny_store(index: Index, path: Path) -> None:
    """Three classes of the demo, 60 clips of 2 s at 22.05 kHz."""
    clips = [clip for clip in index.clips if clip.label < 3 and clip.id.endswith("-0.wav")]
    index = dataclasses.replace(index, classes=index.classes[:3], clips=clips)
    prepare("demo", index, path, 22050, about=DATASETS["demo"].about())


@pytest.fixture(scope="session")
def tiny_store(demo_index: Index, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three classes of the demo, 60 clips of 2 s at 22.05 kHz."""
    path = tmp_path_factory.mktemp("stores") / "tiny.h5"
    make_tiny_store(demo_index, path)
    return Store(path)


@pytest.fixture
def tiny_settings(tiny_store: Store):
    """Settings of a few quick epochs of a very narrow network."""

    def make(system: str = "mel", **changes) -> Settings:
        quick = {"width": 1 / 32, "epochs": 4, "window": 2, "warm_up_epochs": 1, **changes}
        return make_settings(tiny_store, system, quick.pop("fold", 1), "demo", **quick)

    return make


@pytest.fixture
def tiny_recorder(tiny_store: Store, tiny_settings, tmp_path: Path):
    """A run that nothing trains, three steps an epoch: run, recorder, and a function that records an evaluation."""
    from multiview.experiment.recorder import Recorder
    from multiview.history import Evaluation

    model = SimpleNamespace(variables=[], optimizer=SimpleNamespace(variables=[]))

    def make(system: str = "mel", interval: int = 3, **changes) -> tuple[Run, Recorder, Callable]:
        settings, run = tiny_settings(system, **changes), Run(tmp_path / "run")
        run.begin(tiny_store, settings)
        recorder = Recorder(run, settings.resolve())
        recorder.resume(model)

        def record(*train_losses: float) -> None:
            number, half = len(recorder.evaluations), dict.fromkeys(recorder.branches, 0.5)
            train = dict(zip(recorder.branches, train_losses, strict=True))
            step = number * interval
            recorder.record(Evaluation(train, half, half, number, step // 3, step, 0.1, half), model, model)

        return run, recorder, record

    return make


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this session share, for what is made once and looked at by many."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / f"shared-{os.environ.get('KERAS_BACKEND', 'default')}"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_trained(shared: Path) -> Run:
    """A short run of the whole network, which leaves silence out, tested on fold 1: for the tests that look at it."""
    from multiview.experiment.evaluate import evaluate
    from multiview.experiment.train import train

    run, store = Run(shared / "runs" / "multiview" / "fold1"), shared / "tiny.h5"
    with filelock.FileLock(shared / "trained.lock"):
        if not run.metrics.exists():
            make_tiny_store(demo.index(shared / "tiny_audio"), store)
            opened = Store(store)
            quick = {"width": 1 / 32, "epochs": 5, "window": 2, "skip_silence": True}
            settings = make_settings(opened, "multiview", 1, "demo", **quick)
            evaluate(train(opened, settings, run.path))
    return run


@pytest.fixture(scope="session")
def clips(tiny_trained: Run, demo_index) -> list[Path]:
    """Test clips of the run, in the order of its predictions."""
    paths = {clip.id: clip.path for clip in demo_index.clips}
    return [paths[name] for name in Predictions.read(tiny_trained.predictions).clips]


@pytest.fixture
def mel_meter() -> Predictor:
    """Stands in for a network: `quiet` is as 'probable' as the mean level of a segment, in units of -100 dB."""

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        level = segments["mel"].mean(axis=(1, 2, 3)) / -100
        return {"mel": np.stack([level, 1 - level], axis=1).astype(np.float32)}

    return Predictor(network, ["quiet", "loud"], 22050, ["mel"], {"mel": 1.0})


@pytest.fixture(scope="session")
def live(tiny_trained: Run) -> Predictor:
    """That run, ready for sounds."""
    return multiview.load(tiny_trained.path)


@pytest.fixture(scope="session")
def exported(tiny_trained: Run, shared: Path) -> Path:
    """Version 1 of an export of that run, made on the command line."""
    from multiview import cli

    directory = shared / "exports" / "tiny"
    with filelock.FileLock(shared / "exported.lock"):
        if not (directory / "1").exists():
            assert cli.main(["export", str(tiny_trained.path), "--to", str(directory)]) == 0
    return directory / "1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Address of a scheduler on the loopback interface, and its two workers."""
    distributed = pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("dask")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    dask = [sys.executable, "-m", "dask"]
    file = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*dask, "scheduler", *options], **quiet)
    options = ["--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    workers = [subprocess.Popen([*dask, "worker", *options], env=environment, **quiet) for _ in range(2)]
    with distributed.Client(scheduler_file=str(file), timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        address = client.scheduler.address
        # Once all modules are loaded, the tests' own clocks are fair.
        client.run(lambda: __import__("data_prep.extraction"))
    yield address, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()

"""Records of runs and exports: what report, grid, predict, app and export read of them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np

import multiview
from multiview.experiment.checkpoint import Checkpoint
from multiview.experiment.grid import Task
from multiview.experiment.results import collect
from multiview.experiment.run import Run
from multiview.experiment.running import overview
from multiview.history import HEAD, columns
from tests.fuzz.mutations import any_bytes, any_hdf5, any_json, any_table, rezipped
from tests.fuzz.runner import Case
from tests.fuzz.subjects import make_export, make_store, make_trained
from tests.helpers.results import HALF, RIGHT, WRONG, write_multiview, write_run

SEED = 20214
FAILED: tuple[int, ...] = (128, 188, 262, 600, 720, 1057, 1326, 2681, 2882, 3655)
RUNS = ("mel/fold1", "mel/fold2", "raw/fold1", "multiview/fold1", "ablations/uniform/fold1")
BRANCHES = ("mel", "raw", "multiview")
OTHERS = [b"", b"\xff\xfe{", b"\0" * 5000, b"\x89HDF\r\n\x1a\n", b"PK\3\4", b"{" * 10**6]
WHOLE_REPORTS = 100  # of so many cases one writes all of it, pictures and page


def make_results(folder: Path) -> None:
    """Runs with all that records may have."""
    write_run(folder / "mel/fold1", "mel", 1, {"mel": RIGHT})
    write_run(folder / "mel/fold2", "mel", 2, {"mel": HALF})
    write_run(folder / "raw/fold1", "raw", 1, {"raw": WRONG})
    write_multiview(folder / "multiview/fold1", 1, ("mel", "raw"))
    write_multiview(folder / "ablations/uniform/fold1", 1, ("mel", "raw"), blending="uniform")
    for name in RUNS:
        path = folder / name / "run.json"
        record = json.loads(path.read_text())
        branches = Run(folder / name).system().branches
        record["store"] |= {"path": "../../../s.h5", "views": ["mel", "raw"], "about": {"label": "ESC", "epochs": 9}}
        record |= {
            "plugins": {}, "status": "evaluated", "started": "2026-01-01", "updated": "2026-01-02", "commit": "a" * 40,
            "software": {"keras": "3"}, "machine": {"processor": "x", "cores": 2, "devices": ["cpu:0"]},
            "parameters": 99, "clips": {"train": 8, "validation": 4, "test": 4}, "kept": {"evaluation": 1, "epoch": 1},
            "calibration": {"branches": dict.fromkeys(branches, 1.5), "self_ensemble": 2.0}, "training_seconds": 1.5,
            "checkpoint_seconds": 0.1, "peak_memory_mib": 100, "heard": ["a.wav"],
            "tested": [{"fold": 1, "this": True, "clips": 4, "accuracy": 0.5}],
            "started_from": {"settings": record["settings"], "store": record["store"], "commit": None},
        }  # fmt: skip
        path.write_text(json.dumps(record))


class Variable:
    """Stands in for one of Keras."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def assign(self, value: np.ndarray) -> None:
        assert value.shape == self.value.shape and value.dtype == self.value.dtype

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        return self.value


def make_model() -> SimpleNamespace:
    shapes = ((3, 4), (4,), ())
    variables = [Variable(np.full(shape, 0.5, np.float32)) for shape in shapes]
    optimizer = SimpleNamespace(variables=[Variable(np.array(7)), *variables])
    return SimpleNamespace(variables=variables, optimizer=optimizer)


def make_checkpoint(path: Path) -> None:
    model = make_model()
    rows = [
        {**dict.fromkeys(columns(BRANCHES), 0.5), **dict.fromkeys(HEAD, 0), "evaluation": n, "step": 3 * n}
        for n in range(3)
    ]
    record = {"rows": rows, "best_row": rows[1], "seconds": 1.5, "checkpoint_seconds": 0.1}
    Checkpoint(path, BRANCHES).write(model, [each.value for each in model.variables], record)


def changed(path: Path, rng: np.random.Generator) -> None:
    """One change of a file, mostly of what it says, else of its bytes."""
    content = path.read_bytes()
    inner: dict[str, Callable[[], object]] = {
        ".json": lambda: path.write_bytes(any_json(content, rng)),
        ".csv": lambda: path.write_bytes(any_table(content, rng)),
        ".h5": lambda: in_hdf5(path, rng),
        ".npz": lambda: in_zip(path, rng),
        ".keras": lambda: in_zip(path, rng),
    }
    if rng.random() < 0.7:
        inner[path.suffix]()
    elif rng.random() < 0.9:
        path.write_bytes(any_bytes(content, rng))
    else:
        path.write_bytes(OTHERS[rng.integers(len(OTHERS))])


def in_hdf5(path: Path | io.BytesIO, rng: np.random.Generator) -> None:
    with contextlib.suppress(OSError, TypeError, ValueError), h5py.File(path, "a") as file:
        any_hdf5(rng, file)


def in_zip(path: Path, rng: np.random.Generator) -> None:
    """One member, another compression, or another name."""
    with zipfile.ZipFile(path) as archive:
        chosen = str(rng.choice(archive.namelist()))

    def change(name: str, content: bytes) -> bytes:
        if name != chosen:
            return content
        if name.endswith(".json"):
            return any_json(content, rng)
        if name.endswith(".h5"):
            held = io.BytesIO(content)
            in_hdf5(held, rng)
            return held.getvalue()
        if name == "record.npy" and rng.random() < 0.8:
            held = io.BytesIO()
            said = any_json(str(np.load(io.BytesIO(content))).encode(), rng).decode()
            np.save(held, np.array(said))
            return held.getvalue()
        if rng.random() < 0.3:  # 4 TiB by the header
            return content.replace(b"(3, 4), ", b"(1048576, 1048576), ").replace(b"<f4", b"|O ")
        return any_bytes(content, rng)

    rezipped(path, change, zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED)


def report_of(folder: Path, number: int) -> None:
    from multiview.report.build import build, make_sections
    from multiview.report.figures import FIGURES
    from multiview.report.tables import run_table

    with contextlib.redirect_stdout(io.StringIO()):
        if number % WHOLE_REPORTS == 0:
            build(folder)
            return
        results = collect(folder)
        make_sections(results)
        run_table(results)
        for figure in FIGURES.values():
            if figure.needs(results):
                figure.caption(results)
        for system, trials in results.runs.items():
            for trial in trials:
                results.history(system, trial)


def make_case(folder: Path, store: Path | None = None, exported: Path | None = None) -> Case:
    """What takes the number of a case and a folder.

    Without a tiny store, it makes one, and an export, too.
    """
    base, work = folder / "base", folder / "work"
    store = store or make_store(folder)
    make_results(base / "results")
    make_trained(store, base / "trained")
    make_checkpoint(base / "results/multiview/fold1/checkpoint.npz")
    (base / "results/multiview/fold1/failed.json").write_text(json.dumps({"reason": "why", "time": "now"}))
    exported = exported or make_export(base / "trained", folder / "exports")
    shutil.copytree(exported, base / "export", ignore=shutil.ignore_patterns("variables", "saved_model.pb", "assets*"))
    (base / "export" / "saved_model.pb").touch()
    shutil.copytree(base, work)
    noise = 0.1 * np.random.default_rng(0).standard_normal(40_000).astype(np.float32)

    def report(name: str) -> Callable[[Path, int], None]:
        def act(path: Path, number: int) -> None:
            run = Run(work / "results" / name)
            overview([Task(name, store, run, ())])  # whatever is there
            run.state()
            report_of(work / "results", number)

        return act

    def unfinished(path: Path, number: int) -> None:
        """As before the test: without metrics, whose files say more."""
        run = Run(path.parent)
        metrics = run.metrics.read_bytes()
        run.metrics.unlink()
        try:
            overview([Task("multiview/fold1", store, run, ())])
            run.why_failed()
            Checkpoint(run.checkpoint, BRANCHES).read(make_model())
        finally:
            run.metrics.write_bytes(metrics)

    def predict(path: Path, number: int) -> None:
        answer = multiview.load(path.parent).predict(noise, 22050)
        assert np.isfinite(answer.probabilities).all() and abs(answer.probabilities.sum() - 1) < 1e-3
        answer.top(3)

    acts = [
        *(
            (work / "results" / name / file, report(name))
            for name in RUNS
            for file in ("run.json", "metrics.json", "history.csv", "predictions.h5")
        ),
        *[(work / "results/multiview/fold1/checkpoint.npz", unfinished)] * 5,
        (work / "results/multiview/fold1/failed.json", unfinished),
        *[(work / "trained/model.keras", predict)] * 3,
        (work / "trained/run.json", predict),
        *[(work / "export/export.json", predict)] * 3,
    ]

    def case(number: int, _: Path) -> None:
        rng = np.random.default_rng([SEED, number])
        path, act = acts[rng.integers(len(acts))]
        whole = path.read_bytes()
        try:
            changed(path, rng)
            act(path, number)
        finally:
            path.write_bytes(whole)

    for path, act in acts:
        act(path, 1)  # what nothing is changed in is read
    return case

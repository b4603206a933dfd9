"""Records that lie: each is read as what it is or refused in one line, in little time and memory."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from multiview import cli
from multiview.experiment.checkpoint import Checkpoint
from multiview.experiment.run import Run
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.records import MOST_BYTES
from tests.fuzz import records, sounds
from tests.fuzz.mutations import DEEP, remade, rezipped
from tests.fuzz.runner import cases, here, in_processes
from tests.helpers.c_api import peak_memory
from tests.helpers.commands import run as command
from tests.helpers.results import record, write_multiview, write_runs

SECONDS, MEBIBYTES = 5.0, 200
BOMB = 2**28  # bytes


def entry(path: str, value: str) -> Callable[[str], str]:
    """Put a value, as JSON has it, at a place of a record."""

    def edit(content: str) -> str:
        found = json.loads(content)
        *way, last = path.split(".")
        holder = found
        for name in way:
            holder = holder[name]
        holder[last] = "\1"
        return json.dumps(found).replace('"\\u0001"', value)

    return edit


def cell(row: int, column: str, value: str) -> Callable[[str], str]:
    def edit(content: str) -> str:
        lines = [line.split(",") for line in content.splitlines()]
        lines[row][lines[0].index(column)] = value
        return "\n".join(map(",".join, lines))

    return edit


JSON = {
    ("run.json", "null"): "expected the record as an object, found None",
    ("run.json", "[]"): "expected the record as an object, found []",
    ("run.json", "{}"): "as an object with settings, store",
    ("run.json", "[" * DEEP): "expected the record at most 50 deep, found more",
    ("run.json", entry("settings", "null")): "expected the record.settings as an object, found None",
    ("run.json", entry("settings.seed", "NaN")): "expected finite numbers, found NaN",
    ("run.json", entry("settings.seed", "1.5")): "record.settings.seed as a whole number from 0 to 999999, found 1.5",
    ("run.json", entry("settings.seed", "true")): "found True",
    ("run.json", entry("settings.epochs", "9" * 4000)): "expected numbers of at most 40 digits, found 4000",
    ("run.json", entry("settings.epochs", "9" * 5000)): "expected numbers of at most 40 digits, found 5000",
    ("run.json", entry("settings.epochs", "0")): "found 0",
    ("run.json", entry("settings.averaging", "1.5")): "found 1.5",
    ("run.json", entry("settings.view_dropout", "5")): "found 5",
    ("run.json", entry("settings.keep", '"x"')): "as one of first_best, last_best, loss, end, found 'x'",
    ("run.json", entry("settings.init", '"x"')): "settings.init as an object",
    ("run.json", entry("store.classes", '["yes", "yes"]')): "as names, each once",
    ("run.json", entry("store.classes", '"yes"')): "as a list of 1 to",
    ("run.json", entry("store.about", '{"epochs": "many"}')): "about with epochs like 1500, found",
    ("run.json", entry("store.dataset", '"\\ud800"')): "surrogates not allowed",
    ("run.json", entry("training_seconds", '"1"')): "as a number from 0 to 1e+12, found '1'",
    ("run.json", entry("started_from", '{"settings": 1}')): "as an object with store",
    ("run.json", entry("calibration", '{"branches": {"mel": 1}, "self_ensemble": 1}')): "temperatures of mel",
    ("run.json", entry("calibration", '{"branches": {"mel": 9}, "self_ensemble": 1}')): "from 0.125 to 8, found 9",
    ("metrics.json", "[]"): "expected the record as an object",
    ("metrics.json", entry("accuracy", '{"mel": 1}')): "expected accuracy of ['cqt', 'gammatone'",
    ("metrics.json", entry("accuracy.mel", "1.5")): "record.accuracy.mel as a number from 0 to 1, found 1.5",
    ("metrics.json", entry("fold", "2")): "expected fold 1, found 2",
    ("history.csv", ""): "expected a column evaluation, found none",
    ("history.csv", lambda text: text.split("\n")[0]): "expected evaluations, found none",
    ("history.csv", lambda text: text.replace("weight_raw", "weight")): "expected a column weight_raw, found none",
    ("history.csv", cell(2, "val_loss_mel", "nan")): "evaluation 1.val_loss_mel as a number from 0 to 1e+12, found nan",
    ("history.csv", cell(2, "val_loss_mel", "x")): "could not convert string to float: 'x'",
    ("history.csv", cell(2, "step", "9" * 5000)): "expected a number in column step",
    ("history.csv", cell(2, "step", "0.5")): "evaluation 1.step as a whole number from 0",
    ("history.csv", cell(2, "evaluation", "7")): "expected evaluation 1 at a step from 0, found 7",
    ("history.csv", lambda text: text[:-30]): "expected a number in column",
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("results"))


def refused(read: Callable[[], object], message: str) -> None:
    """In a line that says what is wrong, in little time and memory."""
    begin = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert message in said and "\n" not in said and len(said) < 2000
    assert time.process_time() - begin < SECONDS and peak < MEBIBYTES * 2**20


def read_all(run: Run) -> None:
    run.read()
    run.calibration()
    run.read_metrics()
    run.read_history()
    run.read_predictions()


@pytest.mark.parametrize(("name", "edit"), JSON, ids=range(len(JSON)))
def test_hostile_text(results: Path, name: str, edit: str | Callable[[str], str]) -> None:
    run = Run(results / "multiview" / "fold1")
    path = run.path / name
    whole = path.read_bytes()
    try:
        path.write_text(edit if isinstance(edit, str) else edit(whole.decode()))
        refused(lambda: read_all(run), JSON[name, edit])
        overview = (run.state(), run.progress(), run.why_failed())  # asked of whatever is there
        assert overview[0] == "done"
    finally:
        path.write_bytes(whole)


def test_files_that_are_no_text(results: Path) -> None:
    """Of any size, in no encoding, folders and pipes."""
    run = Run(results / "multiview" / "fold1")
    for path in (run.record, run.metrics, run.history):
        whole = path.read_bytes()
        for content, message in (
            (b"\xff" + whole, "can't decode byte 0xff"),
            (b" " * (2**26 + 1), f"expected at most {64 if path == run.history else MOST_BYTES >> 20} MiB, found more"),
        ):
            path.write_bytes(content)
            refused(lambda: read_all(run), message)
        path.unlink()
        os.mkfifo(path)
        refused(lambda: read_all(run), "found none")
        path.unlink()
        path.write_bytes(whole)


PREDICTIONS: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "no branches": (lambda file: file["weight"].attrs.__delitem__("branches"), "branches"),
    "numbers for branches": (lambda file: file["weight"].attrs.__setitem__("branches", [1, 2, 3, 4, 5]), "the names"),
    "few branches": (lambda file: file["weight"].attrs.__setitem__("branches", ["mel"]), "the names of 5 branches"),
    "one branch twice": (lambda file: file["weight"].attrs.__setitem__("branches", ["mel"] * 5), "the names of 5"),
    "short labels": (remade("label", data=[0, 1]), "expected label as integers [4], found int64 [2]"),
    "a label too high": (lambda file: file["label"].__setitem__(0, 2), "expected label from 0 to 1, found 2"),
    "few rows": (remade("probability/mel", data=np.full((2, 2), 0.5, "f4")), "probability/mel as float32 [4, 2]"),
    "NaN": (lambda file: file["probability/raw"].__setitem__((0, 0), np.nan), "probability/raw from 0 to 1"),
    "no distribution": (lambda file: file["probability/raw"].__setitem__((0, 0), 0.0), "which sum to 1, found others"),
    "negative weight": (lambda file: file["weight"].__setitem__(0, -1), "expected weight from 0 to 1"),
    "4 TiB": (remade("probability/mel", data=None, shape=(2**20, 2**20), dtype="f4"), "found float32 [1048576, "),
    "no clips": (remade("clip", data=[], dtype=h5py.string_dtype()), "expected clips and classes"),
    "other classes": (lambda file: file["classes"].__setitem__(0, "other"), "classes yes, no, found other, no"),
}  # fmt: skip


@pytest.mark.parametrize("name", PREDICTIONS)
def test_hostile_predictions(results: Path, name: str) -> None:
    run, (edit, message) = Run(results / "multiview" / "fold1"), PREDICTIONS[name]
    whole = run.predictions.read_bytes()
    try:
        with h5py.File(run.predictions, "a") as file:
            edit(file)
        refused(run.read_predictions, message)
    finally:
        run.predictions.write_bytes(whole)


def test_hostile_checkpoints(tmp_path: Path) -> None:
    """An array that is too large by its header, objects, packed ones, a .npy, and a record of something else."""
    path, model = tmp_path / "checkpoint.npz", records.make_model()

    def made(change: Callable[[str, bytes], bytes] = lambda name, content: content, **kind: int) -> None:
        records.make_checkpoint(path)
        rezipped(path, change, **kind)

    def read() -> object:
        return Checkpoint(path, records.BRANCHES).read(model)

    made()
    best, state = read()
    assert [each.shape for each in best] == [(3, 4), (4,), ()] and len(state["rows"]) == 3
    header = (b"(3, 4), ", b"(1048576, 1048576), ")
    for change, message in (
        (lambda name, content: content.replace(*header), "as float32 [3, 4], found float32 [1048576, 1048576]"),
        (lambda name, content: content.replace(b"<f4'", b"|O' "), "found object"),
        (lambda name, content: content[:-4], "bytes of"),
        (lambda name, content: b"" if "best" in name else content, "expected 8 bytes got 0"),
    ):
        made(change)
        refused(read, message)
    made(kind=zipfile.ZIP_DEFLATED)
    refused(read, "uncompressed, found it packed")
    np.save(path.with_suffix(".npy"), np.zeros(9))
    path.with_suffix(".npy").rename(path)
    refused(read, "not a zip file")
    np.savez(path, record=np.array(json.dumps({"rows": [], "best_row": {}, "seconds": 1})))
    refused(read, "expected the record.rows as a list of 1 to")
    assert Run(tmp_path).progress() == (0, 0)


def test_hostile_networks(tiny_store: Store, tmp_path: Path) -> None:
    """Zeros packed 1000 to 1, parts that no network has, weights elsewhere or packed, and another network."""
    run = Run(tmp_path / "run")
    records.make_trained(tiny_store.path, run.path)
    whole = run.model.read_bytes()
    assert run.load_model().count_params() > 0

    def with_member(name: str, kind: int, size: int) -> None:
        with zipfile.ZipFile(run.model, "w", kind) as archive, archive.open(name, "w", force_zip64=True) as file:
            for _ in range(size >> 20):
                file.write(bytes(2**20))

    for name, kind, size, message in (
        ("model.weights.h5", zipfile.ZIP_DEFLATED, BOMB, "uncompressed, found it packed"),
        ("config.json", zipfile.ZIP_STORED, 2**25, "found 'config.json' of 33,554,432 bytes"),
        ("assets/x", zipfile.ZIP_STORED, 2**20, "config.json, model.weights.h5, found 'assets/x'"),
        ("metadata.json", zipfile.ZIP_STORED, 0, "model.weights.h5"),
    ):  # fmt: skip
        with_member(name, kind, size)
        refused(run.load_model, message)

    def changed(edit: Callable[[h5py.File], object]) -> None:
        def change(name: str, content: bytes) -> bytes:
            if name != "model.weights.h5":
                return content
            held = tmp_path / "weights.h5"
            held.write_bytes(content)
            with h5py.File(held, "a") as file:
                names: list[str] = []
                file.visititems(lambda name, each: names.append(name) if isinstance(each, h5py.Dataset) else None)
                edit(file, names[0])
            return held.read_bytes()

        run.model.write_bytes(whole)
        rezipped(run.model, change)

    zeros = {"data": None, "shape": (2**20, 2**20), "dtype": "f4", "chunks": (1024, 1024), "compression": "gzip"}
    for edit, message in (
        (lambda file, name: remade(name, **zeros)(file), "found 0 bytes that stand for 4398046511104"),
        (lambda file, name: (file.__delitem__(name), file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "x"))),
         "in the file itself, found a link"),
    ):  # fmt: skip
        changed(edit)
        refused(run.load_model, message)
    run.model.write_bytes(whole)

    def wider(name: str, content: bytes) -> bytes:
        """A last layer of 100 million units that is described alone."""
        return b'"units": 100000000'.join(content.rsplit(b'"units": 3', 1)) if name == "config.json" else content

    rezipped(run.model, wider)
    before = peak_memory()
    refused(run.load_model, "bytes of weights, found")
    assert peak_memory() - before < MEBIBYTES
    run.model.write_bytes(whole)
    assert run.load_model().count_params() > 0  # the refused one left nothing behind
    content = json.loads(run.record.read_text())
    content["settings"]["system"] = "raw"
    run.record.write_text(json.dumps(content))
    refused(run.load_model, "expected a network of {'raw': (33330, 1)")


def test_folds_and_seeds_of_any_length(tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Python refuses to read a number of 5,000 digits, and to print it."""
    least = {"--fold": "1", "--seed": "0", "--epochs": "1"}
    for option in least:
        for value in ("9" * 5000, "9" * 4000, "9" * 11, "x", "1e3"):
            given = [word for pair in (least | {option: value}).items() for word in pair]
            with pytest.raises(SystemExit, match="2"):
                command("train", tiny_store.path, "--system=mel", "--preset=demo", "--run", tmp_path / "r", *given)
            last = capsys.readouterr().err.splitlines()[-1]
            assert f"argument {option}: expected a whole number of at most 9 digits, found" in last and len(last) < 300
    with pytest.raises(SystemExit, match="2"):
        command("grid", tiny_store.path, "--results", tmp_path, "--preset", "demo", "--folds", f"1,{'9' * 5000}")
    assert "expected a whole number of at most 9 digits" in capsys.readouterr().err


def test_results_of_other_runs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """By the command that reads them."""
    write_multiview(tmp_path / "multiview/fold1", 1, ("mel", "raw"))
    path = tmp_path / "multiview/fold1/run.json"
    path.write_text(json.dumps(record(system="mel")))
    for name in ("report", "evaluate"):
        assert cli.main([name, str(tmp_path if name == "report" else path.parent)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "expected" in error
        assert ("expected system mel, found 'multiview'); run multiview evaluate" in error) == (name == "report")


def test_mutated_records(tiny_store: Store, exported: Path, tmp_path: Path) -> None:
    """Edited as what they are, or byte by byte: read, or refused in a line; `tests.fuzz records` has thousands."""
    case = records.make_case(tmp_path, tiny_store.path, exported)
    found = here(case, cases(records, 60), tmp_path)
    assert not found.failed, found.failed
    assert found.refused > 60 / 2 and found.read > 0


def test_mutated_exports(exported: Path) -> None:
    """The files of a network, by their bytes; `tests.fuzz exports` has more."""
    found = in_processes("exports", 40, exported)
    assert found.ok and found.refused > 40 / 2, found


def test_mutated_sounds(tmp_path: Path) -> None:
    """Those that once failed; `tests.fuzz sounds` has thousands, in processes that may die."""
    found = here(sounds.make_case(tmp_path), cases(sounds, 40), tmp_path)
    assert not found.failed, found.failed
    assert found.refused > 5 and found.read > 5

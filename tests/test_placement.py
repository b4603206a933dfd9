"""One network on several devices, and by several processes: the same numbers, one line for what is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from multiview.devices import Shares, gpu_models
from multiview.experiment import recorder
from multiview.experiment import team as places
from multiview.experiment.placement import Placement
from multiview.experiment.run import Run
from multiview.experiment.team import Team
from multiview.experiment.train import train
from multiview.networks import build_network
from multiview.store import Store
from multiview.support import plugins
from multiview.support.errors import InputError
from tests.helpers.commands import run
from tests.helpers.runs import rows

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="one network is shared on JAX alone")

# A small network that has what could go wrong: convolutions, the statistics of a batch, random numbers.
TINY = """
import os
import time

from keras import layers
from multiview.backbones import BACKBONES, Backbone
from multiview.experiment import recorder

if "TF_CONFIG" in os.environ:  # a worker: slow enough to be killed, with a checkpoint at each evaluation
    recorder.CHECKPOINT_SHARE, exploding = float("inf"), recorder.exploding
    recorder.exploding = lambda evaluations: time.sleep(0.1) or exploding(evaluations)

def build(x, view, sample_rate, wide):
    x = layers.Conv2D(8, 3, 3, use_bias=False, name=f"{view}_tiny")(x)
    x = layers.Dropout(0.1)(layers.ReLU()(layers.BatchNormalization(name=f"{view}_norm")(x)))
    return layers.GlobalAveragePooling2D(name=f"{view}_embedding")(x)

BACKBONES.register(Backbone(name="tiny_shared", text="for tests", build=build))
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "tiny_shared.py"
    path.write_text(TINY)
    return path


def assert_same_losses(one: Sequence[dict], other: Sequence[dict]) -> None:
    assert len(one) == len(other)
    for mine, its in zip(one, other, strict=True):
        assert mine == pytest.approx(its, rel=1e-4)


@pytest.mark.backend
@on_jax
def test_devices_share_the_work_and_agree_on_gradients() -> None:
    """Each does its part of a batch, and the statistics of batch normalisation are the whole batch's."""
    import jax

    def gradients(devices: int, clips: int = 8) -> tuple[list, list, float]:
        keras.utils.set_random_seed(7)
        with Shares(jax.devices()[:devices]).scope() if devices > 1 else contextlib.nullcontext():
            model = build_network("mel", 3, 22050, 1 / 32)
            rng = np.random.default_rng(11)
            x = {"mel": rng.normal(size=(clips, *model.inputs[0].shape[1:])).astype("float32")}

            labels = rng.integers(0, 3, clips)

            def loss(trained: list, others: list, x: dict) -> tuple:
                outputs, others = model.stateless_call(trained, others, x, training=True)
                return model.compute_loss(None, labels, outputs), others

            parts = (model.trainable_variables, model.non_trainable_variables)
            values = [[each.value for each in part] for part in parts]
            compiled = jax.jit(jax.grad(loss, has_aux=True)).lower(*values, x).compile()
            slopes, others = compiled(*values, x)
            return [*map(np.array, slopes)], [*map(np.array, others)], compiled.cost_analysis()["flops"]

    (one, kept_one, all_work), (two, kept_two, work) = gradients(1), gradients(2)
    assert work == pytest.approx(all_work / 2, rel=0.05)
    largest = max(np.abs(slope).max() for slope in one)
    for mine, its in zip([*one, *kept_one], [*two, *kept_two], strict=True):
        np.testing.assert_allclose(its, mine, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.backend
@on_jax
def test_a_run_begun_on_five_devices_ends_on_one(
    tiny_store: Store,
    tiny_settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plugin: Path,
    registries: None,
) -> None:
    """36 clips in batches of 10: the last of an epoch has 6, which five devices cannot divide."""
    monkeypatch.setattr(recorder, "CHECKPOINT_SHARE", float("inf"))
    plugins.load([str(plugin)])
    settings = tiny_settings(batch_size=10, backbone="tiny_shared", averaging=0.9, evaluation_interval=2)
    alone = train(tiny_store, settings, tmp_path / "alone")
    record = recorder.Recorder.record

    def stopping(self: recorder.Recorder, *arguments: Any) -> None:
        record(self, *arguments)
        if len(self.evaluations) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recorder.Recorder, "record", stopping)
        train(tiny_store, settings, tmp_path / "shared", placement=Placement(5))
    assert keras.distribution.distribution() is None
    shared = train(tiny_store, settings, tmp_path / "shared")
    assert_same_losses(rows(shared), rows(alone))
    assert len(shared.read()["machine"]["shared_by"]) == 5 and "shared_by" not in alone.read()["machine"]
    assert shared.read()["settings"] == alone.read()["settings"]
    with pytest.raises(InputError, match="expected --devices of at most 5, found 10"):
        train(tiny_store, settings, tmp_path / "ten", placement=Placement(10))
    assert not (tmp_path / "ten" / "run.json").exists()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@pytest.mark.long
@pytest.mark.backend
@on_jax
def test_two_workers_train_one_network_and_go_on_after_one_was_killed(
    tiny_store: Store, tmp_path: Path, plugin: Path, registries: None
) -> None:
    plugins.load([str(plugin)])  # to look at the run
    words = ["train", tiny_store.path, "--system", "mel", "--fold", 1, "--preset", "demo", "--batch-size", 12]
    words += ["--evaluation-interval", 1, "--backbone", "tiny_shared", "--plugin", plugin, "--epochs", 8]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "XLA_FLAGS": ""}

    def start() -> list[subprocess.Popen]:
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        found = []
        for index in (0, 1):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            call = [sys.executable, "-m", "multiview.cli", *map(str, words), "--run", str(tmp_path / str(index))]
            environment["TF_CONFIG"] = json.dumps(task)
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            found.append(subprocess.Popen(call, env=environment, **pipes))
        return found

    written = Run(tmp_path / "0")
    first, second = start()
    deadline = time.monotonic() + 120
    while not written.progress()[0]:  # no checkpoint after a whole epoch
        assert time.monotonic() < deadline and first.poll() is None, first.communicate()
        time.sleep(0.05)
    second.kill()
    killed = time.monotonic()
    said = first.communicate(timeout=60)[1]
    second.communicate()
    assert first.returncode == 1 and time.monotonic() - killed < 60
    assert said.count("error") == 1 and "worker 1 (127.0.0.1:" in said and "has stopped; start the same command" in said
    assert written.state() == "interrupted" and 0 < written.progress()[0] < 1

    for index, worker in enumerate(start()):
        said = worker.communicate(timeout=120)
        assert worker.returncode == 0, said
        assert index == 0 or "is done; the run is that of worker 0 (127.0.0.1:" in said[0]
    assert written.metrics.exists() and not (tmp_path / "1").exists()
    assert run(*words, "--run", tmp_path / "alone") == 0
    assert_same_losses(rows(written), rows(Run(tmp_path / "alone")))


def meet(*facts: dict | None) -> list:
    """What the first worker and the others get of each other, or their errors."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(len(facts)))

    def one(index: int) -> Any:
        function = places._wait_for_others if index == 0 else places._call_first
        try:
            return function(Placement(1, addresses, index), facts[index])
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(len(facts)) as pool:
        return [*pool.map(one, [index for index, fact in enumerate(facts) if fact is not None])]


def test_workers_meet() -> None:
    (lines, address), *others = meet({"commit": "a"}, {"commit": "a"}, {"commit": "a"})
    assert sorted(lines) == [1, 2] and all(each[1] == address for each in others)
    for line in (*lines.values(), *(each[0][0] for each in others)):
        line.close()


@pytest.mark.parametrize("key", ["fingerprint", "commit", "batch_size"])
def test_workers_that_differ_are_told_so(key: str) -> None:
    said = meet({"same": 1, key: "here"}, {"same": 1, key: "there"})
    assert said[0] == said[1] and f"{key} here and there" in said[0]
    assert "found on worker 0 (127.0.0.1:" in said[0] and " and worker 1 (127.0.0.1:" in said[0]


def test_workers_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ANSWER_SECONDS", 1)
    (said,) = meet({}, None)
    assert said.startswith("expected worker 1 (127.0.0.1:") and "within 1 s, found no answer" in said
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    with pytest.raises(InputError, match=r"expected worker 0 \(127.0.0.1:\d+\) within 1 s, found no answer"):
        places._call_first(Placement(1, addresses, 1), {})


def test_who_is_no_worker_is_not_heard() -> None:
    """Neither nonsense nor a size of terabytes ends the first worker, or fills its memory."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(places._wait_for_others, Placement(1, addresses, 0), {})
        deep = (60_000).to_bytes(8, "big") + b"[" * 60_000
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 7 + b"\x02[]", b"", deep):
            for _ in range(50):
                with contextlib.suppress(OSError):
                    with socket.create_connection(("127.0.0.1", int(addresses[0].split(":")[1]))) as line:
                        line.sendall(nonsense)
                    break
                time.sleep(0.1)
        lines, _ = places._call_first(Placement(1, addresses, 1), {})
        lines[0].close()
        assert [*first.result()[0]] == [1]


@pytest.mark.parametrize("gone", [0, 1])
def test_a_fellow_who_is_gone_before_the_first_step(gone: int, tmp_path: Path) -> None:
    """After they met, and before they watch each other: a line, not the silence of a pipe that nobody reads."""
    here, there = socket.socketpair()
    there.close()
    team = Team(Placement(1, ("a:1", "b:2"), 1 - gone), {gone: here})
    (tmp_path / "checkpoint.npz").write_bytes(bytes(2**20))
    expected = rf"^worker {gone} \({'ab'[gone]}:{gone + 1}\) has stopped; see what it said$"
    try:
        with pytest.raises(InputError, match=expected):
            team.share(False, tmp_path / "checkpoint.npz")
    finally:
        team.close()


@pytest.mark.parametrize(("end", "lost"), [("closed", True), ("silent", True), ("alive", False), ("done", False)])
def test_a_fellow_who_is_gone_is_noticed(end: str, lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "SILENCE_SECONDS", 1.2)
    found: list[int] = []
    monkeypatch.setattr(Team, "_lost", lambda self, index: (found.append(index), self._over.set()))
    here, there = socket.socketpair()
    team = Team(Placement(1, ("a:1", "b:2"), 0), {1: here})
    team._watching.start()
    for _ in range(4):
        if end == "alive":
            there.sendall(b".")
        time.sleep(0.6)
        if end == "closed":
            there.close()
        elif end == "done" and not found:
            there.sendall(b".q")
            end = "left"
    team.close()
    assert found == ([1] if lost else [])


def task_of(workers: Any, index: Any) -> dict[str, str]:
    """The environment of a worker in a cluster."""
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})}


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["--devices", 0], {}, "expected --devices of at least 1, found 0"),
        (["--workers", "a:1,b:2"], {}, "expected --workers host:port,host:port,... with --worker INDEX counted from 0"),
        (["--workers", "a:1,b:2", "--worker", 2], {}, "found a:1,b:2 with 2"),
        (["--workers", "a:1,a:1", "--worker", 0], {}, "found a:1,a:1 with 0"),
        (["--workers", "a:1,b", "--worker", 0], {}, "found a:1,b with 0"),
        (["--workers", "a:1,b:x", "--worker", 0], {}, "found a:1,b:x with 0"),
        (["--workers", "a:1,b:" + "1" * 5000, "--worker", 0], {}, "1111 with 0"),
        (["--worker", 0], {}, "found none with 0"),
        ([], {"TF_CONFIG": "{"}, 'expected TF_CONFIG {"cluster": {"worker"'),
        ([], {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}'}, "with None"),
        ([], task_of([1, 2], 0), "expected TF_CONFIG.cluster.worker[0] as text of at most 10,000 characters, found 1)"),
        ([], task_of(5, 0), "expected TF_CONFIG.cluster.worker as a list of 0 to 1000000, found 5); mend it, or unset"),
        ([], task_of(["a:1", "b:2"], 1.0), "expected TF_CONFIG.task.index as a whole number from 0 to 1000000000000"),
        ([], task_of(["a:1", "b:2"], "1.0"), "found '1.0'"),
        ([], task_of(["a:1", "b:2"], True), "found True"),
        ([], task_of(["a:1", "b:2"], -1), "found -1"),
        ([], task_of(["a:1", "b:2"], "2"), "counted from 0, found a:1,b:2 with 2"),
        ([], {"TF_CONFIG": "[" * 60_000}, "expected TF_CONFIG at most 50 deep, found more"),
        ([], {"TF_CONFIG": "[]"}, "expected TF_CONFIG as an object, found []"),
    ],
)  # fmt: skip
def test_mistakes_in_the_placement(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    words: list, environment: dict, said: str,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "run"
    status = run("train", tiny_store.path, "--system", "mel", "--fold", 1, "--preset", "demo", "--run", path, *words)
    error = capsys.readouterr().err
    assert (
        status == (1 if "mend it, or unset it" in error else 2)
        and said in error
        and error.count("\n") == 1
        and not path.exists()
    )


@pytest.mark.parametrize("index", [1, "1"])
def test_a_placement_of_tf_config_equals_that_of_the_options(index: Any) -> None:
    found = Placement.of(2, None, None, task_of(["a:1", "b:2"], index))
    assert found == Placement.of(2, ["a:1", "b:2"], 1, {}) == Placement(2, ("a:1", "b:2"), 1)
    assert found.count == 4


@pytest.mark.backend
@pytest.mark.backend
def test_gpus_are_named_by_their_models(monkeypatch: pytest.MonkeyPatch) -> None:
    if keras.backend.backend() == "jax":
        gpu, cpu = (
            SimpleNamespace(platform=kind, device_kind=name) for kind, name in (("gpu", "NVIDIA H200"), ("cpu", "cpu"))
        )
        monkeypatch.setattr("jax.devices", lambda: [cpu, gpu, gpu])
    else:
        monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: {"GPU": ["a", "b"]}[kind])
        details = {"a": {"device_name": "NVIDIA H200"}, "b": {"device_name": "NVIDIA H200"}}
        monkeypatch.setattr("tensorflow.config.experimental.get_device_details", details.get)
    assert gpu_models() == ["NVIDIA H200"] * 2


def test_a_backend_that_cannot_train_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "numpy")
    with pytest.raises(InputError, match="expected Keras's backend tensorflow or jax, found numpy; set KERAS_BACKEND"):
        Placement().check(32)


def test_networks_that_cannot_be_shared() -> None:
    if keras.backend.backend() != "jax":
        with pytest.raises(InputError, match="expected KERAS_BACKEND=jax for one network on 2 devices, found tensorfl"):
            Placement(2).check(32)
        return
    with pytest.raises(InputError, match="expected a --batch-size that 6 devices can divide, found 32"):
        Placement(3, ("a:1", "b:2"), 1).check(32)

"""Many clients at once on an export, for as long as you like: every answer as alone, memory flat.

    python -m tests.clients EXPORT [--minutes 60] [--clients 8] [--pause 0] [--server GRPC,REST]

EXPORT is a version of an export (`DIR/1`). TensorFlow Serving serves it where --server names its addresses (as model
`mine`), else the stand-in of the tests, in a process of its own. Each client draws requests of all signatures, one in
four of them a bad one; every fourth client speaks REST. A request has to be answered as it was alone before the others
came: probabilities to 1e-5, refusals by the same status. `--pause` is the mean time in seconds that a client thinks
before a request.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from multiview.views import VIEWS, extract, geometry, in_order
from tests.helpers.service import wav
from tests.helpers.stand_in import MODEL, PATH

ROOT = Path(__file__).parents[1]
TIMEOUT = 120.0
BAD = 4  # one request in so many
FLAT = 1.05  # of the memory after a tenth of the time
OPTIONS = [("grpc.max_receive_message_length", 2**26), ("grpc.max_send_message_length", 2**26)]
Request = tuple[str, dict[str, Any]]  # signature, inputs
Answer = np.ndarray | str  # probabilities, or the status of a refusal


def requests(rate: int, views: Sequence[str]) -> tuple[list[Request], list[Request]]:
    """Good ones of all signatures, of several lengths and batches, and bad ones."""
    rng, size = np.random.default_rng(0), geometry(rate, views)
    good: list[Request] = []
    for seconds, rows in ((2, 1), (5, 1), (5, 3), (11, 2)):
        sound = (0.1 * rng.standard_normal((rows, seconds * rate))).astype(np.float32)
        good.append(("serving_default", {"waveforms": sound}))
        good.append(("int16", {"waveforms": np.int16(32767 * sound)}))
        good.append(("wav_bytes", {"wav_bytes": np.array([wav(each, rate) for each in sound], object)}))
        values = extract(sound[0], rate, views)
        segment = {view: VIEWS[view].for_network(values[view][: size.segment(view)]) for view in views}
        good.append(("views", {view: np.stack([each] * rows) for view, each in segment.items()}))
    short = np.zeros((1, size.segment_samples - 1), np.float32)
    bad: list[Request] = [
        ("serving_default", {"waveforms": short}),
        ("serving_default", {"waveforms": np.full((1, 2 * rate), np.nan, np.float32)}),
        ("serving_default", {"waveforms": np.zeros((1, 2 * rate))}),
        ("int16", {"waveforms": short}),
        ("wav_bytes", {"wav_bytes": np.array([b"no sound"], object)}),
        ("wav_bytes", {"wav_bytes": np.array([wav(short[0], rate)], object)}),
        ("views", {views[0]: np.zeros((1, 2, 3), np.float32)}),
        ("nothing", {"waveforms": short}),
    ]
    return good, bad


class Grpc:
    """A client by gRPC."""

    def __init__(self, address: str) -> None:
        self.stub = PredictionServiceStub(grpc.insecure_channel(address, OPTIONS))

    def ask(self, signature: str, inputs: dict[str, np.ndarray]) -> Answer:
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = MODEL, signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        try:
            response = self.stub.Predict(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            return error.code().name
        return tf.make_ndarray(response.outputs["class_probabilities"])


class Rest:
    """A client by REST."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}{PATH}"

    def ask(self, signature: str, inputs: dict[str, np.ndarray]) -> Answer:
        (values,) = inputs.values()
        said = {"wav_bytes": [{"b64": base64.b64encode(each).decode()} for each in values]}
        body = json.dumps({"signature_name": signature, "inputs": said}).encode()
        try:
            with urllib.request.urlopen(self.url, body, timeout=TIMEOUT) as response:
                return np.array(json.load(response)["outputs"]["class_probabilities"])
        except urllib.error.HTTPError as error:
            return str(error.code)


def by_rest(request: Request) -> bool:
    """Whether the stand-in takes it so: sound files alone."""
    return request[0] == "wav_bytes"


def same(one: Answer, other: Answer) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str) and one == other
    return one.shape == other.shape and bool(np.abs(one - other).max() < 1e-5)


@dataclass
class Seen:
    """What all clients saw."""

    answers: int = 0
    refusals: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: Request, found: Answer, alone: Answer, seconds: float) -> None:
        with self.lock:
            self.answers += not isinstance(found, str)
            self.refusals += isinstance(found, str)
            self.seconds.append(seconds)
            if not same(found, alone):
                self.wrong.append(f"{request[0]}: {str(alone)[:100]} alone, {str(found)[:100]} now")


def client(number: int, connection: Grpc | Rest, pool: list[list[tuple[Request, Answer]]], seen: Seen, until: float,
           pause: float) -> None:  # fmt: skip
    """Ask until then."""
    rng = np.random.default_rng([1, number])
    while time.monotonic() < until:
        time.sleep(rng.exponential(pause) if pause else 0)
        some = pool[int(rng.integers(BAD) == 0)]
        request, alone = some[rng.integers(len(some))]
        begin = time.monotonic()
        try:
            found: Answer = connection.ask(*request)
        except Exception as error:  # of any kind, and each is one too many
            found = f"{type(error).__name__}: {error}"
        seen.add(request, found, alone, time.monotonic() - begin)


def memory(process: subprocess.Popen | None) -> float:
    """MiB that a process has resident; 0 for one of others."""
    if process is None:
        return 0.0
    (line,) = (each for each in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmRSS" in each)
    return int(line.split()[1]) / 2**10


def run(export: Path, minutes: float, clients: int, pause: float, addresses: Sequence[str] | None) -> tuple[Seen, list]:
    """What was seen, and the memory of the server at equal distances."""
    record = json.loads((export / "export.json").read_text())
    rate, views = record["sample_rate"], in_order(record["views"])
    process = None
    if addresses is None:
        command = [sys.executable, "-m", "tests.helpers.stand_in", str(export)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        addresses = process.stdout.readline().split()
    try:
        connections = [Rest(addresses[1]) if number % 4 == 3 else Grpc(addresses[0]) for number in range(clients)]
        pools = {}
        for kind, connection in {type(each): each for each in connections}.items():
            groups = [[each for each in some if kind is Grpc or by_rest(each)] for some in requests(rate, views)]
            pools[kind] = [[(each, connection.ask(*each)) for each in some] for some in groups]
            assert all(isinstance(answer, str) == bool(bad) for bad in (0, 1) for _, answer in pools[kind][bad])
        seen, begin = Seen(), time.monotonic()
        until, used = begin + 60 * minutes, []
        threads = ThreadPoolExecutor(clients)
        asking = [
            threads.submit(client, number, each, pools[type(each)], seen, until, pause)
            for number, each in enumerate(connections)
        ]
        step = 60 * minutes / 20
        for part in range(1, 21):
            time.sleep(max(0.0, begin + part * step - time.monotonic()))
            used.append(memory(process))
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}")
            counts = f"{seen.answers} answers, {seen.refusals} refusals, {len(seen.wrong)} of them others"
            print(f"{part * step / 60:.1f} min: {counts}, {used[-1]:.0f} MiB", flush=True)
        for each in asking:
            each.result()
        return seen, used
    finally:
        if process is not None:
            process.kill()
            process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--server", type=lambda text: text.split(","))
    args = parser.parse_args(arguments)
    seen, used = run(args.export.resolve(), args.minutes, args.clients, args.pause, args.server)
    for line in seen.wrong[:20]:
        print(line)
    growth = used[-1] / used[1] if used[1] else 1.0
    p50, p99 = 1000 * np.percentile(seen.seconds, [50, 99])
    print(
        f"{args.clients} clients, {args.minutes:g} min: {seen.answers} answers and {seen.refusals} refusals, "
        f"{len(seen.wrong)} of them other than alone, p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
        f"memory {used[1]:.0f} MiB after a tenth of the time, {used[-1]:.0f} at the end"
    )
    return int(bool(seen.wrong) or growth > FLAT)


if __name__ == "__main__":
    raise SystemExit(main())

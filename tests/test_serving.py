"""Exports in the hands of other programs, layer by layer, as no TensorFlow Serving can be installed by pip.

Its loader in a process without Keras (TensorFlow's C API); its rules for signatures, requests and warm-up; its gRPC
and REST interface played by a stand-in; and the server itself where MULTIVIEW_TF_SERVING names one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from multiview.evaluation import self_ensemble
from multiview.export.service import MAX_SECONDS
from multiview.predict import Predictor
from multiview.systems import JOINT
from multiview.views import VIEWS, extract, geometry, paper_views
from multiview.views.raw import from_int16
from tests.clients import run as ask
from tests.helpers.service import Requests, wav
from tests.helpers.stand_in import MODEL, served

ROOT = Path(__file__).parents[1]
RATE = 22050
BRANCHES = (*paper_views(), JOINT)
TYPES = {np.float32: 1, bytes: 7, np.int16: 5}  # tensorflow.DataType
SIGNATURES = {"serving_default", "int16", "wav_bytes", "views"}


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    """int16 waveforms of several lengths."""
    rng = np.random.default_rng(7)
    lengths = [geometry(RATE).segment_samples, 2 * RATE + 1, 61_237]
    return [
        np.int16(32767 * 0.3 * np.sin(np.cumsum(rng.uniform(0.01, 0.4, n // 100 + 1)).repeat(100)[:n] * 50))
        for n in lengths
    ]


def expected(live: Predictor, waveforms: np.ndarray) -> dict[str, np.ndarray]:
    """What the live model says of int16 [batch, samples], by the names of an export's outputs."""
    predictions = [live.predict(waveform, RATE) for waveform in waveforms]
    rows = {branch: np.stack([each.branches[branch] for each in predictions]) for branch in BRANCHES}
    return {"class_probabilities": np.stack([each.probabilities for each in predictions]), **rows}


def test_loader_of_tensorflow_serving(exported: Path, live: Predictor, sounds: list, tmp_path: Path) -> None:
    """Every signature at batches of 1, 3 and 64 and several lengths, in a process without Keras, as the live model."""
    requests, wanted = Requests(), {}
    for batch in (1, 3, 64):
        for sound in sounds if batch < 64 else sounds[:1]:
            few = np.stack([np.roll(sound, 1000 * row) for row in range(min(batch, 3))])
            values = {name: np.resize(each, (batch, each.shape[1])) for name, each in expected(live, few).items()}
            rows = np.resize(few, (batch, len(sound)))
            for key in (
                requests.add("serving_default", waveforms=from_int16(rows)),
                requests.add("int16", waveforms=rows),
                requests.add("wav_bytes", wav_bytes=[wav(row) for row in rows]),
            ):
                wanted[key] = values
    # WAV files of several lengths in one request, and segments of views.
    key = requests.add("wav_bytes", wav_bytes=[wav(sound) for sound in sounds])
    alone = [expected(live, sound[np.newaxis]) for sound in sounds]
    wanted[key] = {name: np.concatenate([each[name] for each in alone]) for name in alone[0]}
    size = geometry(RATE)
    for batch in (1, 3, 64):
        views = extract(from_int16(sounds[0]), RATE)
        segments = {
            view: VIEWS[view].for_network(np.stack([values[: size.segment(view)]] * batch))
            for view, values in views.items()
        }
        answer = live.network({view: each[..., np.newaxis] for view, each in segments.items()})
        key = requests.add("views", **segments)
        wanted[key] = {**answer, "class_probabilities": self_ensemble(answer, live.weights)}

    answers = requests.answers(exported, tmp_path)
    assert answers["modules"].size == 0  # neither Keras nor TensorFlow's Python package
    classes = live.classes
    for key, values in wanted.items():
        assert f"{key}/error" not in answers, answers[f"{key}/error"]
        for name, rows in values.items():
            np.testing.assert_allclose(answers[f"{key}/{name}"], rows, atol=2e-4)
        np.testing.assert_allclose(answers[f"{key}/class_probabilities"].sum(axis=1), 1, atol=1e-5)
        assert (answers[f"{key}/classes"] == np.array(classes, "S")).all()
        assert answers[f"{key}/classes"].shape == answers[f"{key}/class_probabilities"].shape


def test_bad_requests_are_errors(exported: Path, tmp_path: Path, sounds: list) -> None:
    """By the loader of TensorFlow Serving: no crash, a message that helps, and the next request is answered."""
    short, long, too_short = geometry(RATE).segment_samples - 1, 40_000, "expected at least 33516 samples"
    requests, size = Requests(), geometry(RATE)
    silent = {view: np.zeros((1, *size.segment_shape(view)), np.float32) for view in paper_views()}
    cases = [
        (requests.add("serving_default", waveforms=np.zeros((2, short), np.float32)), too_short),
        (requests.add("int16", waveforms=np.zeros((1, 0), np.int16)), too_short),
        (requests.add("serving_default", waveforms=np.full((1, long), np.nan, np.float32)), "found NaN"),
        (requests.add("serving_default", waveforms=np.full((1, long), np.inf, np.float32)), "NaN or more than 10000"),
        (requests.add("serving_default", waveforms=np.zeros((1, long))), "to be float but double"),
        (requests.add("int16", waveforms=np.zeros((1, long), np.float32)), "to be int16 but float"),
        (requests.add("serving_default", waveforms=np.zeros(long, np.float32)), r"\[40000\] is not compatible with"),
        (requests.add("serving_default", waveforms=np.zeros((1, long, 2), np.float32)), "is not compatible with"),
        (requests.add("serving_default", sound=np.zeros((1, long), np.float32)), "no input {'sound'}"),
        (requests.add("classify", waveforms=np.zeros((1, long), np.float32)), "no signature classify"),
        (requests.add("views", mel=np.zeros((1, 75, 64), np.float32)), "You must feed a value"),
        (requests.add("views", **{**silent, "mel": np.full((1, 75, 64), np.nan, np.float32)}), "found NaN"),
        (requests.add("views", **{**silent, "raw": np.zeros((2, 33330), np.float32)}), "as many rows in raw as in mel"),
        (requests.add("int16", waveforms=np.zeros((64, 30 * RATE + 1), np.int16)), "expected at most 1920 s of audio"),
        (requests.add("wav_bytes", wav_bytes=[b"no sound"]), "(?i)wav|riff|short"),
        (requests.add("wav_bytes", wav_bytes=[wav(sounds[1]), wav(sounds[1], 44100)]), "expected WAV files at 22050"),
        (requests.add("wav_bytes", wav_bytes=[wav(sounds[1][:100])]), too_short),
    ]  # fmt: skip
    good = requests.add("int16", waveforms=sounds[0][np.newaxis])
    answers = requests.answers(exported, tmp_path)
    for key, message in cases:
        assert f"{key}/error" in answers, f"{message}: {sorted(each for each in answers if each.startswith(key))}"
        assert re.search(message, str(answers[f"{key}/error"])), answers[f"{key}/error"]
    assert answers[f"{good}/class_probabilities"].sum() == pytest.approx(1, abs=1e-5)


def test_signatures_suit_rest(exported: Path, tmp_path: Path, sounds: list) -> None:
    """Predict methods on float32, int16 and strings alone, a row a clip, which JSON by columns and by rows can say."""
    requests = Requests()
    requests.add("int16", waveforms=sounds[0][np.newaxis])
    answers, found = requests.answers(exported, tmp_path), {}
    for key, shape in answers.items():
        if key.startswith("signature/"):
            _, name, method, side, tensor, dtype = key.split("/")
            assert method == "tensorflow.serving.predict" and shape[0] == -1
            found.setdefault(name, {}).setdefault(side, {})[tensor] = (int(dtype), tuple(shape[1:]))
    assert set(found) == SIGNATURES
    outputs = {name: (TYPES[np.float32], (3,)) for name in ("class_probabilities", *BRANCHES)}
    for name in SIGNATURES:
        assert found[name]["outputs"] == {**outputs, "classes": (TYPES[bytes], (3,))}
    assert {name: found[name]["inputs"] for name in SIGNATURES} == {
        "serving_default": {"waveforms": (TYPES[np.float32], (-1,))},
        "int16": {"waveforms": (TYPES[np.int16], (-1,))},
        "wav_bytes": {"wav_bytes": (TYPES[bytes], ())},
        "views": {
            "mel": (1, (75, 64)),
            "gammatone": (1, (75, 64)),
            "cqt": (1, (65, 64)),
            "raw": (1, (33330,)),
        },
    }


def test_warm_up_requests_are_answered(exported: Path) -> None:
    """As TensorFlow Serving replays them: one of each signature."""
    signatures, replayed = tf.saved_model.load(str(exported)).signatures, set()
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(values)) for name, values in request.inputs.items()}
        outputs = signatures[request.model_spec.signature_name](**inputs)
        np.testing.assert_allclose(tf.reduce_sum(outputs["class_probabilities"], axis=1), 1, atol=1e-5)
        replayed.add(request.model_spec.signature_name)
    assert replayed == SIGNATURES


def test_batching_config(exported: Path) -> None:
    """Fields of BatchingParameters, and no padding, which would repeat a clip's first sample."""
    lines = (exported.parent / "batching.config").read_text().splitlines()
    pattern = r"(max_batch_size|batch_timeout_micros|max_enqueued_batches|num_batch_threads) \{ value: \d+ \}"
    assert [line for line in lines if not re.fullmatch(pattern, line)] == ["pad_variable_length_inputs: false"]
    # What may be merged, two minutes each, is within the bound of a request.
    (rows,) = [int(found[1]) for line in lines if (found := re.fullmatch(r"max_batch_size .*: (\d+) }", line))]
    assert rows * 120 <= MAX_SECONDS


def documented(language: str, start: str) -> str:
    """The block of the README or of `docs/` in a language that begins with some text."""
    text = "".join(path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))))
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(start)]
    return block


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[tuple[str, str]]:
    """Addresses of a stand-in for gRPC and REST."""
    with served(exported) as addresses:
        yield addresses


def curl_for_want_of_one(folder: Path) -> Path:
    """A folder, for the end of PATH, with a `curl` that does what the documentation asks of it."""
    program = folder / "bin" / "curl"
    program.parent.mkdir(exist_ok=True)
    body = "import sys, urllib.request as u; print(u.urlopen(sys.argv[-1], sys.stdin.buffer.read()).read().decode())"
    program.write_text(f"#!{sys.executable}\n{body}\n")
    program.chmod(0o755)
    return program.parent


def clients(grpc_address: str, rest_address: str, folder: Path) -> tuple[str, dict]:
    """What the documentation's two clients print of `clip.wav` in a folder."""
    python = documented("python", "import grpc").replace("localhost:8500", grpc_address)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", python]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    shell = documented("bash", "(printf").replace("localhost:8501", rest_address)
    environment["PATH"] = f"{os.environ['PATH']}{os.pathsep}{curl_for_want_of_one(folder)}"
    command = ["bash", "-c", shell]
    answer = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, json.loads(answer.stdout)["outputs"]


def check_clients(addresses: tuple[str, str], live: Predictor, sound: np.ndarray, folder: Path) -> None:
    (folder / "clip.wav").write_bytes(wav(sound))
    printed, outputs = clients(*addresses, folder)
    wanted = expected(live, sound[np.newaxis])["class_probabilities"][0]
    name = live.classes[wanted.argmax()]
    assert printed.split()[0] == name and float(printed.split()[1]) == pytest.approx(wanted.max(), abs=1e-3)
    np.testing.assert_allclose(outputs["class_probabilities"], [wanted], atol=1e-3)
    assert outputs["classes"] == [live.classes]


def test_documented_clients(server: tuple[str, str], live: Predictor, sounds: list, tmp_path: Path) -> None:
    check_clients(server, live, sounds[1], tmp_path)


def test_clients_with_tensorflow_serving(live: Predictor, exported: Path, sounds: list, tmp_path: Path) -> None:
    """MULTIVIEW_TF_SERVING: the path of a tensorflow_model_server to start.

    Or the addresses HOST:PORT,HOST:PORT (gRPC, REST) of one that serves an export as `mine`.
    """
    named = os.environ.get("MULTIVIEW_TF_SERVING")
    if not named:
        pytest.skip("needs TensorFlow Serving; name a tensorflow_model_server or its addresses in MULTIVIEW_TF_SERVING")
    if "," in named:
        (tmp_path / "clip.wav").write_bytes(wav(sounds[1]))
        printed, outputs = clients(*named.split(","), tmp_path)
        (probabilities,), (classes,) = outputs["class_probabilities"], outputs["classes"]
        assert printed.split()[0] == classes[np.argmax(probabilities)] and sum(probabilities) == pytest.approx(
            1, abs=1e-4
        )
        return
    ports = ("18500", "18501")
    command = [named, f"--port={ports[0]}", f"--rest_api_port={ports[1]}", f"--model_name={MODEL}",
               f"--model_base_path={exported.parent}", "--enable_batching",
               f"--batching_parameters_file={exported.parent / 'batching.config'}"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{ports[0]}")).result(timeout=120)
            check_clients((f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"), live, sounds[1], tmp_path)
        finally:
            process.kill()


def test_clients_at_once_are_answered_as_alone(exported: Path) -> None:
    """A few seconds of what `python -m tests.clients` does for an hour."""
    seen, used = ask(exported, minutes=0.05, clients=4, pause=0.05, addresses=None)
    assert seen.wrong == [] and seen.answers > 20 and seen.refusals > 2
    assert used[-1] < 1.2 * used[1]

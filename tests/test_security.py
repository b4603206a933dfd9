"""Hostile input: model files that carry code, damaged sound files, and damaged requests."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from multiview import cli
from multiview.audio import decode
from multiview.experiment.run import Run
from multiview.views import geometry, paper_views
from tests.fuzz.mutations import any_bytes
from tests.helpers.service import Requests

ROOT = Path(__file__).parents[1]
SOUND_SEED, REQUEST_SEED = 20211, 20212
SECONDS, MEBIBYTES = 5.0, 1024  # for one of them; for the process


def sound_file(format: str, subtype: str | None, rng: np.random.Generator, samples: int = 8000) -> bytes:
    content = io.BytesIO()
    channels = 1 if format == "MP3" else 2
    soundfile.write(content, 0.1 * rng.standard_normal((samples, channels)), 22050, format=format, subtype=subtype)
    return content.getvalue()


# Reads each file and computes its views, as `multiview predict` does, with nothing in the network's place.
READER = """
import json, pathlib, sys, time
import numpy as np
from multiview.audio import AudioError
from multiview.predict import Predictor
from tests.helpers.c_api import peak_memory

predictor = Predictor(lambda segments: {"raw": segments["raw"].mean(axis=1)}, ["mean"], 22050, ["raw"], {"raw": 1.0})
slowest, errors, answers = 0.0, 0, 0
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    begin = time.perf_counter()
    (answer,) = predictor.predict_files([path])
    slowest = max(slowest, time.perf_counter() - begin)
    if isinstance(answer, AudioError):
        errors += 1
    else:
        assert np.isfinite(answer.probabilities).all()
        answers += 1
print(json.dumps({"slowest": slowest, "errors": errors, "answers": answers, "peak": peak_memory()}))
"""


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.long)])
def test_damaged_sound_files(tmp_path: Path, count: int) -> None:
    """Hundreds of ten formats: an answer or an error for each, within 5 s and 1 GiB."""
    rng = np.random.default_rng(SOUND_SEED)
    formats = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
               ("AIFF", "PCM_16"), ("AU", "ULAW"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)]  # fmt: skip
    originals = [sound_file(*each, rng) for each in formats]
    for number in range(count):
        (tmp_path / f"{number:04}").write_bytes(any_bytes(originals[number % len(originals)], rng))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", READER, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] + found["answers"] == count
    assert found["errors"] > count / 20 and found["answers"] > count / 20  # both sides were tried
    assert found["slowest"] < SECONDS and found["peak"] < MEBIBYTES


def test_length_is_that_of_the_file_not_of_the_header(tmp_path: Path) -> None:
    """A cut MP3 ends where it ends, and one whose header states years does not fill the memory."""
    rng = np.random.default_rng(0)
    whole = sound_file("MP3", None, rng, samples=5 * 22050)
    tag = max(whole.find(b"Xing"), whole.find(b"Info"))
    assert tag > 0 and whole[tag + 7] & 1  # with a number of frames
    forged = whole[: tag + 8] + b"\x7f\xff\xff\xff" + whole[tag + 12 :]
    for name, content in (("whole", whole), ("cut", whole[: len(whole) // 2]), ("forged", forged)):
        (tmp_path / f"{name}.mp3").write_bytes(content)
    expected, rate = decode(tmp_path / "whole.mp3")
    cut, _ = decode(tmp_path / "cut.mp3")
    assert 0.3 * len(expected) < len(cut) < 0.6 * len(expected)
    # The decoder's own swinging out aside, what is there is what the whole file has.
    np.testing.assert_allclose(cut[: len(cut) - 4 * 1152], expected[: len(cut) - 4 * 1152], atol=1e-3)
    found, _ = decode(tmp_path / "forged.mp3")
    assert abs(len(found) - len(expected)) < rate


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.long)])
def test_damaged_requests(exported: Path, tmp_path: Path, count: int) -> None:
    """By the loader of TensorFlow Serving: an answer that is a distribution, or an error."""
    rng, requests, size = np.random.default_rng(REQUEST_SEED), Requests(), geometry(22050)
    original = sound_file("WAV", "PCM_16", rng, 34_000)
    shapes = {view: size.segment_shape(view) for view in paper_views()}
    for number in range(count):
        if number % 5 < 3:
            requests.add("wav_bytes", wav_bytes=[any_bytes(original, rng) for _ in range(rng.integers(1, 3))])
            continue
        dtype = rng.choice([np.float32, np.int16, np.float64, np.int64])
        if number % 5 == 3:
            shape = rng.choice([0, 1, 2, 100, 33_516, 40_001], size=rng.integers(0, 4)).tolist()
            while np.prod(shape) > 200_000:
                shape.pop()
            scale = rng.choice([1, 1e4, 1e30])
            with np.errstate(invalid="ignore", over="ignore"):
                values = (scale * rng.standard_normal(shape)).astype(dtype)
            if dtype == np.float32 and values.size and rng.random() < 0.3:
                values.flat[rng.integers(values.size)] = rng.choice([np.nan, np.inf, -np.inf])
            requests.add(str(rng.choice(["serving_default", "int16", "nothing"])), waveforms=values)
        else:
            views = {
                view: np.full((2, *shape), rng.choice([0, -100, 1e30, np.nan]), np.float32)
                for view, shape in shapes.items()
            }
            view = str(rng.choice(list(views)))
            changed = rng.integers(4)
            if changed == 0:
                del views[view]
            elif changed == 1:
                views[view] = views[view][:1]
            elif changed == 2:
                views[view] = views[view][:, :-1]
            requests.add("views", **views)
    answers = requests.answers(exported, tmp_path)
    errors, slowest = 0, 0.0
    for number in range(count):
        slowest = max(slowest, float(answers[f"{number}/seconds"]))
        if f"{number}/error" in answers:
            errors += 1
        else:
            sums = answers[f"{number}/class_probabilities"].sum(axis=1)
            np.testing.assert_allclose(sums, 1, atol=1e-4)
    assert count / 5 < errors < count - count / 10
    # The first request of a signature also makes its plan, which warm-up does in a service.
    assert slowest < 4 * SECONDS and answers["peak_memory_mib"] < MEBIBYTES


def rewritten(model: Path, to: Path, change) -> None:
    """A copy of a .keras file with another config."""
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(to, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            target.writestr(name, content)


def hostile(layer: dict, kind: str, mark: Path) -> None:
    """Turn the config of a layer into one that would leave a mark when it ran."""
    name = layer["config"]["name"]
    if kind == "lambda":  # marshalled bytecode of lambda x: open(mark, "w")
        import base64
        import marshal

        code = marshal.dumps(eval(f"lambda x: open({str(mark)!r}, 'w') and x").__code__)  # noqa: S307
        function = {
            "class_name": "__lambda__",
            "config": {"code": base64.b64encode(code).decode(), "defaults": None, "closure": None},
        }
        layer |= {"module": "keras.layers", "class_name": "Lambda", "registered_name": None}
        layer["config"] = {"name": name, "trainable": True, "dtype": "float32", "function": function, "arguments": {}}
    elif kind == "module":  # a class of any module
        layer |= {"module": "os", "class_name": "system", "registered_name": None}
        layer["config"] = {"command": f"touch {mark}"}
    else:  # a function of any module as an argument
        touch = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
        layer["config"]["activation"] = touch


@pytest.mark.parametrize("kind", ["lambda", "module", "function"])
def test_model_files_run_no_code(tiny_trained: Run, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture) -> None:
    """A hostile .keras file in a run: one line, status 1, nothing done."""
    mark, run = tmp_path / "mark", Run(tmp_path / "run")
    run.path.mkdir()
    run.record.write_text(tiny_trained.record.read_text())

    def change(config: dict) -> None:
        layer = next(each for each in config["config"]["layers"] if each["class_name"] == "Dense")
        hostile(layer, kind, mark)

    rewritten(tiny_trained.model, run.model, change)
    assert cli.main(["predict", str(run.path), "a.wav"]) == 1
    error = capsys.readouterr().err
    assert "cannot be loaded" in error and "Traceback" not in error
    assert not mark.exists()


def test_no_pickle_and_no_unsafe_loading() -> None:
    """Nothing in the project unpickles, evaluates, or asks Keras, NumPy or YAML for their unsafe ways."""
    words = r"pickle|allow_pickle|safe_mode|enable_unsafe|marshal|yaml\.load\b|torch\.load|(?<![.\w])(eval|exec)\("
    sources = [*ROOT.glob("multiview/**/*.py"), *ROOT.glob("data_prep/**/*.py")]
    assert len(sources) > 30
    found = [
        f"{path.name}: {line.strip()}"
        for path in sources
        for line in path.read_text().splitlines()
        if re.search(words, line)
    ]
    assert found == []

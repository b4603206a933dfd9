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
from multiview.audio import AudioError, decode
from multiview.experiment.run import Run
from tests.fuzz.mutations import any_bytes
from tests.fuzz.runner import in_processes

ROOT = Path(__file__).parents[1]
SOUND_SEED = 20211
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


def test_length_that_no_file_can_have(tmp_path: Path) -> None:
    """2.9e11 samples by the header of a file of 1 KiB, which libsndfile would give, as silence."""
    path = tmp_path / "a.w64"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(4000), 8000, subtype="GSM610")
    assert len(decode(path)[0]) >= 4000
    content = bytearray(path.read_bytes())
    place = content.index(b"data\xf3\xac\xd3\x11")
    content[place + 23] = 0xCD  # the highest byte of the length
    path.write_bytes(content)
    with pytest.raises(AudioError, match="samples by its header, in 9.. bytes"):
        decode(path)


def test_damaged_requests(exported: Path) -> None:
    """By the loader of TensorFlow Serving: a distribution, or an error; `tests.fuzz requests` has thousands."""
    found = in_processes("requests", 60, exported)
    assert found.ok, found
    assert 60 / 5 < found.refused < 60 - 60 / 10
    assert found.slowest < SECONDS and found.peak_mib < MEBIBYTES


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

"""Writing exports: SavedModels that take waveforms, for TensorFlow Serving and everything else that runs TensorFlow.

    DIR/1/    saved_model.pb, variables/            loaded by TensorFlow Serving
              network.tflite                        loaded by `multiview predict`, without TensorFlow
              assets.extra/                         warm-up requests, replayed by it before it answers
              export.json, MODEL_CARD.md            for it, and for people
    DIR/batching.config                             for its option --batching_parameters_file

Their signatures are described in `multiview.export.service`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from multiview.experiment.run import Run
from multiview.export.check import check_graphs, largest_difference, requests
from multiview.export.light import write_light
from multiview.export.model_card import model_card
from multiview.export.service import Service, in_float32
from multiview.predict.predictor import Predictor
from multiview.predict.saved import VIEWS_SIGNATURE, of_run, store_views, versions
from multiview.starters import located
from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.support.files import ANY_LEFTOVERS, locked, replacing, write_json
from multiview.views.raw import to_int16

TOLERANCE = 0.01  # of a probability, between an export and the run
LOW_PRECISION_TOLERANCE = 0.05  # where the run computed in 16 bits what the export computes in float32
WARM_UP_SECONDS = 5
# Clients whose requests may be merged send waveforms of one length, or `wav_bytes`. What a request may last holds for
# merged ones, too: so few, of up to two minutes each, do not fail each other.
BATCHING = """\
max_batch_size { value: 16 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
pad_variable_length_inputs: false
"""


def export(run_path: str | Path, directory: str | Path) -> Path:
    """Write the kept model of a run as the next version `DIR/1`, `DIR/2` ... of an export.

    It is written aside, loaded again, compared with the live model, and only then renamed into place. If the network
    takes a user's own view that has no graph, the only signature is `views`, and a line on standard error says so.

    Parameters
    ----------
    run_path : path
        The run, or the name of a starter model.
    directory : path
        What TensorFlow Serving calls the model's base path.

    Returns
    -------
    Path
        `DIR/VERSION`.

    Raises
    ------
    InputError
        If there is no trained run, Keras does not run on TensorFlow, or the export does not answer
        as the run does.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"expected KERAS_BACKEND=tensorflow to export, found {keras.backend.backend()}")
    run, directory = Run(located(run_path)), Path(directory)
    if (directory / "saved_model.pb").exists():
        raise InputError(f"expected a directory for versions, found a version at {directory}; name the one above it")
    run.read()
    model = run.load_model()
    live = of_run(run, model)
    check_graphs(live.views, live.size)
    network = in_float32(model, run.system(), live.sample_rate, run.settings())
    service = Service(network, live.classes, live.size, live.calibration)
    if service.without_graph:
        missing = ", ".join(service.without_graph)
        print(
            f"no graph for {missing}: the export takes segments of views (signature {VIEWS_SIGNATURE}), not waveforms",
            file=sys.stderr,
        )
    with locked(directory / "export.lock", f"{directory} is being exported to", ANY_LEFTOVERS):
        version = max(versions(directory), default=0) + 1
        with replacing(directory / str(version)) as temporary:
            _write(temporary, service, run, live, version, directory.resolve().name)
        if not (directory / "batching.config").exists():
            with replacing(directory / "batching.config") as temporary:
                temporary.write_text(BATCHING, encoding="utf-8")
    return directory / str(version)


def _write(path: Path, service: Service, run: Run, live: Predictor, version: int, name: str) -> None:
    """Write and check a version, for TensorFlow Serving under `name`."""
    signatures = service.signatures()
    tf.saved_model.save(service.module, str(path), signatures=signatures)
    write_light(path, service, live.size)
    difference, settings = largest_difference(path, live), run.settings()
    tolerance = TOLERANCE if settings["precision"] == "float32" else LOW_PRECISION_TOLERANCE
    if not difference <= tolerance:
        raise InputError(
            f"expected an export within {tolerance} of {run.path}, found a difference of {difference:.3g}; "
            "nothing was written"
        )
    _write_warm_up(path / "assets.extra" / "tf_serving_warmup_requests", live, name, signatures)
    record = {
        "system": settings["system"],
        "views": live.views,
        "store_views": list(store_views(run)),
        "plugins": plugins.record({"view": store_views(run)}),
        "classes": live.classes,
        "sample_rate": live.sample_rate,
        "weights": live.weights,
        "calibration": asdict(live.calibration) if live.calibration else None,
        "largest_difference": difference,
        "without_graph": service.without_graph,
    }
    write_json(path / "export.json", record)
    (path / "MODEL_CARD.md").write_text(model_card(run, version, record), encoding="utf-8")


def _write_warm_up(path: Path, live: Predictor, name: str, signatures: Iterable[str]) -> None:
    """Requests of every signature, with which TensorFlow Serving warms up before it answers."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, WARM_UP_SECONDS * live.sample_rate))
    silence = {view: np.zeros((1, *live.size.segment_shape(view)), np.float32) for view in live.views}
    inputs = {**requests(to_int16(noise), live.sample_rate), VIEWS_SIGNATURE: silence}
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in signatures:
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, values in inputs[signature].items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
            writer.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())

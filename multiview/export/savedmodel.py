"""Exports as SavedModels that take waveforms, for TensorFlow Serving and everything else that runs TensorFlow.

    DIR/1/    saved_model.pb, variables/            loaded by TensorFlow Serving
              network.tflite                        loaded by `multiview predict`, without TensorFlow
              assets.extra/                         warm-up requests, replayed by it before it answers
              export.json, MODEL_CARD.md            for it, and for people
    DIR/batching.config                             for its option --batching_parameters_file

Their signatures are described in `multiview.export.service`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from multiview.export.check import largest_difference, requests
from multiview.export.light import write_light
from multiview.export.subject import Subject
from multiview.predict.predictor import Predictor
from multiview.predict.saved import VIEWS_SIGNATURE
from multiview.views.raw import to_int16

WARM_UP_SECONDS = 5


def write(path: Path, subject: Subject) -> float:
    """Write a version, for TensorFlow Serving; gives its largest difference from the run."""
    signatures = subject.service.signatures()
    tf.saved_model.save(subject.service.module, str(path), signatures=signatures)
    write_light(path, subject.service, subject.live.size)
    _write_warm_up(path / "assets.extra" / "tf_serving_warmup_requests", subject.live, subject.name, signatures)
    return largest_difference(path, subject.live)


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

"""Exports: SavedModels that take waveforms, for TensorFlow Serving and everything else that runs TensorFlow.

    DIR/1/    saved_model.pb, variables/            loaded by TensorFlow Serving
              assets.extra/                         warm-up requests, replayed by it before it answers
              export.json, MODEL_CARD.md            for `multiview predict`, and for people
    DIR/batching.config                             for its option --batching_parameters_file

The signatures, all of whose outputs are `class_probabilities`, each branch by name, and `classes`, with one
row a clip (a segment in `views`):

    serving_default   waveforms float32 [batch, samples], mono at the model's rate, in [-1, 1]
    int16             waveforms int16 [batch, samples]
    wav_bytes         wav_bytes string [batch], contents of 16-bit WAV files at the model's rate
    views             mel, gammatone, cqt float32 [batch, frames, 64], raw float32 [batch, samples]
"""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import soundfile
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from data_prep.audio import MAX_AMPLITUDE
from data_prep.views import extract, geometry
from multiview import graph_views
from multiview.errors import InputError
from multiview.evaluation import BATCH_SIZE
from multiview.files import ANY_LEFTOVERS, locked, read_json, replacing, write_json
from multiview.model_card import model_card
from multiview.names import SYSTEMS
from multiview.networks import BlendedModel, build_network
from multiview.prediction import Predictor, of_run
from multiview.recurrence import without_cudnn
from multiview.runs import Run
from multiview.segments import cut

Tensors = dict[str, tf.Tensor]
PROBABILITIES, CLASSES = "class_probabilities", "classes"
TOLERANCE = 0.01  # of a probability, between an export and the run
LOW_PRECISION_TOLERANCE = 0.05  # where the run computed in 16 bits what the export computes in float32
MAX_SECONDS = 1920  # of audio in a request, 64 clips of 30 s: views take 1.5 MiB a second
WARM_UP_SECONDS = 5
# Clients whose requests may be merged send waveforms of one length, or `wav_bytes`.
BATCHING = """\
max_batch_size { value: 64 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
pad_variable_length_inputs: false
"""


class Export:
    """One version of an export.

    Parameters
    ----------
    path : path
        `DIR/VERSION`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record = self.path / "export.json"

    @classmethod
    def find(cls, path: str | Path) -> Export | None:
        """The version at `path`, or the newest one below it; None if there is neither."""
        candidates = (Path(path), *(Path(path) / str(version) for version in reversed(versions(path))))
        return next((cls(each) for each in candidates if (each / "saved_model.pb").is_file()), None)

    def load(self) -> Predictor:
        """The network of the export, ready for sounds of any rate and format.

        Raises
        ------
        InputError
            If it is incomplete or damaged.
        """
        try:
            record = read_json(self.record)
            views, branches = SYSTEMS[record["system"]]
            loaded = tf.saved_model.load(str(self.path))
            loaded.signatures["views"]
            classes, sample_rate, weights = record["classes"], record["sample_rate"], record["weights"]
        except Exception as error:  # of any kind, where files are damaged
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"{self.path} cannot be loaded ({reason}); export the run again") from error

        def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            outputs = loaded.signatures["views"](
                **{view: tf.constant(values[..., 0]) for view, values in segments.items()}
            )
            return {branch: outputs[branch].numpy() for branch in branches}

        return Predictor(network, classes, sample_rate, views, weights)


def versions(directory: str | Path) -> list[int]:
    """Version numbers in the directory of an export, in order."""
    return sorted(int(path.name) for path in Path(directory).glob("*") if path.name.isdecimal() and path.is_dir())


def in_float32(model: BlendedModel, system: str, classes: int, sample_rate: int, width: float) -> BlendedModel:
    """A copy that computes in float32 without cuDNN's kernels, on any device."""
    statistics = {}
    for view in model.input:
        if f"{view}_standardise" in {layer.name for layer in model.layers}:
            layer = model.get_layer(f"{view}_standardise")
            mean, variance = (
                keras.ops.convert_to_numpy(part).astype(np.float64).ravel() for part in (layer.mean, layer.variance)
            )
            statistics[view] = (mean, np.sqrt(variance))
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        copy = build_network(system, classes, sample_rate, width, statistics or None)
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(model.get_weights())
    without_cudnn(copy)
    return copy


class Service:
    """The signatures of an export, from waveforms to classes in one graph.

    `module` is what a SavedModel keeps beside them: the variables, each once.
    """

    def __init__(self, network: BlendedModel, classes: list[str], sample_rate: int) -> None:
        self._network = network
        self._classes = classes
        self._size = geometry(sample_rate)
        self.module = tf.Module()
        self.module.state = [variable.value for variable in network.variables]

        # Functions of their own, so that the graph holds views and network once for all signatures.
        shapes = {view: [None, *self._size.segment_shape(view)] for view in network.input}
        self._segments = {view: tf.TensorSpec(shape, tf.float32, view) for view, shape in shapes.items()}
        batch = {view: tf.TensorSpec([*shape, 1], tf.float32) for view, shape in shapes.items()}
        self._answer = tf.function(lambda batch: network(batch, training=False), input_signature=[batch])
        waveforms = tf.TensorSpec([None, None], tf.float32)
        self._of_waveforms = tf.function(self._of_waveforms, input_signature=[waveforms])

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Concrete functions by the name of their signature."""

        # Whoever calls the graph without Keras may pass other shapes than its signatures state.
        @tf.function
        def serve(waveforms):
            return self._complete(self._of_waveforms(tf.ensure_shape(waveforms, [None, None])))

        @tf.function
        def serve_int16(waveforms):
            waveforms = tf.cast(tf.ensure_shape(waveforms, [None, None]), tf.float32) / 32768.0
            return self._complete(self._of_waveforms(waveforms))

        @tf.function
        def serve_wav(wav_bytes):
            wav_bytes = tf.ensure_shape(wav_bytes, [None])
            signature = {branch: tf.TensorSpec([len(self._classes)]) for branch in self._network.branches}
            # Clips of any lengths, one after the other.
            outputs = tf.map_fn(self._of_wav, wav_bytes, fn_output_signature=signature, parallel_iterations=1)
            return self._complete(outputs)

        @tf.function
        def serve_views(**segments):
            batch = {
                view: tf.ensure_shape(segments[view], spec.shape)[..., tf.newaxis]
                for view, spec in self._segments.items()
            }
            checks = [
                tf.debugging.Assert(
                    tf.reduce_all(tf.math.is_finite(values)), [f"expected numbers in {view}, found NaN"]
                )
                for view, values in batch.items()
            ]
            with tf.control_dependencies(checks):
                return self._complete(self._answer(batch))

        return {
            "serving_default": serve.get_concrete_function(tf.TensorSpec([None, None], tf.float32, "waveforms")),
            "int16": serve_int16.get_concrete_function(tf.TensorSpec([None, None], tf.int16, "waveforms")),
            "wav_bytes": serve_wav.get_concrete_function(tf.TensorSpec([None], tf.string, "wav_bytes")),
            "views": serve_views.get_concrete_function(**self._segments),
        }

    def _complete(self, branches: Tensors) -> Tensors:
        """Branches with Eq. (6) and the classes' names, a row each, as TensorFlow Serving merges requests by rows."""
        branches = {branch: tf.cast(branches[branch], tf.float32) for branch in self._network.branches}
        weights = tf.unstack(self._network.branch_weights.value, num=len(branches))
        fused = tf.add_n([weight * values for weight, values in zip(weights, branches.values(), strict=True)])
        names = tf.tile(tf.constant([self._classes]), [tf.shape(fused)[0], 1])
        return {PROBABILITIES: fused, **branches, CLASSES: names}

    def _of_wav(self, content: tf.Tensor) -> Tensors:
        """Branches [classes] of the content of a WAV file, channels averaged."""
        waveform, rate = tf.audio.decode_wav(content)
        expected = self._size.sample_rate
        checked = tf.debugging.assert_equal(
            rate, expected, f"expected WAV files at {expected} Hz, found another rate; resample them"
        )
        with tf.control_dependencies([checked] if checked is not None else []):
            mono = tf.reduce_mean(waveform, axis=1)
        outputs = self._of_waveforms(mono[tf.newaxis])
        return {branch: values[0] for branch, values in outputs.items()}

    def _of_waveforms(self, waveforms: tf.Tensor) -> Tensors:
        """Branches [batch, classes]: the views, S segments of S seconds, the network, and the mean over segments."""
        size, shortest = self._size, self._size.segment_samples
        clips, samples = tf.shape(waveforms, tf.int64)[0], tf.shape(waveforms, tf.int64)[1]
        checks = [
            tf.debugging.assert_greater_equal(
                samples, np.int64(shortest), f"expected at least {shortest} samples, one segment; pad with silence"
            ),
            tf.debugging.assert_less_equal(
                clips * samples, np.int64(MAX_SECONDS * size.sample_rate), f"expected at most {MAX_SECONDS} s of audio"
            ),
            # NaN compares as false.
            tf.debugging.Assert(
                tf.reduce_all(tf.abs(waveforms) <= MAX_AMPLITUDE),
                [f"expected samples in [-1, 1], found NaN or more than {MAX_AMPLITUDE:g}"],
            ),
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            values = graph_views.views(waveforms, size.sample_rate)
        values = {view: values[view] for view in self._network.input}

        starts = graph_views.even_starts(samples, size.sample_rate)
        segments = tf.shape(starts, tf.int64)[0]
        rows = clips * segments
        clip_of, start_of = tf.repeat(tf.range(clips), segments), tf.tile(starts, [clips])

        def step(begin: tf.Tensor, *outputs: tf.Tensor) -> list[tf.Tensor]:
            part = slice(begin, tf.minimum(begin + BATCH_SIZE, rows))
            batch = graph_views.segments(values, size.sample_rate, clip_of[part], start_of[part])
            found = self._answer(batch)
            more = [found[branch] for branch in self._network.branches]
            return [part.stop, *(tf.concat(pair, axis=0) for pair in zip(outputs, more, strict=True))]

        # A batch of segments at a time, whatever the clips' number and length.
        nothing = [tf.zeros([0, len(self._classes)]) for _ in self._network.branches]
        _, *outputs = tf.while_loop(
            lambda begin, *_: begin < rows,
            step,
            [tf.constant(0, tf.int64), *nothing],
            shape_invariants=[tf.TensorShape([]), *[tf.TensorShape([None, len(self._classes)])] * len(nothing)],
            parallel_iterations=1,
        )
        by_clip = [clips, segments, len(self._classes)]
        means = [tf.reduce_mean(tf.reshape(each, by_clip), axis=1) for each in outputs]
        return dict(zip(self._network.branches, means, strict=True))


def _test_sounds(sample_rate: int) -> list[np.ndarray]:
    """Batches [2, samples] of several lengths, of noise, a rising tone, clicks, and silence."""
    rng, batches = np.random.default_rng(0), []
    for samples in (geometry(sample_rate).segment_samples, round(2.3 * sample_rate), 5 * sample_rate):
        time = np.arange(samples) / sample_rate
        noise = 0.1 * rng.standard_normal(samples)
        tone = 0.5 * np.sin(2 * np.pi * (100 * time + 300 * time**2))
        clicks = np.where(np.arange(samples) % (sample_rate // 4) == 0, 0.9, 0.0)
        batches += [np.float32([noise, tone]), np.float32([clicks, np.zeros(samples)])]
    return batches


def _wav(waveform: np.ndarray, sample_rate: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, waveform, sample_rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def largest_difference(path: Path, live: Predictor) -> float:
    """Largest difference of a probability between all signatures of the export at `path` and the live network.

    Raises
    ------
    InputError
        If a signature gives no probabilities.
    """
    signatures, rate, worst = tf.saved_model.load(str(path)).signatures, live.sample_rate, 0.0
    for batch in _test_sounds(rate):
        integers = np.clip(np.rint(batch * 32768), -32768, 32767).astype(np.int16)
        expected = [live.predict(waveform, rate) for waveform in integers]
        answers = [
            signatures["serving_default"](waveforms=tf.constant(integers / np.float32(32768))),
            signatures["int16"](waveforms=tf.constant(integers)),
            signatures["wav_bytes"](wav_bytes=tf.constant([_wav(waveform, rate) for waveform in integers])),
        ]
        for answer in answers:
            for name, values in answer.items():
                if name == CLASSES:
                    continue
                wanted = [each.probabilities if name == PROBABILITIES else each.branches[name] for each in expected]
                worst = max(worst, float(np.abs(values.numpy() - wanted).max()))
            if not np.allclose(answer[PROBABILITIES].numpy().sum(axis=1), 1, atol=1e-4):
                raise InputError(f"expected probabilities that sum to one from {path}, found others")
        views, start = extract(batch[0], rate), np.zeros(1, np.int64)
        first = cut(views, dict.fromkeys(views, start), geometry(rate), live.views, start, start)
        answer = signatures["views"](**{view: tf.constant(values[..., 0]) for view, values in first.items()})
        for branch, values in live.network(first).items():
            worst = max(worst, float(np.abs(answer[branch].numpy() - values).max()))
    return worst


def _write_warm_up(path: Path, predictor: Predictor, name: str) -> None:
    """Requests of every signature, with which TensorFlow Serving warms up before it answers."""
    rate = predictor.sample_rate
    waveforms = 0.1 * np.random.default_rng(0).standard_normal((1, WARM_UP_SECONDS * rate)).astype(np.float32)
    size = geometry(rate)
    inputs = {
        "serving_default": {"waveforms": waveforms},
        "int16": {"waveforms": np.int16(waveforms * 32767)},
        "wav_bytes": {"wav_bytes": np.array([_wav(waveforms[0], rate)], object)},
        "views": {view: np.zeros((1, *size.segment_shape(view)), np.float32) for view in predictor.views},
    }
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, tensors in inputs.items():
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, values in tensors.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
            writer.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())


def export(run_path: str | Path, directory: str | Path) -> Path:
    """Write the kept model of a run as the next version `DIR/1`, `DIR/2` ... of an export.

    It is written aside, loaded again, compared with the live model, and only then renamed into place.

    Parameters
    ----------
    run_path : path
        The run.
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
    run, directory = Run(run_path), Path(directory)
    if (directory / "saved_model.pb").exists():
        raise InputError(f"expected a directory for versions, found a version at {directory}; name the one above it")
    store, settings, model = run.read()["store"], run.settings(), run.load_model()
    classes, rate = store["classes"], store["sample_rate"]
    network = in_float32(model, settings["system"], len(classes), rate, settings["width"])
    service = Service(network, classes, rate)
    live = of_run(run, model)

    with locked(directory / "export.lock", f"{directory} is being exported to", ANY_LEFTOVERS):
        version = max(versions(directory), default=0) + 1
        with replacing(directory / str(version)) as temporary:
            tf.saved_model.save(service.module, str(temporary), signatures=service.signatures())
            difference = largest_difference(temporary, live)
            tolerance = TOLERANCE if settings["precision"] == "float32" else LOW_PRECISION_TOLERANCE
            if not difference <= tolerance:
                raise InputError(
                    f"expected an export within {tolerance} of {run.path}, found a difference of {difference:.3g}; "
                    "nothing was written"
                )
            _write_warm_up(temporary / "assets.extra" / "tf_serving_warmup_requests", live, directory.resolve().name)
            record = {
                "system": settings["system"],
                "classes": classes,
                "sample_rate": rate,
                "weights": live.weights,
                "largest_difference": difference,
            }
            write_json(temporary / "export.json", record)
            (temporary / "MODEL_CARD.md").write_text(model_card(run, version, record), encoding="utf-8")
        if not (directory / "batching.config").exists():
            with replacing(directory / "batching.config") as temporary:
                temporary.write_text(BATCHING, encoding="utf-8")
    return directory / str(version)

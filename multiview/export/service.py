"""The graph of an export, from waveforms to classes, and its signatures.

All outputs of a signature are `class_probabilities`, each branch by name, and `classes`, with one row a clip (a
segment in `views`). Those of clips are calibrated, as `multiview predict` has them; `views` has what the network gives,
because means over segments come before temperatures:

    serving_default   waveforms float32 [batch, samples], mono at the model's rate, in [-1, 1]
    int16             waveforms int16 [batch, samples]
    wav_bytes         wav_bytes string [batch], contents of 16-bit WAV files at the model's rate
    views             mel, gammatone, cqt float32 [batch, frames, 64], raw float32 [batch, samples]

A network on a user's own view that has no graph has `views` alone.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from multiview.audio import MAX_AMPLITUDE
from multiview.calibration import LEAST, Calibration
from multiview.evaluation import BATCH_SIZE, UNDECIDED
from multiview.export.trial import PROBABILITIES
from multiview.networks import BlendedModel
from multiview.predict.saved import VIEWS_SIGNATURE
from multiview.recurrence import without_cudnn
from multiview.segments import Segments, cut_in_graph, test_starts, test_starts_in_graph
from multiview.settings import Settings
from multiview.training import network_of
from multiview.transfer import statistics_of
from multiview.views import VIEWS, Geometry, Sound
from multiview.views.raw import FULL_SCALE

Tensors = dict[str, tf.Tensor]
CLASSES = "classes"
MAX_SECONDS = 1920  # of audio in a request, 64 clips of 30 s: views take 1.5 MiB a second


def in_float32(model: BlendedModel, settings: Settings) -> BlendedModel:
    """A copy of the model of a run of `settings` that computes in float32 without cuDNN's kernels, on any device."""
    system = settings.resolve()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        classes = model.output[system.scored].shape[-1]
        copy = network_of(settings, classes, statistics_of(model, system.views))
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(model.get_weights())
    without_cudnn(copy)
    return copy


def _tempered(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """`calibration.tempered` of a tensor [rows, classes]; what is alike stays so, to the last bit."""
    tempered = tf.nn.softmax(tf.math.log(tf.maximum(probabilities, LEAST)) / temperature)
    return tf.where(_undecided(probabilities), probabilities, tempered)


def _undecided(probabilities: tf.Tensor) -> tf.Tensor:
    """`evaluation.undecided` of a tensor [..., classes]; [..., 1]."""
    highest, lowest = (each(probabilities, axis=-1, keepdims=True) for each in (tf.reduce_max, tf.reduce_min))
    return tf.equal(highest, lowest)


def _mean(probabilities: tf.Tensor) -> tf.Tensor:
    """`evaluation.average_by_clip` of a tensor [clips, segments, classes]; [clips, classes]."""
    weights = tf.where(_undecided(probabilities), UNDECIDED, 1.0)
    return tf.reduce_sum(weights * probabilities, axis=1) / tf.reduce_sum(weights, axis=1)


class Service:
    """The signatures of an export, from waveforms to classes in one graph.

    Parameters
    ----------
    network : BlendedModel
        Computing in float32.
    classes : list of str
        Class names.
    size : Geometry
        Sizes at the network's rate, over the views of the store that it was trained on.
    calibration : Calibration or None
        The temperatures of its answers for clips.

    Attributes
    ----------
    network : BlendedModel
        As given.
    module : tf.Module
        What a SavedModel keeps beside the signatures: the variables, each once.
    without_graph : list of str
        Views of the network that have no graph; where there are any, the only signature is `views`.
    """

    def __init__(
        self, network: BlendedModel, classes: list[str], size: Geometry, calibration: Calibration | None = None
    ) -> None:
        self._calibration = calibration
        self.network = network
        self._classes = classes
        self._size = size
        self._graphs = {view: graph for view in network.input if (graph := VIEWS[view].graph) is not None}
        self.without_graph = [view for view in network.input if view not in self._graphs]
        self.module = tf.Module()
        self.module.state = [variable.value for variable in network.variables]

        # Functions of their own, so that the graph holds views and network once for all signatures.
        shapes = {view: [None, *size.segment_shape(view)] for view in network.input}
        self._segments = {view: tf.TensorSpec(shape, tf.float32, view) for view, shape in shapes.items()}
        batch = {view: tf.TensorSpec([*shape, 1], tf.float32) for view, shape in shapes.items()}
        self._answer = tf.function(lambda batch: network(batch, training=False), input_signature=[batch])
        waveforms = tf.TensorSpec([None, None], tf.float32)
        self._of_waveforms = tf.function(self._branches_of_waveforms, input_signature=[waveforms])

    def signatures(self) -> dict[str, Callable[..., Tensors]]:
        """Concrete functions of TensorFlow by the name of their signature."""
        found = {VIEWS_SIGNATURE: tf.function(self._serve_views).get_concrete_function(**self._segments)}
        if self.without_graph:
            return found
        sounds = {
            "serving_default": (self._serve, tf.TensorSpec([None, None], tf.float32, "waveforms")),
            "int16": (self._serve_int16, tf.TensorSpec([None, None], tf.int16, "waveforms")),
            "wav_bytes": (self._serve_wav, tf.TensorSpec([None], tf.string, "wav_bytes")),
        }
        return {name: tf.function(serve).get_concrete_function(spec) for name, (serve, spec) in sounds.items()} | found

    # Whoever calls the graph without Keras may pass other shapes than its signatures state.

    def _serve(self, waveforms: tf.Tensor) -> Tensors:
        return self._complete(self._of_waveforms(tf.ensure_shape(waveforms, [None, None])), self._calibration)

    def _serve_int16(self, waveforms: tf.Tensor) -> Tensors:
        waveforms = tf.cast(tf.ensure_shape(waveforms, [None, None]), tf.float32) / float(FULL_SCALE)
        return self._complete(self._of_waveforms(waveforms), self._calibration)

    def _serve_wav(self, wav_bytes: tf.Tensor) -> Tensors:
        wav_bytes = tf.ensure_shape(wav_bytes, [None])
        signature = {branch: tf.TensorSpec([len(self._classes)]) for branch in self.network.branches}
        # Clips of any lengths, one after the other.
        outputs = tf.map_fn(self._of_wav, wav_bytes, fn_output_signature=signature, parallel_iterations=1)
        return self._complete(outputs, self._calibration)

    def _serve_views(self, **segments: tf.Tensor) -> Tensors:
        batch = {
            view: tf.ensure_shape(segments[view], spec.shape)[..., tf.newaxis] for view, spec in self._segments.items()
        }
        first, *others = batch
        checks = [
            tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(values)), [f"expected numbers in {view}, found NaN"])
            for view, values in batch.items()
        ]
        checks += [
            tf.debugging.assert_equal(
                tf.shape(batch[view])[0], tf.shape(batch[first])[0], f"expected as many rows in {view} as in {first}"
            )
            for view in others
        ]
        with tf.control_dependencies(checks):
            return self._complete(self._answer(batch))

    def _complete(self, branches: Tensors, calibration: Calibration | None = None) -> Tensors:
        """Branches with Eq. (6) and the classes' names, a row each, as TensorFlow Serving merges requests by rows."""
        answer = self._fused(branches, calibration)
        return {**answer, CLASSES: tf.tile(tf.constant([self._classes]), [tf.shape(answer[PROBABILITIES])[0], 1])}

    def _fused(self, branches: Tensors, calibration: Calibration | None = None) -> Tensors:
        """Branches with Eq. (6)."""
        branches = {branch: tf.cast(branches[branch], tf.float32) for branch in self.network.branches}
        weights = tf.unstack(self.network.branch_weights.value, num=len(branches))
        fused = tf.add_n([weight * values for weight, values in zip(weights, branches.values(), strict=True)])
        if calibration:
            branches = {name: _tempered(values, calibration.branches[name]) for name, values in branches.items()}
            fused = _tempered(fused, calibration.self_ensemble)
        return {PROBABILITIES: fused, **branches}

    # What other runtimes take: sounds of one length, and neither FFT, nor checks, nor strings.

    def segments_of(self, waveforms: tf.Tensor) -> Tensors:
        """Views of the S segments of a sound [1, samples] of known length; float32 [S, frames, 64] or [S, samples]."""
        sound = Sound(waveforms, self._size.sample_rate, fft=False)
        values = {view: graph(sound) for view, graph in self._graphs.items()}
        starts, segments = test_starts(waveforms.shape[1], self._size).tolist(), {}
        for view, rows in values.items():
            begins = [start // self._size.view_hop(view) for start in starts]
            segments[view] = tf.concat([rows[:, each : each + self._size.segment(view)] for each in begins], axis=0)
        return segments

    def branches_of(self, segments: Tensors) -> Tensors:
        """Branches [segments, classes] of views of segments as `segments_of` gives them."""
        return self.network({view: segments[view][..., tf.newaxis] for view in self.network.input}, training=False)

    def answer_of(self, branches: Tensors) -> Tensors:
        """What the branches [S, classes] of a sound's segments say of it, [1, classes], with Eq. (6), calibrated."""
        means = {branch: _mean(values[tf.newaxis]) for branch, values in branches.items()}
        return self._fused(means, self._calibration)

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

    def _branches_of_waveforms(self, waveforms: tf.Tensor) -> Tensors:
        """Branches [batch, classes]: the views, S segments of S seconds, the network, and the mean over segments."""
        clips, samples = tf.shape(waveforms, tf.int64)[0], tf.shape(waveforms, tf.int64)[1]
        with tf.control_dependencies(self._checks(waveforms, clips, samples)):
            sound = Sound(waveforms, self._size.sample_rate)
            values = {view: graph(sound) for view, graph in self._graphs.items()}
        starts = test_starts_in_graph(samples, self._size)
        count = tf.shape(starts, tf.int64)[0]
        segments = Segments(tf.repeat(tf.range(clips), count), tf.tile(starts, [clips]))
        outputs = self._in_batches(values, segments, clips * count)
        by_clip = [clips, count, len(self._classes)]
        means = [_mean(tf.reshape(each, by_clip)) for each in outputs]
        return dict(zip(self.network.branches, means, strict=True))

    def _checks(self, waveforms: tf.Tensor, clips: tf.Tensor, samples: tf.Tensor) -> list[tf.Operation]:
        """What refuses a request that holds no sound, too short or too long a one."""
        rate, shortest = self._size.sample_rate, self._size.segment_samples
        checks = [
            tf.debugging.assert_greater_equal(
                samples, np.int64(shortest), f"expected at least {shortest} samples, one segment; pad with silence"
            ),
            tf.debugging.assert_less_equal(
                clips * samples, np.int64(MAX_SECONDS * rate), f"expected at most {MAX_SECONDS} s of audio"
            ),
            # NaN compares as false.
            tf.debugging.Assert(
                tf.reduce_all(tf.abs(waveforms) <= MAX_AMPLITUDE),
                [f"expected samples in [-1, 1], found NaN or more than {MAX_AMPLITUDE:g}"],
            ),
        ]
        return [check for check in checks if check is not None]

    def _in_batches(self, values: Tensors, segments: Segments, rows: tf.Tensor) -> list[tf.Tensor]:
        """Each branch, [rows, classes], of the segments: a batch at a time, whatever the clips' number and length."""

        def step(begin: tf.Tensor, *outputs: tf.Tensor) -> list[tf.Tensor]:
            part = slice(begin, tf.minimum(begin + BATCH_SIZE, rows))
            found = self._answer(cut_in_graph(values, self._size.sample_rate, segments[part]))
            more = [found[branch] for branch in self.network.branches]
            return [part.stop, *(tf.concat(pair, axis=0) for pair in zip(outputs, more, strict=True))]

        nothing = [tf.zeros([0, len(self._classes)]) for _ in self.network.branches]
        _, *outputs = tf.while_loop(
            lambda begin, *_: begin < rows,
            step,
            [tf.constant(0, tf.int64), *nothing],
            shape_invariants=[tf.TensorShape([]), *[tf.TensorShape([None, len(self._classes)])] * len(nothing)],
            parallel_iterations=1,
        )
        return outputs

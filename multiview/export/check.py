"""Checks of an export against the run that it is of, before it is put into place."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tensorflow as tf

from multiview.export.service import CLASSES
from multiview.export.trial import PROBABILITIES, trial_sounds
from multiview.predict.light import FILE, light_network
from multiview.predict.predictor import Prediction, Predictor
from multiview.predict.saved import VIEWS_SIGNATURE
from multiview.segments import Segments, cut
from multiview.support import plugins
from multiview.support.errors import InputError
from multiview.views import VIEWS, Geometry, Sound, excerpts
from multiview.views.raw import from_int16, to_int16


def check_graphs(views: Sequence[str], size: Geometry) -> None:
    """Refuse users' own views whose graph does not give what they declare.

    Raises
    ------
    InputError
        That names plugin, view and field, with what was expected and found.
    """
    samples = size.segment_samples
    for name in views:
        view = VIEWS[name]
        if view.graph is None or view.paper:
            continue
        plugin = plugins.origin("view", name)
        where = f"{f'plugin {plugin}: ' if plugin else ''}view {name}: field graph"
        expected = f"float32 {[1, view.grid(size.sample_rate).frames(samples), *view.band_shape]}"
        try:
            values = tf.convert_to_tensor(view.graph(Sound(tf.zeros([1, samples]), size.sample_rate)))
        except Exception as error:  # a user's code may raise anything
            reason = " ".join(str(error).split())
            raise InputError(
                f"{where}: expected {expected}, found {type(error).__name__}: {reason}; mend it"
            ) from error
        found = f"{values.dtype.name} {values.shape.as_list()}"
        if found != expected:
            raise InputError(
                f"{where}: expected {expected}, found {found} for {samples} samples at {size.sample_rate} Hz; mend it"
            )


def requests(waveforms: np.ndarray, sample_rate: int) -> dict[str, dict[str, np.ndarray]]:
    """Inputs of every signature that takes waveforms, by its name, of int16 [batch, samples]."""

    def wav(waveform: np.ndarray) -> bytes:
        content = io.BytesIO()
        soundfile.write(content, waveform, sample_rate, format="WAV", subtype="PCM_16")
        return content.getvalue()

    return {
        "serving_default": {"waveforms": from_int16(waveforms)},
        "int16": {"waveforms": waveforms},
        "wav_bytes": {"wav_bytes": np.array([wav(waveform) for waveform in waveforms], object)},
    }


def _difference(answer: dict[str, Any], expected: Sequence[Prediction]) -> float:
    """Largest difference between an answer to waveforms and what the live network says of them."""
    worst = 0.0
    for name, values in answer.items():
        if name != CLASSES:
            wanted = [each.probabilities if name == PROBABILITIES else each.branches[name] for each in expected]
            worst = float(np.maximum(worst, np.abs(values.numpy() - wanted).max()))
    return worst


def largest_difference(path: Path, live: Predictor) -> float:
    """Largest difference of a probability between the live network and what the export at `path` has: all signatures,
    and the file for LiteRT where there is one.

    Raises
    ------
    InputError
        If a signature gives no probabilities.
    """
    # Kept, as it owns the variables.
    loaded, rate, worst = tf.saved_model.load(str(path)), live.sample_rate, 0.0
    signatures = dict(loaded.signatures)
    of_views = signatures.pop(VIEWS_SIGNATURE)
    for batch in trial_sounds(live.size):
        integers = to_int16(batch)
        expected = [live.predict(waveform, rate) for waveform in integers] if signatures else []
        inputs = requests(integers, rate)
        for name, signature in signatures.items():
            answer = signature(**{key: tf.constant(values) for key, values in inputs[name].items()})
            worst = float(np.maximum(worst, _difference(answer, expected)))
            if not np.allclose(answer[PROBABILITIES].numpy().sum(axis=1), 1, atol=1e-4):
                raise InputError(f"expected probabilities that sum to one from {path}, found others")
        start = np.zeros(1, np.int64)
        first = cut(next(excerpts([batch[0]], live.size, live.views)), Segments(start, start), live.views)
        answer = of_views(**{view: tf.constant(values[..., 0]) for view, values in first.items()})
        small = light_network(path / FILE, list(live.weights)) if (path / FILE).is_file() else live.network
        for branch, values in live.network(first).items():
            for found in (answer[branch].numpy(), small(first)[branch]):
                worst = float(np.maximum(worst, np.abs(found - values).max()))  # NaN stays
    return worst

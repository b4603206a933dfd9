"""The network of an export as a file for LiteRT, with which `multiview predict` needs no TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf

from multiview.export.service import Service
from multiview.predict.light import FILE
from multiview.support.lean import quiet
from multiview.views import Geometry


def write_light(directory: Path, service: Service, size: Geometry) -> None:
    """Write `network.tflite` into an export: from the views of one segment to the branches.

    For a network that LiteRT cannot run, as a user's own may be, there is none, and a line on standard error says so.

    Parameters
    ----------
    directory : Path
        Of the version.
    service : Service
        With the network.
    size : Geometry
        Sizes at the network's rate.
    """
    network = service.network
    # Of one size: TensorFlow's loop over steps with an open one is no loop that LiteRT runs.
    specs = {view: tf.TensorSpec([1, *size.segment_shape(view)], tf.float32, view) for view in network.input}

    @tf.function
    def of_segment(**segment: tf.Tensor) -> dict[str, tf.Tensor]:
        return network({view: segment[view][..., tf.newaxis] for view in network.input}, training=False)

    try:
        with quiet():  # the converter says much, and nothing for users
            graph = of_segment.get_concrete_function(**specs)
            content = tf.lite.TFLiteConverter.from_concrete_functions([graph], service.module).convert()
    except Exception as error:  # of any kind, from the converter
        reason = str(error).strip().split("\n")[0]
        print(f"no {FILE}: {reason}; multiview predict will need TensorFlow for this export", file=sys.stderr)
        return
    (directory / FILE).write_bytes(content)

"""Files for LiteRT: networks on views, and from waveforms."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from multiview.export.service import Service, Tensors
from multiview.export.subject import Subject, converting
from multiview.export.trial import SOUND, difference
from multiview.predict.light import FILE
from multiview.support.errors import first_line
from multiview.support.lean import quiet
from multiview.views import Geometry

SOUND_FILE = f"{SOUND}.tflite"
LABELS = "labels.txt"  # in a ZIP file at the end of a file, where programs for LiteRT look for classes


def _float16(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _int8(converter: Any) -> None:
    # Without calibration, for whole numbers throughout, which ended the process at the loop over steps.
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


PRECISIONS: Mapping[str, Callable[[Any], None]] = {
    "float32": lambda converter: None,
    "float16": _float16,
    "int8": _int8,
}


def write_light(directory: Path, service: Service, size: Geometry) -> None:
    """Write `network.tflite` into an export: from the views of one segment to the branches.

    With it `multiview predict` needs no TensorFlow. For a network that LiteRT cannot run, as a user's own may be, there
    is none, and a line on standard error says so.

    Parameters
    ----------
    directory : Path
        Of the version.
    service : Service
        With the network.
    size : Geometry
        Sizes at the network's rate.
    """
    try:
        content = _network(service, size, "float32")
    except OSError:  # a full disk is another matter
        raise
    except Exception as error:  # of any kind, from the converter
        reason = first_line(error)
        print(f"no {FILE}: {reason}; multiview predict will need TensorFlow for this export", file=sys.stderr)
        return
    (directory / FILE).write_bytes(content)


def write(path: Path, subject: Subject) -> float:
    """Write a version of files for LiteRT alone; gives their largest difference from the run.

    Raises
    ------
    InputError
        If the network has what LiteRT does not.
    """
    service, size = subject.service, subject.live.size

    def of_sound(waveforms: tf.Tensor) -> Tensors:
        return service.answer_of(service.branches_of(service.segments_of(waveforms)))

    if (halves := subject.precision != "float32") and not service.without_graph:
        reason = "LiteRT has one precision for a whole file, and views need float32"
        print(f"no {SOUND_FILE}: {reason}; {FILE} takes views", file=sys.stderr)
    with converting("LiteRT"):
        (path / FILE).write_bytes(_network(service, size, subject.precision))
        if not (halves or service.without_graph):
            waveforms = tf.TensorSpec([1, subject.samples], tf.float32, "waveforms")
            (path / SOUND_FILE).write_bytes(_converted(service, of_sound, {"waveforms": waveforms}, "float32"))
    for file in path.iterdir():
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{name}\n" for name in subject.live.classes))
    return difference(path, FILE, SOUND_FILE, subject)


def _network(service: Service, size: Geometry, precision: str) -> bytes:
    """From the views of one segment to the branches."""
    # Of one size: TensorFlow's loop over steps with an open one is no loop that LiteRT runs.
    specs = {view: tf.TensorSpec([1, *size.segment_shape(view)], tf.float32, view) for view in service.network.input}
    return _converted(service, lambda **segment: service.branches_of(segment), specs, precision)


def _converted(service: Service, function: Callable, specs: Mapping[str, tf.TensorSpec], precision: str) -> bytes:
    """The file.

    Raises
    ------
    OSError
        If there is no room for the converter's temporary files. It does not say so, and leaves out the signature.
    """
    with quiet():  # the converter says much, and nothing for users
        graph = tf.function(function).get_concrete_function(**specs)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], service.module)
        PRECISIONS[precision](converter)
        content = converter.convert()
    if not Interpreter(model_content=content).get_signature_list():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir())
    return content

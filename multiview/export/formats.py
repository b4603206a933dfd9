"""The formats of exports: what each writes, in which precisions, and how far its answers may be from the run's."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from multiview.support.errors import InputError, UsageError
from multiview.support.registry import Registry

if TYPE_CHECKING:
    from multiview.export.subject import Subject

TOLERANCE = 0.01  # of a probability, between an export and the run
LOW_PRECISION_TOLERANCE = 0.05  # where the run computed in 16 bits what the export computes in float32
SECONDS, MAX_SECONDS = 5.0, 60  # of the sounds that a file of one length takes


@dataclass(frozen=True)
class Format:
    """A format of exports.

    Parameters
    ----------
    name, text : str
        In options, and for people.
    write : callable
        Writes a version into an empty directory, and gives the largest difference of a probability between what it
        reads back and the run.
    tolerances : mapping
        The largest difference that is let through, by precision; the first one is the default.
    packages : tuple of str
        Modules that the format needs beyond those of the core.
    extra : str, optional
        The extra that installs them.
    beside : mapping
        Text by name of files beside the versions.
    """

    name: str
    text: str
    write: Callable[[Path, Subject], float]
    tolerances: Mapping[str, float]
    packages: tuple[str, ...] = ()
    extra: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    def check(self, precision: str) -> None:
        """Refuse a precision that the format does not have, and a format whose packages are not installed.

        Raises
        ------
        InputError
            That says what it has, or what to install.
        """
        if precision not in self.tolerances:
            raise UsageError(
                f"expected --precision of {', '.join(self.tolerances)} for --format {self.name}, found {precision!r}"
            )
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(
                f"expected {', '.join(self.packages)} for --format {self.name}, found no {' and no '.join(missing)}; "
                f"say pip install '.[{self.extra}]'"
            )


def _savedmodel(path: Path, subject: Subject) -> float:
    from multiview.export.savedmodel import write

    return write(path, subject)


def _litert(path: Path, subject: Subject) -> float:
    from multiview.export.light import write

    return write(path, subject)


def _onnx(path: Path, subject: Subject) -> float:
    from multiview.export.onnx import write

    return write(path, subject)


# Clients whose requests may be merged send waveforms of one length, or `wav_bytes`. What a request may last holds for
# merged ones, too: so few, of up to two minutes each, do not fail each other.
BATCHING = """\
max_batch_size { value: 16 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
pad_variable_length_inputs: false
"""

FORMATS: Registry[Format] = Registry("format")
FORMATS.register(
    Format(
        "savedmodel",
        "for TensorFlow Serving and multiview predict",
        _savedmodel,
        {"float32": TOLERANCE},
        beside={"batching.config": BATCHING},
    )
)
FORMATS.register(
    Format(
        "litert",
        "files for LiteRT (TensorFlow Lite), on phones and boards",
        _litert,
        {"float32": TOLERANCE, "float16": 0.02, "int8": 0.15},
    )
)
FORMATS.register(
    Format(
        "onnx",
        "files for ONNX Runtime and others",
        _onnx,
        {"float32": TOLERANCE, "float16": 0.02, "int8": 0.15},
        packages=("onnx", "onnxruntime", "tf2onnx"),
        extra="onnx",
    )
)
PRECISIONS = tuple(dict.fromkeys(precision for each in FORMATS.values() for precision in each.tolerances))

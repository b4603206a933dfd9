"""The network of an export without TensorFlow: a file for LiteRT, an interpreter of some 60 MB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multiview.support.lean import quiet

FILE = "network.tflite"  # takes the views of one segment, gives its branches


def opened(path: Path) -> Callable[..., dict[str, np.ndarray]]:
    """A file of LiteRT as a function of its inputs by name, to its outputs by name; for any number of threads."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(str(path))
    with quiet():
        interpreter.allocate_tensors()
    runner, one_at_a_time = interpreter.get_signature_runner(), threading.Lock()

    def answers(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        with one_at_a_time:  # two within one interpreter end the process
            return runner(**inputs)

    return answers


def light_network(path: Path, branches: Sequence[str]) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The network in a file of LiteRT.

    Parameters
    ----------
    path : Path
        The file.
    branches : sequence of str
        Its outputs.

    Returns
    -------
    callable
        Views of segments, float32 [segments, ..., 1], to probabilities by branch, float32 [segments, classes].
    """
    one = opened(path)

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # One at a time: a loop over steps has one size in LiteRT, and a batch would gain nothing on a CPU.
        inputs = {view: np.split(values[..., 0], len(values)) for view, values in segments.items()}
        answers = [one(**dict(zip(inputs, row, strict=True))) for row in zip(*inputs.values(), strict=True)]
        return {branch: np.concatenate([answer[branch] for answer in answers]) for branch in branches}

    return network

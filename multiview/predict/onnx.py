"""The network of an export without TensorFlow: a file of ONNX, which many runtimes take, here ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from multiview.support.errors import InputError

FILE = "network.onnx"  # takes the views of segments, gives their branches
SUFFIX = "_probabilities"  # of its outputs: in a graph of ONNX none may be called as an input is


def opened(path: Path) -> Callable[..., dict[str, np.ndarray]]:
    """A file of ONNX as a function of its inputs by name, to its outputs by name.

    Raises
    ------
    InputError
        If ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(f"expected ONNX Runtime for {path}, found none; say pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(None, inputs), strict=True))


def onnx_network(path: Path, branches: Sequence[str]) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The network in a file of ONNX, as `light.light_network`."""
    batch = opened(path)

    def network(segments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answer = batch(**{view: values[..., 0] for view, values in segments.items()})
        return {branch: answer[branch + SUFFIX] for branch in branches}

    return network

"""Files of ONNX: networks on views, and from waveforms."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from multiview.export.service import Service, Tensors
from multiview.export.subject import Subject, converting
from multiview.export.trial import SOUND, difference
from multiview.networks import BlendedModel
from multiview.predict.onnx import FILE, SUFFIX
from multiview.recurrence import Recurrences
from multiview.support.lean import quiet
from multiview.views import Geometry

SOUND_FILE = f"{SOUND}.onnx"
OPSET, IR_VERSION = 17, 8  # of ONNX 1.12, of 2022, which runtimes of today all take
SMALL = 256  # numbers; smaller weights stay in float32
Specs = Mapping[str, tf.TensorSpec]


class _Gru(Recurrences):
    """The recurrences as operations that become ONNX's own GRU, one a view, in place of the loop over steps.

    Until then they are cuDNN's, which nothing here computes; `_gru` makes the others of them.
    """

    def call(self, sequences: list) -> list:
        return [self._of(birnn, x) for birnn, x in zip(self.birnns, sequences, strict=True)]

    def _of(self, birnn: keras.layers.Bidirectional, x: tf.Tensor) -> tf.Tensor:
        cells = (birnn.forward_layer.cell, birnn.backward_layer.cell)
        parameters = [tf.transpose(cell.kernel.value) for cell in cells]
        parameters += [tf.transpose(cell.recurrent_kernel.value) for cell in cells]
        parameters += [cell.bias.value for cell in cells]
        states, *_ = tf.raw_ops.CudnnRNN(
            input=tf.transpose(x, [1, 0, 2]),
            input_h=tf.zeros([2, tf.shape(x)[0], cells[0].units]),
            input_c=tf.zeros([0]),
            params=tf.concat([tf.reshape(each, [-1]) for each in parameters], axis=0),
            rnn_mode="gru",
            direction="bidirectional",
            is_training=False,
        )
        return tf.transpose(tf.ensure_shape(states, [x.shape[1], None, 2 * cells[0].units]), [1, 0, 2])


def _gru(graph: Any, node: Any, name: str, args: list) -> None:
    """ONNX's GRU in place of cuDNN's: it has the gates z, r, h of Keras, and the parameters as `_Gru` lays them out."""
    sequence, *_, parameters = node.input
    units, dimensions = graph.get_shape(node.output[0])[-1] // 2, graph.get_shape(sequence)[-1]
    values = graph.get_node_by_output(parameters).get_tensor_value(as_list=False)
    shapes = [(2, 3 * units, dimensions), (2, 3 * units, units), (2, 6 * units)]
    parts = np.split(values, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    weights = [
        graph.make_const(f"{name}_{part}", values.reshape(shape)).output[0]
        for part, values, shape in zip("WRB", parts, shapes, strict=True)
    ]
    graph.remove_node(name)
    attributes = {"direction": "bidirectional", "hidden_size": units, "linear_before_reset": 1}
    found = graph.make_node("GRU", [sequence, *weights], attributes, output_count=1)  # [steps, 2, batch, units]
    turned = graph.make_node("Transpose", found.output, {"perm": [0, 2, 1, 3]})
    shape = graph.make_const(f"{name}_shape", np.array([0, 0, 2 * units], np.int64))
    graph.make_node("Reshape", [turned.output[0], shape.output[0]], outputs=[node.output[0]], name=name)


def _with_gru(network: BlendedModel) -> keras.Model:
    """The network with the same layers but its recurrences."""

    def of(layer: keras.layers.Layer) -> keras.layers.Layer:
        return _Gru(layer.birnns, name=layer.name) if isinstance(layer, Recurrences) else layer

    return keras.models.clone_model(network, clone_function=of)


def _float16(model: ModelProto) -> ModelProto:
    """Weights in 16 bits, made float32 again when a runtime loads or runs them: so it needs no other operations."""
    casts = []
    for weights in model.graph.initializer:
        if weights.data_type == TensorProto.FLOAT and np.prod(weights.dims) > SMALL:
            name = weights.name
            values = numpy_helper.to_array(weights).astype(np.float16)
            weights.CopyFrom(numpy_helper.from_array(values, f"{name}_float16"))
            casts.append(helper.make_node("Cast", [weights.name], [name], f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _int8(model: ModelProto) -> ModelProto:
    """Products of matrices in 8 bits, their inputs as they come, too; other weights in 16, as no GRU takes 8."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        quantize_dynamic(model, path, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)
        return _float16(onnx.load(path))


PRECISIONS: Mapping[str, Callable[[ModelProto], ModelProto]] = {
    "float32": lambda model: model,
    "float16": _float16,
    "int8": _int8,
}


def write(path: Path, subject: Subject) -> float:
    """Write a version; gives its largest difference from the run.

    Raises
    ------
    InputError
        If the network has what ONNX does not.
    """
    service, size = subject.service, subject.live.size
    with converting("ONNX"), quiet():  # the converters say much, and nothing for users
        network = PRECISIONS[subject.precision](_network(service, size))
        _save(network, path / FILE, subject)
        if not service.without_graph:
            _save(_of_sound(network, service, subject.samples), path / SOUND_FILE, subject)
    return difference(path, FILE, SOUND_FILE, subject)


def _network(service: Service, size: Geometry) -> ModelProto:
    """From the views of any number of segments to the branches."""
    network = _with_gru(service.network)
    specs = {view: tf.TensorSpec([None, *size.segment_shape(view)], tf.float32) for view in service.network.input}

    def branches(**segments: tf.Tensor) -> Tensors:
        found = network({view: values[..., tf.newaxis] for view, values in segments.items()}, training=False)
        return {f"{branch}{SUFFIX}": found[branch] for branch in service.network.branches}

    model = _converted(branches, specs)
    for each in (*model.graph.input, *model.graph.output):
        each.type.tensor_type.shape.dim[0].dim_param = "segments"
    return model


def _of_sound(network: ModelProto, service: Service, samples: int) -> ModelProto:
    """From a waveform [1, samples] to its classes: views in float32, the network as it is, the mean, and Eq. (6)."""
    branches, classes = service.network.branches, network.graph.output[0].type.tensor_type.shape.dim[1].dim_value

    def views(waveforms: tf.Tensor) -> Tensors:
        return service.segments_of(waveforms)

    def answer(**segments: tf.Tensor) -> Tensors:
        return service.answer_of({branch: segments[f"of_{branch}"] for branch in branches})

    each = {f"of_{branch}": tf.TensorSpec([None, classes], tf.float32) for branch in branches}
    front = compose.add_prefix(
        _converted(views, {"waveforms": tf.TensorSpec([1, samples], tf.float32)}), "views/", rename_inputs=False
    )
    back = compose.add_prefix(_converted(answer, each), "answer/", rename_outputs=False)
    middle = compose.add_prefix(network, "network/")
    to_network = [(f"views/{view}", f"network/{view}") for view in service.network.input]
    to_answer = [(f"network/{branch}{SUFFIX}", f"answer/of_{branch}") for branch in branches]
    return compose.merge_models(compose.merge_models(front, middle, to_network), back, to_answer)


def _converted(function: Callable[..., Tensors], specs: Specs) -> ModelProto:
    """A function of TensorFlow in ONNX, with inputs and outputs of the same names, of which none is both."""

    def named(**inputs: tf.Tensor) -> Tensors:
        return {name: tf.identity(values, f"{name}_output") for name, values in function(**inputs).items()}

    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    graph = tf.function(named).get_concrete_function(**specs)
    outputs = {f"{name}_output:0": name for name in graph.structured_outputs}
    inputs = {f"{name}:0": name for name in specs}
    model, _ = tf2onnx.convert.from_graph_def(
        convert_variables_to_constants_v2(graph).graph.as_graph_def(),
        input_names=list(inputs),
        output_names=list(outputs),
        tensors_to_rename=inputs | outputs,
        opset=OPSET,
        custom_op_handlers={"CudnnRNN": (_gru, [])},
    )
    model.ir_version = IR_VERSION
    return model


def _save(model: ModelProto, path: Path, subject: Subject) -> None:
    """With all that `export.json` says of it, as JSON by name, in the model's own metadata."""
    helper.set_model_props(model, {name: json.dumps(value) for name, value in subject.record().items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)

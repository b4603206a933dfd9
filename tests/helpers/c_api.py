"""A client of SavedModels by TensorFlow's C API, without Keras and without TensorFlow's Python package.

    python -m tests.helpers.c_api EXPORT REQUESTS.npz ANSWERS.npz

`TF_LoadSessionFromSavedModel` is the loader of TensorFlow Serving. REQUESTS holds arrays by
`NUMBER/SIGNATURE/INPUT`; for an input of strings, uint8 arrays by `NUMBER/SIGNATURE/INPUT/ROW`. ANSWERS gets
`NUMBER/OUTPUT`, or `NUMBER/error` with the message, and `NUMBER/seconds`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

DTYPES = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    9: np.int64,
    10: np.bool_,
    19: np.float16,
}
STRING = 7
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}
STRING_BYTES = 24  # sizeof(TF_TString)


class CError(Exception):
    """What TF_Status said."""


class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


class Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def load_library() -> ctypes.CDLL:
    folder = Path(importlib.util.find_spec("tensorflow").origin).parent  # found, not imported
    (framework, *_), (full, *_) = (sorted(folder.glob(f"libtensorflow_{each}*")) for each in ("framework", "cc"))
    ctypes.CDLL(str(framework), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(full), ctypes.RTLD_GLOBAL)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in [
        ("TF_NewStatus", pointer, []),
        ("TF_GetCode", ctypes.c_int, [pointer]),
        ("TF_Message", ctypes.c_char_p, [pointer]),
        ("TF_DeleteStatus", None, [pointer]),
        ("TF_NewGraph", pointer, []),
        ("TF_NewSessionOptions", pointer, []),
        ("TF_NewBuffer", ctypes.POINTER(Buffer), []),
        (
            "TF_LoadSessionFromSavedModel",
            pointer,
            [pointer, pointer, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, pointer,
             ctypes.POINTER(Buffer), pointer],
        ),
        ("TF_GraphOperationByName", pointer, [pointer, ctypes.c_char_p]),
        ("TF_AllocateTensor", pointer, [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, size]),
        ("TF_TensorData", pointer, [pointer]),
        ("TF_TensorByteSize", size, [pointer]),
        ("TF_TensorType", ctypes.c_int, [pointer]),
        ("TF_NumDims", ctypes.c_int, [pointer]),
        ("TF_Dim", ctypes.c_int64, [pointer, ctypes.c_int]),
        ("TF_DeleteTensor", None, [pointer]),
        ("TF_StringInit", None, [pointer]),
        ("TF_StringCopy", None, [pointer, ctypes.c_char_p, size]),
        ("TF_StringGetDataPointer", pointer, [pointer]),
        ("TF_StringGetSize", size, [pointer]),
        (
            "TF_SessionRun",
            None,
            [pointer, pointer, ctypes.POINTER(Output), ctypes.POINTER(pointer), ctypes.c_int,
             ctypes.POINTER(Output), ctypes.POINTER(pointer), ctypes.c_int, pointer, ctypes.c_int, pointer, pointer],
        ),
    ]:  # fmt: skip
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def fields(message: bytes) -> dict[int, list]:
    """Fields of a protocol buffer by number: integers, or bytes that may be messages."""
    found, place = defaultdict(list), 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found[number].append(varint())
            continue
        length = {1: 8, 5: 4}.get(kind) or varint()
        found[number].append(message[place : place + length])
        place += length
    return found


def entries(messages: list[bytes]) -> dict[str, bytes]:
    """A map field: key to the bytes of its value."""
    pairs = [fields(each) for each in messages]
    return {pair[1][0].decode(): pair[2][0] for pair in pairs}


class SavedModel:
    """A SavedModel in a session.

    `signatures`: name to (method name, inputs, outputs); inputs and outputs by key are (tensor's name, dtype, shape),
    with -1 for what is open in the shape.
    """

    def __init__(self, path: str) -> None:
        self.c = load_library()
        self.status, self.graph = self.c.TF_NewStatus(), self.c.TF_NewGraph()
        meta, tags = self.c.TF_NewBuffer(), (ctypes.c_char_p * 1)(b"serve")
        self.session = self.c.TF_LoadSessionFromSavedModel(
            self.c.TF_NewSessionOptions(), None, str(path).encode(), tags, 1, self.graph, meta, self.status
        )
        self.check()
        content = ctypes.string_at(meta.contents.data, meta.contents.length)

        def tensors(messages: list[bytes]) -> dict[str, tuple[str, int, tuple[int, ...]]]:
            found = {}
            for key, info in entries(messages).items():
                info = fields(info)
                sizes = [fields(each).get(1, [0])[0] for each in fields(info[3][0])[2]]
                shape = tuple(-1 if size >= 2**63 else size for size in sizes)
                found[key] = (info[1][0].decode(), info[2][0], shape)
            return found

        self.signatures = {}
        for name, definition in entries(fields(content)[5]).items():
            definition = fields(definition)
            if 3 in definition:
                self.signatures[name] = (definition[3][0].decode(), tensors(definition[1]), tensors(definition[2]))

    def check(self) -> None:
        if self.c.TF_GetCode(self.status):
            raise CError(self.c.TF_Message(self.status).decode(errors="replace"))

    def _output(self, tensor: str) -> Output:
        name, _, index = tensor.partition(":")
        operation = self.c.TF_GraphOperationByName(self.graph, name.encode())
        if not operation:
            raise CError(f"no operation {name}")
        return Output(operation, int(index))

    def _tensor(self, values: np.ndarray) -> int:
        shape = (ctypes.c_int64 * values.ndim)(*values.shape)
        if values.dtype == object:
            tensor = self.c.TF_AllocateTensor(STRING, shape, values.ndim, STRING_BYTES * values.size)
            begin = self.c.TF_TensorData(tensor)
            for row, value in enumerate(values.ravel()):
                self.c.TF_StringInit(begin + row * STRING_BYTES)
                self.c.TF_StringCopy(begin + row * STRING_BYTES, value, len(value))
            return tensor
        values = np.ascontiguousarray(values)
        tensor = self.c.TF_AllocateTensor(CODES[values.dtype], shape, values.ndim, values.nbytes)
        if values.nbytes:
            ctypes.memmove(self.c.TF_TensorData(tensor), values.ctypes.data, values.nbytes)
        return tensor

    def _array(self, tensor: int) -> np.ndarray:
        shape = [self.c.TF_Dim(tensor, axis) for axis in range(self.c.TF_NumDims(tensor))]
        begin, kind = self.c.TF_TensorData(tensor), self.c.TF_TensorType(tensor)
        if kind == STRING:
            places = [begin + row * STRING_BYTES for row in range(math.prod(shape))]
            values = [
                ctypes.string_at(self.c.TF_StringGetDataPointer(place), self.c.TF_StringGetSize(place))
                for place in places
            ]
            return np.array(values, "S").reshape(shape)
        content = ctypes.string_at(begin, self.c.TF_TensorByteSize(tensor)) if math.prod(shape) else b""
        return np.frombuffer(content, DTYPES[kind]).reshape(shape)

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Answer of a signature; object arrays of bytes are strings."""
        if signature not in self.signatures:
            raise CError(f"no signature {signature}")
        _, expected, outputs = self.signatures[signature]
        if unknown := set(inputs) - set(expected):
            raise CError(f"no input {unknown}")
        feeds = (Output * len(inputs))(*(self._output(expected[key][0]) for key in inputs))
        fetches = (Output * len(outputs))(*(self._output(name) for name, _, _ in outputs.values()))
        values = (ctypes.c_void_p * len(inputs))(*(self._tensor(each) for each in inputs.values()))
        results = (ctypes.c_void_p * len(outputs))()
        try:
            self.c.TF_SessionRun(
                self.session, None, feeds, values, len(inputs), fetches, results, len(outputs), None, 0, None,
                self.status,
            )  # fmt: skip
            self.check()
            return dict(zip(outputs, map(self._array, results), strict=True))
        finally:
            for tensor in (*values, *results):
                if tensor:
                    self.c.TF_DeleteTensor(tensor)


def peak_memory() -> float:
    """Largest resident set of this process in MiB; getrusage would count that of the process that started it."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def main(export: str, requests: str, answers: str) -> None:
    begin = time.perf_counter()
    model, found = SavedModel(export), {}
    found["load_seconds"] = time.perf_counter() - begin
    numbered = defaultdict(list)
    with np.load(requests) as file:
        for key in file.files:
            number, signature, name, *row = key.split("/")
            numbered[number, signature].append((name, bool(row), key))
        for (number, signature), parts in numbered.items():
            arrays = {name: file[key] for name, of_strings, key in parts if not of_strings}
            for name in {name for name, of_strings, _ in parts if of_strings}:
                arrays[name] = np.array([file[key].tobytes() for each, _, key in parts if each == name], object)
            begin = time.perf_counter()
            try:
                found |= {f"{number}/{name}": values for name, values in model.run(signature, **arrays).items()}
            except CError as error:
                found[f"{number}/error"] = str(error)
            found[f"{number}/seconds"] = time.perf_counter() - begin
    found["modules"] = [name for name in ("keras", "tensorflow") if name in sys.modules]
    found["peak_memory_mib"] = peak_memory()
    for name, (method, inputs, outputs) in model.signatures.items():
        for side, tensors in (("inputs", inputs), ("outputs", outputs)):
            for key, (_, dtype, shape) in tensors.items():
                found[f"signature/{name}/{method.replace('/', '.')}/{side}/{key}/{dtype}"] = np.array(shape, np.int64)
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A stand-in for TensorFlow Serving, which pip does not install: its gRPC and REST interface, over the same graph.

    python -m tests.helpers.stand_in EXPORT    # prints its two addresses, and ends with its standard input

As TensorFlow Serving answers, what the graph refuses is INVALID_ARGUMENT, by REST status 400 with `error`, and another
model's name NOT_FOUND, 404.
"""

from __future__ import annotations

import base64
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

THREADS = 8
REFUSED = (tf.errors.OpError, LookupError, TypeError, ValueError)  # by the graph, or by Python in front of it
MODEL = "mine"  # as the page on serving names it
PATH = f"/v1/models/{MODEL}:predict"


class StandIn(PredictionServiceServicer):
    """The signatures of an export."""

    def __init__(self, export: Path) -> None:
        self.signatures = tf.saved_model.load(str(export)).signatures

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
        if request.model_spec.name != MODEL:
            context.abort(grpc.StatusCode.NOT_FOUND, f"expected the model {MODEL}, found {request.model_spec.name}")
        response = PredictResponse()
        try:
            inputs = {name: tf.constant(tf.make_ndarray(values)) for name, values in request.inputs.items()}
            answer = self.signatures[request.model_spec.signature_name](**inputs)
        except REFUSED as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        for name, values in answer.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(values.numpy()))
        return response

    def rest(self, body: bytes) -> tuple[int, dict]:
        """Status and answer of a request for `wav_bytes`."""
        try:
            request = json.loads(body)
            contents = [base64.b64decode(each["b64"]) for each in request["inputs"]["wav_bytes"]]
            answer = self.signatures[request["signature_name"]](wav_bytes=tf.constant(contents))
        except REFUSED as error:
            return 400, {"error": str(error)}
        return 200, {
            "outputs": {
                name: [[each.decode() for each in row] for row in values.numpy()]
                if values.dtype == tf.string
                else values.numpy().tolist()
                for name, values in answer.items()
            }
        }


@contextmanager
def served(export: Path) -> Iterator[tuple[str, str]]:
    """Addresses of one for gRPC and REST."""
    stand_in = StandIn(export)
    grpc_server = grpc.server(ThreadPoolExecutor(THREADS))
    add_PredictionServiceServicer_to_server(stand_in, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            content = self.rfile.read(int(self.headers["Content-Length"]))
            found = (404, {"error": f"expected {PATH}, found {self.path}"})
            status, answer = stand_in.rest(content) if self.path == PATH else found
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{port}", f"127.0.0.1:{web.server_port}"
    finally:
        web.shutdown()
        grpc_server.stop(None)


def main(export: Path) -> None:
    with served(export) as addresses:
        print(*addresses, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""5,000 malformed requests over both protocols, and good ones in between."""

import contextlib
import http.client
import json
import random
import socket
import struct

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tests.serving import malformed_grpc
from tests.serving import malformed_rest
from tests.serving import server_process
from tests.support import shipped

GRPC_REQUESTS = 2_700
REST_REQUESTS = 1_900
CONNECTIONS = 400
GOOD_EVERY = 50
ROWS = 3
PREDICT = malformed_grpc.PREDICTION + "Predict"
REST_PREDICT = "/v1/models/model:predict"
HUNG_UP = 0
# What a server at fault answers.
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
NUM_SHOWN = 12


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return shipped.once(tmp_path_factory)


@pytest.fixture(scope="module")
def server(version, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    options = ["--max-request-bytes", str(1 << 20), "--log-format", "json"]
    with server_process.serving(version.parent, folder, *options) as process:
        yield process
        assert process.is_running


@pytest.fixture(scope="module")
def golden(version):
    """A few rows, and what training predicts for them."""
    file = str(version / "assets.extra" / "golden_requests")
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        if log.request.model_spec.signature_name == "serving_default":
            break
    inputs = {
        k: tf.make_ndarray(v)[:ROWS] for k, v in log.request.inputs.items()
    }
    outputs = {
        k: tf.make_ndarray(v)[:ROWS] for k, v in log.response.outputs.items()
    }
    return inputs, outputs


def request_of(inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "model"
    for name, array in inputs.items():
        dtype = tf.string if array.dtype == object else None
        proto = request.inputs[name]
        proto.CopyFrom(tf.make_tensor_proto(array, dtype))
    return request


def columns_of(inputs):
    return {
        name: np.vectorize(bytes.decode, otypes=[object])(array).tolist()
        if array.dtype == object
        else [None if v != v else v for v in array.tolist()]
        if name == "price"
        else array.tolist()
        for name, array in inputs.items()
    }


class Grpc:
    """Sends bytes, and gets a code and a message or an answer."""

    def __init__(self, server):
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{server.grpc_port}",
            options=[("grpc.max_metadata_size", 1 << 16)],
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._channel.close()

    def send(self, method, body):
        call = self._channel.unary_unary(method)
        try:
            return grpc.StatusCode.OK, call(body, timeout=60)
        except grpc.RpcError as error:
            return error.code(), error.details()

    def predict(self, inputs):
        request = request_of(inputs).SerializeToString()
        code, answer = self.send(PREDICT, request)
        assert code == grpc.StatusCode.OK, answer
        response = predict_pb2.PredictResponse.FromString(answer)
        return {k: tf.make_ndarray(v) for k, v in response.outputs.items()}


class Rest:
    """Sends bytes over one connection, made anew where it was closed."""

    def __init__(self, server):
        self._port = server.rest_port
        self._connection = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close()

    def send(self, *request):
        if self._connection is not None:
            status, answer = self._send(*request)
            if status != HUNG_UP:
                return status, answer
        # A server may close a connection between two requests.
        return self._send(*request)

    def _send(self, method, path, body=b"", headers=None):
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=60
            )
        connection = self._connection
        try:
            connection.putrequest(method, path)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            answer = response.read()
        except ConnectionError:
            self._close()
            return HUNG_UP, b""
        if response.will_close:
            self._close()
        return response.status, answer

    def _close(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def predict(self, columns):
        body = json.dumps({"inputs": columns}).encode()
        status, answer = self.send("POST", REST_PREDICT, body)
        assert status == 200, answer
        return json.loads(answer)["outputs"]


def check_good(answer, golden):
    expected = golden[1]
    assert set(answer) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(answer[name], values, rtol=1e-5, atol=1e-6)


def fault_of_grpc(case, code, details):
    if code not in case.codes or code in FAULTS:
        return f"{case.kind}: {code} {details!r}"
    if code != grpc.StatusCode.OK:
        missing = [word for word in case.words if word not in details]
        if missing or not details:
            return f"{case.kind}: {missing} not in {details!r}"
    return None


def fault_of_rest(case, status, answer):
    if case.method == "HEAD":
        return None if 400 <= status < 500 else f"HEAD: {status}"
    if status == 200 and case.may_succeed:
        return None
    # Its answer is lost where the rest of the request was not waited for.
    if status == HUNG_UP and case.kind == "huge_header":
        return None
    if not 400 <= status < 500:
        return f"{case.kind}: {status} {answer[:200]!r} to {case.body[:200]!r}"
    text = answer.decode()
    if text.startswith("{"):
        text = json.loads(text)["error"]
    missing = [word for word in case.words if word not in text]
    if missing or not text:
        return f"{case.kind}: {missing} not in {answer[:300]!r}"
    return None


def test_malformed_grpc_requests(server, golden):
    cases = malformed_grpc.Malformed(request_of(golden[0]), seed=1)
    faults = []
    with Grpc(server) as client:
        for number in range(GRPC_REQUESTS):
            case = cases.draw()
            fault = fault_of_grpc(case, *client.send(case.method, case.body))
            if fault:
                faults.append(fault)
            if number % GOOD_EVERY == 0:
                check_good(client.predict(golden[0]), golden)
            if number == GRPC_REQUESTS // 3:
                before = server.memory_bytes()
    assert not faults, faults[:NUM_SHOWN]
    assert server.memory_bytes() - before < 8 << 20


def test_malformed_rest_requests(server, golden):
    columns = columns_of(golden[0])
    cases = malformed_rest.Malformed(columns, seed=2)
    faults = []
    # Another connection, since the server may close a malformed request's.
    with Rest(server) as client, Rest(server) as other:
        for number in range(REST_REQUESTS):
            case = cases.draw()
            sent = case.method, case.path, case.body, case.headers
            fault = fault_of_rest(case, *client.send(*sent))
            if fault:
                faults.append(fault)
            if number % GOOD_EVERY == 0:
                check_good(other.predict(columns), golden)
            if number == REST_REQUESTS // 3:
                before = server.memory_bytes()
    assert not faults, faults[:NUM_SHOWN]
    assert server.memory_bytes() - before < 8 << 20


def test_broken_connections(server, golden):
    draw = random.Random(3)
    good = request_of(golden[0]).SerializeToString()
    faults = []
    with Grpc(server) as client, Rest(server) as rest:
        for number in range(CONNECTIONS):
            port = draw.choice([server.rest_port, server.grpc_port])
            sent = draw.choice(malformed_rest.RAW)
            if draw.random() < 0.2:
                sent = draw.randbytes(draw.choice([1, 40, 3_000]))
            answer = send_raw(port, sent, reset=draw.random() < 0.3)
            if b"HTTP/1.1 5" in answer or b"HTTP/1.0 5" in answer:
                faults.append((sent[:200], answer[:200]))
            if number % 4 == 0:
                cancel(server, good, draw)
            if number % GOOD_EVERY == 0:
                check_good(client.predict(golden[0]), golden)
                check_good(rest.predict(columns_of(golden[0])), golden)
            if number == CONNECTIONS // 3:
                before = server.memory_bytes()
    assert not faults, faults[:NUM_SHOWN]
    assert server.memory_bytes() - before < 8 << 20


def send_raw(port, sent, reset):
    """Sends bytes and hangs up, politely or not."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as made:
        answer = b""
        # The server may hang up first.
        with contextlib.suppress(OSError):
            made.sendall(sent)
            if reset:
                linger = struct.pack("ii", 1, 0)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return b""
            made.shutdown(socket.SHUT_WR)
            while received := made.recv(1 << 16):
                answer += received
        return answer


def cancel(server, body, draw):
    """A request whose client goes away, or waits for no time at all."""
    address = f"127.0.0.1:{server.grpc_port}"
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(PREDICT)
        if draw.random() < 0.5:
            call.future(body).cancel()
            return
        with pytest.raises(grpc.RpcError) as error:
            call(body, timeout=1e-6)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_unknown_and_missing_values_are_answered(server, golden):
    inputs, expected = golden
    empty = {
        **inputs,
        "tags": inputs["tags"][:, :0],
        "tags_length": np.zeros(ROWS, np.int64),
    }
    padded = {
        **inputs,
        "tags": np.full((ROWS, 5), b"junk", object),
        "tags_length": np.zeros(ROWS, np.int64),
    }
    unknown = {
        **inputs,
        "user": np.array([2**63 - 1, -1, 10**12]),
        "city": np.array([b"\xff\xfe", b"\0" * 9, b"x" * 9_999], object),
    }
    missing = {
        **inputs,
        "user": np.full(ROWS, -(2**63)),
        "city": np.full(ROWS, b"", object),
        "price": np.full(ROWS, np.nan, np.float32),
    }
    with Grpc(server) as client:
        first, second = client.predict(empty), client.predict(padded)
        for name in expected:
            np.testing.assert_array_equal(first[name], second[name])
        for rows in (unknown, missing):
            for values in client.predict(rows).values():
                assert values.shape == (ROWS,)
                assert ((values > 0) & (values < 1)).all()
        none = {k: v[:0] for k, v in inputs.items()}
        for values in client.predict(none).values():
            assert values.shape == (0,)


def test_the_log_tells_of_no_fault_and_no_request(server, golden):
    with Grpc(server) as client:
        check_good(client.predict(golden[0]), golden)
    log = server.log
    assert "ERROR" not in log, log[-3_000:]
    assert "Traceback" not in log
    assert "ghost_" not in log
    lines = [
        json.loads(line) for line in log.splitlines() if line.startswith("{")
    ]
    (loaded,) = [x for x in lines if x["message"].startswith("Loaded model")]
    assert (loaded["model"], loaded["version"]) == ("model", 1)

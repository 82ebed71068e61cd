"""The client, against a server of either protocol and without one."""

import concurrent.futures
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

import serving
from serving import client_columns
from serving import client_examples
from serving import client_rest
from serving import client_retries
from serving import client_specs
from serving import client_tensors
from tests.serving import conftest

SPEC = client_specs.ClientTensorSpec
MISSING = conftest.MISSING_INT64


@pytest.fixture(scope="module", params=["grpc", "http"])
def url(request, ranker_server):
    port = {
        "grpc": ranker_server.grpc_port,
        "http": ranker_server.rest_port,
    }[request.param]
    return f"{request.param}://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(url):
    with serving.Client(url, "ranker", timeout_seconds=60) as client:
        yield client


def columns(size=5):
    """Rows as a program has them: ragged lists and None."""
    return {
        "city": ["Roma", None, "Zürich", b"a\xff", ""][:size],
        "age": [18, None, 2**40, 0, 7][:size],
        "price": [0.5, 1.0, 2.25, 3.0, 4.0][:size],
        "filters": [[1, 2, 3], None, [], (5,), np.array([6, 7])][:size],
    }


def expected(bias):
    rows = {
        "city": np.array([b"Roma", b"", "Zürich".encode(), b"a\xff", b""]),
        "age": np.array([18, MISSING, 2**40, 0, 7]),
        "price": np.array([0.5, 1.0, 2.25, 3.0, 4.0]),
        "filters": np.array(
            [[1, 2, 3], [0] * 3, [0] * 3, [5, 0, 0], [6, 7, 0]]
        ),
        "filters_length": np.array([3, 0, 0, 1, 2]),
    }
    return conftest.reference(rows, bias)


def test_predict(client):
    found = client.predict(columns())
    assert set(found) == {"click", "buy"}
    for name, values in expected(0.25).items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, rtol=1e-6)


def test_predict_the_wanted_outputs(client):
    assert set(client.predict(columns(), outputs=["buy"])) == {"buy"}
    with pytest.raises(ValueError, match="`outputs` must be of"):
        client.predict(columns(), outputs=["sell"])


@pytest.mark.parametrize("size", [0, 1, 3])
def test_predict_batches(client, size):
    found = client.predict(columns(size))
    np.testing.assert_allclose(
        found["click"], expected(0.25)["click"][:size], rtol=1e-6
    )


def test_lists_given_as_an_array_and_lengths(client):
    rows = conftest.make_rows(6, 4)
    found = client.predict(rows)
    np.testing.assert_allclose(
        found["buy"], conftest.reference(rows, 0.25)["buy"], rtol=1e-6
    )


def test_examples_signature(client):
    example = tf_example(city=[b"Roma"], age=[18], price=[0.5], filters=[4])
    found = client.predict({"examples": [example]}, signature="examples")
    np.testing.assert_allclose(
        found["click"], [[1.0 + 4 + 18 % 7 + 2.0 + 0.25]], rtol=1e-6
    )


def tf_example(**features):
    from tensorflow_serving.apis import input_pb2

    message = input_pb2.Input().example_list
    client_examples.fill(message, [features])
    return message.examples[0].SerializeToString()


def test_metadata(client):
    found = client.metadata()
    assert set(found) >= {"serving_default", "examples"}
    signature = found["serving_default"]
    assert signature.inputs["age"] == SPEC("int64", (None,))
    assert signature.inputs["filters"] == SPEC("int64", (None, None))
    assert signature.list_columns == {"filters"}
    assert "filters_length" not in signature.columns
    assert signature.outputs["click"].dtype == "float32"
    assert signature.method_name == "tensorflow/serving/predict"


def test_status(client):
    assert serving.VersionStatus(12, "AVAILABLE") in client.status()


def test_refusals_before_anything_is_sent(client):
    with pytest.raises(ValueError, match=r"Absent: \['age'\].*\['agee'\]"):
        rows = columns()
        rows["agee"] = rows.pop("age")
        client.predict(rows)
    with pytest.raises(serving.ColumnError, match="`age`, row 1") as caught:
        client.predict(columns() | {"age": [1, "old", 2, 3, 4]})
    assert (caught.value.field, caught.value.row) == ("age", 1)
    with pytest.raises(ValueError, match="one number of rows"):
        client.predict(columns() | {"age": [1]})
    with pytest.raises(ValueError, match=r"one of \['examples'"):
        client.predict(columns(), signature="rank")


def test_server_refusals_are_not_repeated(url):
    with serving.Client(url, "another", timeout_seconds=60) as client:
        with pytest.raises(serving.PredictionError) as caught:
            client.status()
        assert caught.value.code == "NOT_FOUND"
        with pytest.raises(serving.PredictionError, match="another"):
            client.predict({})


def test_another_version_is_asked_for(url):
    with (
        serving.Client(url, "ranker", version=7, timeout_seconds=60) as client,
        pytest.raises(serving.PredictionError) as caught,
    ):
        client.predict(columns())
    assert caught.value.code == "NOT_FOUND"


def test_threads_share_a_client(client):
    rows = [conftest.make_rows(n % 5 + 1, 3) for n in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.predict, rows))
    for one, found in zip(rows, answers, strict=True):
        np.testing.assert_allclose(
            found["click"], conftest.reference(one, 0.25)["click"], rtol=1e-6
        )


def test_rest_needs_no_tensorflow():
    # The package's own `__init__` brings the server; the modules do not.
    program = (
        "import sys, types, pathlib\n"
        "package = types.ModuleType('serving')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "sys.modules['serving'] = package\n"
        "from serving import client\n"
        "client.Client('http://127.0.0.1:1', 'm')\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    folder = serving.__path__[0]
    subprocess.run([sys.executable, "-c", program, folder], check=True)


# Servers that fail, by hand.


class Stammering(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Refuses some requests, and then answers."""

    def __init__(self, codes):
        self.codes = list(codes)
        self.calls = 0

    def Predict(self, request, context):
        self.calls += 1
        if self.codes:
            context.abort(self.codes.pop(0), "not now")
        response = predict_pb2.PredictResponse()
        client_tensors.fill(
            response.outputs["y"], np.array([1.5], np.float32), "float32"
        )
        return response


@pytest.fixture
def stammering():
    servers = []

    def start(*codes):
        servicer = Stammering(codes)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        port = server.add_insecure_port("127.0.0.1:0")
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            servicer, server
        )
        server.start()
        servers.append(server)
        client = serving.Client(f"grpc://127.0.0.1:{port}", "m", retries=2)
        return servicer, client

    yield start
    for server in servers:
        server.stop(None).wait()


def ask(client):
    """Predict without metadata, which the servicer above does not have."""
    signature = client_specs.ClientSignature({}, {}, "")
    transport = client._transport
    return client_retries.call(
        lambda seconds: transport.predict("", signature, {}, (), seconds),
        30.0,
        2,
    )


def test_unavailable_is_tried_again(stammering):
    code = grpc.StatusCode.UNAVAILABLE
    servicer, client = stammering(code, code)
    with client:
        assert ask(client)["y"].tolist() == [1.5]
    assert servicer.calls == 3


@pytest.mark.parametrize("name", ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"])
def test_other_codes_are_not(stammering, name):
    servicer, client = stammering(grpc.StatusCode[name])
    with client, pytest.raises(serving.PredictionError, match="not now") as one:
        ask(client)
    assert (servicer.calls, one.value.code) == (1, name)


def test_tries_come_to_an_end(stammering):
    servicer, client = stammering(*[grpc.StatusCode.UNAVAILABLE] * 9)
    with client, pytest.raises(serving.PredictionError):
        ask(client)
    assert servicer.calls == 3


@pytest.fixture
def raw_http():
    """A server that answers each connection with the next of some bytes."""
    listeners = []

    def start(*answers):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve():
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def http_answer(status, body):
    return (
        f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}"
    ).encode()


STATUS = (
    '{"model_version_status": [{"version": "3", "state": "AVAILABLE", '
    '"status": {"error_code": "OK", "error_message": ""}}]}'
)


def test_broken_connections_and_503_are_tried_again(raw_http):
    url = raw_http(b"", http_answer(503, "busy"), http_answer(200, STATUS))
    with serving.Client(url, "m", retries=2) as client:
        assert client.status() == [serving.VersionStatus(3, "AVAILABLE")]


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (http_answer(400, '{"error": "Missing `age`"}'), "INVALID_A", "`age`"),
        (http_answer(404, '{"error": "no m"}'), "NOT_FOUND", "no m"),
        (http_answer(504, "<html>"), "DEADLINE_EXCEEDED", "<html>"),
        (http_answer(302, ""), "UNKNOWN", "302"),
        (http_answer(200, "nonsense"), "INTERNAL", "nonsense"),
        (http_answer(200, "{}"), "INTERNAL", "model_version_status"),
    ],
)
def test_rest_errors(raw_http, answer, code, says):
    with (
        serving.Client(raw_http(answer), "m", retries=3) as client,
        pytest.raises(serving.PredictionError, match=says) as caught,
    ):
        client.status()
    assert caught.value.code.startswith(code)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_deadline_holds_for_all_attempts(scheme):
    # Connections are taken, and nothing ever answers.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        with (
            serving.Client(url, "m", timeout_seconds=0.3, retries=9) as client,
            pytest.raises(serving.PredictionError) as caught,
        ):
            client.status()
    assert caught.value.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE")


def test_no_time_is_slept_beyond_the_deadline():
    def send(seconds):
        raise serving.PredictionError("UNAVAILABLE", "no")

    started = time.monotonic()
    with pytest.raises(serving.PredictionError):
        client_retries.call(send, timeout_seconds=0.01, retries=10**6)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": "127.0.0.1:8500"}, "url='127.0.0.1:8500'"),
        ({"url": "grpc://host"}, "must be grpc://host:port"),
        ({"url": "ftp://host:1"}, "must be grpc"),
        ({"url": "grpc://host:99999"}, "must be grpc"),
        ({"model": "a/b"}, "model='a/b'"),
        ({"model": ""}, "model=''"),
        ({"version": 1, "label": "canary"}, "version=1"),
        ({"timeout_seconds": 0}, "timeout_seconds=0"),
        ({"retries": -1}, "retries=-1"),
        ({"tls": client_specs.ClientTls()}, "needs grpcs:// or https://"),
    ],
)
def test_impossible_arguments(arguments, says):
    given = {"url": "http://127.0.0.1:1", "model": "m"} | arguments
    with pytest.raises(ValueError, match=says):
        serving.Client(**given)


def test_a_certificate_needs_its_key():
    with pytest.raises(ValueError, match="belong together"):
        client_specs.ClientTls(certificate="c.pem")


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ({}, "/v1/models/m"),
        ({"version": 3}, "/v1/models/m/versions/3"),
        ({"label": "a b"}, "/v1/models/m/labels/a%20b"),
    ],
)
def test_rest_paths(where, path):
    where = {"version": None, "label": None} | where
    transport = client_rest.RestTransport("http://h:1", "m", tls=None, **where)
    assert transport.path == path


# Columns.


def signature(**inputs):
    return client_specs.ClientSignature(inputs, {}, "")


INT = SPEC("int64", (None,))
LISTS = signature(
    tags=SPEC("string", (None, None)), tags_length=SPEC("int32", (None,))
)


@given(
    st.lists(
        st.none() | st.lists(st.none() | st.text() | st.binary(), max_size=4),
        max_size=6,
    )
)
def test_lists_keep_their_values(rows):
    try:
        found = client_columns.encode({"tags": rows}, LISTS)
    except client_columns.ColumnError:
        assert any(
            isinstance(v, str) and not v.isprintable()
            for row in rows
            for v in row or []
        )
        return
    assert found["tags_length"].dtype == np.int32
    assert found["tags"].shape == (len(rows), max([1, *map(_len, rows)]))
    for row, values, length in zip(
        rows, found["tags"], found["tags_length"], strict=True
    ):
        assert length == _len(row)
        for given_value, value in zip(row or [], values, strict=False):
            if isinstance(given_value, str):
                given_value = given_value.encode()
            assert value == (given_value or b"")
        assert all(value == b"" for value in values[length:])


def _len(row):
    return len(row or [])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 2**63),
        ("int64", True),
        ("int64", 1.0),
        ("int32", 2**31),
        ("int32", None),
        ("uint8", -1),
        ("float32", 1e39),
        ("float32", 10**400),
        ("float32", "1"),
        ("float32", False),
        ("bool", 1),
        ("string", 7),
        ("string", "\ud800"),
        ("string", {"b64": "?"}),
        ("string", {"b64": 1}),
        ("string", ["a"]),
        ("complex64", 1),
    ],
)
def test_values_that_a_dtype_does_not_take(dtype, value):
    good = {"string": b"x", "bool": True}.get(dtype, 0)
    found = signature(x=SPEC(dtype, (None,)))
    values = {"x": [good, value] if dtype != "complex64" else [value, value]}
    with pytest.raises(client_columns.ColumnError, match="`x`"):
        client_columns.encode(values, found)
    assert 1 in client_columns.faults(values, found)


@given(
    st.lists(
        st.none() | st.integers(-(2**63), 2**63 - 1) | st.just("x"), max_size=6
    )
)
def test_faults_are_what_encode_refuses(values):
    bad = {row for row, value in enumerate(values) if value == "x"}
    found = client_columns.faults({"age": values}, signature(age=INT))
    assert set(found) == bad
    if bad:
        with pytest.raises(client_columns.ColumnError) as caught:
            client_columns.encode({"age": values}, signature(age=INT))
        assert caught.value.row == min(bad)
    else:
        (array,) = client_columns.encode(
            {"age": values}, signature(age=INT)
        ).values()
        assert array.dtype == np.int64
        assert array.tolist() == [MISSING if v is None else v for v in values]


def test_missing_floats_and_infinities():
    price = signature(price=SPEC("float32", (None,)))
    values = [None, float("inf"), 1, float("nan")]
    array = client_columns.encode({"price": values}, price)["price"]
    np.testing.assert_array_equal(array, [np.nan, np.inf, 1, np.nan])
    assert array.dtype == np.float32


def test_inputs_of_two_axes_that_are_no_lists():
    found = signature(vector=SPEC("float32", (None, 2)))
    array = client_columns.encode({"vector": [[1.0, 2], [3, 4]]}, found)
    assert array["vector"].tolist() == [[1, 2], [3, 4]]
    for rows in ([[1.0, 2], [3]], [1.0, 2.0]):
        with pytest.raises(client_columns.ColumnError, match="`vector`"):
            client_columns.encode({"vector": rows}, found)
    assert set(
        client_columns.faults({"vector": [[1.0, 2], ["a", 2]]}, found)
    ) == {1}


# Tensors, against TensorFlow's own.


@pytest.mark.parametrize(
    "dtype", sorted(name for name, _ in client_specs.DTYPES.values())
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3)])
def test_tensors_are_tensorflows(dtype, shape):
    import tensorflow as tf

    generator = np.random.default_rng(5)
    array = generator.integers(0, 2, shape).astype(
        client_specs.ClientTensorSpec(dtype, None).numpy_dtype
    )
    if dtype == "string":
        array = np.array(
            [str(v).encode() for v in np.ravel(array)], object
        ).reshape(shape)
    elif dtype in ("bfloat16", "float16", "float32", "float64"):
        array = (np.asarray(array) * 1.5).astype(array.dtype)
    proto = predict_pb2.PredictRequest().inputs["x"]
    client_tensors.fill(proto, np.asarray(array), dtype)
    theirs = tf.make_ndarray(proto)
    assert tf.as_dtype(proto.dtype) == tf.as_dtype(dtype)
    assert theirs.shape == shape
    np.testing.assert_array_equal(theirs.astype(np.asarray(array).dtype), array)
    for made in (proto, tf.make_tensor_proto(theirs, tf.as_dtype(dtype))):
        np.testing.assert_array_equal(client_tensors.to_array(made), array)


@given(st.floats(width=32))
def test_bfloat16_rounds_as_tensorflow(value):
    import tensorflow as tf

    proto = predict_pb2.PredictRequest().inputs["x"]
    array = np.array([value], np.float32)
    client_tensors.fill(proto, array, "bfloat16")
    theirs = tf.cast(array, tf.bfloat16).numpy().astype(np.float32)
    np.testing.assert_array_equal(client_tensors.to_array(proto), theirs)


def test_answers_that_are_no_tensors():
    proto = predict_pb2.PredictRequest().inputs["x"]
    proto.dtype = 8
    with pytest.raises(serving.PredictionError, match="DT_COMPLEX64"):
        client_tensors.to_array(proto)
    proto.dtype = 1
    proto.tensor_shape.dim.add().size = 2
    with pytest.raises(serving.PredictionError, match="0 values"):
        client_tensors.to_array(proto)
    proto.tensor_content = b"123"
    with pytest.raises(serving.PredictionError, match="part of a value"):
        client_tensors.to_array(proto)


def test_examples_that_are_none():
    for wrong in (7, {"x": {}}, {"x": True}, b"\xff\xff"):
        with pytest.raises(ValueError, match="[Ee]xample"):
            client_examples.to_json([wrong])

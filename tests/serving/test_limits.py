import contextlib
import json
import logging
import shutil
import socket
import struct
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import batching_parameters
from serving import model_config
from serving import reload_roots
from serving import request_log
from serving import server as server_lib
from serving import server_options
from tests.serving import conftest
from tfplugin import errors


def make_server(base, name="slow", batching=None, **limits):
    return server_lib.Server(
        model_config.of_one_model(name, base),
        server_options.ServerOptions(
            0, 0, limits=server_options.Limits(**limits)
        ),
        batching=batching,
    )


def call(server, turns, timeout=60, rows=1):
    address = f"127.0.0.1:{server.grpc_port}"
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = conftest.predict_request(
            {"turns": np.full(rows, turns)}, "slow"
        )
        return stub.Predict(request, timeout=timeout)


def code_of(*arguments, **kwargs):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **kwargs)
    return error.value.code(), error.value.details()


BATCHING = batching_parameters.BatchingParameters(
    max_batch_size=8, num_batch_threads=2
)


@pytest.mark.parametrize("batching", [None, BATCHING])
def test_time(slow_base, batching):
    with make_server(
        slow_base, batching=batching, timeout_seconds=0.1
    ) as server:
        code, details = code_of(server, 20_000)
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert details
        body = {"instances": [20_000]}
        http = conftest.make_http(server)
        response = http("POST", "/v1/models/slow:predict", json=body)
        assert response.status_code == 504
        # The client's own limit, if it is shorter.
        code, _ = code_of(server, 20_000, timeout=0.05)
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_rows(slow_base):
    with make_server(slow_base, max_batch_rows=3) as server:
        assert call(server, 1, rows=3)
        code, details = code_of(server, 1, rows=4)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert "4" in details


def test_requests_at_once(slow_base):
    with make_server(slow_base, max_requests=2) as server:

        def one(turns):
            try:
                call(server, turns)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        with futures.ThreadPoolExecutor(8) as threads:
            codes = set(threads.map(one, [20_000] * 8))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        assert codes <= {
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.OK,
        }
        assert call(server, 1)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /v1/models/log HTTP/1.1\r\nX: ",
        b"POST /v1/models/log:predict HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 100\r\n\r\n{",
    ],
)
def test_idle_connections_are_closed(logarithm_base, sent):
    with make_server(logarithm_base, "log", idle_seconds=0.5) as server:
        address = ("127.0.0.1", server.rest_port)
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(sent)
            # Ends when the server closes it.
            while connection.recv(1 << 16):
                pass
        response = conftest.make_http(server)("GET", "/v1/models/log")
        assert response.status_code == 200


def test_clients_that_disconnect(slow_base):
    with make_server(slow_base) as server:
        address = ("127.0.0.1", server.rest_port)
        body = b'{"instances": [5000]}'
        head = b"POST /v1/models/slow:predict HTTP/1.1\r\nHost: x\r\n"
        for length in (len(body), 1_000):
            with socket.create_connection(address, timeout=60) as connection:
                connection.sendall(
                    head + b"Content-Length: %d\r\n\r\n" % length + body
                )
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = conftest.predict_request(
                {"turns": np.array([5000])}, "slow"
            )
            stub.Predict.future(request).cancel()
        assert call(server, 1)


def test_running_requests_are_answered_at_the_end(slow_base):
    server = make_server(slow_base, batching=BATCHING)
    server.start()
    with futures.ThreadPoolExecutor(2) as threads:
        started = threading.Event()
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "slow"

        def one():
            address = f"127.0.0.1:{server.grpc_port}"
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(60)
                stub = prediction_service_pb2_grpc.PredictionServiceStub(
                    channel
                )
                request = conftest.predict_request(
                    {"turns": np.array([20_000])}, "slow"
                )
                running = stub.Predict.future(request, timeout=60)
                # Answered once the request before it has been read.
                models = model_service_pb2_grpc.ModelServiceStub(channel)
                models.GetModelStatus(status, timeout=60)
                started.set()
                return running.result()

        answer = threads.submit(one)
        assert started.wait(60)
        server.stop()
        assert answer.result().model_spec.version.value == 1


def test_connections(logarithm_base):
    body = b'{"instances": [1.0]}'
    ask = (
        b"POST /v1/models/log:predict HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    with (
        make_server(logarithm_base, "log", max_connections=2) as server,
        contextlib.ExitStack() as stack,
    ):
        address = ("127.0.0.1", server.rest_port)

        def connect():
            return stack.enter_context(
                socket.create_connection(address, timeout=60)
            )

        def status(connection):
            answer = b""
            # A client that is refused may be cut off while it sends.
            with contextlib.suppress(ConnectionError):
                connection.sendall(ask)
                while not answer.endswith(b"}"):
                    answer += connection.recv(1 << 16) or b"}"
            return answer[: len(b"HTTP/1.1 200")]

        first, second = connect(), connect()
        assert status(first) == status(second) == b"HTTP/1.1 200"
        for _ in range(3):
            refused = connect().makefile("rb").read()
            assert refused.startswith(b"HTTP/1.1 503")
            assert json.loads(refused.split(b"\r\n\r\n")[1])["error"]
        # Those that are open go on, and one that ends makes room.
        assert status(second) == b"HTTP/1.1 200"
        first.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while first.recv(1 << 16):
            pass
        # The server closes its end a moment after the client has seen it.
        assert any(status(connect()) == b"HTTP/1.1 200" for _ in range(1000))


def test_streams_of_a_grpc_connection(logarithm_base):
    with make_server(logarithm_base, "log", max_requests=300) as server:
        address = ("127.0.0.1", server.grpc_port)
        with socket.create_connection(address, timeout=60) as connection:
            # HTTP/2: the preface, and settings that change nothing.
            connection.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                + bytes.fromhex("000000040000000000")
            )
            stream = connection.makefile("rb")
            head = stream.read(9)
            length, kind = int.from_bytes(head[:3], "big"), head[3]
            assert kind == 4
            settings = dict(struct.iter_unpack(">HI", stream.read(length)))
        assert settings[3] == 600


@pytest.fixture
def reload_folders(slow_base, logarithm_base, tmp_path):
    """Models in folders that are allowed, and one beside them."""
    for name in ("allowed/log", "allowed_not/log"):
        shutil.copytree(logarithm_base, tmp_path / name)
    (tmp_path / "allowed" / "out").symlink_to(tmp_path / "allowed_not")
    (tmp_path / "in").symlink_to(tmp_path / "allowed")
    (tmp_path / "start").symlink_to(slow_base)
    return tmp_path


@contextlib.contextmanager
def reloading(config, roots):
    options = server_options.ServerOptions(0, 0, reload_roots=roots)
    with (
        server_lib.Server(config, options) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def reload(name, base_path):
            request = model_management_pb2.ReloadConfigRequest()
            request.config.CopyFrom(model_config.of_one_model(name, base_path))
            stub.HandleReloadConfigRequest(request, timeout=60)
            return server.models

        yield reload


def test_folders_of_a_reload(slow_base, reload_folders):
    start = str(reload_folders / "start")
    with reloading(
        model_config.of_one_model("slow", start),
        (f"{reload_folders}/in/", "gs://bucket/models"),
    ) as reload:
        for name, base_path in (
            ("log", f"{reload_folders}/allowed/log"),
            ("a", f"{reload_folders}/in/log/"),
            ("b", f"file://{reload_folders}/allowed//log"),
            # What the server was started with, by another name.
            ("c", str(slow_base)),
            ("d", start),
        ):
            assert reload(name, base_path) == [name]
        for base_path in (
            f"{reload_folders}/allowed_not/log",
            f"{reload_folders}/allowed/out/log",
            f"{reload_folders}/allowed/../allowed_not/log",
            f"{reload_folders}/allowed/../allowed/log",
            f"{reload_folders}",
            f"file://{reload_folders}/allowed_not/log",
            f"{start}/1",
            "/",
            "gs://bucket/models_2/ctr",
            "gs://bucket/models/../models_2",
            "gs://other/models/ctr",
            "s3://bucket/models/ctr",
            "a\0b",
        ):
            with pytest.raises(grpc.RpcError, match="reload-root") as error:
                reload("x", base_path)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert repr(base_path) in error.value.details()
        assert reload("d", start) == ["d"]


def test_remote_roots_of_reloads():
    allowed = reload_roots.ReloadRoots(
        model_config.of_one_model("ctr", "gs://start/ctr"),
        ["gs://bucket/models/", "hdfs://node:80"],
    )
    for base_path in (
        "gs://start/ctr",
        "gs://start/ctr/",
        "gs://bucket/models",
        "gs://bucket/models/ctr",
        "hdfs://node:80/any",
    ):
        allowed.check(model_config.of_one_model("a", base_path))
    for base_path in ("gs://start/ctr/1", "gs://bucket", "hdfs://node:8/any"):
        with pytest.raises(errors.InputError, match=base_path):
            allowed.check(model_config.of_one_model("a", base_path))


@pytest.mark.parametrize("root", ["", "gs://", "a\0b"])
def test_impossible_roots_of_reloads(slow_base, root):
    server = server_lib.Server(
        model_config.of_one_model("slow", slow_base),
        server_options.ServerOptions(0, 0, reload_roots=(root,)),
    )
    with pytest.raises(errors.InputError, match="root of reloads"):
        server.start()


def test_reload(slow_base, logarithm_base):
    server = server_lib.Server(
        model_config.of_one_model("slow", slow_base),
        server_options.ServerOptions(0, 0, reload_roots=(str(logarithm_base),)),
    )
    with server:
        address = f"127.0.0.1:{server.grpc_port}"
        with grpc.insecure_channel(address) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            request = model_management_pb2.ReloadConfigRequest()
            request.config.CopyFrom(
                model_config.of_one_model("log", logarithm_base)
            )
            response = stub.HandleReloadConfigRequest(request, timeout=60)
            assert response.HasField("status")
            assert response.status.error_code == 0
            assert server.models == ["log"]
            for wrong, message in (
                (model_config.of_one_model("a/../b", "x"), "a/../b"),
                (model_config.of_one_model("", "x"), "name"),
                (None, "model_config_list"),
            ):
                request.Clear()
                if wrong is not None:
                    request.config.CopyFrom(wrong)
                with pytest.raises(grpc.RpcError) as error:
                    stub.HandleReloadConfigRequest(request, timeout=60)
                code = error.value.code()
                assert code == grpc.StatusCode.INVALID_ARGUMENT
                assert message in error.value.details()
            assert server.models == ["log"]


@pytest.mark.parametrize(
    "arguments",
    [{"timeout_seconds": 0}, {"max_requests": -1}, {"idle_seconds": np.nan}],
)
def test_impossible_limits(arguments):
    with pytest.raises(errors.InputError, match=next(iter(arguments))):
        server_options.Limits(**arguments)


def test_requests_are_logged_without_what_they_hold(slow_base, caplog):
    server = server_lib.Server(
        model_config.of_one_model("slow", slow_base),
        server_options.ServerOptions(0, 0),
        log_share=1.0,
    )
    with server, caplog.at_level(logging.INFO, "serving"):
        call(server, 7_654_321 % 10)
        code_of(server, "secret", rows=2)
    lines = [
        json.loads(request_log.JsonFormatter().format(record))
        for record in caplog.records
    ]
    first, second = [line for line in lines if "api" in line]
    assert first["model"] == "slow"
    assert first["version"] == 1
    assert first["rows"] == 1
    assert first["code"] == "OK"
    assert second["code"] == "INVALID_ARGUMENT"
    assert "secret" not in str(lines)

import contextlib
import logging
import signal
import socket
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest
import requests
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import model_config
from serving import server as server_lib
from serving import server_options
from tests.serving import conftest
from tests.serving import server_process
from tfplugin import errors


def free(port):
    with socket.create_server(("127.0.0.1", port)):
        return True


def predict(server):
    address = f"127.0.0.1:{server.grpc_port}"
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = conftest.predict_request(conftest.make_rows())
        return stub.Predict(request, timeout=60)


def test_start_and_stop_twice(ranker_base):
    server = server_lib.ModelServer(ranker_base, "ranker", 0, 0)
    server.stop()
    for _ in range(2):
        server.start()
        assert server.rest_port != server.grpc_port
        assert predict(server).model_spec.version.value == 12
        with pytest.raises(RuntimeError, match="running already"):
            server.start()
        assert not server.wait(timeout_seconds=0)
        server.stop()
        assert server.wait()
        assert free(server.rest_port)
        assert free(server.grpc_port)
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{server.rest_port}", timeout=60)


def test_stop_from_another_thread(logarithm_base):
    with server_lib.ModelServer(logarithm_base, "log", 0, 0) as server:
        thread = threading.Thread(target=server.stop)
        thread.start()
        assert server.wait()
        thread.join()


def test_idle_connection_does_not_hold_up_stop(logarithm_base):
    server = server_lib.ModelServer(logarithm_base, "log", 0, 0)
    server.start()
    with requests.Session() as session:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/log"
        assert session.get(url, timeout=60).status_code == 200
        server.stop()
        assert free(server.rest_port)


@pytest.mark.parametrize("used", ["rest_port", "grpc_port"])
@pytest.mark.parametrize("by", ["rest_port", "grpc_port"])
def test_port_in_use_before_the_model_is_loaded(
    ranker_server, tmp_path, used, by
):
    port = getattr(ranker_server, by)
    ports = {"rest_port": 0, "grpc_port": 0} | {used: port}
    # There is no model in this folder: the port is refused first.
    server = server_lib.ModelServer(tmp_path, "ranker", **ports)
    with pytest.raises(errors.InputError, match=f"{used}={port}.*choose anoth"):
        server.start()
    if used == "grpc_port":
        assert free(server.rest_port)
    assert predict(ranker_server).model_spec.version.value == 12


def test_ports_are_released_when_there_is_no_model(tmp_path):
    server = server_lib.ModelServer(tmp_path, "ranker", 0, 0)
    with pytest.raises(
        errors.InputError, match=r"version to serve \(the folder"
    ):
        server.start()
    assert free(server.rest_port)
    assert free(server.grpc_port)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_name": ""}, "name=''"),
        ({"model_name": "a/b"}, "name='a/b'"),
        ({"rest_port": -1}, "rest_port=-1"),
        ({"grpc_port": 65536}, "grpc_port=65536"),
        ({"rest_port": 8500}, "must differ"),
        ({"host": "0.0.0.0"}, "TLS only.*host='0.0.0.0'"),
        ({"host": "example.org"}, "TLS only"),
        ({"max_request_bytes": 0}, "max_request_bytes=0"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(errors.InputError, match=message):
        server_lib.ModelServer(
            **{"model_base_path": "x", "model_name": "m"} | arguments
        )


def test_host_of_another_machine(tmp_path):
    server = server_lib.Server(
        model_config.of_one_model("m", tmp_path),
        server_options.ServerOptions(0, 0, host="192.0.2.1", insecure=True),
    )
    with pytest.raises(errors.InputError, match="host='192.0.2.1'"):
        server.start()


def test_listens_on_loopback_only(ranker_server):
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", ranker_server.rest_port))


class OnLog(logging.Handler):
    """Does something while the server logs a line that starts with a text."""

    def __init__(self, text, action):
        super().__init__()
        self.text = text
        self.action = action

    def emit(self, record):
        if record.getMessage().startswith(self.text):
            self.action()


@contextlib.contextmanager
def on_log(text, action):
    logger = logging.getLogger("serving")
    handler, level = OnLog(text, action), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def handlers():
    return [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_forever_ends_on_a_signal(logarithm_base, number):
    server = server_lib.ModelServer(logarithm_base, "log", 0, 0)
    before = handlers()
    with on_log("Serving log", lambda: signal.raise_signal(number)):
        server.serve_forever()
    assert handlers() == before
    assert free(server.rest_port)
    assert free(server.grpc_port)


def test_serve_forever_ends_on_stop(logarithm_base):
    server = server_lib.ModelServer(logarithm_base, "log", 0, 0)
    threads = [threading.Thread(target=server.stop)]
    before = handlers()
    with on_log("Serving log", threads[0].start):
        server.serve_forever()
    threads[0].join()
    assert handlers() == before


def test_signal_while_the_model_loads(logarithm_base):
    server = server_lib.ModelServer(logarithm_base, "log", 0, 0)
    before = handlers()
    with (
        on_log("Loaded model", lambda: signal.raise_signal(signal.SIGTERM)),
        pytest.raises(SystemExit) as error,
    ):
        server.serve_forever()
    assert error.value.code == 128 + signal.SIGTERM
    assert handlers() == before
    assert free(server.rest_port)
    assert free(server.grpc_port)


_PROGRAM = """
import logging, sys
from serving import server
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
server.ModelServer(sys.argv[1], "log", 0, 0).serve_forever()
print("ended")
"""


def test_process_ends_on_sigterm(logarithm_base):
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", _PROGRAM, str(logarithm_base)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        for line in process.stdout:
            if "Serving log" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "Received SIGTERM" in rest
    assert rest.rstrip().endswith("ended")


def test_second_signal_ends_the_process_at_once(slow_base, tmp_path):
    # The request would take for ever, and is waited for in vain.
    endless = conftest.predict_request({"turns": np.array([1 << 40])}, "model")
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "model"
    with server_process.serving(slow_base, tmp_path) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            running = stub.Predict.future(endless, timeout=60)
            # Answered once the request before it has been read.
            model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
                status, timeout=60
            )
            server.send(signal.SIGTERM)
            while "Received SIGTERM" not in server.log:
                assert server.is_running
            server.send(signal.SIGTERM)
            assert server.wait() == -signal.SIGTERM
            assert running.exception() is not None

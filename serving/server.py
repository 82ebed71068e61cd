"""Serves one model over REST and gRPC."""

import logging
import queue
import signal
import socket
import threading
from collections.abc import Callable
from concurrent import futures
from types import FrameType
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import model_service
from serving import prediction_service
from serving import rest
from serving import rest_server
from serving import servable as servable_lib
from serving import servable_manager
from tfplugin import errors

# Predictions at the same time, for each protocol. TensorFlow uses all cores
# for one of them already; more threads only keep short requests from waiting
# behind long ones.
_NUM_THREADS = 8
_GRACE_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class ModelServer:
    """A development server that clients cannot tell from TensorFlow Serving.

    It answers PredictionService.Predict, GetModelMetadata and
    ModelService.GetModelStatus over gRPC, and the same over REST under
    `/v1/models/NAME`. It runs the model in this process, without batching:
    for trying out a model and its clients, not for traffic.

    Both ports are taken before the model is loaded, so that a port in use is
    noticed at once; requests are answered once `start` returns.

    Args:
        model_base_path: The folder of a model's versions, each in
            `<version>/saved_model.pb`. The highest is served.
        model_name: The name clients ask for.
        rest_port: The port for REST; 0 picks a free one.
        grpc_port: The port for gRPC; 0 picks a free one.
        host: The address to listen on. By default only this machine can
            connect: there is no authentication and no encryption.
        max_request_bytes: The longest request taken, in bytes.

    Raises:
        errors.InputError: For a name or a port that cannot be; by `start`,
            for a port in use or a model that cannot be loaded.

    Example:
    >>> import json, os, tempfile, urllib.request
    >>> import tensorflow as tf
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> model, base = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(model, os.path.join(base, "1"), model.__call__)
    >>> with ModelServer(base, "double", rest_port=0, grpc_port=0) as server:
    ...     url = f"http://127.0.0.1:{server.rest_port}/v1/models/double"
    ...     body = json.dumps({"instances": [1.0, 4.0]}).encode()
    ...     with urllib.request.urlopen(url + ":predict", body) as answer:
    ...         print(json.load(answer))
    {'predictions': [2.0, 8.0]}
    """

    def __init__(
        self,
        model_base_path: str,
        model_name: str,
        rest_port: int = 8501,
        grpc_port: int = 8500,
        host: str = "127.0.0.1",
        max_request_bytes: int = 1 << 27,
    ) -> None:
        if not model_name or set(model_name) & set("/:"):
            raise errors.InputError(
                "`model_name` must be a name without '/' and ':'. "
                f"Received: model_name={model_name!r}."
            )
        _check_port("rest_port", rest_port)
        _check_port("grpc_port", grpc_port)
        if rest_port == grpc_port != 0:
            raise errors.InputError(
                "`rest_port` and `grpc_port` must differ. "
                f"Received: rest_port={rest_port}, grpc_port={grpc_port}."
            )
        self._base_path = str(model_base_path)
        self._name = model_name
        self._requested_ports = (rest_port, grpc_port)
        self._host = host
        self._max_request_bytes = max_request_bytes
        self._lock = threading.RLock()
        self._running = False
        self._stopped = threading.Event()
        # Unlike an Event, its put may be called from a signal handler.
        self._ends: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._rest: rest_server.RestServer | None = None
        self._grpc: grpc.Server | None = None
        self.rest_port = rest_port
        self.grpc_port = grpc_port

    def start(self) -> None:
        """Takes the ports, loads the model and answers from then on.

        Raises:
            errors.InputError: If a port is in use or there is no model.
            RuntimeError: If the server runs already.
        """
        with self._lock:
            if self._running:
                raise RuntimeError("The server is running already.")
            listener = self._listen()
            try:
                version = self._start_on(listener)
            except BaseException:
                listener.close()
                raise
            self._stopped.clear()
            self._running = True
        _logger.info(
            "Serving model %s version %d: REST on %s:%d, gRPC on %s:%d",
            self._name,
            version,
            self._host,
            self.rest_port,
            self._host,
            self.grpc_port,
        )

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Blocks until the server is stopped.

        Args:
            timeout_seconds: The longest time to wait; by default for ever.

        Returns:
            Whether the server was stopped.
        """
        return self._stopped.wait(timeout_seconds)

    def stop(self) -> None:
        """Takes no new requests and ends when the running ones are answered.

        They have 5 seconds. Stopping a server that does not run does nothing.
        """
        with self._lock:
            if not self._running:
                return
            if self._grpc is not None:
                self._grpc.stop(_GRACE_SECONDS).wait()
            if self._rest is not None:
                self._rest.stop()
            self._running = False
            self._stopped.set()
            self._ends.put(None)
        _logger.info("Stopped serving model %s", self._name)

    def serve_forever(
        self, on_started: Callable[[], None] = lambda: None
    ) -> None:
        """Starts, and serves until SIGTERM, SIGINT or `stop`.

        To be called from the main thread, since only it may handle signals.
        A signal that comes before the model is loaded ends the process with
        the exit status shells give it, 128 + its number.

        Args:
            on_started: Called once requests are answered.

        Raises:
            errors.InputError: As for `start`.
        """
        self._ends = queue.SimpleQueue()
        previous = {
            number: signal.signal(number, self._end)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self.start()
            on_started()
            number = self._ends.get()
            if number is not None:
                _logger.info("Received %s", signal.Signals(number).name)
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _end(self, number: int, frame: FrameType | None) -> None:
        if not self._running:
            raise SystemExit(128 + number)
        self._ends.put(number)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        port = self._requested_ports[0]
        try:
            listener = socket.create_server((self._host, port), family=family)
        except OSError as error:
            raise _port_error("rest_port", self._host, port) from error
        self.rest_port = listener.getsockname()[1]
        return listener

    def _start_on(self, listener: socket.socket) -> int:
        grpc_server = self._bind_grpc()
        try:
            servable = servable_lib.Servable.load(self._base_path, self._name)
            manager = servable_manager.ServableManager(servable)
            _add_services(manager, grpc_server)
            api = rest.RestApi(manager, self._max_request_bytes, _NUM_THREADS)
            self._rest = rest_server.RestServer(api, listener, _GRACE_SECONDS)
        except BaseException:
            # gRPC releases the port only of a server that was started.
            grpc_server.start()
            grpc_server.stop(None).wait()
            raise
        grpc_server.start()
        self._grpc = grpc_server
        return servable.version

    def _bind_grpc(self) -> grpc.Server:
        server = grpc.server(
            futures.ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="grpc"),
            options=[
                # Else a second server on the port takes every other request.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._max_request_bytes),
                ("grpc.max_send_message_length", -1),
            ],
        )
        host = f"[{self._host}]" if ":" in self._host else self._host
        port = self._requested_ports[1]
        try:
            self.grpc_port = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise _port_error("grpc_port", self._host, port) from error
        return server


def _add_services(
    manager: servable_manager.ServableManager, server: grpc.Server
) -> None:
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        prediction_service.PredictionService(manager), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        model_service.ModelService(manager), server
    )


def _check_port(name: str, port: int) -> None:
    if not 0 <= port <= 65535:
        raise errors.InputError(
            f"`{name}` must be in [0, 65535]. Received: {name}={port}."
        )


def _port_error(name: str, host: str, port: int) -> errors.InputError:
    return errors.InputError(
        f"`{name}` must be free on `host`. Received: {name}={port}, "
        f"host={host!r}. Stop what listens there, or choose another port "
        "(0 picks a free one)."
    )

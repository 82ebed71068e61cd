"""Serves models over REST and gRPC."""

import asyncio
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from types import TracebackType

from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving import batching_parameters
from serving import calls
from serving import event_loop
from serving import grpc_endpoints
from serving import grpc_server
from serving import health
from serving import metrics
from serving import model_config
from serving import model_manager
from serving import model_service
from serving import ports
from serving import prediction_service
from serving import reload_roots
from serving import request_log
from serving import rest
from serving import rest_server
from serving import server_options
from serving import tls
from tfplugin import errors

_GRACE_SECONDS = 5.0
_CLOSE_SECONDS = 0.05
_SERVICES = (
    grpc_endpoints.PREDICTION_SERVICE,
    grpc_endpoints.MODEL_SERVICE,
)

_logger = logging.getLogger(__name__)


class Server:
    """A server that clients cannot tell from TensorFlow Serving.

    Over gRPC it answers PredictionService, ModelService and the health
    service, over REST the same under `/v1/models/NAME`, and Prometheus. One
    event loop carries both protocols; models run in threads of this process.

    Both ports are taken before models are loaded; requests are answered once
    `start` returns.

    Args:
        config: The models, as TensorFlow Serving's configuration has them.
        options: How it listens, and what it refuses.
        batching: How requests are put together; None runs each by itself.
        poll_seconds: How often the models' folders are looked at for new
            versions; 0 for never.
        log_share: Of requests to log, in [0, 1].

    Raises:
        errors.InputError: By `start`, for a port in use, certificates that do
            not fit, or a model that cannot be loaded.

    Example:
    >>> import os, tempfile
    >>> import tensorflow as tf
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> model, base = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(model, os.path.join(base, "1"), model.__call__)
    >>> server = Server(
    ...     model_config.of_one_model("double", base),
    ...     server_options.ServerOptions(rest_port=0, grpc_port=0),
    ... )
    >>> with server:
    ...     print(server.models)
    ['double']
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        options: server_options.ServerOptions | None = None,
        *,
        batching: batching_parameters.BatchingParameters | None = None,
        poll_seconds: float = 1.0,
        log_share: float = 0.0,
    ) -> None:
        if not poll_seconds >= 0:
            raise errors.InputError(
                "`poll_seconds` must not be below 0. "
                f"Received: poll_seconds={poll_seconds}."
            )
        self._names = sorted(model_config.by_name(config))
        self.options = options or server_options.ServerOptions()
        self._config = config
        self._batching = batching
        self._poll_seconds = poll_seconds
        self._log_share = log_share
        self._lock = threading.RLock()
        self._running = False
        self._stopping = False
        self._stopped = threading.Event()
        # Unlike an Event, its put may be called from a signal handler.
        self._ends: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.rest_port = self.options.rest_port
        self.grpc_port = self.options.grpc_port

    @property
    def models(self) -> list[str]:
        """The names of the models that are, or are to be, served."""
        return self.manager.models if self._running else self._names

    def versions(self) -> dict[str, list[int]]:
        """The versions that answer, by the model's name."""
        found = {}
        for name in self.models:
            status = self.manager.status(model_pb2.ModelSpec(name=name))
            found[name] = [
                version.version
                for version in status.model_version_status
                if version.state == version.AVAILABLE
            ]
        return found

    def start(self) -> None:
        """Takes the ports, loads the models and answers from then on.

        Raises:
            errors.InputError: If a port is in use or there is no model.
            RuntimeError: If the server runs already.
        """
        with self._lock:
            if self._running:
                raise RuntimeError("The server is running already.")
            listener = ports.listen(self.options.host, self.options.rest_port)
            self.rest_port = listener.getsockname()[1]
            try:
                self._start_on(listener)
            except BaseException:
                listener.close()
                raise
            self._stopped.clear()
            self._running = True
        host = self.options.host
        _logger.info(
            "Serving %s: REST on %s:%d, gRPC on %s:%d",
            ", ".join(self.models),
            host,
            self.rest_port,
            host,
            self.grpc_port,
            extra={"fields": {"models": self.models}},
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
        """Refuses new requests, answers what runs, releases the ports.

        May be called from any thread, and for a server that was stopped
        already: then it does nothing.
        """
        with self._lock:
            if not self._running:
                return
            event_loop.run(self._close())
            self._calls.close()
            self.manager.stop()
            self._running = False
            self._stopped.set()
            self._ends.put(None)
        _logger.info("Stopped serving")

    def serve_forever(
        self, on_started: Callable[[], None] = lambda: None
    ) -> None:
        """Starts, and serves until SIGTERM, SIGINT or `stop`.

        To be called from the main thread, since only it may handle signals.
        A signal that comes before the models are loaded ends the process with
        the exit status shells give it, 128 + its number; so does a second
        one, at once.

        Args:
            on_started: Called once requests are answered.

        Raises:
            errors.InputError: As for `start`.
        """
        self._ends = queue.SimpleQueue()
        self._stopping = False
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

    def __enter__(self) -> "Server":
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
        if self._stopping:
            # Threads that still run a model would hold up any other end.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._stopping = True
        self._ends.put(number)

    def _start_on(self, listener: socket.socket) -> None:
        options = self.options
        certificates = tls.Certificates(options.tls) if options.tls else None
        allowed = reload_roots.ReloadRoots(self._config, options.reload_roots)
        self._grpc, self.grpc_port = event_loop.run(
            grpc_server.bind(options, certificates)
        )
        counted = metrics.Metrics()
        self.manager = model_manager.ModelManager(
            self._config,
            batching=self._batching,
            poll_seconds=self._poll_seconds,
            limits=model_manager.Limits(
                max_rows=options.limits.max_batch_rows,
                max_requests=options.limits.max_requests,
            ),
            observers=(counted,),
        )
        try:
            self.manager.start()
        except BaseException:
            event_loop.run(grpc_server.release(self._grpc))
            raise
        try:
            self._answer_on(listener, certificates, allowed, counted)
        except BaseException:
            self.manager.stop(0.0)
            event_loop.run(grpc_server.release(self._grpc))
            raise

    def _answer_on(
        self,
        listener: socket.socket,
        certificates: tls.Certificates | None,
        allowed: reload_roots.ReloadRoots,
        counted: metrics.Metrics,
    ) -> None:
        options = self.options
        self._calls = calls.Calls(
            self.manager,
            options.limits,
            batching=self._batching is not None,
            observers=(counted, request_log.RequestLog(self._log_share)),
        )
        predictions = prediction_service.PredictionService(self._calls)
        models = model_service.ModelService(self._calls, allowed)
        self._rest = rest_server.RestServer(
            rest.RestApi(self._calls, predictions, models),
            counted,
            options.metrics_path,
            options.limits,
        )
        self._grpc.add_generic_rpc_handlers(
            tuple(
                grpc_endpoints.handler(service, servicer, self._calls)
                for service, servicer in zip(
                    _SERVICES, (predictions, models), strict=True
                )
            )
        )
        event_loop.run(self._open(listener, certificates))

    async def _open(
        self, listener: socket.socket, certificates: tls.Certificates | None
    ) -> None:
        self._health = health.Health(self.manager, _SERVICES)
        health_pb2_grpc.add_HealthServicer_to_server(
            self._health.servicer, self._grpc
        )
        await self._health.start()
        await self._rest.start(listener, certificates, _GRACE_SECONDS)
        await self._grpc.start()

    async def _close(self) -> None:
        await self._health.stop()
        await asyncio.gather(self._close_grpc(), self._rest.stop())

    async def _close_grpc(self) -> None:
        stopping = asyncio.create_task(self._grpc.stop(_GRACE_SECONDS))
        while self._calls.num_running and not stopping.done():
            await asyncio.sleep(_CLOSE_SECONDS)
        # Who watches its health would do so to the end.
        await asyncio.gather(stopping, self._grpc.stop(_CLOSE_SECONDS))


class ModelServer(Server):
    """Serves one model: `Server`, in the fewest words.

    Args:
        model_base_path: The folder of a model's versions, each in
            `<version>/saved_model.pb`. The highest is served, and a higher
            one as soon as it appears.
        model_name: The name clients ask for.
        rest_port: The port for REST; 0 picks a free one.
        grpc_port: The port for gRPC; 0 picks a free one.
        host: The address to listen on, of this machine only.
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
        model_base_path: str | os.PathLike[str],
        model_name: str,
        rest_port: int = 8501,
        grpc_port: int = 8500,
        host: str = "127.0.0.1",
        max_request_bytes: int = 1 << 27,
    ) -> None:
        super().__init__(
            model_config.of_one_model(model_name, model_base_path),
            server_options.ServerOptions(
                rest_port=rest_port,
                grpc_port=grpc_port,
                host=host,
                limits=server_options.Limits(
                    max_request_bytes=max_request_bytes
                ),
            ),
        )

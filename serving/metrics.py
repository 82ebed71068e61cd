"""Prometheus' metrics, under the names TensorFlow Serving gives them."""

import re
from collections.abc import Iterable

import prometheus_client
from prometheus_client import metrics_core
from prometheus_client import registry
from prometheus_client import samples

from serving import calls

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MICROSECONDS = 1e6
_TF = ":tensorflow:"
# Counters of TensorFlow Serving, but for one, do not end in _total.
_SUFFIX = "_total"
_WITH_SUFFIX = f"{_TF}serving:request_example_count"
_TYPE_LINES = re.compile(rf"(?m)^(# \w+ {_TF}\S+){_SUFFIX} ")


def _buckets(scale: float, growth: float, count: int) -> list[float]:
    # As TensorFlow makes them: the last bound is followed by infinity.
    return [scale * growth**power for power in range(count)]


_LATENCIES = _buckets(10, 1.8, 33)
_QUEUING = _buckets(100, 1.2, 52)
_SIZES = _buckets(1, 2, 15)


class Metrics:
    """Counts what happens in a server, and writes it as Prometheus reads it.

    Names, labels, units (microseconds) and buckets that begin with
    `:tensorflow:` are TensorFlow Serving's; those of our own begin with
    `tfplugin_serving_`. Of models, only names that are served become labels.

    Example:
    >>> metrics = Metrics()
    >>> metrics.on_call(calls.Call("Predict", "GRPC", 1.0, model="ctr"))
    >>> [line for line in metrics.text().splitlines() if "status" in line]
    [':tensorflow:serving:request_count{model_name="ctr",status="OK"} 1.0']
    """

    def __init__(self) -> None:
        self._collectors: list[registry.Collector] = []
        self._registry = registry.CollectorRegistry(auto_describe=False)
        self._registry.register(_WithoutCreated(self._collectors))
        self._add_requests()
        self._add_batches()
        self._add_models()

    def text(self) -> str:
        """Writes all metrics in Prometheus' text format."""
        text = prometheus_client.generate_latest(self._registry).decode()
        return _TYPE_LINES.sub(_plain_name, text)

    def on_call(self, call: calls.Call) -> None:
        """A request was answered, or refused; see `calls.CallObserver`."""
        self._request_count.labels(call.model, call.code).inc()
        self._request_latency.labels(
            call.model, call.api, call.entrypoint
        ).observe(call.seconds * _MICROSECONDS)
        if call.rows:
            self._rows.labels(call.model).inc(call.rows)
            if call.api != "Predict":
                self._example_counts.labels(call.model).observe(call.rows)
                self._example_count_total.labels(call.model).inc(call.rows)

    def on_load(
        self, name: str, version: int, seconds: float, error: str
    ) -> None:
        """A version was loaded, or not; see `observer.Observer`."""
        path = f"{name}/{version}"
        self._load_attempts.labels(path, "fail" if error else "success").inc()
        if not error:
            self._load_latency.labels(path).inc(seconds * _MICROSECONDS)
            self._loaded.labels(name, version).set(1)

    def on_warm_up(
        self, name: str, version: int, seconds: float, records: int
    ) -> None:
        """A version was warmed up; see `observer.Observer`."""
        self._warm_up.labels(f"{name}/{version}", "OK").observe(
            seconds * _MICROSECONDS
        )

    def on_unload(self, name: str, version: int) -> None:
        """A version was unloaded; see `observer.Observer`."""
        self._loaded.labels(name, version).set(0)

    def on_batch(
        self,
        name: str,
        version: int,
        signature: str,
        rows: int,
        padded_rows: int,
        queue_seconds: float,
    ) -> None:
        """A batch was run; see `observer.Observer`."""
        self._queuing.labels(name).observe(queue_seconds * _MICROSECONDS)
        self._runs.inc()
        self._batch_sizes.labels(name).observe(rows)
        self._padding.labels(name).observe(padded_rows - rows)

    def on_request(
        self,
        name: str,
        version: int,
        signature: str,
        rows: int,
        seconds: float,
        code: str,
    ) -> None:
        """A model was run; see `observer.Observer`."""
        self._runtime.labels(name, "Predict", "TF2").observe(
            seconds * _MICROSECONDS
        )

    def _add_requests(self) -> None:
        self._request_count = self._counter(
            f"{_TF}serving:request_count",
            "The total number of requests.",
            "model_name",
            "status",
        )
        self._request_latency = self._histogram(
            f"{_TF}serving:request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow "
            "Serving request.",
            _LATENCIES,
            "model_name",
            "API",
            "entrypoint",
        )
        self._runtime = self._histogram(
            f"{_TF}serving:runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow "
            "runtime.",
            _LATENCIES,
            "model_name",
            "API",
            "runtime",
        )
        self._example_counts = self._histogram(
            f"{_TF}serving:request_example_counts",
            "The number of tensorflow.Examples per request.",
            _SIZES,
            "model",
        )
        self._example_count_total = self._counter(
            _WITH_SUFFIX, "The total number of tensorflow.Examples.", "model"
        )
        self._rows = self._counter(
            "tfplugin_serving_rows",
            "The total number of rows predicted.",
            "model_name",
        )

    def _add_batches(self) -> None:
        self._queuing = self._histogram(
            f"{_TF}serving:batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing",
            _QUEUING,
            "thread_pool_name",
        )
        self._runs = self._counter(
            f"{_TF}serving:batching_session:wrapped_run_count",
            "Total count of run calls on the wrapped session",
        )
        self._batch_sizes = self._histogram(
            f"{_TF}serving:batching_session:processed_batch_size",
            "Tracks the batch size distribution on processing.",
            _SIZES,
            "model_name",
        )
        self._padding = self._histogram(
            f"{_TF}serving:batching_session:padding_size",
            "Tracks the padding size distribution on batches.",
            _SIZES,
            "model_name",
        )

    def _add_models(self) -> None:
        self._load_attempts = self._counter(
            f"{_TF}cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was successfully loaded.",
            "model_path",
            "status",
        )
        self._load_latency = self._counter(
            f"{_TF}cc:saved_model:load_latency",
            "Latency in microseconds for SavedModels that were successfully "
            "loaded.",
            "model_path",
        )
        self._warm_up = self._histogram(
            f"{_TF}serving:model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up the "
            "model.",
            _LATENCIES,
            "model_path",
            "status",
        )
        self._loaded = prometheus_client.Gauge(
            "tfplugin_serving_loaded",
            "1 for each version that is loaded, 0 for each that was.",
            ("model_name", "version"),
            registry=None,
        )
        self._collectors.append(self._loaded)

    def _counter(
        self, name: str, documentation: str, *labels: str
    ) -> prometheus_client.Counter:
        counter = prometheus_client.Counter(
            name, documentation, labels, registry=None
        )
        self._collectors.append(counter)
        return counter

    def _histogram(
        self,
        name: str,
        documentation: str,
        buckets: list[float],
        *labels: str,
    ) -> prometheus_client.Histogram:
        histogram = prometheus_client.Histogram(
            name, documentation, labels, registry=None, buckets=buckets
        )
        self._collectors.append(histogram)
        return histogram


class _WithoutCreated(registry.Collector):
    """Leaves out when a series began, which TensorFlow Serving has not."""

    def __init__(self, collectors: list[registry.Collector]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterable[metrics_core.Metric]:
        for collector in self._collectors:
            for metric in collector.collect():
                metric.samples = [
                    samples.Sample(_sample_name(sample.name), *sample[1:])
                    for sample in metric.samples
                    if not sample.name.endswith("_created")
                ]
                yield metric


def _sample_name(name: str) -> str:
    if name.startswith(_TF) and name != _WITH_SUFFIX + _SUFFIX:
        return name.removesuffix(_SUFFIX)
    return name


def _plain_name(match: re.Match[str]) -> str:
    # The library puts the suffix into the lines of help and type by itself.
    if match[1].endswith(" " + _WITH_SUFFIX):
        return match[0]
    return match[1] + " "

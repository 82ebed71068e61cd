import re

import pytest

from serving import calls
from serving import metrics as metrics_lib
from serving import model_config
from serving import monitoring_config
from serving import server as server_lib
from serving import server_options
from tests.serving import conftest
from tfplugin import errors

PATH = "/monitoring/prometheus/metrics"


def samples(text):
    # The library's own parser renames counters that lack its suffix.
    return {
        (name, *sorted(re.findall(r'(\w+)="([^"]*)"', labels or ""))): float(
            value
        )
        for name, labels, value in re.findall(
            r"(?m)^([:\w]+)(\{.*\})? (\S+)$", text
        )
    }


def test_requests_are_counted(http, stub):
    before = http("GET", PATH)
    assert before.status_code == 200
    assert before.headers["Content-Type"].startswith(
        "text/plain; version=0.0.4"
    )
    rows = conftest.make_rows(3)
    stub.Predict(conftest.predict_request(rows), timeout=60)
    body = {"inputs": conftest.columns_json(rows)}
    http("POST", "/v1/models/ranker:predict", json=body)
    body = {"inputs": 1}
    http("POST", "/v1/models/ranker:predict", json=body)
    http("POST", "/v1/models/made-up:predict", json=body)
    first, then = samples(before.text), samples(http("GET", PATH).text)

    def grown(name, **labels):
        key = (name, *sorted(labels.items()))
        return then.get(key, 0) - first.get(key, 0)

    count = ":tensorflow:serving:request_count"
    assert grown(count, model_name="ranker", status="OK") == 2
    assert grown(count, model_name="ranker", status="INVALID_ARGUMENT") == 1
    assert grown(count, model_name="", status="NOT_FOUND") == 1
    assert "made-up" not in str(then)
    latency = ":tensorflow:serving:request_latency_count"
    labels = {"API": "Predict", "model_name": "ranker"}
    assert grown(latency, entrypoint="GRPC", **labels) == 1
    assert grown(latency, entrypoint="REST", **labels) == 2
    assert grown("tfplugin_serving_rows_total", model_name="ranker") == 6
    load = (
        ":tensorflow:cc:saved_model:load_latency",
        ("model_path", "ranker/12"),
    )
    assert then[load] > 0


def test_names_and_types_are_tensorflow_servings():
    metrics = metrics_lib.Metrics()
    metrics.on_call(calls.Call("Regress", "GRPC", 1.0, model="m", rows=2))
    metrics.on_load("m", 3, 0.5, "")
    metrics.on_load("m", 4, 0.5, "damaged")
    metrics.on_warm_up("m", 3, 0.5, 6)
    metrics.on_batch("m", 3, "s", 5, 8, 0.001)
    metrics.on_request("m", 3, "s", 5, 0.001, "OK")
    metrics.on_unload("m", 3)
    text = metrics.text()
    for line in (
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 1.0',
        "# TYPE :tensorflow:serving:request_latency histogram",
        "# TYPE :tensorflow:serving:request_example_count_total counter",
        ':tensorflow:serving:request_example_count_total{model="m"} 2.0',
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="m/4",'
        'status="fail"} 1.0',
        ':tensorflow:cc:saved_model:load_latency{model_path="m/3"} 500000.0',
        "# TYPE :tensorflow:serving:batching_session:wrapped_run_count counter",
        ":tensorflow:serving:batching_session:wrapped_run_count 1.0",
        'tfplugin_serving_loaded{model_name="m",version="3"} 0.0',
    ):
        assert line in text.splitlines()
    assert "_created" not in text
    bounds = re.findall(r'request_latency_bucket\{.*le="([^"]+)"', text)
    assert [float(bound) for bound in bounds[:3]] == pytest.approx(
        [10, 18, 32.4]
    )
    assert len(bounds) == 34
    assert bounds[-1] == "+Inf"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", PATH),
        ("prometheus_config: {enable: true, path: '/m'}", "/m"),
        ("prometheus_config { enable: false path: '/m' }", None),
        ("# nothing", None),
    ],
)
def test_monitoring_config(text, path):
    assert monitoring_config.metrics_path(text) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prometheus { enable: true }", "prometheus"),
        ("prometheus_config { enable: true path: 'm' }", "path='m'"),
        ("{", "MonitoringConfig"),
    ],
)
def test_monitoring_config_refuses(text, message):
    with pytest.raises(errors.InputError, match=message):
        monitoring_config.metrics_path(text)


def test_monitoring_config_file(tmp_path):
    with pytest.raises(errors.InputError, match="nothing"):
        monitoring_config.read(tmp_path / "nothing")


@pytest.mark.parametrize("path", [None, "/other"])
def test_metrics_at_another_path_or_none(logarithm_base, path):
    server = server_lib.Server(
        model_config.of_one_model("log", logarithm_base),
        server_options.ServerOptions(0, 0, metrics_path=path),
    )
    with server:
        http = conftest.make_http(server)
        assert http("GET", PATH).status_code == 404
        if path:
            assert "load_latency" in http("GET", path).text

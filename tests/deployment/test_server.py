"""The server of this product starts on TF Serving's files, and answers."""

import pathlib
import shutil
import subprocess

import grpc
import pytest
import requests
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_service_pb2_grpc

import serving
from serving import batching_parameters
from serving import deployment
from serving import model_config
from serving import monitoring_config
from serving.deployment import writing

NAME = "completejourney"
ROW = {
    "household_id": 900,
    "product_id": 1095275,
    "store_id": 330,
    "manufacturer_id": 2,
    "product_category": "SOFT DRINKS",
    "product_type": "",
    "household_category": "",
}


@pytest.fixture(scope="module")
def files(base_path, tmp_path_factory):
    """The files as written, but for where versions lie in the container."""
    folder = tmp_path_factory.mktemp("deployment")
    settings = deployment.Settings(NAME, base_path, cores=2)
    deployment.write(folder, settings)
    for path in folder.glob("*.config"):
        text = path.read_text("utf-8")
        path.write_text(
            text.replace(f'"/models/{NAME}"', f'"{base_path}"'), "utf-8"
        )
    return folder


def _address(server):
    return f"http://127.0.0.1:{server.rest_port}"


@pytest.fixture(scope="module")
def server(files):
    monitoring = (files / "monitoring.config").read_text("utf-8")
    with serving.Server(
        model_config.read(files / "models.config"),
        serving.ServerOptions(
            rest_port=0,
            grpc_port=0,
            metrics_path=monitoring_config.metrics_path(monitoring),
        ),
        batching=batching_parameters.read(files / "batching_parameters.txt"),
    ) as running:
        yield running


def _ask(server, path="", rows=1):
    answer = requests.post(
        f"{_address(server)}/v1/models/{NAME}{path}:predict",
        json={"instances": [ROW] * rows},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return [row["coupon"] for row in answer.json()["predictions"]]


def test_the_batching_parameters_are_read(files):
    found = batching_parameters.read(files / "batching_parameters.txt")
    assert found.num_batch_threads == 2
    assert found.enable_large_batch_splitting
    assert found.largest_batch == 128
    shipped = writing._HERE / "batching_parameters.txt"
    assert batching_parameters.read(shipped).num_batch_threads == 4


def test_the_newest_version_answers_in_batches(server):
    (alone,) = _ask(server)
    # More than one run of the model takes, so the request is cut.
    assert _ask(server, rows=300) == pytest.approx([alone] * 300, abs=1e-6)
    assert _ask(server, "/versions/2") == pytest.approx([alone], abs=1e-6)


def test_metrics_are_where_prometheus_looks(server):
    _ask(server)
    manifest = writing._HERE / "kubernetes" / "deployment.yaml"
    annotations = yaml.safe_load(manifest.read_text("utf-8"))["spec"][
        "template"
    ]["metadata"]["annotations"]
    answer = requests.get(
        _address(server) + annotations["prometheus.io/path"], timeout=60
    )
    assert answer.status_code == 200
    assert ":tensorflow:serving:request_count" in answer.text


@pytest.mark.parametrize("name", [NAME, "another"])
def test_the_readiness_probe_tells(server, name):
    settings = deployment.Settings(name, pathlib.Path("/"))
    text = writing.render(settings)["kubernetes/deployment.yaml"]
    spec = yaml.safe_load(text)["spec"]["template"]["spec"]
    *shell, script = spec["containers"][0]["readinessProbe"]["exec"]["command"]
    assert shell == ["bash", "-c"]
    if not shutil.which("bash"):
        pytest.skip("There is no bash.")
    script = script.replace("8501", str(server.rest_port))
    done = subprocess.run(["bash", "-c", script], timeout=60, check=False)
    assert (done.returncode == 0) == (name == NAME)


# Last: it changes what the server serves.
def test_a_canary_is_promoted_and_taken_back(server, files):
    pinned = (files / "models_canary.config").read_text("utf-8")
    newest = _ask(server)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        _reload(stub, pinned)
        stable, canary = (
            _ask(server, "/labels/stable"),
            _ask(server, "/labels/canary"),
        )
        assert canary == pytest.approx(newest, abs=1e-6)
        assert stable != pytest.approx(newest, abs=1e-6)
        _reload(stub, pinned.replace('"stable" value: 1', '"stable" value: 2'))
        assert _ask(server, "/labels/stable") == pytest.approx(canary, abs=1e-6)
        _reload(stub, pinned)
        assert _ask(server, "/labels/stable") == pytest.approx(stable, abs=1e-6)
        _reload(stub, (files / "models.config").read_text("utf-8"))
        assert _ask(server) == pytest.approx(newest, abs=1e-6)


def _reload(stub, text):
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(text, request.config)
    answer = stub.HandleReloadConfigRequest(request, timeout=120)
    assert answer.status.error_code == 0, answer.status.error_message

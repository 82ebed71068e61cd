import shutil

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc

from serving import grpc_endpoints
from serving import server as server_lib

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def stub(channel):
    return health_pb2_grpc.HealthStub(channel)


def check(stub, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return stub.Check(request, timeout=60).status


@pytest.mark.parametrize(
    "service",
    [
        "",
        grpc_endpoints.PREDICTION_SERVICE,
        grpc_endpoints.MODEL_SERVICE,
        "ranker",
    ],
)
def test_serving(stub, service):
    assert check(stub, service) == SERVING


def test_unknown_service(stub):
    with pytest.raises(grpc.RpcError) as error:
        check(stub, "other")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_not_serving_before_the_end(logarithm_base, tmp_path):
    base = tmp_path / "log"
    shutil.copytree(logarithm_base, base)
    server = server_lib.ModelServer(base, "log", 0, 0)
    server.start()
    seen = []
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        seen.append(next(watch).status)
        server.stop()
        seen.append(next(watch).status)
    assert seen == [SERVING, NOT_SERVING]

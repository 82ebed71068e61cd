"""The command of a PROCESS environment, against a server of the protocol."""

import subprocess
from concurrent import futures

import grpc
import pytest
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.portability.api import beam_provision_api_pb2_grpc
from apache_beam.portability.api import beam_runner_api_pb2

from beam_jobs import engine_worker
from tests.engines import conftest
from tfplugin.errors import InputError


class _Provision(beam_provision_api_pb2_grpc.ProvisionServiceServicer):
    def __init__(self, staged):
        self._staged = staged
        self.asked = []

    def GetProvisionInfo(self, request, context):
        self.asked.append(dict(context.invocation_metadata())["worker_id"])
        role = beam_runner_api_pb2.ArtifactStagingToRolePayload
        return beam_provision_api_pb2.GetProvisionInfoResponse(
            info=beam_provision_api_pb2.ProvisionInfo(
                dependencies=[
                    beam_runner_api_pb2.ArtifactInformation(
                        role_payload=role(staged_name=name).SerializeToString()
                    )
                    for name in self._staged
                ]
            )
        )


@pytest.fixture
def serve():
    """Starts a runner that has staged files: its service, its endpoint."""
    server = grpc.server(futures.ThreadPoolExecutor(1))

    def start(*staged):
        service = _Provision(staged)
        beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(
            service, server
        )
        port = server.add_insecure_port("localhost:0")
        server.start()
        return service, f"localhost:{port}"

    yield start
    server.stop(0).wait()


def test_packages_to_install_are_refused(serve):
    service, endpoint = serve(
        "submission_environment_dependencies.txt", "workflow.tar.gz"
    )
    with pytest.raises(InputError, match="Received: staged files workflow"):
        engine_worker.main(
            ["--id=3-1", f"--provision_endpoint={endpoint}", "--extra=1"]
        )
    assert service.asked == ["3-1"]


def test_the_script_takes_the_arguments_of_a_runner():
    done = subprocess.run(
        [conftest.WORKER, "--id=1"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"--provision_endpoint" in done.stderr

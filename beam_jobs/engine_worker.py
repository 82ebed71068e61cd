"""A Beam worker process for runners that start workers by a command.

Beam's own program of this kind, `boot`, comes in container images only. This
one serves the same command line, so that a cluster without containers can run
the jobs (`--environment_type=PROCESS`, or the `--container_executable` of
Beam's worker pool): see docs/guides/engines.md. It installs nothing; the
machine it runs on has tfplugin installed, the same version as the caller's.

The protocol is Beam's, https://s.apache.org/beam-fn-api-container-contract.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import grpc
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.portability.api import beam_provision_api_pb2_grpc
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf import json_format

from tfplugin.errors import InputError

_TIMEOUT_SECONDS = 60
_WORKER = "apache_beam.runners.worker.sdk_worker_main"
_CAPABILITIES = "RUNNER_CAPABILITIES"
# What Beam stages for every job: a list of packages, only to be logged.
_HARMLESS = "submission_environment_dependencies.txt"


def main(arguments: Sequence[str] | None = None) -> None:
    """Becomes one worker, until the runner ends it.

    Args:
        arguments: As a runner gives them: `--id`, `--provision_endpoint`,
            and maybe `--control_endpoint` and `--logging_endpoint`; others
            are ignored. None: those of the process.

    Raises:
        InputError: The caller staged packages for workers to install.
        grpc.RpcError: The runner cannot be reached.
    """
    parser = argparse.ArgumentParser(prog="python -m beam_jobs.engine_worker")
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    parser.add_argument("--control_endpoint", default="")
    parser.add_argument("--logging_endpoint", default="")
    found, _ = parser.parse_known_args(arguments)
    info = _provision(found.id, found.provision_endpoint)
    _refuse_packages(info)
    control = found.control_endpoint or info.control_endpoint.url
    logging = found.logging_endpoint or info.logging_endpoint.url
    os.environ["WORKER_ID"] = found.id
    os.environ["PIPELINE_OPTIONS"] = json_format.MessageToJson(
        info.pipeline_options
    )
    os.environ["CONTROL_API_SERVICE_DESCRIPTOR"] = _descriptor(control)
    os.environ["LOGGING_API_SERVICE_DESCRIPTOR"] = _descriptor(logging)
    os.environ[_CAPABILITIES] = " ".join(info.runner_capabilities)
    if info.status_endpoint.url:
        os.environ["STATUS_API_SERVICE_DESCRIPTOR"] = _descriptor(
            info.status_endpoint.url
        )
    # The same process, so that the runner ends the worker with it.
    os.execv(sys.executable, [sys.executable, "-m", _WORKER])


def _provision(
    worker: str, endpoint: str
) -> beam_provision_api_pb2.ProvisionInfo:
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        answer = service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            # The runner knows by this which worker asks.
            metadata=(("worker_id", worker),),
            timeout=_TIMEOUT_SECONDS,
            wait_for_ready=True,
        )
    return answer.info


def _refuse_packages(info: beam_provision_api_pb2.ProvisionInfo) -> None:
    staged = []
    for dependency in info.dependencies:
        role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(
            dependency.role_payload
        )
        if role.staged_name and role.staged_name != _HARMLESS:
            staged.append(role.staged_name)
    if staged:
        raise InputError(
            "This worker installs nothing. Received: staged files "
            f"{', '.join(staged)}. Install the packages where workers run, "
            "and leave out --setup_file, --requirements_file and the like."
        )


def _descriptor(url: str) -> str:
    # An ApiServiceDescriptor in the text format of protocol buffers.
    return f'url: "{url}"'


if __name__ == "__main__":
    main()

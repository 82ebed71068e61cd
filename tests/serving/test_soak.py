"""Requests without end while versions come and go: memory must stay flat."""

from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving import conftest
from tests.serving import server_process
from tests.serving import stamped_models

# A round is a version, and so many requests of clients at a time.
ROUNDS = 12
WARM_ROUNDS = 5
REQUESTS = 400
CLIENTS = 8
BATCHING = """
max_batch_size { value: 32 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
"""


@pytest.mark.parametrize("batching", [False, True])
def test_memory_is_flat(tmp_path, batching):
    base = tmp_path / "base"
    base.mkdir()
    stamped_models.save(base, 1)
    options = ["--poll-seconds", "0.05"]
    if batching:
        (tmp_path / "batching.txt").write_text(BATCHING)
        options += ["--batching-parameters-file", tmp_path / "batching.txt"]
    sizes = []
    with (
        server_process.serving(base, tmp_path, *options) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
        futures.ThreadPoolExecutor(CLIENTS) as threads,
    ):
        for number in range(2, ROUNDS + 2):
            answers = [
                threads.submit(ask, channel, row) for row in range(REQUESTS)
            ]
            # Two models take turns under ever higher numbers.
            stamped_models.save(base, 1 + number % 2, number)
            wait_until_alone(channel, number)
            for answer in answers:
                assert answer.result() in (1, 2)
            sizes.append(server.memory_bytes())
        assert "ERROR" not in server.log
    warm, late = sizes[WARM_ROUNDS - 2 : WARM_ROUNDS + 1], sizes[-3:]
    assert np.median(late) - np.median(warm) < 8 << 20, sizes


def ask(channel, row):
    """Which model answers a request, and that the answer is its own."""
    inputs = stamped_models.rows([row], width=1 + row % 3, seed=row)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = conftest.predict_request(inputs, "model")
    response = stub.Predict(request, timeout=60)
    outputs = {k: tf.make_ndarray(v) for k, v in response.outputs.items()}
    stamped_models.check(inputs, outputs)
    return outputs["version"][0]


def wait_until_alone(channel, number):
    """Waits until a version answers, and all others are gone."""
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "model"
    while True:
        states = {
            version.version: version.state
            for version in stub.GetModelStatus(
                request, timeout=60
            ).model_version_status
        }
        current = states.pop(number, None)
        if current == get_model_status_pb2.ModelVersionStatus.AVAILABLE and all(
            state == get_model_status_pb2.ModelVersionStatus.END
            for state in states.values()
        ):
            return

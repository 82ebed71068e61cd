import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import server as server_lib

MISSING_INT64 = -(2**63)


class Ranker(tf.Module):
    """Two objectives from scalars, text and one padded list."""

    def __init__(self, bias):
        super().__init__()
        self.bias = tf.Variable(bias)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "city"),
            tf.TensorSpec([None], tf.int64, "age"),
            tf.TensorSpec([None], tf.float32, "price"),
            tf.TensorSpec([None, None], tf.int64, "filters"),
            tf.TensorSpec([None], tf.int64, "filters_length"),
        ]
    )
    def score(self, city, age, price, filters, filters_length):
        mask = tf.sequence_mask(filters_length, tf.shape(filters)[1])
        total = tf.reduce_sum(tf.where(mask, filters, 0), axis=1)
        click = (
            2.0 * price
            + tf.cast(tf.strings.length(city), tf.float32)
            + tf.cast(tf.math.floormod(age, 7), tf.float32)
            + 0.5 * tf.cast(total, tf.float32)
            + self.bias
        )
        return {
            "click": click[:, tf.newaxis],
            "buy": 0.1 * click[:, tf.newaxis] + 1.0,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def score_examples(self, examples):
        parsed = tf.io.parse_example(
            examples,
            {
                "city": tf.io.FixedLenFeature([], tf.string),
                "age": tf.io.FixedLenFeature([], tf.int64),
                "price": tf.io.FixedLenFeature([], tf.float32),
                "filters": tf.io.VarLenFeature(tf.int64),
            },
        )
        filters = tf.RaggedTensor.from_sparse(parsed.pop("filters"))
        return self.score(
            **parsed,
            filters=filters.to_tensor(),
            filters_length=filters.row_lengths(),
        )


class Logarithm(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def __call__(self, x):
        return {"y": tf.math.log(x)}


class Slow(tf.Module):
    """Takes as many turns as it is asked for."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "turns")])
    def __call__(self, turns):
        def turn(i, x):
            return i + 1, tf.linalg.matmul(x, x) / 64.0

        _, x = tf.while_loop(
            lambda i, _: i < turns[0],
            turn,
            [tf.constant(0, tf.int64), tf.ones([64, 64])],
        )
        return {"y": tf.fill(tf.shape(turns), tf.reduce_sum(x))}


def reference(rows, bias):
    """What Ranker returns, in NumPy."""
    click = (
        2.0 * rows["price"]
        + np.array([len(city) for city in rows["city"]])
        + np.mod(rows["age"], 7)
        + [
            0.5 * float(filters[:length].sum())
            for filters, length in zip(
                rows["filters"], rows["filters_length"], strict=True
            )
        ]
        + bias
    )
    return {"click": click[:, None], "buy": 0.1 * click[:, None] + 1.0}


def make_rows(batch_size=4, width=3):
    generator = np.random.default_rng(7)
    age = generator.integers(18, 90, batch_size)
    if batch_size:
        age[-1] = MISSING_INT64
    cities = [b"Roma", b"", "Zürich".encode(), b"Roma"]
    return {
        "city": np.array([cities[i % 4] for i in range(batch_size)], object),
        "age": age,
        "price": generator.uniform(0, 9, batch_size).astype(np.float32),
        "filters": generator.integers(-5, 99, (batch_size, width)),
        "filters_length": np.arange(batch_size) % (width + 1),
    }


def columns_json(rows):
    return {
        name: [v.decode() for v in value] if name == "city" else value.tolist()
        for name, value in rows.items()
    }


def instances_json(rows):
    columns = columns_json(rows)
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


def predict_request(rows, name="ranker", **spec):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    request.model_spec.signature_name = spec.get("signature_name", "")
    for key, value in rows.items():
        dtype = tf.string if value.dtype == object else None
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value, dtype))
    return request


@pytest.fixture(scope="session")
def ranker_base(tmp_path_factory):
    """Versions 3 and 12, an unfinished 99, and a folder of another name."""
    base = tmp_path_factory.mktemp("ranker")
    for version, bias in ((3, 30.0), (12, 0.25)):
        model = Ranker(bias)
        tf.saved_model.save(
            model,
            str(base / str(version)),
            {"serving_default": model.score, "examples": model.score_examples},
        )
    (base / "99" / "variables").mkdir(parents=True)
    (base / "notes").mkdir()
    return base


@pytest.fixture(scope="session")
def logarithm_base(tmp_path_factory):
    base = tmp_path_factory.mktemp("logarithm")
    model = Logarithm()
    tf.saved_model.save(model, str(base / "1"), model.__call__)
    return base


@pytest.fixture(scope="session")
def slow_base(tmp_path_factory):
    base = tmp_path_factory.mktemp("slow")
    model = Slow()
    tf.saved_model.save(model, str(base / "1"), model.__call__)
    return base


@pytest.fixture(scope="session")
def ranker_server(ranker_base):
    with server_lib.ModelServer(
        ranker_base, "ranker", 0, 0, max_request_bytes=1 << 20
    ) as server:
        yield server


@pytest.fixture(scope="session")
def logarithm_server(logarithm_base):
    with server_lib.ModelServer(logarithm_base, "log", 0, 0) as server:
        yield server


@pytest.fixture(scope="session")
def channel(ranker_server):
    with grpc.insecure_channel(
        f"127.0.0.1:{ranker_server.grpc_port}"
    ) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def model_stub(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="session")
def http(ranker_server):
    """Sends a request to the ranker's REST port."""
    return make_http(ranker_server)


def make_http(server):
    def send(method, path, **kwargs):
        return requests.request(
            method,
            f"http://127.0.0.1:{server.rest_port}{path}",
            timeout=60,
            **kwargs,
        )

    return send

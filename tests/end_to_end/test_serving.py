"""The exported model behind a real server, against the model in Python."""

import json
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.end_to_end import job
from tfplugin import artifacts
from tfplugin import data
from tfplugin import schema
from tfplugin import training

BATCH = 40


@pytest.fixture(scope="module")
def batch(exported):
    """Serialized Examples of the test split, features, expected answers."""
    work, _ = exported
    loaded = training.load(artifacts.WorkFolder(work))
    paths = sorted((work / "dataset/test").iterdir())
    records = tf.data.TFRecordDataset([str(p) for p in paths], "GZIP")
    examples = np.array(list(records.take(BATCH).as_numpy_iterator()), object)
    features = data.parse_features(tf.constant(examples), loaded.dataset.schema)
    features["position"] = tf.fill([BATCH], tf.constant(1, tf.int64))
    logits = loaded.model(features, training=False)
    expected = {
        name: tf.sigmoid(logit)[:, 0].numpy() for name, logit in logits.items()
    }
    return examples, features, expected


def _columns(features):
    """What `serving_default` takes: lists as a padded tensor and lengths."""
    tags = features["tags"]
    return {
        "user": features["user"].numpy(),
        "city": features["city"].numpy(),
        "tags": tags.to_tensor().numpy(),
        "tags_length": tags.row_lengths().numpy(),
        "price": features["price"].numpy(),
    }


def _ask(server, body):
    request = urllib.request.Request(
        server.url + ":predict", json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def _json_columns(features, keep):
    def convert(value):
        if isinstance(value, list):
            return [convert(item) for item in value]
        return value.decode() if isinstance(value, bytes) else value

    return {
        name: convert(values[keep].tolist())
        for name, values in _columns(features).items()
    }


def _predict(server, inputs, signature="serving_default"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shop"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request, timeout=60)
    return {k: tf.make_ndarray(v) for k, v in response.outputs.items()}


def _check(found, expected):
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-7)


def test_the_batch_has_what_is_hard(batch):
    _, features, expected = batch
    assert np.isnan(features["price"]).any()
    assert (features["user"].numpy() == schema.MISSING_INT64).any()
    assert 0 in features["tags"].row_lengths()
    assert len(np.unique(expected["click"])) > BATCH // 2


def test_rest_rows_and_columns(server, batch):
    _, features, expected = batch
    # JSON has no NaN.
    keep = ~np.isnan(features["price"])
    columns = _json_columns(features, keep)
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]
    wanted = {name: values[keep] for name, values in expected.items()}
    status, answer = _ask(server, {"inputs": columns})
    assert status == 200
    _check(answer["outputs"], wanted)
    status, answer = _ask(server, {"instances": rows})
    assert status == 200
    found = answer["predictions"]
    _check({name: [row[name] for row in found] for name in wanted}, wanted)


def test_grpc(server, batch):
    _, features, expected = batch
    _check(_predict(server, _columns(features)), expected)


def test_examples(server, batch):
    examples, _, expected = batch
    _check(_predict(server, {"examples": examples}, "examples"), expected)


def test_an_unseen_id_is_answered(server):
    answers = [
        _ask(
            server,
            {
                "instances": [
                    {
                        "user": user,
                        "city": "Bern",
                        "tags": ["x"],
                        "tags_length": 1,
                        "price": 1.0,
                    }
                ]
            },
        )
        for user in (job.PLANTED_USER, 10**17)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 200


def test_an_empty_batch(server):
    empty = {
        name: [] for name in ("user", "city", "tags", "tags_length", "price")
    }
    assert _ask(server, {"inputs": empty}) == (
        200,
        {"outputs": {"buy": [], "click": []}},
    )
    status, answer = _ask(server, {"instances": []})
    assert status == 400
    assert "instances" in answer["error"]


GOOD = {
    "user": 1,
    "city": "Bern",
    "tags": ["t1", "t2"],
    "tags_length": 2,
    "price": 2.5,
}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"city": None}, "city"),
        ({"user": "one"}, "user"),
        ({"user": 1.5}, "user"),
        ({"user": 2**63}, "user"),
        ({"city": 7}, "city"),
        ({"price": "dear"}, "price"),
        ({"price": [1.0]}, "price"),
        ({"tags": "t1"}, "tags"),
        ({"tags_length": 3}, "tags_length"),
        ({"tags_length": -1}, "tags_length"),
        ({"position": 3}, "position"),
    ],
)
def test_a_wrong_row_is_refused_by_name(server, change, name):
    status, answer = _ask(server, {"instances": [GOOD | change]})
    assert status == 400, answer
    assert name in answer["error"]


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_input_is_refused_by_name(server, name):
    row = {key: value for key, value in GOOD.items() if key != name}
    status, answer = _ask(server, {"instances": [row]})
    assert status == 400
    assert name in answer["error"]
    columns = {key: [value] for key, value in row.items()}
    status, answer = _ask(server, {"inputs": columns})
    assert status == 400
    assert name in answer["error"]
    with pytest.raises(grpc.RpcError) as refusal:
        _predict(server, columns)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert name in refusal.value.details()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"user": np.array([1], np.int32)}, "user"),
        ({"price": np.array([1.0], np.float64)}, "price"),
        ({"city": np.array(["a", "b"])}, "city"),
        ({"tags_length": np.array([3])}, "tags_length"),
    ],
)
def test_a_wrong_tensor_is_refused_by_name(server, change, name):
    columns = {
        key: np.array([value], np.float32 if key == "price" else None)
        for key, value in GOOD.items()
    }
    with pytest.raises(grpc.RpcError) as refusal:
        _predict(server, columns | change)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert name in refusal.value.details()


def test_a_malformed_example_is_refused(server):
    with pytest.raises(grpc.RpcError) as refusal:
        _predict(server, {"examples": np.array([b"no example"])}, "examples")
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT

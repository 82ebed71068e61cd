import base64
import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import input_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis import regression_pb2

from serving import classification
from serving import json_examples
from serving import json_requests
from serving import request_error
from serving import server as server_lib
from tests.serving import conftest

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PATH = "/v1/models/shop"


class Shop(tf.Module):
    """A probability from an age and a price; the city is a label."""

    def _probability(self, examples):
        parsed = tf.io.parse_example(
            examples,
            {
                "age": tf.io.FixedLenFeature([], tf.int64, -1),
                "price": tf.io.FixedLenFeature([], tf.float32, 0.0),
                "city": tf.io.FixedLenFeature([], tf.string, ""),
            },
        )
        return (
            0.001 * tf.cast(parsed["age"], tf.float32)
            + 0.01 * parsed["price"]
            + 0.1 * tf.cast(tf.strings.length(parsed["city"]), tf.float32)
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        p = self._probability(inputs)
        classes = tf.tile(tf.constant([[b"0", b"1"]]), [tf.size(p), 1])
        return {"classes": classes, "scores": tf.stack([1 - p, p], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs):
        return {"outputs": self._probability(inputs)}


@pytest.fixture(scope="module")
def shop_server(tmp_path_factory):
    base = tmp_path_factory.mktemp("shop")
    model = Shop()
    path = str(base / "5")
    tf.saved_model.save(
        model,
        path,
        {
            "serving_default": model.regress,
            "classify_buy": model.classify,
            "regress_buy": model.regress,
        },
    )
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(
        path
    )
    updater.replace_method_name(
        "classify_buy", classification.CLASSIFY, tags="serve"
    )
    updater.replace_method_name(
        "regress_buy", classification.REGRESS, tags="serve"
    )
    updater.save(path)
    with server_lib.ModelServer(base, "shop", 0, 0) as server:
        yield server


@pytest.fixture(scope="module")
def shop(shop_server):
    address = f"127.0.0.1:{shop_server.grpc_port}"
    with grpc.insecure_channel(address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def shop_http(shop_server):
    return conftest.make_http(shop_server)


def example(**features):
    made = tf.train.Example()
    for name, value in features.items():
        feature = made.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return made


def fill(request, signature, examples, context=None):
    request.model_spec.name = "shop"
    request.model_spec.signature_name = signature
    if context is None:
        request.input.example_list.examples.extend(examples)
    else:
        request.input.example_list_with_context.context.CopyFrom(context)
        request.input.example_list_with_context.examples.extend(examples)
    return request


def classify_request(signature="classify_buy", examples=None, context=None):
    if examples is None:
        examples = [example(age=20, price=1.0), example(city=b"ab")]
    return fill(
        classification_pb2.ClassificationRequest(),
        signature,
        examples,
        context,
    )


def regress_request(signature="regress_buy", examples=None, context=None):
    if examples is None:
        examples = [example(age=20, price=1.0), example(city=b"ab")]
    return fill(
        regression_pb2.RegressionRequest(), signature, examples, context
    )


EXPECTED = [0.02 + 0.01, -0.001 + 0.2]


def fails(call, request, code, message):
    with pytest.raises(grpc.RpcError, match=".") as error:
        call(request, timeout=60)
    assert error.value.code() == code
    assert message in error.value.details()


def test_classify(shop):
    response = shop.Classify(classify_request(), timeout=60)
    assert response.model_spec.version.value == 5
    assert response.model_spec.signature_name == "classify_buy"
    for row, expected in zip(
        response.result.classifications, EXPECTED, strict=True
    ):
        assert [item.label for item in row.classes] == ["0", "1"]
        np.testing.assert_allclose(
            [item.score for item in row.classes],
            [1 - expected, expected],
            rtol=1e-5,
        )


def test_regress(shop):
    response = shop.Regress(regress_request(), timeout=60)
    np.testing.assert_allclose(
        [row.value for row in response.result.regressions], EXPECTED, rtol=1e-5
    )


def test_context_is_shared_and_overridden(shop):
    request = regress_request(
        examples=[example(price=2.0), example(age=30), example()],
        context=example(age=20, price=1.0),
    )
    response = shop.Regress(request, timeout=60)
    np.testing.assert_allclose(
        [row.value for row in response.result.regressions],
        [0.02 + 0.02, 0.03 + 0.01, 0.02 + 0.01],
        rtol=1e-5,
    )


def test_multi_inference(shop):
    request = inference_pb2.MultiInferenceRequest()
    request.input.CopyFrom(classify_request().input)
    for name, method in (
        ("regress_buy", classification.REGRESS),
        ("classify_buy", classification.CLASSIFY),
    ):
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "shop"
        task.model_spec.signature_name = name
    first, second = shop.MultiInference(request, timeout=60).results
    assert len(first.regression_result.regressions) == 2
    assert len(second.classification_result.classifications) == 2
    request.tasks.add().CopyFrom(request.tasks[0])
    fails(shop.MultiInference, request, INVALID, "Duplicate")
    request.tasks[2].model_spec.name = "other"
    fails(shop.MultiInference, request, INVALID, "same model")
    del request.tasks[2]
    request.tasks[0].method_name = "tensorflow/serving/predict"
    code = grpc.StatusCode.UNIMPLEMENTED
    fails(shop.MultiInference, request, code, "method_name")
    del request.tasks[:]
    fails(shop.MultiInference, request, INVALID, "no task")


def test_refusals(shop):
    message = "method_name to be tensorflow/serving/classify"
    fails(shop.Classify, classify_request("regress_buy"), INVALID, message)
    message = "method_name to be tensorflow/serving/regress"
    fails(shop.Regress, regress_request("classify_buy"), INVALID, message)
    fails(shop.Regress, regress_request(""), INVALID, "serving/predict")
    code = grpc.StatusCode.FAILED_PRECONDITION
    fails(shop.Regress, regress_request("x"), code, '"x" not found')
    empty = regress_request(examples=[])
    fails(shop.Regress, empty, INVALID, "Input is empty")
    empty.ClearField("input")
    fails(shop.Regress, empty, INVALID, "Input is empty")
    empty.ClearField("model_spec")
    fails(shop.Regress, empty, INVALID, "Missing ModelSpec")
    wrong = regress_request(examples=[example(age=1.5)])
    fails(shop.Regress, wrong, INVALID, "age")


def test_rest(shop_http):
    body = {
        "signature_name": "regress_buy",
        "examples": [
            {"age": 20, "price": [1.0]},
            {"city": {"b64": base64.b64encode(b"ab").decode()}},
        ],
    }
    response = shop_http("POST", PATH + ":regress", json=body)
    assert response.status_code == 200, response.text
    np.testing.assert_allclose(response.json()["results"], EXPECTED, rtol=1e-5)
    body["signature_name"] = "classify_buy"
    response = shop_http("POST", PATH + "/versions/5:classify", json=body)
    (first, second), _ = response.json()["results"]
    assert first[0] == "0"
    assert second[0] == "1"
    np.testing.assert_allclose(second[1], EXPECTED[0], rtol=1e-5)
    body["context"] = {"age": 30}
    response = shop_http("POST", PATH + ":classify", json=body)
    (_, (_, score)), _ = response.json()["results"]
    np.testing.assert_allclose(score, EXPECTED[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"examples": []}, "'examples'"),
        ({"examples": {}}, "'examples'"),
        ({"examples": [1]}, "item 0 of 'examples'"),
        ({"examples": [{}, {"age": [1, 1.5]}]}, "`age` in item 1"),
        ({"examples": [{"age": True}]}, "`age`"),
        ({"examples": [{"age": None}]}, "`age`"),
        ({"examples": [{"age": [[1]]}]}, "`age`"),
        ({"examples": [{"age": 2**63}]}, "`age`"),
        ({"examples": [{"price": 1e39}]}, "`price`"),
        ({"examples": [{"city": "\ud800"}]}, "`city`"),
        ({"examples": [{"city": {"b64": "?"}}]}, "`city`"),
        ({"examples": [{"ci\ud800ty": "a"}]}, "half of a character"),
        ({"examples": [{"age": 1.5}]}, "age"),
        ({"context": []}, "'context'"),
        ({"signature_name": 3}, "signature_name"),
        ({"signature_name": "none"}, '"none" not found'),
        ({"signature_name": "classify_buy"}, "method_name"),
    ],
)
def test_rest_refuses(shop_http, change, message):
    body = {"signature_name": "regress_buy", "examples": [{"age": 1}]}
    response = shop_http("POST", PATH + ":regress", json=body | change)
    assert response.status_code == 400, response.text
    assert message in response.json()["error"]


def test_numbers_of_examples():
    document = json_requests.parse_object(
        b'{"examples": [{"a": [1, -2], "b": [0.5, NaN], "c": ["x"], "d": []}]}'
    )
    (made,) = json_examples.parse_examples(document).example_list.examples
    feature = made.features.feature
    assert list(feature["a"].int64_list.value) == [1, -2]
    np.testing.assert_array_equal(feature["b"].float_list.value, [0.5, np.nan])
    assert list(feature["c"].bytes_list.value) == [b"x"]
    assert feature["d"].WhichOneof("kind") is None


def test_outputs_of_other_shapes():
    one = np.zeros([1], np.float32)
    with pytest.raises(request_error.RequestError, match="classes"):
        classification.to_classifications({"scores": one}, 1)
    with pytest.raises(request_error.RequestError, match="batch_size"):
        classification.to_regressions({"outputs": one}, 2)
    result = classification.to_classifications(
        {"scores": np.float32([[0.5]])}, 1
    )
    assert result.classifications[0].classes[0].label == ""
    infinite = classification.to_regressions({"outputs": one + np.inf}, 1)
    # What TensorFlow Serving writes, though it is no JSON.
    written = json.dumps(json_examples.regressions_to_json(infinite))
    assert written == '{"results": [Infinity]}'


def test_serialized_with_context_is_one_message():
    request_input = input_pb2.Input()
    with_context = request_input.example_list_with_context
    with_context.context.CopyFrom(example(age=1, city=b"c"))
    with_context.examples.append(example(age=2))
    (data,) = classification.serialized_examples(request_input)
    assert tf.train.Example.FromString(data) == example(age=2, city=b"c")

import base64
import gzip
import json
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf

from serving import json_requests
from serving import request_error
from tests.serving import conftest

MODEL = "/v1/models/ranker"
PREDICT = MODEL + ":predict"


def fails(response, status, message):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    assert set(body) == {"error"}
    assert message in body["error"]


def still_answers(http):
    rows = conftest.make_rows()
    response = http(
        "POST", PREDICT, json={"inputs": conftest.columns_json(rows)}
    )
    assert response.status_code == 200, response.text
    expected = conftest.reference(rows, bias=0.25)
    for name, value in response.json()["outputs"].items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)


def test_three_ways_agree_with_the_signature(http, stub, ranker_base):
    rows = conftest.make_rows(6)
    function = tf.saved_model.load(str(ranker_base / "12")).signatures[
        "serving_default"
    ]
    expected = function(
        **{
            name: tf.constant(
                value.tolist(), tf.string if name == "city" else value.dtype
            )
            for name, value in rows.items()
        }
    )
    by_rows = http(
        "POST", PREDICT, json={"instances": conftest.instances_json(rows)}
    ).json()["predictions"]
    by_columns = http(
        "POST", PREDICT, json={"inputs": conftest.columns_json(rows)}
    ).json()["outputs"]
    by_grpc = stub.Predict(conftest.predict_request(rows), timeout=60).outputs
    assert len(by_rows) == 6
    for name in ("click", "buy"):
        value = expected[name].numpy()
        # Bit for bit: JSON carries the shortest digits that make the float.
        for answer in (
            np.float32([row[name] for row in by_rows]),
            np.float32(by_columns[name]),
            tf.make_ndarray(by_grpc[name]),
        ):
            np.testing.assert_array_equal(answer, value)


@pytest.mark.parametrize(
    "path",
    ["/v1/models/ranker/versions/12:predict", "/V1/Models/ranker:PREDICT"],
)
def test_predict_paths(http, path):
    body = {"instances": conftest.instances_json(conftest.make_rows())}
    assert http("POST", path, json=body).status_code == 200


def test_base64_and_signature_name(http):
    rows = conftest.make_rows(1)
    example = tf.train.Example()
    feature = example.features.feature
    feature["city"].bytes_list.value.append(b"\xff\x00")
    feature["age"].int64_list.value.append(rows["age"][0])
    feature["price"].float_list.value.append(rows["price"][0])
    encoded = base64.b64encode(example.SerializeToString()).decode()
    for instance in ({"b64": encoded}, {"examples": {"b64": encoded}}):
        response = http(
            "POST",
            PREDICT,
            json={"signature_name": "examples", "instances": [instance]},
        )
        assert response.status_code == 200, response.text
        rows["city"][0], rows["filters_length"][0] = b"\xff\x00", 0
        expected = conftest.reference(rows, bias=0.25)["click"][0]
        np.testing.assert_allclose(
            response.json()["predictions"][0]["click"], expected, rtol=1e-5
        )


def test_one_input_and_one_output(logarithm_server):
    http = conftest.make_http(logarithm_server)
    path = "/v1/models/log:predict"
    for body, expected in [
        ({"instances": [1, 1.0]}, {"predictions": [0.0, 0.0]}),
        ({"instances": [{"x": 1}]}, {"predictions": [0.0]}),
        ({"inputs": [1]}, {"outputs": [0.0]}),
        ({"inputs": {"x": [1]}}, {"outputs": [0.0]}),
        ({"inputs": {"x": []}}, {"outputs": []}),
    ]:
        response = http("POST", path, json=body)
        assert response.status_code == 200, response.text
        assert response.json() == expected
    value = http("POST", path, json={"instances": [0.3]}).text
    assert json.loads(value)["predictions"] == [
        float(str(np.log(np.float32(0.3))))
    ]
    response = http("POST", path, json={"instances": [0, -1.0, 1]})
    # No JSON, but what TensorFlow Serving writes and Python reads.
    assert response.text == '{"predictions": [-Infinity, NaN, 0.0]}'


def test_empty_batch(http):
    inputs = {name: [] for name in conftest.make_rows()}
    response = http("POST", PREDICT, json={"inputs": inputs})
    assert response.json() == {"outputs": {"buy": [], "click": []}}
    fails(http("POST", PREDICT, json={"instances": []}), 400, "No values")


def instance(**changes):
    row = conftest.instances_json(conftest.make_rows(1))[0] | changes
    return {name: value for name, value in row.items() if value != "absent"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": "absent"}, "Keys must be equal to: age,"),
        ({"zip": 1}, "zip"),
        ({"age": "18"}, "`age`: JSON string is not of expected type: int64"),
        ({"age": 1.0}, "`age`"),
        ({"age": True}, "`age`"),
        ({"age": None}, "`age`"),
        ({"age": 2**63}, "`age`: 9223372036854775808 is out of the range"),
        ({"age": -(2**63) - 1}, "`age`"),
        ({"age": [1]}, "`age` must have shape [-1]"),
        ({"age": {"b64": "YQ=="}}, "`age`"),
        ({"age": {"value": 1}}, "`age`"),
        ({"price": "1"}, "`price`"),
        ({"price": False}, "`price`"),
        ({"price": 1e39}, "`price`: cannot convert"),
        ({"price": 2**24 + 1}, "`price`: cannot convert"),
        ({"city": 3}, "`city`"),
        ({"city": "\ud800"}, "`city`"),
        ({"city": {"b64": "?"}}, "`city`: unable to base64 decode"),
        ({"city": {"b64": 1}}, "`city`"),
        ({"filters": 7}, "`filters` must have shape [-1,-1]"),
        ({"filters": [[7]]}, "`filters` must have shape"),
        ({"filters": [1, [2]]}, "`filters`"),
    ],
)
def test_predict_refuses(http, changes, message):
    body = {"instances": [instance(**changes)]}
    fails(http("POST", PREDICT, json=body), 400, message)
    still_answers(http)


def test_lists_of_different_lengths(http):
    body = {"instances": [instance(filters=[1]), instance(filters=[1, 2])]}
    fails(http("POST", PREDICT, json=body), 400, "`filters`")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"age": "absent"}, "Missing named input: age"),
        ({"zip": [1]}, "zip"),
        ({"age": [1, 2]}, "age=2"),
        ({"age": 1}, "`age` must have shape"),
    ],
)
def test_predict_refuses_columns(http, inputs, message):
    columns = conftest.columns_json(conftest.make_rows(1)) | inputs
    columns = {n: v for n, v in columns.items() if v != "absent"}
    fails(http("POST", PREDICT, json={"inputs": columns}), 400, message)
    fails(http("POST", PREDICT, json={"inputs": [1]}), 400, "age,city")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error"),
        (b'{"instances": [{"ag', "JSON Parse error"),
        (b"\xff\xfe", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b'{"instances": [%s]}' % (b"9" * 5000), "JSON Parse error"),
        (b'{"instances": [Infinity]}', "Infinity is not a JSON number"),
        (b'{"instances": [-Infinity]}', "-Infinity is not a JSON number"),
        (b"[]", "Is not object"),
        (b"{}", "Missing 'inputs' or 'instances'"),
        (b'{"inputs": {}, "instances": []}', "only one of"),
        (b'{"instances": {}}', "to be a list"),
        (b'{"instances": [1]}', "expecting list of objects"),
        (b'{"instances": [{}, 1]}', "element: 0"),
        (b'{"instances": [1], "signature_name": 1}', "'signature_name'"),
        (b'{"instances": [1], "signature_name": "s"}', '"s" not found'),
    ],
)
def test_malformed_bodies(http, body, message):
    fails(http("POST", PREDICT, data=body), 400, message)
    still_answers(http)


def test_nan_is_a_missing_number_and_no_integer():
    specs = {"price": tf.TensorSpec([None], tf.float32)}
    body = json_requests.parse_request(b'{"instances": [NaN, 1.5]}')
    found = json_requests.arrays_from_rows(body["instances"], specs)
    np.testing.assert_array_equal(found["price"], [np.nan, 1.5])
    specs = {"age": tf.TensorSpec([None], tf.int64)}
    with pytest.raises(request_error.RequestError, match="age.*int64"):
        json_requests.arrays_from_rows(body["instances"], specs)


def test_mixed_instances(http, logarithm_server):
    body = {"instances": [instance(), 1]}
    fails(http("POST", PREDICT, json=body), 400, "item 1")
    http = conftest.make_http(logarithm_server)
    path = "/v1/models/log:predict"
    fails(http("POST", path, json={"instances": [1, {"x": 1}]}), 400, "item 1")


def test_body_over_the_limit(http):
    fails(http("POST", PREDICT, data=b" " * ((1 << 20) + 1)), 413, "size")
    still_answers(http)


def test_compressed_body(http):
    body = json.dumps({"instances": [instance()]}).encode()
    headers = {"Content-Encoding": "gzip"}
    packed = gzip.compress(body)
    response = http("POST", PREDICT, data=packed, headers=headers)
    assert response.status_code == 200, response.text
    bomb = gzip.compress(b" " * (1 << 22))
    fails(http("POST", PREDICT, data=bomb, headers=headers), 413, "size")
    fails(http("POST", PREDICT, data=body, headers=headers), 400, "decode")
    still_answers(http)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/other:predict", 404, "Latest(other)"),
        ("POST", MODEL + "/versions/3:predict", 404, "Specific(ranker, 3)"),
        ("POST", MODEL + "/versions/" + "9" * 30 + ":predict", 400, "version"),
        ("POST", MODEL + "/versions/1.5:predict", 400, "Malformed request"),
        ("POST", MODEL + "/labels/new:predict", 400, "label: new"),
        ("POST", MODEL + ":classify", 400, "'examples'"),
        ("POST", MODEL, 400, "Malformed request: POST"),
        ("GET", PREDICT, 400, "Malformed request: GET"),
        ("DELETE", MODEL, 400, "Malformed request: DELETE"),
        ("GET", "/v1/models/other", 404, "any versions of model other"),
        ("GET", "/v1/models/a%20b", 404, "any versions of model a b"),
        ("GET", MODEL + "/versions/3", 404, "version 3 of model ranker"),
        ("GET", "/v1/models/other/metadata", 404, "Latest(other)"),
        ("GET", "/v1/models", 400, "Malformed request"),
        ("GET", "/", 404, "/v1/models"),
    ],
)
def test_wrong_paths(http, method, path, status, message):
    body = {"instances": [instance()]} if method == "POST" else None
    fails(http(method, path, json=body), status, message)


@pytest.mark.parametrize("path", [MODEL, MODEL + "/versions/12"])
def test_status(http, path):
    assert http("GET", path).json() == {
        "model_version_status": [
            {
                "version": "12",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_metadata(http):
    body = http("GET", MODEL + "/versions/12/metadata").json()
    assert body["model_spec"]["name"] == "ranker"
    assert body["model_spec"]["version"] == "12"
    signatures = body["metadata"]["signature_def"]["signature_def"]
    inputs = signatures["serving_default"]["inputs"]
    assert inputs["filters"] == {
        "dtype": "DT_INT64",
        "name": "serving_default_filters:0",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "-1", "name": ""}],
            "unknown_rank": False,
        },
    }


def test_concurrent_clients(http):
    def client(size):
        rows = conftest.instances_json(conftest.make_rows(size))
        return http("POST", PREDICT, json={"instances": rows})

    with futures.ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(client, range(1, 25)))
    for size, answer in enumerate(answers, 1):
        expected = conftest.reference(conftest.make_rows(size), bias=0.25)
        np.testing.assert_allclose(
            [row["buy"] for row in answer.json()["predictions"]],
            expected["buy"],
            rtol=1e-5,
        )


@pytest.mark.parametrize("depth", [254, 600, 960])
def test_deep_lists_are_refused(http, depth):
    deep = b"[" * depth + b"1" + b"]" * depth
    columns = conftest.columns_json(conftest.make_rows(1)) | {"age": "DEEP"}
    body = json.dumps({"inputs": columns}).encode().replace(b'"DEEP"', deep)
    fails(http("POST", PREDICT, data=body), 400, "`age` must have shape [-1]")
    still_answers(http)

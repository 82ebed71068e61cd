from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import predict_pb2

from tests.serving import conftest

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def fails(call, request, code, message):
    with pytest.raises(grpc.RpcError, match=".") as error:
        call(request, timeout=60)
    assert error.value.code() == code
    assert message in error.value.details()


def still_answers(stub):
    rows = conftest.make_rows()
    response = stub.Predict(conftest.predict_request(rows), timeout=60)
    expected = conftest.reference(rows, bias=0.25)
    for name in ("click", "buy"):
        np.testing.assert_allclose(
            tf.make_ndarray(response.outputs[name]), expected[name], rtol=1e-5
        )
    return response


def test_predict(stub):
    response = still_answers(stub)
    assert set(response.outputs) == {"click", "buy"}
    assert response.model_spec.name == "ranker"
    assert response.model_spec.version.value == 12
    assert response.model_spec.signature_name == "serving_default"
    # Clients of TensorFlow Serving read the typed fields.
    assert len(response.outputs["click"].float_val) == 4
    assert not response.outputs["click"].tensor_content


def test_predict_a_version_and_filter(stub):
    request = conftest.predict_request(conftest.make_rows(), version=12)
    request.output_filter.append("buy")
    assert set(stub.Predict(request).outputs) == {"buy"}
    request.output_filter.append("bye")
    fails(stub.Predict, request, INVALID, "bye")


def test_predict_empty_batch(stub):
    request = conftest.predict_request(conftest.make_rows(0))
    response = stub.Predict(request, timeout=60)
    assert tf.make_ndarray(response.outputs["click"]).shape == (0, 1)


def test_predict_examples(stub):
    rows = conftest.make_rows()
    serialized = []
    for i in range(4):
        example = tf.train.Example()
        feature = example.features.feature
        feature["city"].bytes_list.value.append(rows["city"][i])
        feature["age"].int64_list.value.append(rows["age"][i])
        feature["price"].float_list.value.append(rows["price"][i])
        feature["filters"].int64_list.value.extend(
            rows["filters"][i, : rows["filters_length"][i]]
        )
        serialized.append(example.SerializeToString())
    request = conftest.predict_request(
        {"examples": np.array(serialized, object)}, signature_name="examples"
    )
    response = stub.Predict(request, timeout=60)
    assert response.model_spec.signature_name == "examples"
    np.testing.assert_allclose(
        tf.make_ndarray(response.outputs["click"]),
        conftest.reference(rows, bias=0.25)["click"],
        rtol=1e-5,
    )
    request.inputs["examples"].string_val[0] = serialized[0][:-3] + b"\xff"
    fails(stub.Predict, request, INVALID, "example")
    still_answers(stub)


def wrong_dtype(request):
    request.inputs["age"].CopyFrom(tf.make_tensor_proto([1.0] * 4))


def wrong_enum(request):
    request.inputs["age"].dtype = 9999


def no_dtype(request):
    request.inputs["age"].Clear()


def missing(request):
    del request.inputs["age"]


def unknown(request):
    request.inputs["zip"].CopyFrom(tf.make_tensor_proto([1] * 4))


def renamed(request):
    missing(request)
    unknown(request)


def wrong_rank(request):
    request.inputs["filters"].CopyFrom(tf.make_tensor_proto([1] * 4, tf.int64))


def wrong_batch(request):
    request.inputs["price"].CopyFrom(tf.make_tensor_proto([1.0] * 3))


def truncated_content(request):
    request.inputs["age"].tensor_content = b"\x00" * 31


def negative_size(request):
    request.inputs["age"].tensor_shape.dim[0].size = -4


def unknown_rank(request):
    request.inputs["age"].tensor_shape.Clear()
    request.inputs["age"].tensor_shape.unknown_rank = True


def endless(request):
    for name in ("city", "age", "price", "filters", "filters_length"):
        request.inputs[name].tensor_shape.dim[0].size = 1 << 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_dtype, "`age` must be int64"),
        (wrong_enum, "`age`"),
        (no_dtype, "`age`"),
        (missing, "Missing but required: {age}"),
        (unknown, "Sent extra: {zip}"),
        (renamed, "alias not found in signature: zip"),
        (wrong_rank, "`filters` must have shape [-1,-1]"),
        (wrong_batch, "price=3"),
        (truncated_content, "tensor parsing error: age"),
        (negative_size, "`age`"),
        (unknown_rank, "`age`"),
        (endless, "must hold at most"),
    ],
)
def test_predict_refuses(stub, change, message):
    request = conftest.predict_request(conftest.make_rows())
    change(request)
    fails(stub.Predict, request, INVALID, message)
    still_answers(stub)


def test_predict_wrong_names(stub):
    rows = conftest.make_rows()
    make = conftest.predict_request
    message = "Servable not found for request: Latest(other)"
    fails(stub.Predict, make(rows, "other"), NOT_FOUND, message)
    message = "Servable not found for request: Specific(ranker, 3)"
    fails(stub.Predict, make(rows, version=3), NOT_FOUND, message)
    message = "ModelSpec has no name"
    fails(stub.Predict, make(rows, ""), INVALID, message)
    fails(
        stub.Predict,
        make(rows, signature_name="serve"),
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "serve" not found.',
    )
    request = make(rows)
    request.model_spec.version_label = "stable"
    fails(stub.Predict, request, INVALID, "label: stable")
    message = "Missing ModelSpec"
    fails(stub.Predict, predict_pb2.PredictRequest(), INVALID, message)


def test_truncated_protobuf(channel, stub):
    call = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=lambda message: message,
    )
    body = conftest.predict_request(conftest.make_rows()).SerializeToString()
    fails(call, body[:-5], INVALID, "no PredictRequest")
    still_answers(stub)


def test_request_over_the_limit(stub):
    request = conftest.predict_request(conftest.make_rows(1 << 16))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    fails(stub.Predict, request, code, "message larger than max")
    still_answers(stub)


def test_concurrent_clients(ranker_server, stub):
    def client(size):
        return stub.Predict(
            conftest.predict_request(conftest.make_rows(size)), timeout=60
        )

    with futures.ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(client, range(1, 25)))
    for size, answer in enumerate(answers, 1):
        expected = conftest.reference(conftest.make_rows(size), bias=0.25)
        np.testing.assert_allclose(
            tf.make_ndarray(answer.outputs["buy"]), expected["buy"], rtol=1e-5
        )


def test_metadata(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "ranker"
    fails(stub.GetModelMetadata, request, INVALID, "metadata_field")
    request.metadata_field.append("signature_def")
    response = stub.GetModelMetadata(request, timeout=60)
    assert response.model_spec.version.value == 12
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    assert set(default.inputs) == set(conftest.make_rows())
    assert default.inputs["age"].dtype == tf.int64.as_datatype_enum
    assert default.inputs["age"].name == "serving_default_age:0"
    assert [d.size for d in default.inputs["filters"].tensor_shape.dim] == [
        -1,
        -1,
    ]
    request.metadata_field.append("weights")
    fails(stub.GetModelMetadata, request, INVALID, "weights")
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    fails(stub.GetModelMetadata, request, INVALID, "Missing ModelSpec")


def test_metadata_of_another_model(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "other"
    request.metadata_field.append("signature_def")
    fails(stub.GetModelMetadata, request, NOT_FOUND, "Latest(other)")


def test_status(model_stub):
    request = get_model_status_pb2.GetModelStatusRequest()
    fails(model_stub.GetModelStatus, request, INVALID, "Missing ModelSpec")
    request.model_spec.name = "ranker"
    (status,) = model_stub.GetModelStatus(request).model_version_status
    assert status.version == 12
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert status.HasField("status")
    assert status.status.error_code == 0
    request.model_spec.version.value = 3
    message = "Could not find version 3 of model ranker"
    fails(model_stub.GetModelStatus, request, NOT_FOUND, message)
    request.model_spec.name = "other"
    request.model_spec.ClearField("version")
    message = "Could not find any versions of model other"
    fails(model_stub.GetModelStatus, request, NOT_FOUND, message)

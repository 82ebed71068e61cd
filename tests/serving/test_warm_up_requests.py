import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import request_error
from serving import servable as servable_lib
from serving import warm_up_requests
from tests.serving import stamped_models


class Examples(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def __call__(self, inputs):
        return {"outputs": tf.cast(tf.strings.length(inputs), tf.float32)}


@pytest.fixture(scope="module")
def servable(tmp_path_factory):
    path = stamped_models.save(tmp_path_factory.mktemp("stamp"), 5)
    servable = servable_lib.Servable("stamp", 5, path)
    yield servable
    servable.close()


def predict_log(inputs, signature=""):
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "any"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        dtype = tf.string if value.dtype == object else None
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
    return log.SerializeToString()


def write(path, records):
    (path / "assets.extra").mkdir()
    file = path / warm_up_requests.FILE
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return file


def test_requests_are_run(servable, tmp_path):
    logs = [predict_log(stamped_models.rows(range(n))) for n in (0, 1, 5)]
    write(tmp_path, logs)
    assert warm_up_requests.replay(servable, str(tmp_path)) == 3


def test_no_file(servable, tmp_path):
    assert warm_up_requests.replay(servable, str(tmp_path)) == 0


@pytest.mark.parametrize("kind", ["classify_log", "regress_log"])
def test_examples_are_run(tmp_path, kind):
    model = Examples()
    tf.saved_model.save(model, str(tmp_path), model.__call__)
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, kind).request
    request.input.example_list.examples.add()
    write(tmp_path, [log.SerializeToString()])
    servable = servable_lib.Servable("examples", 1, str(tmp_path))
    assert warm_up_requests.replay(servable, str(tmp_path)) == 1
    servable.close()


def test_too_many_records(servable, tmp_path):
    log = predict_log({"scale": np.array(1, np.float32)}, "constant")
    write(tmp_path, [log] * 1001)
    with pytest.raises(request_error.RequestError, match="1000") as error:
        warm_up_requests.replay(servable, str(tmp_path))
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


def test_session_run_log_is_not_implemented(servable, tmp_path):
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.SetInParent()
    write(tmp_path, [log.SerializeToString()])
    with pytest.raises(request_error.RequestError) as error:
        warm_up_requests.replay(servable, str(tmp_path))
    assert error.value.code == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\xff\xff", "Failed to parse"),
        (b"", "None"),
        (predict_log({}), "x"),
        (predict_log(stamped_models.rows([-1])), "assert"),
        (predict_log(stamped_models.rows([1]), "absent"), "absent"),
    ],
)
def test_bad_record_is_refused(servable, tmp_path, record, message):
    write(tmp_path, [predict_log(stamped_models.rows([1])), record])
    with pytest.raises(request_error.RequestError, match=message):
        warm_up_requests.replay(servable, str(tmp_path))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no TFRecord"])
def test_damaged_file_is_refused(servable, tmp_path, damage):
    file = write(tmp_path, [predict_log(stamped_models.rows([1]))] * 2)
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        content = content[:-3]
    elif damage == "flipped":
        content[5] ^= 0xFF
    else:
        content = b"name: 'ctr'\n" * 20
    file.write_bytes(content)
    with pytest.raises(request_error.RequestError) as error:
        warm_up_requests.replay(servable, str(tmp_path))
    assert error.value.code == grpc.StatusCode.DATA_LOSS

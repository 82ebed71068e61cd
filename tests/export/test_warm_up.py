import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfplugin import schema as schema_lib
from tfplugin.export import warm_up

SCHEMA = schema_lib.Schema(
    id_features={
        "user": schema_lib.IdFeature(dtype="int64", table="user"),
        "city": schema_lib.IdFeature(dtype="string", table="city"),
        "tags": schema_lib.IdFeature(dtype="string", table="tag", is_list=True),
    },
    dense_features={"price": schema_lib.DenseFeature()},
    labels=("click",),
)
ROWS = {
    "user": np.array([7, schema_lib.MISSING_INT64, 9]),
    "city": np.array(["Zürich", "", "Bern"]),
    "tags": np.array([["a", "b"], ["x", "x"], ["c", "padding"]]),
    "tags_length": np.array([2, 0, 1]),
    "price": np.array([1.5, np.nan, 2.0]),
}
METHODS = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater


class Model(tf.Module):
    """Every kind of signature; answers say what was asked."""

    @tf.function(
        input_signature=[
            {
                "user": tf.TensorSpec([None], tf.int64, "user"),
                "city": tf.TensorSpec([None], tf.string, "city"),
                "tags": tf.TensorSpec([None, None], tf.string, "tags"),
                "tags_length": tf.TensorSpec([None], tf.int64, "tags_length"),
                "price": tf.TensorSpec([None], tf.float32, "price"),
                "bid": tf.TensorSpec([None], tf.float32, "bid"),
            }
        ]
    )
    def scores(self, raw):
        tags = tf.RaggedTensor.from_tensor(raw["tags"], raw["tags_length"])
        return {"ranking": raw["bid"] * self._score(raw | {"tags": tags})}

    @tf.function
    def raw(self, raw):
        return {
            "click": self.scores(raw | {"bid": tf.ones_like(raw["price"])})[
                "ranking"
            ]
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def by_example(self, inputs):
        parsed = tf.io.parse_example(
            inputs,
            {
                "user": tf.io.FixedLenFeature([], tf.int64, -(2**63)),
                "city": tf.io.FixedLenFeature([], tf.string, ""),
                "tags": tf.io.RaggedFeature(tf.string),
                "price": tf.io.FixedLenFeature([], tf.float32, np.nan),
            },
        )
        return {"outputs": self._score(parsed)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "ids")])
    def embeddings(self, ids):
        return {"embeddings": tf.strings.length(ids)[:, tf.newaxis]}

    def _score(self, features):
        return (
            tf.cast(features["user"] % 97, tf.float32)
            + tf.cast(tf.strings.length(features["city"]), tf.float32)
            + tf.cast(features["tags"].row_lengths(), tf.float32)
            + tf.where(
                tf.math.is_nan(features["price"]), 0.5, features["price"]
            )
        )


def _save(folder):
    model = Model()
    specs = dict(model.scores.input_signature[0])
    del specs["bid"]
    by_example = model.by_example.get_concrete_function()
    tf.saved_model.save(
        model,
        str(folder),
        signatures={
            "serving_default": model.raw.get_concrete_function(specs),
            "scores": model.scores,
            "examples": tf.function(
                lambda examples: model.by_example(examples),
                input_signature=[tf.TensorSpec([None], tf.string, "examples")],
            ),
            "classify_click": by_example,
            "regress_click": by_example,
            "embeddings_city": model.embeddings,
            "embeddings_tag": model.embeddings,
            "embeddings_other": model.embeddings,
        },
    )
    updater = METHODS(str(folder))
    updater.replace_method_name(
        "classify_click", tf.saved_model.CLASSIFY_METHOD_NAME
    )
    updater.replace_method_name(
        "regress_click", tf.saved_model.REGRESS_METHOD_NAME
    )
    updater.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("warm_up") / "3")


def _logs(path):
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]


def _run(loaded, log):
    """Runs a log as a server does; returns its signature and batch size."""
    kind = log.WhichOneof("log_type")
    request = getattr(log, kind).request
    if kind == "predict_log":
        inputs = {
            name: tf.constant(tf.make_ndarray(proto))
            for name, proto in request.inputs.items()
        }
    else:
        examples = request.input.example_list.examples
        inputs = {
            "inputs": tf.constant([e.SerializeToString() for e in examples])
        }
    signature = request.model_spec.signature_name
    outputs = loaded.signatures[signature](**inputs)
    (answer,) = (value.numpy() for value in outputs.values())
    return signature, kind, inputs, answer


def test_every_signature_runs_at_every_size_and_from_every_form(folder):
    path = warm_up.write(
        folder, SCHEMA, ROWS, batch_sizes=[1, 3, 7], name="ads"
    )
    assert path == folder / "assets.extra" / "tf_serving_warmup_requests"
    loaded = tf.saved_model.load(str(folder))
    expected = [7 + 7 + 2 + 1.5, (-(2**63)) % 97 + 0.5, 9 + 4 + 1 + 2]
    seen = set()
    for log in _logs(path):
        signature, kind, inputs, answer = _run(loaded, log)
        seen.add((signature, kind, len(answer)))
        if not signature.startswith("embeddings"):
            np.testing.assert_allclose(
                answer, np.resize(expected, len(answer)), rtol=1e-6
            )
        spec = getattr(log, kind).request.model_spec
        assert spec.name == "ads"
    kinds = {"classify_click": "classify_log", "regress_click": "regress_log"}
    assert seen == {
        (signature, kinds.get(signature, "predict_log"), size)
        for signature in loaded.signatures
        for size in (1, 3, 7)
    }


def test_embeddings_are_asked_for_by_ids_of_the_rows(folder):
    path = warm_up.write(folder, SCHEMA, ROWS, batch_sizes=[3])
    asked = {
        log.predict_log.request.model_spec.signature_name: tf.make_ndarray(
            log.predict_log.request.inputs["ids"]
        ).tolist()
        for log in _logs(path)
        if "ids" in log.predict_log.request.inputs
    }
    assert asked["embeddings_city"] == ["Zürich".encode(), b"", b"Bern"]
    assert asked["embeddings_tag"] == [b"a", b"b", b"c"]
    # A table that no feature of the rows indexes.
    assert asked["embeddings_other"][0] == b"warm-up 1"


def test_rows_come_from_the_golden_requests(folder):
    golden = folder / "assets.extra" / "golden_requests"
    golden.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(golden)) as writer:
        for place, width in ((0, 2), (1, 0), (2, 1)):
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = "serving_default"
            for name, values in ROWS.items():
                part = values[place : place + 1]
                part = part[:, :width] if name == "tags" else part
                dtype = {"price": tf.float32}.get(name)
                request.inputs[name].CopyFrom(tf.make_tensor_proto(part, dtype))
            writer.write(log.SerializeToString())
            other = prediction_log_pb2.PredictionLog()
            other.classify_log.request.model_spec.signature_name = "x"
            writer.write(other.SerializeToString())
    written = warm_up.write(folder, SCHEMA, batch_sizes=[3])
    loaded = tf.saved_model.load(str(folder))
    answers = {
        name: answer
        for name, _, _, answer in (_run(loaded, log) for log in _logs(written))
    }
    golden.unlink()
    np.testing.assert_allclose(
        answers["serving_default"], answers["examples"], rtol=1e-6
    )
    np.testing.assert_allclose(answers["examples"][0], 17.5)


def test_without_rows_requests_are_made_up(folder):
    written = warm_up.write(folder, SCHEMA)
    loaded = tf.saved_model.load(str(folder))
    logs = _logs(written)
    for log in logs:
        _run(loaded, log)
    assert len(logs) == 3 * len(loaded.signatures)
    (raw,) = (
        log.predict_log.request.inputs
        for log in logs
        if log.predict_log.request.model_spec.signature_name
        == "serving_default"
        and log.predict_log.request.inputs["user"].tensor_shape.dim[0].size
        == 16
    )
    # From empty to full.
    lengths = tf.make_ndarray(raw["tags_length"])
    assert set(lengths) == set(range(raw["tags"].tensor_shape.dim[1].size + 1))


def test_no_more_records_than_a_server_takes(folder, monkeypatch):
    monkeypatch.setattr(warm_up, "MAX_RECORDS", 10)
    logs = _logs(warm_up.write(folder, SCHEMA, ROWS))
    assert len(logs) == 10
    names = {
        getattr(
            log, log.WhichOneof("log_type")
        ).request.model_spec.signature_name
        for log in logs
    }
    # One of each before the second of any.
    assert len(names) == 8


def test_none_are_wanted(folder, tmp_path):
    assert warm_up.write(tmp_path, SCHEMA, ROWS, batch_sizes=[]) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (ROWS, [0]),
        ({name: values[:0] for name, values in ROWS.items()}, [1]),
        (ROWS | {"user": ROWS["user"][:2]}, [1]),
        ({}, [1]),
    ],
)
def test_what_makes_no_request_is_refused(folder, rows, sizes):
    with pytest.raises(ValueError, match="row or more"):
        warm_up.write(folder, SCHEMA, rows, batch_sizes=sizes)

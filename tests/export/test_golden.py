import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tensorflow_serving.apis import prediction_log_pb2

from tests.support import experiments
from tfplugin import data
from tfplugin import schema as schema_lib
from tfplugin.export import golden
from tfplugin.export import golden_rows

COUNT = 30


class _Model(keras.Model):
    """A model with inputs and outputs by name, whose logits are sums."""

    def __init__(self):
        names = {
            "user": keras.Input((), dtype="int64", name="user"),
            "city": keras.Input((), dtype="string", name="city"),
            "tags": keras.Input((None,), dtype="string", name="tags"),
            "position": keras.Input((), dtype="int64", name="position"),
            "price": keras.Input((), name="price"),
        }
        logit = keras.ops.reshape(names["price"], (-1, 1))
        super().__init__(names, {"click": logit, "buy": logit})


def _logits(features, training):
    """Of what each feature holds; a row's do not depend on the others."""
    assert training is False
    price = np.nan_to_num(features["price"].numpy(), nan=-1.5)
    user = features["user"].numpy() % 7 * 0.25
    lengths = features["tags"].row_lengths().numpy()
    words = tf.strings.length(features["city"]).numpy() * 0.125
    position = features["position"].numpy() * 1.0
    click = price / 50 + user - lengths + words + position
    return {"click": tf.constant(click[:, None], tf.float32), "buy": -click}


class _Callable:
    def __init__(self):
        model = _Model()
        self.input, self.output = model.input, model.output

    def __call__(self, features, training):
        return _logits(features, training)


def _reference(row):
    price = -1.5 if row["price"] is None else np.float32(row["price"])
    user = -(2**63) if row["user"] is None else row["user"]
    logit = (
        price / 50
        + user % 7 * 0.25
        - len(row["tags"])
        + len(row["city"] or b"") * 0.125
        + 1.0
    )
    return 1 / (1 + np.exp(-logit))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    _, work = experiments.make(tmp_path_factory.mktemp("golden"))
    return data.open_dataset(work.dataset.path)


@pytest.fixture(scope="module")
def drawn(dataset):
    return golden.draw(dataset, _Callable(), COUNT, seed=3)


def _rows(requests):
    """What the serialized Examples hold, read by protobuf alone."""
    rows = []
    for example in map(tf.train.Example.FromString, requests.examples):
        feature = example.features.feature
        row = {"user": None, "city": None, "tags": [], "price": None}
        for name, values in feature.items():
            kind = getattr(values, values.WhichOneof("kind")).value
            row[name] = list(kind) if name == "tags" else kind[0]
        rows.append(row)
    return rows


def test_probabilities_are_those_of_the_rows(drawn):
    expected = [_reference(row) for row in _rows(drawn)]
    assert drawn.probabilities["click"].dtype == np.float32
    np.testing.assert_allclose(
        drawn.probabilities["click"], expected, atol=1e-6
    )
    np.testing.assert_allclose(
        drawn.probabilities["buy"],
        1 - drawn.probabilities["click"],
        atol=1e-6,
    )


def test_raw_columns_hold_the_same_rows(drawn):
    raw = drawn.raw
    assert set(raw) == {"user", "city", "tags", "tags_length", "price"}
    assert {len(column) for column in raw.values()} == {COUNT}
    assert raw["user"].dtype == raw["tags_length"].dtype == np.int64
    assert raw["price"].dtype == np.float32
    for index, row in enumerate(_rows(drawn)):
        length = raw["tags_length"][index]
        assert raw["tags"][index][:length].tolist() == row["tags"]
        user = -(2**63) if row["user"] is None else row["user"]
        assert raw["user"][index] == user
        assert raw["city"][index] == (row["city"] or b"")
        missing = np.isnan(raw["price"][index])
        assert missing == (row["price"] is None)


def test_hard_rows_are_among_them(drawn):
    rows = _rows(drawn)
    assert any(row["price"] is None for row in rows)
    assert any(row["user"] is None for row in rows)
    assert any(row["tags"] == [] for row in rows)
    assert max(len(row["tags"]) for row in rows) == 3
    assert rows[-2]["user"] == 2**62 + 1
    assert rows[-2]["city"] == b"no such id"
    nothing = {"user": None, "city": None, "tags": [], "price": None}
    assert rows[-1] == nothing
    # All the others are of the test split.
    assert all("position" not in row for row in rows)
    test = experiments.rows(200, seed=2)
    known = {(row["user"], len(row["tags"])) for row in test}
    assert all((row["user"], len(row["tags"])) in known for row in rows[:-2])


def test_a_seed_draws_the_same(dataset, drawn):
    again = golden.draw(dataset, _Callable(), COUNT, seed=3)
    other = golden.draw(dataset, _Callable(), COUNT, seed=4)
    assert again.examples == drawn.examples
    assert other.examples != drawn.examples


@pytest.mark.parametrize("count", [1, 2, 4, 200, 500])
def test_as_many_as_asked(dataset, count):
    found = golden.draw(dataset, _Callable(), count)
    assert found.num_rows == min(count, 202)


def test_none_is_refused(dataset):
    with pytest.raises(ValueError, match="count=0"):
        golden.draw(dataset, _Callable(), 0)


def test_the_calibration_is_applied(dataset, drawn):
    def calibrate(logits):
        return {name: 2.0 * logit for name, logit in logits.items()}

    found = golden.draw(
        dataset, _Callable(), COUNT, calibrate=calibrate, seed=3
    )
    logit = np.log(drawn.probabilities["click"]) - np.log1p(
        -drawn.probabilities["click"].astype(np.float64)
    )
    np.testing.assert_allclose(
        found.probabilities["click"], 1 / (1 + np.exp(-2 * logit)), atol=1e-4
    )


def test_the_file_holds_requests_and_responses(drawn, tmp_path):
    path = golden.write(tmp_path, drawn, tolerance=0.25, name="shop")
    assert path == tmp_path / "assets.extra" / "golden_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    kinds = [log.WhichOneof("log_type") for log in logs]
    assert kinds == ["predict_log"] * 2 + ["classify_log", "regress_log"] * 2
    found = {}
    for log, kind in zip(logs, kinds, strict=True):
        one = getattr(log, kind)
        assert one.request.model_spec.name == "shop"
        found[one.request.model_spec.signature_name] = one
    assert set(found) == {
        "serving_default",
        "examples",
        "classify_click",
        "regress_click",
        "classify_buy",
        "regress_buy",
    }
    click = drawn.probabilities["click"]
    for name in ("serving_default", "examples"):
        outputs = found[name].response.outputs
        np.testing.assert_array_equal(tf.make_ndarray(outputs["click"]), click)
    regressed = found["regress_click"].response.result.regressions
    np.testing.assert_array_equal([r.value for r in regressed], click)
    classified = found["classify_click"].response.result.classifications
    for row, value in zip(classified, click, strict=True):
        assert [one.label for one in row.classes] == ["0", "1"]
        np.testing.assert_allclose(
            [one.score for one in row.classes], [1 - value, value], rtol=1e-6
        )
    sent = found["classify_buy"].request.input.example_list.examples
    again = [tf.train.Example.FromString(x) for x in drawn.examples]
    assert list(sent) == again
    record = json.loads((path.parent / golden.RECORD).read_text("utf-8"))
    assert record == {"version": 1, "rows": COUNT, "tolerance": 0.25}
    first = hashlib.sha256(path.read_bytes()).digest()
    golden.write(tmp_path, drawn, tolerance=0.25, name="shop")
    assert hashlib.sha256(path.read_bytes()).digest() == first


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("inf"), float("nan")])
def test_a_tolerance_must_be_positive(drawn, tmp_path, tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        golden.write(tmp_path, drawn, tolerance=tolerance)
    assert not list(tmp_path.iterdir())


SCHEMA = schema_lib.Schema(
    id_features={
        "item": schema_lib.IdFeature(dtype="int64", table="item"),
        "words": schema_lib.IdFeature(
            dtype="string", table="words", is_list=True
        ),
        "place": schema_lib.IdFeature(
            dtype="string",
            table="place",
            training_only=True,
            serving_value="top",
        ),
    },
    dense_features={
        "price": schema_lib.DenseFeature(),
        "age": schema_lib.DenseFeature(training_only=True, serving_value=2.5),
    },
    labels=("click",),
)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "item": st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
            "words": st.lists(st.binary(max_size=4), max_size=5),
            "price": st.none() | st.floats(width=32, allow_nan=False),
        }
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(_ROWS)
def test_rows_examples_and_columns_agree(rows):
    features = golden_rows.features(rows, SCHEMA)
    parsed = data.parse_features(
        tf.constant([golden_rows.example(row) for row in rows], tf.string),
        SCHEMA.select(features=["item", "words", "price"], labels=["click"]),
    )
    raw = golden_rows.raw(rows, SCHEMA)
    np.testing.assert_array_equal(features["item"], parsed["item"])
    np.testing.assert_array_equal(raw["item"], parsed["item"])
    np.testing.assert_array_equal(features["price"], parsed["price"])
    np.testing.assert_array_equal(raw["price"], parsed["price"])
    expected = [row["words"] for row in rows]
    assert features["words"].to_list() == expected
    assert parsed["words"].to_list() == expected
    lists = [
        words[:length].tolist()
        for words, length in zip(raw["words"], raw["words_length"], strict=True)
    ]
    assert lists == expected
    assert features["place"].numpy().tolist() == [b"top"] * len(rows)
    assert features["age"].numpy().tolist() == [2.5] * len(rows)


def test_draws_are_even():
    """Each row about as often, over many seeds; twice never in one draw."""
    schema = SCHEMA.select(features=["item"], labels=["click"])
    items = np.arange(1, 13)
    hits = np.zeros(13, int)
    for seed in range(200):
        batches = [
            {"item": tf.constant(items[:5])},
            {"item": tf.constant(items[5:])},
        ]
        rows = golden_rows.draw(batches, schema, 5, seed)
        drawn = [row["item"] for row in rows[:-2]]
        assert len(set(drawn)) == 3
        hits[drawn] += 1
    assert hits[0] == 0
    # 50 are expected, with a deviation of 6.
    assert (np.abs(hits[1:] - 50) < 25).all()

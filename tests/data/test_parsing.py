import numpy as np
import pytest
import tensorflow as tf

from tests.support import datasets
from tfplugin import data
from tfplugin import schema as schema_lib

SCHEMA = schema_lib.Schema(
    id_features={
        "user": schema_lib.IdFeature(dtype="int64", table="user"),
        "city": schema_lib.IdFeature(dtype="string", table="city"),
        "tags": schema_lib.IdFeature(
            dtype="string", is_list=True, table="tags"
        ),
    },
    dense_features={"price": schema_lib.DenseFeature()},
    labels=("click", "buy"),
    weight=True,
)
ROWS = [
    {
        "user": -(2**62) - 5,
        "city": "Zürich",
        "tags": ["a", "\n", "é"],
        "price": 1.5,
        "click": 1.0,
        "buy": 0.0,
        "example_weight": 2.0,
    },
    {"click": 0.0, "example_weight": 0.5},
]


def _serialized():
    return tf.constant([datasets._example(row) for row in ROWS])


def test_values_and_missing_markers():
    features = data.parse_features(_serialized(), SCHEMA)
    assert features["user"].numpy().tolist() == [-(2**62) - 5, -(2**63)]
    assert features["city"].numpy().tolist() == ["Zürich".encode(), b""]
    assert features["tags"].to_list() == [[b"a", b"\n", "é".encode()], []]
    assert features["tags"].row_splits.dtype == tf.int64
    np.testing.assert_array_equal(features["price"], [1.5, np.nan])


def test_labels_masks_and_weights():
    features, labels, weights = data.parse_training(_serialized(), SCHEMA)
    assert set(features) == {"user", "city", "tags", "price"}
    np.testing.assert_array_equal(labels["click"], [[1], [0]])
    np.testing.assert_array_equal(labels["buy"], [[0], [0]])
    np.testing.assert_array_equal(weights["click"], [2, 0.5])
    # The second row's `buy` was not observed.
    np.testing.assert_array_equal(weights["buy"], [2, 0])


def test_without_weights_observed_labels_count_one():
    schema = SCHEMA.model_copy(update={"weight": False})
    _, _, weights = data.parse_training(_serialized(), schema)
    np.testing.assert_array_equal(weights["click"], [1, 1])
    np.testing.assert_array_equal(weights["buy"], [1, 0])


def test_empty_batch():
    features = data.parse_features(tf.constant([], tf.string), SCHEMA)
    assert features["user"].shape == (0,)
    assert features["tags"].to_list() == []


@pytest.mark.parametrize(
    "row", [{"user": "seven"}, {"city": 7}, {"price": "x"}, {"user": [1, 2]}]
)
def test_wrong_types_are_errors_that_name_the_feature(row):
    example = datasets._example(row)
    with pytest.raises(tf.errors.InvalidArgumentError, match=next(iter(row))):
        data.parse_features(tf.constant([example]), SCHEMA)


def test_bytes_that_are_no_example():
    with pytest.raises(tf.errors.InvalidArgumentError):
        data.parse_features(tf.constant([b"not an example"]), SCHEMA)

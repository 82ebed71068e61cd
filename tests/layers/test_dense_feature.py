import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import layers

BOUNDARIES = (-1.0, 0.5, 0.5, 10.0)


def reference(value):
    """standardize, log1p, buckets and indicator of one value, in float64."""
    buckets = np.zeros(5)
    if not np.isfinite(value):
        return [0.0, 0.0, *buckets, 1.0]
    buckets[sum(b <= value for b in BOUNDARIES)] = 1.0
    log = np.sign(value) * np.log1p(abs(value))
    return [(value - 3.0) / 2.0, (log - 1.0) / 0.5, *buckets, 0.0]


def make_layer(**kwargs):
    return layers.DenseFeature(
        ("standardize", "log1p", "quantile_buckets"),
        mean=3.0,
        standard_deviation=2.0,
        log_mean=1.0,
        log_standard_deviation=0.5,
        boundaries=BOUNDARIES,
        **kwargs,
    )


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(
        st.floats(-1e6, 1e6, width=32)
        | st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.5, 10.0]),
        max_size=8,
    ),
    column=st.booleans(),
)
def test_columns_match_the_definition(values, column):
    layer = make_layer()
    batch = np.array(values, np.float32)
    found = layer(tf.constant(batch[:, np.newaxis] if column else batch))
    expected = np.array([reference(float(v)) for v in batch]).reshape(-1, 8)
    assert found.shape == (len(values), layer.num_columns)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_constant_feature_and_no_indicator():
    layer = layers.DenseFeature(
        mean=7.0, standard_deviation=0.0, missing_indicator=False
    )
    found = layer(tf.constant([7, 8]))
    assert found.numpy().tolist() == [[0.0], [1.0]]


def test_missing_values_have_no_nan_gradient():
    layer = make_layer()
    values = tf.Variable([np.nan, 1.0, np.inf, 0.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(values))
    assert np.all(np.isfinite(tape.gradient(loss, values)))


def test_mixed_precision_subtracts_before_it_rounds():
    layer = layers.DenseFeature(mean=10_000.0, dtype="mixed_bfloat16")
    found = layer(tf.constant([10_001.0]))
    assert found.dtype == tf.bfloat16
    assert tf.cast(found, tf.float32).numpy().tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transforms": ("sqrt",)}, "transforms=.*sqrt"),
        ({"transforms": ("log1p", "log1p")}, "each once"),
        ({"transforms": (), "missing_indicator": False}, "each once"),
        ({"transforms": ("quantile_buckets",)}, "`boundaries` must be given"),
        ({"boundaries": (1.0, 0.0)}, "must ascend"),
        ({"standard_deviation": -1.0}, "standard_deviation=-1.0"),
        ({"mean": float("nan")}, "mean=nan"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.DenseFeature(**arguments)


def test_shape_is_checked():
    with pytest.raises(ValueError, match=r"values.shape=\(2, 3\)"):
        make_layer()(tf.zeros((2, 3)))


def test_config_round_trip():
    layer = make_layer(missing_indicator=False, name="age")
    again = layers.DenseFeature.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    values = tf.constant([1.0, np.nan, -4.0])
    np.testing.assert_array_equal(again(values), layer(values))


def test_keras_file_and_saved_model(tmp_path):
    inputs = keras.Input((), name="age")
    model = keras.Model(inputs, keras.layers.Dense(1)(make_layer()(inputs)))
    values = tf.constant([1.0, np.nan, -4.0])
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again(values), model(values))
    module = tf.Module()
    module.model_variables = model.variables
    module.serve = tf.function(
        lambda ages: model(ages), input_signature=[tf.TensorSpec([None])]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.serve(values), model(values), rtol=1e-6)

"""NormalizedEntropy and Calibration against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import metrics

KINDS = [lambda **k: metrics.NormalizedEntropy(0.2, **k), metrics.Calibration]
EXAMPLES = st.lists(
    st.tuples(st.booleans(), st.floats(-30.0, 30.0), st.integers(0, 3)),
    min_size=1,
    max_size=50,
)


def naive(labels, logits, weights, base_rate):
    logits = logits.astype(np.float64)
    losses = np.logaddexp(0.0, logits) - labels * logits
    entropy = -base_rate * np.log(base_rate)
    entropy -= (1.0 - base_rate) * np.log(1.0 - base_rate)
    predicted = np.sum(weights / (1.0 + np.exp(-logits)))
    positives = np.sum(weights * labels)
    return (
        np.average(losses, weights=weights) / entropy,
        predicted / positives if positives else np.nan,
    )


@settings(deadline=None, max_examples=30)
@given(EXAMPLES, st.floats(1e-4, 0.999), st.integers(1, 50))
def test_equal_the_definition(examples, base_rate, batch_size):
    labels, logits, weights = (
        np.array(column, np.float32) for column in zip(*examples, strict=True)
    )
    both = [metrics.NormalizedEntropy(base_rate), metrics.Calibration()]
    for start in range(0, len(labels), batch_size):
        part = slice(start, start + batch_size)
        for metric in both:
            metric.update_state(labels[part], logits[part], weights[part])
    if not weights.sum():
        assert all(np.isnan(metric.result()) for metric in both)
        return
    expected = naive(labels, logits, weights, base_rate)
    for metric, value in zip(both, expected, strict=True):
        # A loss of 1e-10 comes from float32 logits: no five digits of it.
        np.testing.assert_allclose(metric.result(), value, rtol=1e-5, atol=1e-9)


def test_probabilities_give_what_logits_give():
    rng = np.random.default_rng(0)
    labels, logits = rng.random((400, 1)) < 0.2, rng.normal(size=(400, 1))
    for kind in KINDS:
        one, other = kind(), kind(from_logits=False)
        one.update_state(labels, logits)
        other.update_state(labels, 1.0 / (1.0 + np.exp(-logits)))
        np.testing.assert_allclose(one.result(), other.result(), rtol=1e-5)


def test_certain_wrong_probabilities_stay_finite():
    metric = metrics.NormalizedEntropy(0.5, from_logits=False)
    metric.update_state([1, 0], [0.0, 1.0])
    np.testing.assert_allclose(
        metric.result(), -np.log(1e-7) / np.log(2.0), rtol=0.01
    )


def test_the_base_rate_itself_scores_one():
    labels = np.arange(1000) < 10
    logits = np.full(1000, np.log(0.01 / 0.99), np.float32)
    entropy, calibration = (
        metrics.NormalizedEntropy(0.01),
        metrics.Calibration(),
    )
    for metric in (entropy, calibration):
        metric.update_state(labels, logits)
        np.testing.assert_allclose(metric.result(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_empties_and_refused_observations(kind):
    metric, expected = kind(), kind()
    assert np.isnan(metric.result())
    metric.update_state(np.zeros((0, 1)), np.zeros((0, 1), np.float32))
    assert np.isnan(metric.result())
    metric.update_state(
        [-1.0, 0.0, 1.0, np.nan], [9.0, 0.1, 0.2, np.nan], [0, 1, 2, 0]
    )
    expected.update_state([0.0, 1.0], [0.1, 0.2], [1.0, 2.0])
    assert float(metric.result()) == float(expected.result())
    metric.update_state([-1.0], [0.5])
    assert np.isnan(metric.result())
    metric.reset_state()
    metric.update_state([1.0], [np.nan])
    assert np.isnan(metric.result())


def test_calibration_without_positives_is_nan_not_infinite():
    metric = metrics.Calibration()
    metric.update_state([0, 0], [0.5, 0.5])
    assert np.isnan(metric.result())


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_base_rate_without_entropy_is_refused(rate):
    with pytest.raises(ValueError, match="base_rate"):
        metrics.NormalizedEntropy(rate)
    with pytest.raises(ValueError, match="base_rate"):
        metrics.objective_metrics(rate)


@pytest.mark.parametrize("kind", KINDS)
def test_config_survives_a_round_trip(kind):
    metric = kind(from_logits=False, name="other", dtype="float32")
    revived = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert type(revived) is type(metric)
    assert revived.get_config() == metric.get_config()
    assert revived.from_logits is False
    assert getattr(revived, "base_rate", 0.2) == 0.2
    for one in (metric, revived):
        one.update_state([0, 1], [0.2, 0.3])
    assert float(revived.result()) == float(metric.result())


def test_sums_of_large_batches_keep_their_digits():
    metric = metrics.Calibration(from_logits=False)
    probabilities = tf.fill((2**21,), 0.1)
    metric.update_state(tf.fill((2**21,), 0.1), probabilities)
    for _ in range(4):
        metric.update_state(tf.zeros((2**21,)), probabilities)
    np.testing.assert_allclose(metric.result(), 5.0, rtol=1e-6)

"""Curves against slow references."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from sklearn import isotonic
from sklearn import linear_model

from tfplugin import calibration


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def counted(labels, logits, weights=None, batches=1):
    counts = calibration.ScoreCounts()
    weights = np.ones(len(labels)) if weights is None else weights
    for part in np.array_split(np.arange(len(labels)), batches):
        counts.add(labels[part], logits[part], weights[part])
    return counts


def sample(count, seed=0, shift=-2.0, slope=0.5):
    """Logits of a model, and labels of another truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, count)
    labels = (rng.random(count) < sigmoid(slope * logits + shift)) * 1.0
    return labels, logits


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-5, 5), st.integers(1, 4)),
        min_size=1,
        max_size=40,
    )
)
def test_pooling_against_sklearn(pairs):
    values, weights = np.array(pairs, np.float64).T
    means, sizes = calibration.pool_adjacent_violators(values, weights)
    expected = isotonic.isotonic_regression(values, sample_weight=weights)
    np.testing.assert_allclose(np.repeat(means, sizes), expected, atol=1e-12)
    assert (np.diff(means) > 0).all()


def test_pooling_nothing():
    means, sizes = calibration.pool_adjacent_violators([], [])
    assert means.shape == sizes.shape == (0,)


@pytest.mark.parametrize("weighted", [False, True])
def test_platt_against_logistic_regression(weighted):
    labels, logits = sample(5000)
    weights = np.random.default_rng(1).choice([0.5, 3.0], 5000)
    weights = weights if weighted else np.ones(5000)
    scores, mass = counted(labels, logits, weights).occupied()
    curve = calibration.fit_platt(scores, mass)
    slow = linear_model.LogisticRegression(C=np.inf, tol=1e-10).fit(
        logits[:, None], labels, weights
    )
    assert curve.slope == pytest.approx(slow.coef_[0, 0], rel=1e-3)
    assert curve.intercept == pytest.approx(slow.intercept_[0], rel=1e-3)


def test_platt_at_the_edges():
    separable = np.array([[50.0, 0.0], [0.0, 50.0]])
    curve = calibration.fit_platt(np.array([-1.0, 1.0]), separable)
    assert 1 < curve.slope < 50
    curve = calibration.fit_platt(np.array([-1.0, 1.0]), separable[::-1])
    assert curve.slope == 1e-3  # the ranking is not turned round
    assert sigmoid(curve.apply([0.0])) == pytest.approx(0.5)
    far = np.array([[1e6, 50.0], [1e3, 50.0]])
    curve = calibration.fit_platt(np.array([20.0, 30.0]), far)
    predicted = far.sum(1) @ sigmoid(curve.apply([20.0, 30.0]))
    assert predicted == pytest.approx(100, rel=1e-6)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_fitted_probabilities_are_calibrated_by_decile(method):
    labels, logits = sample(200_000)
    true = sigmoid(0.5 * logits - 2.0)
    fitted = calibration.fit(counted(labels, logits), method, 0.1)
    assert fitted.method == method and fitted.reason is None
    assert fitted.positives == labels.sum()
    assert fitted.calibration_after == pytest.approx(1, abs=1e-6)
    assert fitted.normalized_entropy_after < fitted.normalized_entropy_before
    found = sigmoid(fitted.curve.apply(logits))
    for rows in np.array_split(np.argsort(logits), 10):
        assert found[rows].mean() == pytest.approx(true[rows].mean(), rel=0.06)
    assert len(fitted.curve.knots) <= 200


def test_isotonic_follows_what_no_line_does():
    rng = np.random.default_rng(0)
    logits = rng.uniform(-4, 4, 100_000)
    true = np.where(logits < 0, 0.02, 0.3)
    labels = (rng.random(100_000) < true) * 1.0
    counts = counted(labels, logits)
    line = calibration.fit(counts, "platt", 0.16)
    steps = calibration.fit(counts, "isotonic", 0.16)
    assert steps.normalized_entropy_after < line.normalized_entropy_after
    found = sigmoid(steps.curve.apply([-3.0, -1.0, 1.0, 3.0]))
    np.testing.assert_allclose(found, [0.02, 0.02, 0.3, 0.3], rtol=0.15)


def test_isotonic_is_the_regression_of_its_groups():
    labels, logits = sample(3000)
    counts = counted(labels, logits)
    scores, mass = counts.occupied()
    curve = calibration.fit_isotonic(scores, mass, counts.occupied_rows())
    x, y = np.array(curve.knots).T
    # Where the blocks' centres are, sklearn's curve of single rows is near.
    slow = isotonic.IsotonicRegression().fit(logits, labels)
    np.testing.assert_allclose(
        sigmoid(y[1:-1]), slow.predict(x[1:-1]), atol=0.08
    )
    assert len(x) <= labels.sum() // 10


def test_ranks_are_kept():
    labels, logits = sample(3000)
    curve = calibration.fit(counted(labels, logits), "isotonic", 0.1).curve
    grid = np.linspace(-40, 40, 2001)
    assert (np.diff(curve.apply(grid)) > 0).all()
    assert (sigmoid(curve.apply([-30.0, 30.0])) < 1).all()


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_what_is_masked_or_weighted(method):
    labels, logits = sample(4000)
    rng = np.random.default_rng(5)
    weights = rng.choice([0.0, 1.0, 2.0], 4000)
    hidden = np.where(weights == 0.0, np.nan, logits)
    wrong = np.where(weights == 0.0, 1.0, labels)
    masked = calibration.fit(counted(wrong, hidden, weights), method, 0.1)
    doubled = np.repeat(np.arange(4000), weights.astype(int))
    plain = counted(labels[doubled], logits[doubled])
    kept = weights > 0
    assert masked.rows == kept.sum()
    assert masked.positives == labels[kept].sum()
    repeated = calibration.fit(plain, method, 0.1)
    assert masked.calibration_before == pytest.approx(
        repeated.calibration_before
    )
    if method == "platt":
        assert masked.curve.slope == pytest.approx(repeated.curve.slope)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_with_little_to_fit_on_scores_stay(method):
    labels, logits = np.zeros(500), np.linspace(-3, 3, 500)
    labels[:19] = 1
    for found in (labels, 1 - labels):
        fitted = calibration.fit(counted(found, logits), method, 0.1)
        assert fitted.method == "none" and "fewer" in fitted.reason
        assert fitted.curve == calibration.Curve()
    labels[19] = 1
    assert calibration.fit(counted(labels, logits), method, 0.1).reason is None
    empty = calibration.fit(calibration.ScoreCounts(), method, 0.1)
    assert (empty.rows, empty.calibration_before) == (0, None)
    logits[3] = np.nan
    broken = calibration.fit(counted(labels, logits), method, 0.1)
    assert broken.method == "none" and "NaN" in broken.reason
    same = counted(np.tile([0.0, 1.0], 50), np.zeros(100))
    even = calibration.fit(same, method, 0.1)
    assert even.curve.apply([0.0]) == pytest.approx(0, abs=1e-6)


def test_batches_make_no_difference():
    labels, logits = sample(1000)
    logits[:2] = [np.inf, -np.inf]
    one, many = counted(labels, logits), counted(labels, logits, batches=7)
    np.testing.assert_array_equal(one.rows, many.rows)
    for a, b in zip(one.occupied(), many.occupied(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-20, 20, width=32), unique=True, max_size=8),
    st.lists(st.floats(-40, 40, width=32), max_size=20),
)
def test_the_layer_is_the_curve(x, z):
    x = sorted({round(v, 2) for v in x})
    y = np.cumsum(np.abs(np.sin(x))) - 3
    curve = calibration.Curve(
        knots=tuple(zip(x, y.tolist(), strict=True)),
        end_slopes=(0.25, 1.5),
        slope=0.5,
        intercept=1.0,
    )
    layer = calibration.CalibratedLogits({"click": curve})
    logits = {"click": tf.reshape(tf.constant(z, tf.float32), [-1, 1])}
    found = layer({**logits, "buy": logits["click"]})
    np.testing.assert_allclose(
        found["click"][:, 0], curve.apply(z), rtol=2e-5, atol=2e-5
    )
    np.testing.assert_array_equal(found["buy"], logits["click"])


def test_curves_rise():
    with pytest.raises(ValueError, match="rise"):
        calibration.Curve(knots=((0.0, 1.0), (1.0, 0.0)))
    with pytest.raises(ValueError, match="rise"):
        calibration.Curve(knots=((0.0, 1.0), (0.0, 2.0)))
    with pytest.raises(ValueError, match="greater than 0"):
        calibration.Curve(slope=0.0)

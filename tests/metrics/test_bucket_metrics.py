import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tfplugin import metrics


def _stream(size, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.0, 1.5, size).round(2)
    labels = (rng.random(size) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    weights = rng.choice([0.0, 1.0, 2.5], size)
    return labels, logits, weights, rng.integers(0, 3, size)


def _measured(stream, batch, base_rate=0.3):
    made = metrics.BucketMetrics(base_rate, {"a": 4, "b": 1})
    for start in range(0, len(stream[0]), batch):
        labels, logits, weights, buckets = (
            column[start : start + batch] for column in stream
        )
        made.update(
            labels,
            logits,
            weights,
            {"a": buckets, "b": np.zeros(len(labels), np.int64)},
        )
    return made


def _check(found, labels, logits, weights, tolerance):
    kept = weights > 0
    labels, logits, weights = labels[kept], logits[kept], weights[kept]
    assert found["rows"] == len(labels)
    assert found["positives"] == labels.sum()
    area = sklearn_metrics.roc_auc_score(labels, logits, sample_weight=weights)
    assert found["auc"] == pytest.approx(area, abs=tolerance)
    predicted = 1 / (1 + np.exp(-logits))
    loss = sklearn_metrics.log_loss(labels, predicted, sample_weight=weights)
    entropy = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert found["normalized_entropy"] == pytest.approx(loss / entropy)
    ratio = (weights * predicted).sum() / (weights * labels).sum()
    assert found["calibration"] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("size", "batch", "tolerance"),
    [(900, 900, 1e-9), (900, 64, 1e-9), (40_000, 3000, 5e-4)],
)
def test_every_bucket_is_measured_as_if_alone(size, batch, tolerance):
    stream = _stream(size)
    made = _measured(stream, batch)
    found = made.by_bucket("a")
    for bucket in range(3):
        mine = stream[3] == bucket
        columns = [column[mine] for column in stream[:3]]
        _check(found[bucket], *columns, tolerance)
    assert found[3]["rows"] == 0
    assert math.isnan(found[3]["auc"])
    assert math.isnan(found[3]["calibration"])
    (whole,) = made.by_bucket("b")
    _check(whole, *stream[:3], tolerance)


def test_the_curve_parts_predicted_positives_evenly():
    labels, logits, weights, buckets = _stream(5000)
    curve = _measured((labels, logits, weights, buckets), 700)
    points = curve.calibration_curve(10)
    kept = weights > 0
    assert 9 <= len(points) <= 10
    assert sum(point["rows"] for point in points) == kept.sum()
    assert sum(p["positives"] for p in points) == labels[kept].sum()
    predictions = [point["prediction"] for point in points]
    assert predictions == sorted(predictions)
    # The points are runs of the rows in the order of their logits.
    order = np.argsort(logits[kept], kind="stable")
    chances = 1 / (1 + np.exp(-logits[kept][order]))
    mass, start = weights[kept][order], 0
    for point in points:
        rows = slice(start, start + point["rows"])
        mean = np.average(chances[rows], weights=mass[rows])
        assert point["prediction"] == pytest.approx(mean, rel=1e-6)
        rate = np.average(labels[kept][order][rows], weights=mass[rows])
        assert point["rate"] == pytest.approx(rate, abs=0.02)
        share = (chances[rows] * mass[rows]).sum() / (chances * mass).sum()
        assert share == pytest.approx(0.1, abs=0.04)
        start = rows.stop


def test_nothing_seen_is_nothing_measured():
    made = metrics.BucketMetrics(0.5, {"a": 1})
    assert made.calibration_curve() == []
    made.update([1.0], [float("nan")], [0.0], {"a": [0]})
    assert made.by_bucket("a")[0]["rows"] == 0
    assert made.calibration_curve() == []


def test_a_masked_row_may_hold_nan_and_an_unmasked_one_shows():
    for weight, is_nan in ((0.0, False), (1.0, True)):
        made = metrics.BucketMetrics(0.5, {"a": 2})
        made.update(
            [0, 1, 0, 1, 0],
            [0.1, 0.2, float("nan"), 0.3, 0.1],
            [1, 1, weight, 1, 1],
            {"a": [0, 0, 0, 1, 1]},
        )
        first, second = made.by_bucket("a")
        assert math.isnan(first["auc"]) == is_nan
        assert math.isnan(first["normalized_entropy"]) == is_nan
        assert second["auc"] == 1.0
        assert (made.calibration_curve() == []) == is_nan


@pytest.mark.parametrize("base_rate", [0.0, 1.0, float("nan")])
def test_a_base_rate_must_have_an_entropy(base_rate):
    with pytest.raises(ValueError, match="base_rate"):
        metrics.BucketMetrics(base_rate, {})

"""AUC and PRAUC: small batches, edge cases, state, precision in a graph."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import metrics
from tfplugin.metrics import score_bins

KINDS = [metrics.AUC, metrics.PRAUC]
# A step of 1e-3 lies above the finest bin everywhere in this range.
SCORES = st.integers(-20_000, 20_000).map(lambda thousandths: thousandths / 1e3)
EXAMPLES = st.lists(
    st.tuples(st.booleans(), SCORES, st.integers(0, 3)),
    min_size=1,
    max_size=60,
)


def naive_auc(labels, scores, weights):
    total = pairs = 0.0
    for y, s, w in zip(labels, scores, weights, strict=True):
        for z, t, v in zip(labels, scores, weights, strict=True):
            if y == 1 and z == 0:
                pairs += w * v
                total += w * v * ((s > t) + 0.5 * (s == t))
    return total / pairs if pairs else np.nan


def naive_average_precision(labels, scores, weights):
    positives = np.sum(weights * labels)
    if positives == 0:
        return np.nan
    total = 0.0
    for y, s, w in zip(labels, scores, weights, strict=True):
        retrieved = scores >= s
        if y == 1 and w > 0:
            precision = np.sum((weights * labels)[retrieved])
            total += w * precision / np.sum(weights[retrieved])
    return total / positives


@settings(deadline=None, max_examples=30)
@given(EXAMPLES, st.integers(1, 60))
def test_equals_the_definition_in_any_batches(examples, batch_size):
    labels, scores, weights = (
        np.array(column, np.float32) for column in zip(*examples, strict=True)
    )
    area, precision = metrics.AUC(), metrics.PRAUC()
    for start in range(0, len(labels), batch_size):
        part = slice(start, start + batch_size)
        area.update_state(labels[part], scores[part], weights[part])
        precision.update_state(labels[part], scores[part], weights[part])
    for metric, naive in (
        (area, naive_auc),
        (precision, naive_average_precision),
    ):
        np.testing.assert_allclose(
            metric.result(), naive(labels, scores, weights), rtol=1e-5
        )


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=300),
    st.booleans(),
    st.integers(0, 299),
)
def test_bins_never_swap_scores(scores, from_logits, place_by):
    scores = np.sort(np.array(scores, np.float32))
    if not from_logits:
        with np.errstate(over="ignore"):
            scores = np.sort(1.0 / (1.0 + np.exp(-scores)))
    placement = score_bins.place(tf.constant(scores[: place_by + 1]))
    bins = score_bins.index(tf.constant(scores), placement, from_logits).numpy()
    assert (np.diff(bins) >= 0).all()
    assert bins.min() >= 0
    assert bins.max() < score_bins.num_bins(from_logits)
    assert (np.diff(bins)[scores[1:] == scores[:-1]] == 0).all()


@pytest.mark.parametrize("from_logits", [True, False])
def test_extreme_scores_reach_both_ends_within_bounds(from_logits):
    ends = [-np.inf, np.inf] if from_logits else [0.0, 1.0]
    for centre in ends:
        placement = score_bins.place(tf.constant([centre], tf.float32))
        bins = score_bins.index(tf.constant(ends), placement, from_logits)
        assert 0 <= bins[0] < bins[1] < score_bins.num_bins(from_logits)


def test_equal_scores_meet_in_one_bin_wherever_they_stand():
    rng = np.random.default_rng(0)
    values = rng.normal(-7.0, 1.0, 1000).astype(np.float32)
    placement = score_bins.place(tf.constant(values))
    whole = score_bins.index(tf.constant(values), placement, True).numpy()
    for shift in range(1, 9):
        part = score_bins.index(tf.constant(values[shift:]), placement, True)
        np.testing.assert_array_equal(part, whole[shift:])


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_dtypes_are_alike(kind):
    labels, scores = [0, 1, 0, 1, 1], [-3.0, -1.0, -2.0, -2.5, 0.5]
    weights = [1.0, 2.0, 0.5, 1.0, 0.0]
    results = set()
    for column in (False, True):
        for dtype in ("float32", "int64", "bool"):
            arrays = [
                np.array(labels, dtype),
                np.array(scores, "float32"),
                np.array(weights, "float64"),
            ]
            if column:
                arrays = [array[:, np.newaxis] for array in arrays]
            metric = kind()
            metric.update_state(*arrays)
            results.add(float(metric.result()))
    half = kind()
    half.update_state(
        labels, tf.constant(scores, tf.bfloat16), tf.constant(weights)
    )
    assert results == {float(half.result())}


@pytest.mark.parametrize("kind", KINDS)
def test_weight_zero_masks_whatever_stands_there(kind):
    metric, expected = kind(), kind()
    metric.update_state(
        [-1.0, 0.0, 1.0, np.nan, 1.0],
        [500.0, 0.1, 0.2, np.nan, np.inf],
        [0.0, 1.0, 2.0, 0.0, 0.0],
    )
    expected.update_state([0.0, 1.0], [0.1, 0.2], [1.0, 2.0])
    assert float(metric.result()) == float(expected.result()) == 1.0
    np.testing.assert_array_equal(metric.variables[2], expected.variables[2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("label", "score"), [(-1.0, 0.3), (2.0, 0.3), (np.nan, 0.3), (1.0, np.nan)]
)
def test_a_refused_observation_makes_the_result_nan(kind, label, score):
    metric = kind()
    metric.update_state([0.0, 1.0, label], [0.1, 0.2, score])
    assert np.isnan(metric.result())


def test_a_missing_class_gives_the_documented_value():
    for kind in KINDS:
        assert np.isnan(kind().result())
        metric = kind()
        metric.update_state([0, 0], [0.1, 0.2])
        assert np.isnan(metric.result())
        metric = kind()
        metric.update_state(np.zeros((0, 1)), np.zeros((0, 1), np.float32))
        assert np.isnan(metric.result())
        metric.update_state([1, 0], [0.5, 0.2])
        assert float(metric.result()) == 1.0
    area, precision = metrics.AUC(), metrics.PRAUC()
    area.update_state([1, 1], [0.1, 0.2])
    precision.update_state([1, 1], [0.1, 0.2])
    assert np.isnan(area.result())
    assert float(precision.result()) == 1.0


def test_a_soft_label_counts_as_a_share_of_both_classes():
    soft, hard = metrics.AUC(), metrics.AUC()
    soft.update_state([0.25, 1.0, 0.0], [0.3, 0.2, 0.1])
    hard.update_state(
        [1, 0, 1, 0], [0.3, 0.3, 0.2, 0.1], [0.25, 0.75, 1.0, 1.0]
    )
    np.testing.assert_allclose(soft.result(), hard.result(), rtol=1e-6)


def test_counts_do_not_saturate_beyond_float32():
    metric = metrics.PRAUC()
    metric.update_state([1, 0], [1.0, 0.0], [2.0**30, 2.0**30])
    for _ in range(64):
        metric.update_state([1, 0], [1.0, 1.0], [1.0, 1.0])
    assert float(tf.reduce_sum(metric.variables[0].value)) == 2.0**31 + 128


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ((np.zeros((2, 2)), np.zeros((2, 2))), "y_true"),
        ((np.zeros(2), np.zeros((2, 1, 1))), "y_pred"),
        ((np.zeros(2), np.zeros(2), np.zeros((2, 3))), "sample_weight"),
        ((np.zeros(1), np.zeros(2)), "y_true"),
        ((np.zeros(2), np.zeros(2), np.zeros(1)), "sample_weight"),
    ],
)
def test_wrong_shapes_are_refused(kind, arrays, named):
    with pytest.raises(ValueError, match=named):
        kind().update_state(*arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_reset_forgets_scores_and_bins(kind):
    metric, fresh = kind(), kind()
    metric.update_state([0, 1], [5.0, 500.0])
    metric.reset_state()
    assert all((v.numpy() == 0).all() for v in metric.variables)
    labels, scores = [0, 1, 0, 1], [-6.9, -6.9001, -6.9002, -6.89991]
    for one in (metric, fresh):
        one.update_state(labels, scores)
    assert float(metric.result()) == float(fresh.result())


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_on_from_a_checkpoint(kind, tmp_path):
    rng = np.random.default_rng(3)
    labels, scores = rng.random((2, 500)) < 0.3, rng.normal(size=(2, 500))
    metric, resumed = kind(), kind()
    metric.update_state(labels[0], scores[0])
    path = tf.train.Checkpoint(state=metric.variables).save(tmp_path / "state")
    tf.train.Checkpoint(state=resumed.variables).restore(path).assert_consumed()
    for one in (metric, resumed):
        one.update_state(labels[1], scores[1])
    assert float(metric.result()) == float(resumed.result())


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_gives_a_coarse_value_and_eager_the_fine_one(kind):
    rng = np.random.default_rng(4)
    labels = (rng.random(20_000) < 0.05).astype(np.float32)
    scores = rng.normal(-3.0, 1.0, 20_000).astype(np.float32) + labels
    eager, metric = kind(), kind()
    eager.update_state(labels[:10_000], scores[:10_000])
    eager.update_state(labels[10_000:], scores[10_000:])

    @tf.function(reduce_retracing=True)
    def step(labels, scores):
        metric.update_state(labels, scores)
        return metric.result()

    step(labels[:10_000], scores[:10_000])
    coarse = step(labels[10_000:], scores[10_000:])
    assert coarse.dtype == metric.result().dtype == tf.float32
    assert float(metric.result()) == float(eager.result())
    assert abs(float(coarse) - float(eager.result())) < 5e-3


def test_a_step_never_reads_the_fine_bins():
    metric = metrics.AUC()

    @tf.function
    def step(labels, scores):
        metric.update_state(labels, scores)
        return metric.result()

    spec = tf.TensorSpec((None, 1), tf.float32)
    graph = step.get_concrete_function(spec, spec).graph
    captures = {
        inner.name: outer
        for outer, inner in graph.captures
        if outer is metric.variables[0].value.handle
    }
    (fine,) = captures
    consumers = graph.get_tensor_by_name(fine).consumers()
    assert [op.type for op in consumers] == ["ResourceScatterAdd"]


@pytest.mark.parametrize("kind", KINDS)
def test_config_survives_a_round_trip(kind):
    metric = kind(from_logits=False, name="other", dtype="float32")
    config = keras.saving.serialize_keras_object(metric)
    revived = keras.saving.deserialize_keras_object(config)
    assert type(revived) is kind
    assert revived.from_logits is False
    assert revived.get_config() == metric.get_config()
    assert revived.name == "other"


def test_probabilities_and_logits_rank_alike():
    rng = np.random.default_rng(5)
    labels = rng.random(5000) < 0.1
    logits = np.round(rng.normal(-2.0, 2.0, 5000), 2)
    for kind in KINDS:
        from_logits, from_probabilities = kind(), kind(from_logits=False)
        from_logits.update_state(labels, logits)
        from_probabilities.update_state(labels, 1.0 / (1.0 + np.exp(-logits)))
        np.testing.assert_allclose(
            from_logits.result(), from_probabilities.result(), atol=1e-5
        )


def test_several_replicas_are_refused():
    program = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
from tfplugin import metrics
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    metrics.NormalizedEntropy(0.5)
    try:
        metrics.AUC()
    except ValueError as error:
        print(error)
"""
    # Several strategies in one process disturb each other.
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "num_replicas_in_sync=2" in done.stdout

"""Trials against `fit` by hand, and exact measures against naive ones."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.support import experiments
from tfplugin import callbacks
from tfplugin.errors import InputError
from tfplugin.training import scores
from tfplugin.training import trials as trials_lib


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    config, work = experiments.make(tmp_path_factory.mktemp("trials"))
    return trials_lib.Trials(config, work, splits=("validation", "test"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0]),
            st.integers(-3, 3),
            st.sampled_from([0.0, 1.0, 2.5]),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=50, deadline=None)
def test_auc_counts_pairs(rows):
    labels, values, weights = (
        np.array(part, float) for part in zip(*rows, strict=True)
    )
    above = (values[:, None] > values) + 0.5 * (values[:, None] == values)
    pairs = (weights * labels)[:, None] * (weights * (1 - labels))
    expected = (pairs * above).sum() / pairs.sum() if pairs.sum() else np.nan
    np.testing.assert_allclose(
        scores.auc(labels, values, weights), expected, equal_nan=True
    )


def test_an_unknown_score_has_no_auc():
    scored = [np.nan, 0.0, 1.0]
    assert np.isnan(scores.auc([0, 1, 0], scored, [1, 1, 1]))
    assert scores.auc([0, 1, 0], scored, [0, 1, 1]) == 0.0


def test_log_loss_is_that_of_probabilities():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50).astype(float)
    logits, weights = rng.normal(size=50) * 3, rng.random(50)
    p = 1 / (1 + np.exp(-logits))
    each = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    assert scores.log_loss(labels, logits, weights) == pytest.approx(
        (weights * each).sum() / weights.sum()
    )
    assert np.isnan(scores.log_loss(labels, logits, weights * 0))
    logits[3] = np.nan
    assert np.isnan(scores.log_loss(labels, logits, weights))


def test_rows_are_those_of_the_splits(small):
    assert small.rows == {"train": 500, "validation": 200, "test": 200}
    assert small.sampled_by is None
    assert len(small.ids("test", "user")) == 200
    # Masked labels have no weight.
    assert set(small.weights("train", "buy")) == {0.0, 1.0}


def test_a_trial_is_reproducible_and_learns(small):
    curves = []
    for _ in range(2):
        trial = small.start({"training.tables.learning_rate": 0.1}, seed=3)
        curves.append([trial.train_epoch() for _ in range(2)])
    first, second = (
        [{k: v for k, v in e.items() if k != "seconds"} for e in curve]
        for curve in curves
    )
    assert first == second
    assert first[1]["train_loss"] < first[0]["train_loss"]
    logits = trial.predict("test")
    expected = scores.auc(
        small.labels("test", "click"),
        logits["click"],
        small.weights("test", "click"),
    )
    assert first[1]["test"]["click"]["auc"] == expected
    part = trial.predict("test", 50, 120)
    np.testing.assert_allclose(part["buy"], logits["buy"][50:120], rtol=1e-5)


def test_a_trial_takes_remedies_and_given_rows(small):
    changes = {
        "training.remedies": {
            "embedding_reset": True,
            "objective_early_stopping": {"patience": 1},
        }
    }
    trial = small.start(changes)
    measured = [trial.train_epoch() for _ in range(2)]
    assert [one["epoch"] for one in measured] == [1, 2]
    trial = small.start()
    trial.train_epoch(np.arange(64))
    assert int(trial.model.optimizer.iterations.numpy()) == 1


@pytest.mark.parametrize("metric", ["pr_auc", "normalized_entropy"])
def test_objectives_stop_by_every_metric_of_the_remedy(small, metric):
    trial = small.start(
        {
            "training.remedies": {
                "objective_early_stopping": {
                    "metric": metric,
                    "min_delta": 2.0,
                    "objectives": ["buy"],
                }
            }
        }
    )
    logged = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logged.append(dict(logs))
    )
    trial._callbacks.append(keep)
    trial.train_epoch()
    logits = trial.predict("validation")["buy"]
    labels = small.labels("validation", "buy")
    weights = small.weights("validation", "buy")
    loss = scores.log_loss(labels, logits, weights)
    train = small.weights("train", "buy")
    rate = (small.labels("train", "buy") * train).sum() / train.sum()
    expected = {
        "pr_auc": _average_precision(labels, logits, weights),
        "normalized_entropy": -loss
        / (rate * np.log(rate) + (1 - rate) * np.log1p(-rate)),
    }[metric]
    assert logged[0][f"val_buy_{metric}"] == pytest.approx(expected, rel=1e-4)
    trial.train_epoch()
    (stopping,) = (
        one
        for one in trial._callbacks
        if isinstance(one, callbacks.ObjectiveEarlyStopping)
    )
    assert stopping.stopped == {"buy": 2}


def _average_precision(labels, logits, weights):
    """Mean precision at each positive, without ties."""
    order = np.argsort(-logits, kind="stable")
    labels, weights = labels[order], weights[order]
    hits = np.cumsum(labels * weights)
    precision = hits / np.maximum(np.cumsum(weights), 1e-9)
    return (precision * labels * weights).sum() / hits[-1]


def test_stopping_needs_the_validation_split(tmp_path):
    config, work = experiments.make(tmp_path)
    trials = trials_lib.Trials(config, work, splits=("test",))
    stopping = {"training.remedies": {"objective_early_stopping": True}}
    with pytest.raises(InputError, match="splits=.*'validation'"):
        trials.start(stopping)


def test_masked_labels_teach_nothing(small):
    none = {name: np.zeros(500, np.float32) for name in ("click", "buy")}
    trial = small.start(train_weights=none)
    before = [w.copy() for w in trial.model.get_weights()]
    trial.train_epoch()
    for old, new in zip(before, trial.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_sample_is_seeded_and_of_a_share(tmp_path):
    config, work = experiments.make(tmp_path)
    sizes = [
        trials_lib.Trials(config, work, max_rows=250, sample_seed=s).rows
        for s in (1, 1, 2)
    ]
    assert sizes[0] == sizes[1] != sizes[2]
    assert 180 < sizes[0]["train"] < 320
    rare = trials_lib.Trials(config, work, max_rows=25).rows["train"]
    assert rare < 70
    with pytest.raises(InputError, match="unknown key"):
        trials_lib.Trials(config, work).start({"training.epoch": 1})

"""The metrics inside compile, fit, evaluate and save of Keras models."""

import keras
import numpy as np
import pytest
from sklearn import metrics as reference

from tfplugin import metrics

NAMES = ["auc", "pr_auc", "normalized_entropy", "calibration"]
ROWS = 600


def _model(objectives):
    keras.utils.set_random_seed(7)
    features = keras.Input((3,))
    outputs = {
        name: keras.layers.Dense(1, name=f"{name}_logit", dtype="float32")(
            features
        )
        for name in objectives
    }
    model = keras.Model(features, outputs)
    model.compile(
        "sgd",
        {
            name: keras.losses.BinaryCrossentropy(from_logits=True)
            for name in objectives
        },
        weighted_metrics={
            name: metrics.objective_metrics(0.2) for name in objectives
        },
    )
    return model


def _data(objectives, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, 3)).astype(np.float32)
    labels, weights = {}, {}
    for name in objectives:
        weights[name] = (rng.random((ROWS, 1)) < 0.7).astype(np.float32)
        drawn = features[:, :1] + rng.normal(size=(ROWS, 1)) > 0.9
        # A label that was not observed is stored as -1, with weight 0.
        labels[name] = np.where(weights[name] > 0, drawn, -1.0)
        labels[name] = labels[name].astype(np.float32)
    return features, labels, weights


def test_two_objectives_log_by_name_and_masked_labels_do_not_count():
    objectives = ["coupon", "multi"]
    model = _model(objectives)
    features, labels, weights = _data(objectives)
    history = model.fit(
        features,
        labels,
        sample_weight=weights,
        validation_data=(features, labels, weights),
        batch_size=128,
        epochs=2,
        verbose=0,
    ).history
    logged = {f"{name}_{metric}" for name in objectives for metric in NAMES}
    assert logged <= set(history)
    assert {f"val_{key}" for key in logged} <= set(history)
    evaluated = model.evaluate(
        features,
        labels,
        sample_weight=weights,
        batch_size=128,
        verbose=0,
        return_dict=True,
    )
    predictions = model.predict(features, verbose=0)
    for name in objectives:
        seen = weights[name][:, 0] > 0
        truth, scores = labels[name][seen], predictions[name][seen]
        area = reference.roc_auc_score(truth, scores)
        precision = reference.average_precision_score(truth, scores)
        rate = np.mean(1.0 / (1.0 + np.exp(-scores))) / np.mean(truth)
        for found in (
            evaluated,
            {key: history[f"val_{key}"][-1] for key in logged},
        ):
            np.testing.assert_allclose(found[f"{name}_auc"], area, atol=1e-4)
            np.testing.assert_allclose(
                found[f"{name}_pr_auc"], precision, atol=1e-4
            )
            np.testing.assert_allclose(
                found[f"{name}_calibration"], rate, rtol=1e-5
            )


def test_one_objective_logs_without_its_name():
    model = _model(["coupon"])
    features, labels, weights = _data(["coupon"])
    history = model.fit(
        features,
        labels,
        sample_weight=weights,
        validation_data=(features, labels, weights),
        verbose=0,
    ).history
    assert set(NAMES) <= set(history)
    assert {f"val_{name}" for name in NAMES} <= set(history)
    assert not any("coupon" in key for key in history)


def test_epoch_logs_are_fine_where_steps_are_coarse():
    model = _model(["coupon"])
    features, labels, weights = _data(["coupon"])
    steps = []

    class Steps(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            steps.append(dict(logs))

    evaluated = model.evaluate(
        features,
        labels,
        sample_weight=weights,
        batch_size=200,
        verbose=0,
        return_dict=True,
        callbacks=[Steps()],
    )
    seen = weights["coupon"][:, 0] > 0
    expected = reference.roc_auc_score(
        labels["coupon"][seen],
        model.predict(features, verbose=0)["coupon"][seen],
    )
    assert abs(evaluated["auc"] - expected) < 1e-4
    assert abs(float(steps[-1]["auc"]) - expected) < 5e-3


def test_a_saved_model_measures_the_same(tmp_path):
    objectives = ["coupon", "multi"]
    model = _model(objectives)
    features, labels, weights = _data(objectives)
    model.fit(features, labels, sample_weight=weights, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    before, after = (
        one.evaluate(
            features,
            labels,
            sample_weight=weights,
            verbose=0,
            return_dict=True,
        )
        for one in (model, loaded)
    )
    assert set(before) == set(after)
    for key, value in before.items():
        np.testing.assert_allclose(after[key], value, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_float32_results(policy):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        made = metrics.objective_metrics(0.2)
    finally:
        keras.config.set_dtype_policy(previous)
    plain = metrics.objective_metrics(0.2)
    rng = np.random.default_rng(6)
    labels, scores = rng.random(300) < 0.2, rng.normal(size=300)
    for one, other in zip(made, plain, strict=True):
        one.update_state(labels, scores)
        other.update_state(labels, scores)
        assert one.result().dtype == "float32"
        assert float(one.result()) == float(other.result())


def test_a_second_epoch_traces_nothing_new():
    traces = []

    class Counted(metrics.AUC):
        def update_state(self, *args, **kwargs):
            traces.append(1)
            super().update_state(*args, **kwargs)

    features = keras.Input((3,))
    model = keras.Model(features, keras.layers.Dense(1)(features))
    model.compile(
        "sgd",
        keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[Counted()],
    )
    rows, labels, _ = _data(["coupon"])
    arguments = {"batch_size": 100, "verbose": 0}
    model.fit(rows, np.maximum(labels["coupon"], 0.0), **arguments)
    first = len(traces)
    model.fit(rows, np.maximum(labels["coupon"], 0.0), epochs=3, **arguments)
    assert len(traces) == first

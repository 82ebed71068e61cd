"""Sampling undone, against simulations whose truth is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfplugin import calibration
from tfplugin import schema


def logit(p):
    return np.log(p) - np.log1p(-p)


def undo(p, *arguments, **options):
    """Float64 probabilities in and out."""
    logits = {k: tf.constant(logit(v), tf.float32) for k, v in p.items()}
    undone = calibration.undo_sampling(logits, *arguments, **options)
    return {
        k: 1 / (1 + np.exp(-v.numpy().astype(np.float64)))
        for k, v in undone.items()
    }


def kept_rates(joint, q, labels):
    """Objective to p_o of kept rows, by the definition.

    `joint` holds the probability of each combination of labels, row by row.
    """
    places = [joint["names"].index(label) for label in labels]
    weight = {
        values: 1.0 if any(values[place] for place in places) else q
        for values in joint["p"]
    }
    total = sum(weight[v] * p for v, p in joint["p"].items())
    return {
        name: sum(weight[v] * p for v, p in joint["p"].items() if v[place])
        / total
        for place, name in enumerate(joint["names"])
    }


@pytest.mark.parametrize("rate", [1e-4, 0.03, 0.5, 1.0])
def test_one_label_is_the_known_formula(rate):
    p = np.array([1e-6, 1e-3, 0.2, 0.5, 0.9, 0.999])
    known = schema.NegativeSampling(
        labels=("click",), rate=rate, splits=("train",)
    ).undo(p)
    found = undo({"click": p}, ["click"], rate)["click"]
    np.testing.assert_allclose(found, known, rtol=2e-5)


@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.5])
@pytest.mark.parametrize("labels", [["click"], ["click", "buy"]])
def test_what_follows_on_a_label_is_exact(rate, labels):
    rng = np.random.default_rng(0)
    click = rng.uniform(1e-4, 0.6, 500)
    buy = click * rng.uniform(1e-3, 1, 500)
    joint = {
        "names": ("click", "buy"),
        "p": {(0, 0): 1 - click, (1, 0): click - buy, (1, 1): buy},
    }
    found = undo(kept_rates(joint, rate, labels), labels, rate)
    np.testing.assert_allclose(found["click"], click, rtol=5e-5)
    np.testing.assert_allclose(found["buy"], buy, rtol=5e-5)


def test_an_objective_of_its_own_needs_its_share_of_negatives():
    rng = np.random.default_rng(0)
    click = rng.uniform(1e-3, 0.3, 500)
    hide = (1 - click) * rng.uniform(1e-3, 0.5, 500)
    joint = {
        "names": ("click", "hide"),
        "p": {(0, 0): 1 - click - hide, (1, 0): click, (0, 1): hide},
    }
    kept = kept_rates(joint, 0.1, ["click"])
    found = undo(kept, ["click"], 0.1, outside={"hide": 1.0})
    np.testing.assert_allclose(found["hide"], hide, rtol=1e-4)
    assert (undo(kept, ["click"], 0.1)["hide"] < hide / 2).all()


def test_a_share_between_is_exact_where_it_is_the_same_for_all_rows():
    click, rate = np.linspace(0.01, 0.3, 50), 0.2
    save = click * 0.4
    # 0.4 of a click's rows are saved, and as many rows without one.
    joint = {
        "names": ("click", "save"),
        "p": {
            (0, 0): 1 - click - save,
            (1, 0): click - save,
            (1, 1): save,
            (0, 1): save,
        },
    }
    kept = kept_rates(joint, rate, ["click"])
    share = rate / (1 + rate)
    found = undo(kept, ["click"], rate, outside={"save": share})["save"]
    np.testing.assert_allclose(found, 2 * save, rtol=1e-4)


def test_labels_that_exclude_each_other_are_bounded():
    click, hide = np.array([0.2, 0.05]), np.array([0.1, 0.05])
    joint = {
        "names": ("click", "hide"),
        "p": {(0, 0): 1 - click - hide, (1, 0): click, (0, 1): hide},
    }
    labels = ["click", "hide"]
    found = undo(kept_rates(joint, 0.1, labels), labels, 0.1)
    # As documented: too small, by less than the share of A that is missed.
    whole = 0.1 + 0.9 * (click + hide)
    missed = 0.1 + 0.9 * np.maximum(found["click"], found["hide"])
    np.testing.assert_allclose(
        found["click"], click * missed / whole, rtol=1e-4
    )
    assert (found["click"] < click).all() and (found["click"] > click / 3).all()


def test_unaffected_objectives_and_ranks():
    z = tf.constant(np.linspace(-15, 15, 1001), tf.float32)
    logits = {"click": z[::-1], "buy": z, "later": z}
    for share in (0.0, 0.3):
        found = calibration.undo_sampling(
            logits, ["click"], 1e-4, {"buy": share}, ["later"]
        )
        np.testing.assert_array_equal(found["later"], z)
        assert np.isfinite(found["buy"]).all()
    one = calibration.undo_sampling({"click": z}, ["click"], 1e-4)["click"]
    assert (np.diff(one) > 0).all()
    np.testing.assert_allclose(one, z + np.log(1e-4), rtol=1e-5)


def test_a_sampled_log_is_calibrated_by_decile():
    rng = np.random.default_rng(3)
    count, rate = 400_000, 0.05
    true = 1 / (1 + np.exp(-rng.normal(-3.5, 1.2, count)))
    later = true * 0.3
    u = rng.random(count)
    click, buy = u < true, u < later
    keep = click | (rng.random(count) < rate)
    # A model that knows the sampled log's probabilities.
    z = 1 - true + true / rate
    undone = undo(
        {"click": true / rate / z, "buy": later / rate / z}, ["click"], rate
    )
    assert click[keep].mean() > 5 * click.mean()
    for name, happened in (("click", click), ("buy", buy)):
        for rows in np.array_split(np.argsort(undone[name]), 10):
            positives = happened[rows].sum()
            if positives >= 100:
                # Four standard errors of the positives drawn, or 1 %.
                noise = max(0.01, 4 / np.sqrt(positives))
                ratio = undone[name][rows].sum() / positives
                assert abs(ratio - 1) < noise
        np.testing.assert_allclose(
            undone[name], {"click": true, "buy": later}[name], rtol=1e-4
        )


def test_while_training_the_logits_pass_with_their_gradient():
    layer = calibration.SamplingCorrection(["click"], 0.01)
    z = tf.Variable([[0.3], [-2.0]])
    with tf.GradientTape() as tape:
        out = layer({"click": z, "buy": z * 2}, training=True)
        total = tf.reduce_sum(out["click"] * 3 + out["buy"])
    np.testing.assert_array_equal(out["click"], z)
    np.testing.assert_array_equal(tape.gradient(total, z), [[5.0], [5.0]])


def test_in_a_model_that_is_saved(tmp_path):
    x = keras.Input((2,), name="x")
    logits = {"click": keras.layers.Dense(1, name="click")(x)}
    layer = calibration.SamplingCorrection(["click"], 0.1)
    model = keras.Model({"x": x}, layer(logits))
    batch = {"x": tf.constant([[1.0, 2.0], [3.0, -4.0]])}
    trained = model(batch, training=True)["click"]
    for answer in (
        model.predict(batch, verbose=0)["click"],
        model(batch)["click"],
    ):
        np.testing.assert_allclose(answer, trained + np.log(0.1), rtol=1e-5)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        again.predict(batch, verbose=0)["click"],
        model.predict(batch, verbose=0)["click"],
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": [], "rate": 0.1},
        {"labels": "click", "rate": 0.1},
        {"labels": ["click"], "rate": 0.0},
        {"labels": ["click"], "rate": 1.5},
        {"labels": ["click"], "rate": 0.1, "outside": {"buy": 2.0}},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="Received"):
        calibration.SamplingCorrection(**arguments)

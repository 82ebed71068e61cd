import numpy as np
import pytest
import tensorflow as tf

from tests.support import optimizer_cases
from tfplugin.optimizers import update_rules

RULES = {
    "momentum": (
        update_rules.momentum_sgd,
        1,
        "momentum",
        {"momentum": 0.7},
    ),
    "adagrad": (update_rules.adagrad, 1, "adagrad", {"epsilon": 1e-3}),
    "rowwise": (update_rules.rowwise_adagrad, 1, "rowwise", {"epsilon": 1e-3}),
    "adam": (
        update_rules.lazy_adam,
        2,
        "adam",
        {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3},
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_rules_agree_with_loops_in_float64(name, per_row, seed):
    rule, num_states, kind, constants = RULES[name]
    rng = np.random.default_rng(seed)
    rows = np.arange(5)
    reference = optimizer_cases.Reference(
        kind, np.zeros((5, 3)), 0.3, **constants
    )
    shape = (5, 1) if name == "rowwise" else (5, 3)
    states = (tf.zeros(shape, tf.float64),) * num_states
    factors = rng.random(5) if per_row else np.ones(5)
    rate = tf.constant(0.3 * factors[:, None]) if per_row else 0.3
    weights = np.zeros((5, 3))
    for step in range(1, 5):
        gradient = rng.normal(size=(5, 3)) * 10.0 ** -rng.integers(0, 4)
        extra = {"step": tf.constant(float(step), tf.float64)}
        delta, states = rule(
            tf.constant(gradient),
            states,
            rate,
            **constants,
            **(extra if name == "adam" else {}),
        )
        weights -= delta.numpy()
        reference.apply(rows, gradient, factors)
    np.testing.assert_allclose(weights, reference.weights, rtol=1e-9)


def test_sgd_has_no_state():
    delta, states = update_rules.sgd(
        tf.constant([[1.0], [2.0]]), tf.constant([[1.0], [0.5]])
    )
    assert states == ()
    assert delta.numpy().tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("name", RULES)
def test_zero_gradient_without_epsilon_moves_nothing(name):
    rule, num_states, _, constants = RULES[name]
    constants = {k: 0.0 if k == "epsilon" else v for k, v in constants.items()}
    if name == "adam":
        constants["step"] = tf.constant(1.0)
    states = (tf.zeros((2, 1)),) * num_states
    delta, new_states = rule(tf.zeros((2, 1)), states, 0.1, **constants)
    assert delta.numpy().tolist() == [[0.0], [0.0]]
    for state in new_states:
        assert state.numpy().tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("name", RULES)
def test_no_rows_give_no_rows(name):
    rule, num_states, _, constants = RULES[name]
    if name == "adam":
        constants = {**constants, "step": tf.constant(1.0)}
    width = 1 if name == "rowwise" else 3
    states = (tf.zeros((0, width)),) * num_states
    delta, _ = rule(tf.zeros((0, 3)), states, 0.1, **constants)
    assert delta.shape == (0, 3)

"""Each model's arithmetic by NumPy, with weights read back."""

import decimal

import numpy as np
import pytest
import tensorflow as tf

from tests.support import small_models
from tfplugin import models


def _encoded(model):
    vectors = small_models.vectors_of(model, "embeddings")
    return vectors, small_models.outputs_of(model, "price_columns")[
        "price_columns"
    ]


def _dense(model, name, x, relu=False):
    layer = model.get_layer(name)
    out = x @ np.asarray(layer.kernel)
    if layer.use_bias:
        out = out + np.asarray(layer.bias)
    return np.maximum(out, 0) if relu else out


def _softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _check(model, expected):
    logits = model(small_models.FEATURES)
    assert set(logits) == set(expected)
    for objective, value in expected.items():
        np.testing.assert_allclose(
            logits[objective], value, rtol=2e-5, atol=2e-6
        )


def _logits(model, x):
    return {name: _dense(model, name, x) for name in ("click", "buy")}


def test_dlrm_reads_dot_products_of_all_pairs():
    model = small_models.build(
        models.dlrm, hidden_units=(6,), bottom_units=(5,)
    )
    vectors, price = _encoded(model)
    bottom = _dense(model, "bottom_0", price, relu=True)
    bottom = _dense(model, "bottom_1", bottom, relu=True)
    vectors = [*vectors, bottom]
    dots = [
        (vectors[i] * vectors[j]).sum(axis=1)
        for i in range(5)
        for j in range(i)
    ]
    x = np.concatenate([bottom, np.stack(dots, axis=1)], axis=1)
    _check(model, _logits(model, _dense(model, "top_0", x, relu=True)))


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
@pytest.mark.parametrize("rank", [None, 3])
def test_dcn_crosses_all_features(structure, rank):
    model = small_models.build(
        models.dcn,
        hidden_units=(6,),
        structure=structure,
        num_crosses=3,
        projection_dim=rank,
    )
    vectors, price = _encoded(model)
    first = np.concatenate([*vectors, price], axis=1)
    x = first
    for k in range(3):
        layer = model.get_layer(f"cross_{k}")
        matrix = np.asarray(layer.dense.kernel)
        if rank:
            matrix = np.asarray(layer.down_proj_dense.kernel) @ matrix
            assert np.linalg.matrix_rank(matrix) == rank
        x = first * (x @ matrix + np.asarray(layer.dense.bias)) + x
    below = x if structure == "stacked" else first
    deep = _dense(model, "deep_0", below, relu=True)
    if structure == "parallel":
        deep = np.concatenate([x, deep], axis=1)
    _check(model, _logits(model, deep))


def test_deepfm_adds_weights_products_and_a_network():
    model = small_models.build(models.deepfm, hidden_units=(6,))
    vectors, price = _encoded(model)
    linear = sum(small_models.vectors_of(model, "linear_weights"))
    linear = linear + _dense(model, "price_weight", price)
    vectors = [*vectors, _dense(model, "price_vector", price)]
    pairs = sum(
        vectors[i] * vectors[j] for i in range(5) for j in range(i)
    )  # By column, (batch_size, length).
    deep = np.concatenate(vectors, axis=1)
    deep = _dense(model, "deep_0", deep, relu=True)
    expected = {
        objective: linear[:, index : index + 1]
        + _dense(model, f"{objective}_products", pairs)
        + _dense(model, f"{objective}_deep", deep)
        for index, objective in enumerate(("click", "buy"))
    }
    _check(model, expected)


def test_deepfm_starts_as_the_plain_factorization_machine():
    # Not `build`, which makes every weight random.
    made = small_models.context(small_models.mappings())
    table = small_models.layers.TableConfig(
        "user", 4, made.id_mappings["user"], seed=1
    )
    model = models.deepfm(
        {"user": made.inputs()["user"]},
        embeddings=small_models.layers.EmbeddingCollection(
            [small_models.layers.FeatureConfig("user", table)]
        ),
        dense_features={},
        objectives=["click"],
    )
    ones = model.get_layer("click_products").kernel
    np.testing.assert_array_equal(ones, np.ones((4, 1)))
    weight = model.get_layer("linear_weights").tables["user_weight"]
    assert not np.any(weight.embeddings)
    assert weight.embeddings.shape == (8, 1)


def test_mmoe_mixes_experts_for_each_objective():
    model = small_models.build(
        models.mmoe, hidden_units=(6, 5), tower_units=(3,), num_experts=3
    )
    vectors, price = _encoded(model)
    x = np.concatenate([*vectors, price], axis=1)
    experts = []
    for e in range(3):
        hidden = _dense(model, f"expert_{e}_0", x, relu=True)
        experts.append(_dense(model, f"expert_{e}_1", hidden, relu=True))
    expected = {}
    for name in ("click", "buy"):
        gate = _softmax(_dense(model, f"{name}_gate", x))
        mixed = sum(gate[:, e : e + 1] * experts[e] for e in range(3))
        tower = _dense(model, f"{name}_tower_0", mixed, relu=True)
        expected[name] = _dense(model, name, tower)
    _check(model, expected)


def test_ple_gates_own_and_shared_experts_level_by_level():
    model = small_models.build(
        models.ple,
        hidden_units=(5,),
        num_levels=2,
        shared_experts=2,
        own_experts=1,
    )
    vectors, price = _encoded(model)
    x = np.concatenate([*vectors, price], axis=1)
    states = {"click": x, "buy": x, "shared": x}
    numbers = {"click": 1, "buy": 1, "shared": 2}
    for level in range(2):
        experts = {
            owner: [
                _dense(model, f"{owner}_expert_{level}_{k}_0", state, relu=True)
                for k in range(numbers[owner])
            ]
            for owner, state in states.items()
        }
        mixed = {}
        for owner, state in states.items():
            if owner == "shared" and level == 1:
                continue
            read = {
                "click": experts["click"] + experts["shared"],
                "buy": experts["buy"] + experts["shared"],
                "shared": sum(experts.values(), []),
            }[owner]
            gate = _softmax(_dense(model, f"{owner}_gate_{level}", state))
            assert gate.shape[1] == len(read)
            mixed[owner] = sum(
                gate[:, k : k + 1] * e for k, e in enumerate(read)
            )
        states = mixed
    _check(model, {n: _dense(model, n, s) for n, s in states.items()})
    # Shared experts of the last level are mixed for objectives only.
    assert "shared_gate_1" not in {layer.name for layer in model.layers}


def test_esmm_gives_the_logit_of_the_product():
    model = small_models.build(
        models.esmm, hidden_units=(6,), funnel=("buy", "click")
    )
    vectors, price = _encoded(model)
    x = np.concatenate([*vectors, price], axis=1)
    z = {}
    for name in ("click", "buy"):
        hidden = _dense(model, f"{name}_tower_0", x, relu=True)
        z[name] = _dense(model, f"{name}_step", hidden).astype("float64")
    buy = 1 / (1 + np.exp(-z["buy"]))
    click = buy / (1 + np.exp(-z["click"]))
    _check(model, {"buy": z["buy"], "click": np.log(click / (1 - click))})


def _product(a, b):
    """The exact logit of σ(a) σ(b), and its slope in a."""
    with decimal.localcontext() as precise:
        precise.prec = 200
        first, second = (1 + decimal.Decimal(-z).exp() for z in (a, b))
        probability = 1 / (first * second)
        against = first * second - 1
        slope = (1 - 1 / first) / (1 - probability)
        return float(-against.ln()), float(slope)


@pytest.mark.parametrize(
    ("a", "b"),
    [(0, 0), (3, -2), (40, 35), (90, 95), (-80, -70), (-90, 60), (60, -90)],
)
def test_logits_of_products_keep_their_digits(a, b):
    model = small_models.build(models.esmm, hidden_units=(3,))
    for name, value in (("click", a), ("buy", b)):
        step = model.get_layer(f"{name}_step")
        step.kernel.assign(tf.zeros_like(step.kernel))
        step.bias.assign([float(value)])
    with tf.GradientTape() as tape:
        logits = model(small_models.FEATURES)["buy"]
    steps = [model.get_layer(f"{name}_step").bias for name in ("click", "buy")]
    gradients = tape.gradient(logits, [step.value for step in steps])
    expected, slope = _product(a, b)
    np.testing.assert_allclose(logits[:, 0], [expected] * 3, rtol=1e-6)
    np.testing.assert_allclose(gradients[0], [3 * slope], rtol=1e-4)
    np.testing.assert_allclose(gradients[1], [3 * _product(b, a)[1]], rtol=1e-4)


def test_an_objective_outside_of_the_funnel_stands_alone():
    model = small_models.build(
        models.esmm,
        objectives=("click", "like", "buy"),
        hidden_units=(3,),
        funnel=("click", "buy"),
    )
    found = small_models.outputs_of(model, "click_step", "like_step")
    logits = model(small_models.FEATURES)
    for name in ("click", "like"):
        np.testing.assert_array_equal(logits[name], found[f"{name}_step"])

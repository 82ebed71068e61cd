"""What every kind of model has in common."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import small_models
from tfplugin import layers
from tfplugin import models

FEATURES = small_models.FEATURES
OPTIONS = {
    "dcn": {"structure": "stacked", "projection_dim": 3, "tower_units": (4,)},
    "deepfm": {"tower_units": (4,)},
    "dlrm": {"bottom_units": (5,), "tower_units": (4,)},
    "esmm": {"funnel": ("click", "buy")},
    "mmoe": {"num_experts": 3, "tower_units": (4,)},
    "ple": {"own_experts": 2, "tower_units": (4,)},
    "shared_bottom": {"tower_units": (4,)},
}
KINDS = pytest.mark.parametrize("kind", sorted(OPTIONS))


def _build(kind, **more):
    options = {"hidden_units": (6,), **OPTIONS[kind], **more}
    return small_models.build(models.find(kind), **options)


def test_every_kind_is_tried_here():
    assert list(models.kinds()) == sorted(OPTIONS)
    assert all(line.endswith(".") for line in models.kinds().values())


def test_a_model_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "planted_model.py").write_text(
        'def planted_model():\n    """Does nothing."""\n'
    )
    (tmp_path / "planted_part.py").write_text("def part(): ...\n")
    folders = [*models.__path__, str(tmp_path)]
    monkeypatch.setattr(models, "__path__", folders)
    assert models.kinds()["planted_model"] == "Does nothing."
    assert "planted_part" not in models.kinds()


@KINDS
def test_every_weight_has_a_gradient_and_tables_a_sparse_one(kind):
    model = _build(kind)
    with tf.GradientTape() as tape:
        logits = model(FEATURES, training=True)
        loss = tf.add_n([tf.reduce_sum(v**2) for v in logits.values()])
    assert {k: v.shape for k, v in logits.items()} == {
        "click": (3, 1),
        "buy": (3, 1),
    }
    variables = model.trainable_variables
    found = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, found, strict=True):
        assert gradient is not None, variable.path
        is_table = variable.path.endswith("/embeddings")
        assert isinstance(gradient, tf.IndexedSlices) == is_table


@KINDS
def test_a_graph_answers_for_batches_of_any_size(kind):
    model = _build(kind)
    specs = {
        "user": tf.TensorSpec([None], tf.int64),
        "city": tf.TensorSpec([None], tf.string),
        "tags": tf.RaggedTensorSpec([None, None], tf.string),
        "position": tf.TensorSpec([None], tf.int64),
        "price": tf.TensorSpec([None], tf.float32),
    }
    answer = tf.function(lambda f: model(f, training=False), [specs])
    alone = answer({k: v[1:2] for k, v in FEATURES.items()})
    for objective, logits in model(FEATURES).items():
        assert alone[objective].shape == (1, 1)
        np.testing.assert_allclose(
            alone[objective][0], logits[1], rtol=1e-5, atol=1e-6
        )
    nothing = answer({k: v[:0] for k, v in FEATURES.items()})
    assert {v.shape[0] for v in nothing.values()} == {0}
    operators = {
        operator.type
        for operator in answer.get_concrete_function().graph.get_operations()
    }
    assert not [name for name in operators if "Tfplugin" in name]


@KINDS
def test_logits_are_float32_under_mixed_precision(kind):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = _build(kind)
    finally:
        keras.config.set_dtype_policy("float32")
    logits = model(FEATURES)
    assert {v.dtype for v in logits.values()} == {tf.float32}
    assert sorted(model.output_names) == ["buy", "click"]


@KINDS
def test_saved_and_loaded_it_answers_the_same(kind, tmp_path):
    model = _build(kind, id_mappings=small_models.composed_mappings())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = model(FEATURES)
    for objective, logits in loaded(FEATURES).items():
        np.testing.assert_array_equal(logits, expected[objective])


@KINDS
def test_dropout_acts_in_training_only(kind):
    model = _build(kind, dropout=0.5)
    quiet = [model(FEATURES)["click"].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    dropped = [model(FEATURES, training=True)["click"] for _ in range(2)]
    assert any(np.any(d != quiet[0]) for d in dropped)


@pytest.mark.parametrize("kind", ["dlrm", "deepfm"])
def test_vectors_of_other_lengths_are_projected(kind):
    model = _build(kind, dims={"user": 3, "city": 6}, interaction_dim=4)
    names = {layer.name for layer in model.layers}
    assert {"user_projection", "city_projection"} <= names
    assert "tags_projection" not in names
    assert model.get_layer("user_projection").kernel.shape == (3, 4)
    longest = _build(kind, dims={"user": 3, "city": 6})
    assert longest.get_layer("tags_projection").kernel.shape == (4, 6)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("dcn", {"structure": "beside"}, "`structure`.*'beside'"),
        ("dcn", {"num_crosses": 0}, "num_crosses=0"),
        ("dcn", {"projection_dim": 0}, "projection_dim=0"),
        ("mmoe", {"num_experts": 0}, "num_experts=0"),
        ("mmoe", {"hidden_units": ()}, "`hidden_units`"),
        ("ple", {"num_levels": 0}, "num_levels=0"),
        ("ple", {"shared_experts": 0}, "shared_experts=0"),
        ("esmm", {"funnel": ("click", "sale")}, "'sale'"),
        ("esmm", {"funnel": ("click", "click")}, "each once"),
        ("esmm", {"funnel": ()}, "two steps.*Leave it out"),
        ("esmm", {"funnel": ("click",)}, "two steps"),
    ],
)
def test_options_that_make_no_model(kind, options, message):
    with pytest.raises(ValueError, match=message):
        _build(kind, **options)


def test_a_single_vector_has_no_pair():
    ids = {"user": keras.Input((), dtype="int64", name="user")}
    table = layers.TableConfig("user", 2, layers.HashMapping(3))
    with pytest.raises(ValueError, match="two features"):
        models.dlrm(
            ids,
            embeddings=layers.EmbeddingCollection(
                [layers.FeatureConfig("user", table)]
            ),
            dense_features={},
            objectives=["click"],
        )

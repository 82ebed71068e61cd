import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import small_models
from tfplugin import layers
from tfplugin import models

MAPPINGS = small_models.mappings()
FEATURES = small_models.FEATURES


def _context():
    return small_models.context(MAPPINGS)


def _build(**options):
    return small_models.build(models.shared_bottom, **options)


def test_inputs_follow_the_schema():
    inputs = _context().inputs()
    assert list(inputs) == ["user", "city", "tags", "position", "price"]
    assert inputs["user"].dtype == "int64"
    assert inputs["user"].shape == (None,)
    assert inputs["tags"].shape == (None, None)
    assert inputs["tags"].ragged


def test_a_logit_an_objective():
    logits = _build()(FEATURES)
    assert list(logits) == ["click", "buy"]
    assert all(value.shape == (3, 1) for value in logits.values())
    assert np.isfinite(logits["click"]).all()


def test_towers_belong_to_their_objective():
    model = _build(hidden_units=(6,), tower_units=(3,))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(FEATURES)["buy"])
    variables = model.trainable_variables
    gradients = dict(
        zip(
            [v.path for v in variables],
            tape.gradient(loss, [v.value for v in variables]),
            strict=True,
        )
    )
    assert gradients["buy_tower_0/kernel"] is not None
    assert gradients["click_tower_0/kernel"] is None
    assert gradients["bottom_0/kernel"] is not None
    sparse = [g for g in gradients.values() if isinstance(g, tf.IndexedSlices)]
    assert len(sparse) == len(MAPPINGS)


def test_without_hidden_layers_it_is_linear():
    model = _build(hidden_units=())
    # Four vectors of 4 and the price's two columns.
    assert model.get_layer("click").kernel.shape == (4 * 4 + 2, 1)


def test_dropout_acts_in_training_only():
    model = _build(dropout=0.5)
    quiet = [model(FEATURES)["click"].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    dropped = [model(FEATURES, training=True)["click"] for _ in range(4)]
    assert any(np.any(d != quiet[0]) for d in dropped)


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = _build()
    finally:
        keras.config.set_dtype_policy("float32")
    assert model(FEATURES)["click"].dtype == tf.float32


def test_saved_and_loaded_it_answers_the_same(tmp_path):
    model = _build(tower_units=(3,))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        model(FEATURES)["buy"], loaded(FEATURES)["buy"]
    )


def test_dense_features_must_be_inputs():
    with pytest.raises(ValueError, match=r"dense_features.*\['age'\]"):
        models.shared_bottom(
            _context().inputs(),
            embeddings=layers.EmbeddingCollection(
                [
                    layers.FeatureConfig(
                        "user", layers.TableConfig("user", 2, MAPPINGS["user"])
                    )
                ]
            ),
            dense_features={"age": layers.DenseFeature()},
            objectives=("click",),
        )

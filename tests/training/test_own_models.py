"""Models that a user brings as `model.build`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import experiments
from tfplugin import export
from tfplugin import layers
from tfplugin import training
from tfplugin.errors import InputError


def _heads(inputs, x, flat=False):
    outputs = {}
    for label in ("click", "buy"):
        logit = keras.layers.Dense(1, name=label)(x)
        outputs[label] = keras.layers.Reshape(())(logit) if flat else logit
    return keras.Model(inputs, outputs)


def one_feature(context):
    """Takes one of five features; its Embedding has no name."""
    user = context.inputs()["user"]
    vector = layers.Embedding(
        embedding_dim=2, id_mapping=context.id_mappings["user"], seed=1
    )(user)
    return _heads({"user": user}, vector)


def flat_logits(context):
    inputs = context.inputs()
    price = layers.DenseFeature()(inputs["price"])
    return _heads({"price": inputs["price"]}, price, flat=True)


def frozen_table(context):
    user = context.inputs()["user"]
    layer = layers.Embedding(
        embedding_dim=2,
        id_mapping=context.id_mappings["user"],
        seed=1,
        name="frozen",
    )
    vector = layer(user)
    layer.trainable = False
    return _heads({"user": user}, vector)


def stock_table(context):
    inputs = context.inputs()
    position = keras.layers.Embedding(9, 2)(inputs["position"])
    user = layers.Embedding(
        embedding_dim=2, id_mapping=context.id_mappings["user"], seed=1
    )(inputs["user"])
    x = keras.layers.Concatenate()([position, user])
    return _heads({k: inputs[k] for k in ("position", "user")}, x)


def keras_lookup(context):
    city = context.inputs()["city"]
    rows = keras.layers.StringLookup(vocabulary=["Bern", "Genève"])(city)
    vector = keras.layers.Embedding(3, 2)(rows)
    return _heads({"city": city}, vector)


def list_outputs(context):
    inputs = context.inputs()
    price = layers.DenseFeature()(inputs["price"])
    logit = keras.layers.Dense(1)(price)
    return keras.Model({"price": inputs["price"]}, [logit, logit])


def other_input(context):
    age = keras.Input((), name="age")
    return _heads({"age": age}, keras.layers.Reshape((1,))(age))


def one_label(context):
    price = context.inputs()["price"]
    logit = keras.layers.Dense(1)(layers.DenseFeature()(price))
    return keras.Model({"price": price}, {"click": logit})


def wide_logit(context):
    price = context.inputs()["price"]
    logit = keras.layers.Dense(2)(layers.DenseFeature()(price))
    return keras.Model({"price": price}, {"click": logit, "buy": logit})


def _make(tmp_path, build, *overrides):
    return experiments.make(
        tmp_path,
        f"model.build={__name__}:{build.__name__}",
        "training.epochs=1",
        *overrides,
    )


def _exported(work):
    loaded = training.load(work)
    path = export.save(loaded.model, work.model / "1", loaded.dataset.schema)
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return loaded, serve


def test_a_model_of_one_feature_learns_from_and_serves_that_feature(tmp_path):
    config, work = _make(tmp_path, one_feature)
    history = training.train(config, work)
    (table,) = history["model"]["tables"]
    assert (table["embedding_dim"], table["features"]) == (2, ["user"])
    loaded, serve = _exported(work)
    assert set(serve.structured_input_signature[1]) == {"user"}
    users = tf.constant([1, 2, 3, 5], tf.int64)
    logits = loaded.model.predict({"user": users}, verbose=0)["click"][:, 0]
    answer = serve(user=users)["click"]
    np.testing.assert_allclose(answer, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert len(set(answer.numpy().tolist())) == 4


def test_flat_logits_train_and_serve_batches(tmp_path):
    config, work = _make(tmp_path, flat_logits)
    training.train(config, work)
    _, serve = _exported(work)
    assert serve(price=tf.constant([1.0, 2.0, 3.0]))["buy"].shape == (3,)


def test_a_frozen_table_is_left_alone(tmp_path):
    config, work = _make(tmp_path, frozen_table)
    history = training.train(config, work)
    assert history["model"]["tables"][0]["optimizer_bytes"] == 0
    trained = training.load(work).model.get_layer("frozen")
    fresh = training.assemble(config, work).model.get_layer("frozen")
    np.testing.assert_array_equal(trained.embeddings, fresh.embeddings)


def test_a_stock_table_needs_a_constant_rate(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config, work = _make(tmp_path / "a", stock_table)
    with pytest.raises(InputError, match="row_rate=constant"):
        training.train(config, work)
    config, work = _make(
        tmp_path / "b", stock_table, "training.tables.row_rate=constant"
    )
    training.train(config, work)


def test_keras_lookup_layers_are_exported(tmp_path):
    config, work = _make(
        tmp_path, keras_lookup, "training.tables.row_rate=constant"
    )
    training.train(config, work)
    loaded, serve = _exported(work)
    cities = tf.constant(["Bern", "Genève", "elsewhere"])
    logits = loaded.model({"city": cities})["click"]
    np.testing.assert_allclose(
        serve(city=cities)["click"], tf.sigmoid(logits)[:, 0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ("no_such_module:f", "no module 'no_such_module'"),
        (f"{__name__}:absent", "no function 'absent'"),
        (f"{__name__}:list_outputs", "outputs must be a dict"),
        (f"{__name__}:other_input", r"\['age'\]"),
        (f"{__name__}:one_label", r"\['click', 'buy'\].*\['click'\]"),
        (f"{__name__}:wide_logit", r"`click` of shape \(None, 2\)"),
    ],
)
def test_a_model_that_does_not_fit(tmp_path, build, words):
    config, work = experiments.make(tmp_path, f"model.build={build}")
    with pytest.raises(InputError, match=words):
        training.train(config, work)

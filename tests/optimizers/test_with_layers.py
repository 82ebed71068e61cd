"""The optimizers with the embedding layers they are made for."""

import keras
import numpy as np
import tensorflow as tf

from tfplugin import layers
from tfplugin import optimizers
from tfplugin.optimizers import embedding_tables


def model_with_shared_table():
    keras.utils.set_random_seed(1)
    item = layers.TableConfig("item", 4, vocabulary_size=20, seed=1)
    user = layers.TableConfig("user", 4, vocabulary_size=30, seed=2)
    collection = layers.EmbeddingCollection(
        [
            layers.FeatureConfig("shown", item),
            layers.FeatureConfig("bought", item),
            layers.FeatureConfig("user", user),
        ]
    )
    inputs = {
        name: keras.Input((1,), dtype="int64", name=name)
        for name in ("shown", "bought", "user")
    }
    vectors = collection(inputs)
    x = keras.layers.Concatenate()([vectors[name] for name in inputs])
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    return model, collection


def test_collection_trains_resumes_and_slows_rare_rows(tmp_path):
    model, collection = model_with_shared_table()
    tables = [table.embeddings for table in collection.tables.values()]
    found = embedding_tables.find_tables(model)
    assert {id(t) for t in found} == {id(t) for t in tables}

    split = optimizers.split(
        model,
        optimizers.RowwiseAdagrad(0.1, row_rate=optimizers.LogFrequency()),
        keras.optimizers.Adam(0.01),
    )
    for table in collection.tables.values():
        rows = table.embeddings.shape[0]
        counts = np.zeros(rows)
        counts[rows // 2 :] = 9
        split.set_row_counts(table.embeddings, counts, table.num_special_rows)
    model.compile(split, "mse")
    rng = np.random.default_rng(0)
    ids = {
        name: rng.integers(0, 20, (64, 1))
        for name in ("shown", "bought", "user")
    }
    targets = rng.normal(size=(64, 1)).astype("float32")
    before = [table.numpy() for table in tables]
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(ids, targets, **options)
    for old, table in zip(before, tables, strict=True):
        half, special = table.shape[0] // 2, 2
        moved = (table.numpy() != old).any(axis=1)
        # Rows whose count is 0 have the rate log(1) = 0.
        assert not moved[special:half].any()
        assert moved[half:].any()

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fresh, _ = model_with_shared_table()
    fresh.compile(
        optimizers.split(
            fresh,
            optimizers.RowwiseAdagrad(0.1, row_rate=optimizers.LogFrequency()),
            keras.optimizers.Adam(0.01),
        ),
        "mse",
    )
    path = tf.train.Checkpoint(model=model, optimizer=split).save(
        str(tmp_path / "checkpoint")
    )
    fresh.optimizer.build(fresh.trainable_variables)
    tf.train.Checkpoint(model=fresh, optimizer=fresh.optimizer).restore(
        path
    ).assert_existing_objects_matched()
    for resumed in (model, loaded, fresh):
        resumed.fit(ids, targets, **options)
    for resumed in (loaded, fresh):
        for mine, theirs in zip(
            model.get_weights(), resumed.get_weights(), strict=True
        ):
            assert (mine == theirs).all()

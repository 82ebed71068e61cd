import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.callbacks import small_models
from tfplugin import callbacks
from tfplugin import layers
from tfplugin import optimizers
from tfplugin.callbacks import table_sets


def test_as_many_sets_as_epochs_are_embedding_reset():
    models = []
    for callback in (
        callbacks.EmbeddingReset(seed=3),
        callbacks.TableSets(3, seed=3),
    ):
        model = small_models.one_objective()
        small_models.fit(model, [callback], 3)
        models.append(small_models.state(model))
    small_models.assert_same(*models)


def test_sets_take_turns_and_dense_state_does_not_notice():
    model, seen = small_models.one_objective(), small_models.Snapshots()
    small_models.fit(model, [callbacks.TableSets(2, seed=3), seen], 5)
    tables = small_models.table_keys(model)
    dense = set(seen.ended[0]) - tables
    for epoch in range(1, 5):
        small_models.assert_same(
            seen.ended[epoch - 1], seen.begun[epoch], dense
        )
        if epoch >= 2:
            # Rows, slots and steps are those its last pass left.
            small_models.assert_same(
                seen.ended[epoch - 2], seen.begun[epoch], tables
            )
        changed = [
            key
            for key in tables
            if (seen.ended[epoch - 1][key] != seen.begun[epoch][key]).any()
        ]
        # Tables, moments; steps too once the sets have trained differently.
        assert {"model/user_table/embeddings"} <= set(changed)
    assert int(model.optimizer.iterations.numpy()) == 15


@pytest.mark.parametrize(
    ("sets", "passes", "expected"),
    [(2, None, [0, 1, 0, 1, 0]), (2, 3, [0, 1, 0, 0, 1]), (3, 4, [0, 1, 2, 0])],
)
def test_passes_say_which_set_is_trained(sets, passes, expected):
    model = small_models.one_objective()
    callback, seen = callbacks.TableSets(sets, passes), []
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(len(expected)):
        callback.on_epoch_begin(epoch)
        seen.append(callback.active_set)
    assert seen == expected


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = small_models.one_objective()
    small_models.fit(whole, [callbacks.TableSets(2, seed=4)], 5)

    def checkpoint(model, sets):
        sets.build(model)
        return tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, **sets.trackables
        )

    first, sets = small_models.one_objective(), callbacks.TableSets(2, seed=4)
    small_models.fit(first, [sets], 3)
    path = checkpoint(first, sets).save(tmp_path / "state")
    resumed = small_models.one_objective(seed=8)
    sets = callbacks.TableSets(2, seed=4)
    checkpoint(resumed, sets).restore(path).assert_consumed()
    assert sets.active_set == 0
    small_models.fit(resumed, [sets], 5, initial_epoch=3)
    small_models.assert_same(
        small_models.state(whole), small_models.state(resumed)
    )


def test_layers_limit_the_sets_and_row_counts_stay(monkeypatch):
    monkeypatch.setattr(table_sets, "_BLOCK_ROWS", 4)
    tables = optimizers.RowwiseAdagrad(
        0.1,
        row_rate=optimizers.LogFrequency(),
        online_counts=optimizers.OnlineCounts(),
    )
    model = small_models.one_objective(tables)
    chosen = [model.get_layer("user_table")]
    seen = small_models.Snapshots()
    small_models.fit(model, [callbacks.TableSets(2, layers=chosen), seen], 2)
    changed = {
        key.partition("/")[2]
        for key, value in seen.ended[0].items()
        if (value != seen.begun[1][key]).any()
    }
    assert len(changed) == 2  # rows and accumulator
    assert "user_table/embeddings" in changed
    counts = [v for v in tables.variables if v.path.endswith("row_counts")]
    ids = small_models.rows()[0]["user"]
    np.testing.assert_array_equal(
        counts[0].numpy(), 2 * np.bincount(ids, minlength=9)
    )


def test_a_frozen_table_has_no_sets():
    model = small_models.one_objective()
    model.get_layer("item_table").trainable = False
    small_models.compile_split(model, "mse")
    before = model.get_layer("item_table").embeddings.numpy()
    small_models.fit(model, [callbacks.TableSets(2)], 2)
    after = model.get_layer("item_table").embeddings.numpy()
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"num_sets": 1}, "num_sets=1"),
        ({"num_sets": 3, "passes_per_chunk": 2}, "passes_per_chunk=2"),
        ({"num_sets": 2, "seed": -1}, "seed=-1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, word):
    with pytest.raises(ValueError, match=f"Received.*{word}"):
        callbacks.TableSets(**arguments)


def test_a_stock_optimizer_is_refused():
    model = small_models.one_objective()
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="TableSets needs.*reset_state"):
        small_models.fit(model, [callbacks.TableSets(2)], 1)


def test_a_table_that_cannot_be_drawn_is_refused():
    ids = keras.Input((), dtype="int64")
    vectors = keras.layers.Concatenate()(
        [
            keras.layers.Embedding(3, 2, name="stock")(ids),
            layers.Embedding(3, 2)(ids),
        ]
    )
    model = keras.Model(ids, keras.layers.Dense(1)(vectors))
    small_models.compile_split(model, "mse")
    with pytest.raises(ValueError, match="TableSets can draw.*'stock'"):
        callbacks.TableSets(2).build(model)

"""A file saved after freezing must lose no state of the other tables."""

import keras
import numpy as np
import pytest

from tests.support import optimizer_cases
from tfplugin import optimizers

TABLES = {
    "rowwise": lambda rate: optimizers.RowwiseAdagrad(0.1, row_rate=rate),
    "adam": lambda rate: optimizers.LazyAdam(0.01, row_rate=rate),
}


def fit(model, epochs):
    ids, targets = optimizer_cases.data()
    model.fit(
        ids, targets, batch_size=10, epochs=epochs, shuffle=False, verbose=0
    )


def tables_at_the_top():
    """As `optimizer_cases.model`, but Keras saves which table is frozen."""
    keras.utils.set_random_seed(5)
    ids = keras.Input((3,), dtype="int64")
    tables = [optimizer_cases.TableLayer(name=name) for name in "ab"]
    vectors = [table(ids[:, k]) for k, table in enumerate(tables)]
    x = keras.layers.Dense(3)(keras.layers.Concatenate()(vectors))
    return keras.Model(ids, keras.layers.Dense(1)(x))


def table_layers(model):
    try:
        return [model.get_layer(name) for name in "ab"]
    except ValueError:
        collection = model.layers[1]
        return [collection.table_a, collection.table_b]


def trained_to_freeze(kind, make=tables_at_the_top):
    """Compiled and trained for an epoch."""
    model = make()
    tables = optimizers.LazyAdam(0.01)
    if kind in TABLES:
        rate = optimizers.LogFrequency(0.5)
        tables = optimizers.split(
            model, TABLES[kind](rate), keras.optimizers.Adam(0.01)
        )
        for layer in table_layers(model):
            counts = np.arange(optimizer_cases.ROWS) + 1
            tables.set_row_counts(layer.embeddings, counts, 2)
    model.compile(tables, "mse")
    fit(model, 1)
    return model


def freeze(model, *numbers):
    """Freezes tables by number and trains on."""
    for number in numbers:
        table_layers(model)[number].trainable = False
    model.compile(model.optimizer, "mse")
    fit(model, 1)


def states(model, table):
    """Name after the table's and value of what is kept about a table."""
    optimizer = getattr(model.optimizer, "tables", model.optimizer)
    prefix = table.path.replace("/", "_")
    return {
        variable.name.removeprefix(prefix): variable.numpy()
        for variable in optimizer.variables
        if variable.name.startswith(prefix)
    }


def assert_states_survive(model, loaded, number):
    mine, theirs = (
        states(m, table_layers(m)[number].embeddings) for m in (model, loaded)
    )
    assert list(mine) == list(theirs)
    assert mine
    for name, value in mine.items():
        assert value.any(), name
        assert (value == theirs[name]).all(), name


def goes_on_alike(model, loaded):
    for each in (model, loaded):
        fit(each, 1)
    for mine, theirs in zip(model.weights, loaded.weights, strict=True):
        assert (mine.numpy() == theirs.numpy()).all()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", TABLES)
def test_keras_file_after_freezing_a_table(kind, number, tmp_path):
    model = trained_to_freeze(kind)
    freeze(model, number)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_states_survive(model, loaded, 1 - number)
    assert states(loaded, table_layers(loaded)[number].embeddings) == {}
    for mine, theirs in (
        (model.optimizer, loaded.optimizer),
        (model.optimizer.tables, loaded.optimizer.tables),
        (model.optimizer.rest, loaded.optimizer.rest),
    ):
        assert int(mine.iterations) == int(theirs.iterations) == 8
    goes_on_alike(model, loaded)
    loaded.save(tmp_path / "model.keras")
    goes_on_alike(loaded, keras.models.load_model(tmp_path / "model.keras"))


def test_keras_file_after_freezing_every_table(tmp_path):
    model = trained_to_freeze("adam")
    freeze(model, 0, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.tables.iterations) == 4
    for layer in table_layers(loaded):
        assert loaded.optimizer.state_bytes(layer.embeddings) == 0
    goes_on_alike(model, loaded)


# Keras leaves it to a layer to save which of its parts are frozen.
def test_keras_file_in_which_the_frozen_table_is_trainable_again(tmp_path):
    model = trained_to_freeze("adam", optimizer_cases.model)
    freeze(model, 0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for number in (0, 1):
        assert_states_survive(model, loaded, number)
    table_layers(loaded)[0].trainable = False
    loaded.compile(loaded.optimizer, "mse")
    goes_on_alike(model, loaded)


def test_weights_file_of_a_frozen_table_holds_its_state_too(tmp_path):
    model = trained_to_freeze("adam")
    freeze(model, 0)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    fresh = trained_to_freeze("adam")
    fit(fresh, 2)
    fresh.load_weights(path)
    for mine, theirs in zip(
        model.optimizer.variables, fresh.optimizer.variables, strict=True
    ):
        assert (mine.numpy() == theirs.numpy()).all(), mine.path


def test_sparse_optimizer_alone_after_freezing_a_table(tmp_path):
    model = trained_to_freeze("alone")
    freeze(model, 0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_states_survive(model, loaded, 1)
    goes_on_alike(model, loaded)


# As documented: nothing of ours can tell Keras's optimizers what was frozen.
def test_keras_file_after_freezing_a_dense_layer_warns(tmp_path):
    model = trained_to_freeze("adam")
    model.layers[-1].trainable = False
    model.compile(model.optimizer, "mse")
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="loading for optimizer 'adam"):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    for number in (0, 1):
        assert_states_survive(model, loaded, number)

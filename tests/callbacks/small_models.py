"""Small models with tables of tfplugin, and what their variables hold."""

import keras
import numpy as np

from tfplugin import layers
from tfplugin import optimizers


def one_objective(tables=None, seed=7):
    """Two tables, a dense layer; compiled with row-wise lazy Adam."""
    keras.utils.set_random_seed(seed)
    inputs = {
        "user": keras.Input((), dtype="int64", name="user"),
        "item": keras.Input((), dtype="int64", name="item"),
    }
    vectors = [
        layers.Embedding(9, 3, seed=1, name="user_table")(inputs["user"]),
        layers.Embedding(6, 2, seed=2, name="item_table")(inputs["item"]),
    ]
    hidden = keras.layers.Concatenate()(vectors)
    hidden = keras.layers.Dense(4, "relu", name="hidden")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, name="logit")(hidden))
    compile_split(model, "mse", tables)
    return model


def compile_split(model, loss, tables=None, **arguments):
    """Compiles with `optimizers.split` and builds the optimizer."""
    optimizer = optimizers.split(
        model,
        tables=tables or optimizers.LazyAdam(0.05),
        rest=keras.optimizers.Adam(0.01),
    )
    model.compile(optimizer, loss, **arguments)
    optimizer.build(model.trainable_variables)


def rows(count=48, seed=0):
    """Features and targets for `one_objective`."""
    rng = np.random.default_rng(seed)
    features = {
        "user": rng.integers(0, 9, count),
        "item": rng.integers(0, 6, count),
    }
    return features, rng.normal(size=(count, 1))


def fit(model, callbacks, epochs, initial_epoch=0, data=None, **arguments):
    """Trains without shuffling."""
    features, targets = data or rows()
    return model.fit(
        features,
        targets,
        batch_size=16,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **arguments,
    )


class Snapshots(keras.callbacks.Callback):
    """What all variables hold around each epoch, by path and place."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended = {}, {}

    def on_epoch_begin(self, epoch, logs=None):
        self.begun[epoch] = state(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.ended[epoch] = state(self.model)


def state(model):
    """Every weight and optimizer variable, by its path."""
    weights = {f"model/{v.path}": v.numpy() for v in model.weights}
    slots = {
        f"optimizer/{i}/{v.name}": v.numpy()
        for i, v in enumerate(model.optimizer.variables)
    }
    return weights | slots


def table_keys(model):
    """Keys of `state` that belong to tables: rows, and slots of tables."""
    tables = model.optimizer.tables.variables[2:]
    positions = {id(v): i for i, v in enumerate(model.optimizer.variables)}
    own = {f"optimizer/{positions[id(v)]}/{v.name}" for v in tables}
    return own | {
        f"model/{v.path}"
        for v in model.weights
        if v.path.endswith("embeddings")
    }


def assert_same(one, other, keys=None):
    """Two states hold the same bits, at `keys` or everywhere."""
    assert one.keys() == other.keys()
    for key in one if keys is None else keys:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)

"""A small resettable table, an optimizer that resets, and models of them."""

import keras
import numpy as np
import tensorflow as tf


class Table(keras.layers.Layer):
    """Rows that `reset_embeddings` draws anew from its seed."""

    def __init__(self, rows=6, dim=2, name=None):
        super().__init__(name=name)
        self.shape = (rows, dim)
        self.seeds = []

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(shape=self.shape, name="embeddings")
        self.built = True

    def reset_embeddings(self, seed):
        self.seeds.append(seed)
        rng = np.random.default_rng(seed)
        self.embeddings.assign(rng.normal(size=self.shape))

    def call(self, ids):
        return tf.gather(self.embeddings.value, ids)


class Collection(keras.layers.Layer):
    """Holds tables in a dict, in a list in it, and one of them twice."""

    def __init__(self):
        super().__init__()
        self.tables = {
            "b": Table(name="b"),
            "a": Table(name="a"),
            "nested": [Table(name="c")],
        }
        self.alias = self.tables["a"]

    def call(self, ids):
        flat = [self.tables["b"], self.tables["a"], *self.tables["nested"]]
        return sum(table(ids) for table in flat) + self.alias(ids)


class ResettingAdagrad(keras.optimizers.Adagrad):
    """Adagrad that can forget one variable, dense and slow."""

    def reset_state(self, variable):
        slot = self._accumulators[self._get_variable_index(variable)]
        slot.assign(tf.fill(slot.shape, self.initial_accumulator_value))


def model(optimizer=None):
    """A compiled model: a collection, a table in a nested model, dense."""
    keras.utils.set_random_seed(5)
    inner_ids = keras.Input((), dtype="int64")
    inner = keras.Model(inner_ids, Table(name="inner")(inner_ids))
    ids = keras.Input((), dtype="int64")
    vectors = keras.layers.Concatenate()([Collection()(ids), inner(ids)])
    hidden = keras.layers.Dense(4, "relu")(vectors)
    built = keras.Model(ids, keras.layers.Dense(1)(hidden))
    built.compile(optimizer or ResettingAdagrad(0.1), "mse")
    return built


def rows():
    """Ids and targets for it."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 6, 48), rng.normal(size=48)

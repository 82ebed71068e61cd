import gc
import inspect
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import optimizer_cases
from tfplugin import optimizers
from tfplugin.optimizers import embedding_tables


def compiled(tables=None, rest=None):
    model = optimizer_cases.model()
    split = optimizers.split(
        model,
        tables=tables or optimizers.SparseAdagrad(0.1),
        rest=rest or keras.optimizers.Adam(0.01),
    )
    model.compile(split, "mse")
    return model


def fit(model, **options):
    ids, targets = optimizer_cases.data()
    options = {"batch_size": 10, "shuffle": False, "verbose": 0, **options}
    return model.fit(ids, targets, **options)


def test_each_variable_goes_to_its_optimizer():
    model = compiled()
    fit(model)
    split = model.optimizer
    tables = optimizer_cases.table_variables(model)
    paths = {v.path for v in split.tables.variables}
    for table in tables:
        name = table.path.replace("/", "_")
        assert sum(name in path for path in paths) == 1
    num_dense = len(model.trainable_variables) - len(tables)
    # iterations, rate, a slot a table; iterations, rate, two slots a weight.
    assert len(split.tables.variables) == 2 + len(tables)
    assert len(split.rest.variables) == 2 + 2 * num_dense
    assert len(split.variables) == len({id(v) for v in split.variables})
    for optimizer in (split, split.tables, split.rest):
        assert int(optimizer.iterations.numpy()) == 4


def test_shared_tables_see_the_sum_of_their_features():
    model = compiled(optimizers.SparseSGD(0.5), keras.optimizers.SGD(0.5))
    reference = optimizer_cases.model()
    reference.set_weights(model.get_weights())
    reference.compile(keras.optimizers.SGD(0.5), "mse")
    fit(model)
    fit(reference)
    for ours, theirs in zip(
        model.get_weights(), reference.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_finds_tables_wherever_layers_hang():
    class Holder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.deep = {"x": [(optimizer_cases.TableLayer(),)]}
            self.bag = keras.Sequential([keras.layers.Embedding(4, 2)])

    holder = Holder()
    assert embedding_tables.find_tables(holder) == []  # nothing is built
    holder.deep["x"][0][0].build((None,))
    holder.bag.build((None, 1))
    expected = {
        id(holder.deep["x"][0][0].embeddings),
        id(holder.bag.layers[0].embeddings),
    }
    found = embedding_tables.find_tables(holder)
    assert {id(table) for table in found} == expected
    inner = optimizer_cases.model()
    outer = keras.Sequential([keras.Input((3,), dtype="int64"), inner])
    tables = optimizer_cases.table_variables(inner)
    found = embedding_tables.find_tables(outer)
    assert {id(t) for t in found} == {id(t) for t in tables}


def test_a_stock_embedding_is_a_table_and_other_embeddings_are_not():
    class Posing(keras.layers.Layer):
        def build(self, shape):
            self.embeddings = self.add_weight(shape=(3, 2))

    posing = Posing()
    posing.build(None)
    assert embedding_tables.find_tables(posing) == []
    stock = keras.layers.Embedding(3, 2)
    stock.build(None)
    assert embedding_tables.find_tables(stock)[0] is stock.embeddings


def test_subclassed_model_without_weights_yet():
    class Late(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = optimizer_cases.TableLayer()
            self.head = keras.layers.Dense(1)

        def call(self, ids):
            return self.head(self.table(ids[:, 0]))

    model = Late()
    split = optimizers.split(
        model, optimizers.SparseSGD(0.1), keras.optimizers.Adam()
    )
    assert split.get_config()["table_mask"] is None
    model.compile(split, "mse")
    fit(model)
    assert split.get_config()["table_mask"] == [
        v is model.table.embeddings for v in model.trainable_variables
    ]


def test_counts_before_and_after_build_and_reset():
    counts = np.arange(optimizer_cases.ROWS)
    results = []
    for early in (True, False):
        model = compiled(
            optimizers.LazyAdam(0.01, row_rate=optimizers.LogFrequency())
        )
        tables = optimizer_cases.table_variables(model)
        if not early:
            model.optimizer.build(model.trainable_variables)
        for table in tables:
            model.optimizer.set_row_counts(table, counts, num_special_rows=2)
        fit(model)
        results.append(model.get_weights())
    for early, late in zip(*results, strict=True):
        assert (early == late).all()
    state = {v.path: v.numpy() for v in model.optimizer.rest.variables}
    model.optimizer.reset_state(tables[0])
    model.optimizer.reset_state(tables[1])
    for variable in model.optimizer.tables.variables:
        zero = "momentum" in variable.name or "velocity" in variable.name
        if zero or "step" in variable.name:
            assert not variable.numpy().any()
        if "row_counts" in variable.name:
            assert variable.numpy().tolist() == counts.tolist()
    for variable in model.optimizer.rest.variables:
        assert (variable.numpy() == state[variable.path]).all()


def test_missing_counts_stop_fit_with_advice():
    model = compiled(
        optimizers.SparseSGD(0.1, row_rate=optimizers.LogFrequency())
    )
    with pytest.raises(ValueError, match="Call `set_row_counts"):
        fit(model)


def test_counts_need_a_sparse_optimizer():
    model = compiled(keras.optimizers.SGD(0.1))
    fit(model)
    table = optimizer_cases.table_variables(model)[0]
    with pytest.raises(TypeError, match="SparseOptimizer"):
        model.optimizer.set_row_counts(table, [1])
    with pytest.raises(TypeError, match="SparseOptimizer"):
        model.optimizer.reset_state(table)


def test_dense_weights_have_no_table_state():
    model = compiled()
    fit(model)
    with pytest.raises(ValueError, match="built with the variable"):
        model.optimizer.reset_state(model.layers[-1].kernel)


def test_layers_frozen_in_mid_training():
    model = compiled()
    fit(model)
    collection, _, last = model.layers[1:]
    for frozen in (last, collection):
        before = [w.numpy() for w in frozen.weights]
        others = [w.numpy() for w in model.layers[2].weights]
        frozen.trainable = False
        model.compile(model.optimizer, "mse")
        fit(model)
        for old, new in zip(before, frozen.weights, strict=True):
            assert (new.numpy() == old).all()
        for old, new in zip(others, model.layers[2].weights, strict=True):
            assert (new.numpy() != old).any()
    config = model.optimizer.get_config()
    assert config["table_mask"] == [True] * 2 + [False] * 4
    assert config["trainable_mask"] == [False] * 2 + [True] * 2 + [False] * 2
    assert int(model.optimizer.iterations.numpy()) == 12


def test_a_layer_made_trainable_later_is_refused_with_advice():
    model = optimizer_cases.model()
    model.layers[-1].trainable = False
    model.compile(
        optimizers.split(
            model, optimizers.SparseSGD(0.1), keras.optimizers.SGD(0.1)
        ),
        "mse",
    )
    fit(model)
    model.layers[-1].trainable = True
    model.compile(model.optimizer, "mse")
    with pytest.raises(ValueError, match="needs a new `split`"):
        fit(model)


def test_options_of_the_dense_optimizer_act_on_dense_weights_only():
    rest = keras.optimizers.Adam(0.0, weight_decay=0.0, use_ema=True)
    model = compiled(optimizers.SparseSGD(0.1), rest)
    before = optimizer_cases.table_variables(model)[0].numpy()
    fit(model)
    after = optimizer_cases.table_variables(model)[0].numpy()
    assert (before[:-2] != after[:-2]).any()
    assert (before[-2:] == after[-2:]).all()


def test_apply_without_variables_and_without_gradients():
    split = optimizers.SplitOptimizer(
        optimizers.SparseSGD(1.0), keras.optimizers.SGD(1.0), [True, False]
    )
    split.apply([])
    table, bias = keras.Variable([[0.0]]), keras.Variable([0.0])
    split.build([table, bias])
    split.apply([tf.ones((1, 1)), tf.ones(1)])
    split.apply_gradients([(tf.ones((1, 1)), table), (None, bias)])
    assert float(table[0, 0]) == -2.0
    assert float(bias[0]) == -1.0
    with pytest.raises(ValueError, match="No gradients"):
        split.apply([None, None])
    assert int(split.iterations.numpy()) == 2


def test_unknown_tables_are_refused_with_advice():
    dense = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    inner = (optimizers.SparseSGD(0.1), keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="needs a model with an embedding"):
        optimizers.split(dense, *inner).build(dense.trainable_variables)
    with pytest.raises(ValueError, match=r"`optimizers.split\(model"):
        optimizers.SplitOptimizer(*inner).build(dense.trainable_variables)
    with pytest.raises(ValueError, match="Received: 1 for 2 variables"):
        optimizers.SplitOptimizer(*inner, [True]).build(
            dense.trainable_variables
        )


def test_wrong_inner_optimizers_are_refused():
    sparse, dense = optimizers.SparseSGD(0.1), keras.optimizers.SGD(0.1)
    with pytest.raises(TypeError, match="`rest` must be a Keras optimizer"):
        optimizers.SplitOptimizer(sparse, "adam")
    with pytest.raises(ValueError, match="two optimizers"):
        optimizers.SplitOptimizer(sparse, sparse)
    for scaling in (
        keras.optimizers.SGD(0.1, loss_scale_factor=2.0),
        keras.optimizers.LossScaleOptimizer(dense),
    ):
        with pytest.raises(ValueError, match="must not scale the loss"):
            optimizers.SplitOptimizer(sparse, scaling)


def test_optimizer_does_not_keep_the_model_alive():
    model = optimizer_cases.model()
    split = optimizers.split(
        model, optimizers.SparseSGD(0.1), keras.optimizers.SGD(0.1)
    )
    reference = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert reference() is None
    assert split.get_config()["table_mask"] is None


def test_every_argument_survives_the_config():
    split = optimizers.SplitOptimizer(
        optimizers.LazyAdam(0.25, row_rate=optimizers.LogFrequency(0.5)),
        keras.optimizers.Adam(0.5),
        [True, False],
        [False, True],
        rate_ratio=3.0,
        name="mine",
    )
    split.learning_rate = 0.0
    split.rest.learning_rate = split.tables.learning_rate = 0.0
    config = split.get_config()
    assert set(config) == set(
        inspect.signature(optimizers.SplitOptimizer).parameters
    )
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(split))
    assert copy.get_config() == config
    assert copy.tables.row_rate.special_rate == 0.5
    assert copy.name == "mine"


def test_set_weights():
    model, other = compiled(), compiled()
    fit(model)
    other.optimizer.build(other.trainable_variables)
    other.optimizer.set_weights([v.numpy() for v in model.optimizer.variables])
    for mine, theirs in zip(
        model.optimizer.variables, other.optimizer.variables, strict=True
    ):
        assert (mine.numpy() == theirs.numpy()).all()
    with pytest.raises(ValueError):
        other.optimizer.set_weights([])


def test_bytes_of_tables_that_are_not_updated():
    model = compiled()
    collection = model.layers[1]
    a, b = optimizer_cases.table_variables(model)
    collection.table_a.trainable = False
    with pytest.raises(ValueError, match="built with the variable"):
        model.optimizer.state_bytes(b)
    model.optimizer.build(model.trainable_variables)
    size = optimizer_cases.ROWS * optimizer_cases.DIM * 4
    assert model.optimizer.state_bytes(a) == 0
    assert model.optimizer.state_bytes(b) == size
    assert model.optimizer.tables.state_bytes(a) == 0
    assert model.optimizer.state_bytes(model.layers[-1].kernel) == 0
    model = compiled()
    model.layers[1].trainable = False
    model.optimizer.build(model.trainable_variables)
    for table in optimizer_cases.table_variables(model):
        assert model.optimizer.state_bytes(table) == 0


@pytest.mark.parametrize("mask", [None, [True]])
def test_masks_of_two_lengths_are_refused(mask):
    with pytest.raises(ValueError, match="as long as `table_mask`"):
        optimizers.SplitOptimizer(
            optimizers.SparseSGD(0.1),
            keras.optimizers.SGD(0.1),
            mask,
            [True, False],
        )

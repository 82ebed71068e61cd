import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.callbacks import reset_doubles
from tfplugin import callbacks
from tfplugin import layers
from tfplugin import optimizers
from tfplugin.callbacks import embedding_reset
from tfplugin.callbacks import resettable_tables


class Snapshots(keras.callbacks.Callback):
    """What weights and optimizer variables are around each epoch begin."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended = {}, {}

    def _state(self):
        variables = self.model.weights + self.model.optimizer.variables
        return {id(v): v.numpy() for v in variables}

    def on_epoch_begin(self, epoch, logs=None):
        self.begun[epoch] = self._state()

    def on_epoch_end(self, epoch, logs=None):
        self.ended[epoch] = self._state()


def _fit(model, reset, epochs, initial_epoch=0, others=()):
    ids, targets = reset_doubles.rows()
    return model.fit(
        ids,
        targets,
        batch_size=16,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[reset, *others],
    )


def _tables(model):
    return resettable_tables.find_resettable(model)


def test_finds_tables_however_deep_and_each_once():
    names = [layer.name for layer in _tables(reset_doubles.model())]
    assert sorted(names) == ["a", "b", "c", "inner"]
    again = [layer.name for layer in _tables(reset_doubles.model())]
    assert names == again


def test_a_layer_without_reset_is_no_table():
    stock = keras.layers.Embedding(3, 2)
    stock.build()
    assert _tables(stock) == []


def test_resets_tables_and_their_state_and_nothing_else():
    model, seen = reset_doubles.model(), Snapshots()
    _fit(model, callbacks.EmbeddingReset(seed=3), 3, others=[seen])
    optimizer = model.optimizer
    tables = [layer.embeddings for layer in _tables(model)]
    slots = {
        id(variable): optimizer._accumulators[index]
        for index, variable in enumerate(model.trainable_variables)
    }
    reset = {id(table) for table in tables}
    reset |= {id(slots[id(table)]) for table in tables}
    for epoch in (1, 2):
        before, after = seen.ended[epoch - 1], seen.begun[epoch]
        for key, value in after.items():
            if key not in reset:
                np.testing.assert_array_equal(value, before[key])
        for table in tables:
            assert (after[id(table)] != before[id(table)]).all()
            np.testing.assert_array_equal(
                after[id(slots[id(table)])], np.float32(0.1)
            )
    assert int(optimizer.iterations.numpy()) == 9


def test_every_epoch_and_table_has_other_rows_the_first_epoch_none():
    model = reset_doubles.model()
    _fit(model, callbacks.EmbeddingReset(seed=3), 4)
    seeds = [seed for layer in _tables(model) for seed in layer.seeds]
    assert len(seeds) == len(set(seeds)) == 3 * 4


def test_the_rows_are_drawn_as_documented():
    model, seen = reset_doubles.model(), Snapshots()
    _fit(model, callbacks.EmbeddingReset(seed=9), 2, others=[seen])
    for position, layer in enumerate(_tables(model)):
        seed = embedding_reset.table_seed(9, 1, position)
        rng = np.random.default_rng(seed)
        np.testing.assert_array_equal(
            seen.begun[1][id(layer.embeddings)],
            rng.normal(size=layer.shape).astype(np.float32),
        )


def test_start_epoch_delays_the_first_reset():
    model = reset_doubles.model()
    _fit(model, callbacks.EmbeddingReset(start_epoch=2), 4)
    assert {len(layer.seeds) for layer in _tables(model)} == {2}


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = reset_doubles.model()
    _fit(whole, callbacks.EmbeddingReset(seed=4), 4)
    first = reset_doubles.model()
    _fit(first, callbacks.EmbeddingReset(seed=4), 2)
    path = tf.train.Checkpoint(
        weights=first.weights, optimizer=first.optimizer.variables
    ).save(tmp_path / "state")
    resumed = reset_doubles.model()
    resumed.optimizer.build(resumed.trainable_variables)
    tf.train.Checkpoint(
        weights=resumed.weights, optimizer=resumed.optimizer.variables
    ).restore(path).assert_consumed()
    _fit(resumed, callbacks.EmbeddingReset(seed=4), 4, initial_epoch=2)
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_an_optimizer_that_is_not_built_is_built_before_a_reset():
    model = reset_doubles.model()
    _fit(model, callbacks.EmbeddingReset(), 3, initial_epoch=1)
    assert {len(layer.seeds) for layer in _tables(model)} == {2}


def test_layers_limits_the_reset_and_keeps_the_seeds():
    model = reset_doubles.model()
    collection = next(
        layer
        for layer in model.layers
        if isinstance(layer, reset_doubles.Collection)
    )
    _fit(model, callbacks.EmbeddingReset(layers=[collection]), 2)
    positions = {layer.name: i for i, layer in enumerate(_tables(model))}
    for layer in _tables(model):
        expected = []
        if layer.name != "inner":
            place = positions[layer.name]
            expected = [embedding_reset.table_seed(0, 1, place)]
        assert layer.seeds == expected


def test_only_epoch_begin_changes_anything():
    model = reset_doubles.model()
    reset = callbacks.EmbeddingReset()
    _fit(model, reset, 1)
    before = [weight.numpy() for weight in model.weights]
    reset.on_train_begin()
    reset.on_epoch_begin(0)
    reset.on_epoch_end(0)
    reset.on_test_begin()
    reset.on_test_end()
    reset.on_predict_begin()
    reset.on_predict_end()
    reset.on_train_end()
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_an_exception_in_an_epoch_leaves_a_callback_that_goes_on():
    model, reset = reset_doubles.model(), callbacks.EmbeddingReset(seed=4)

    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        _fit(model, reset, 3, initial_epoch=1, others=[Fails()])
    _fit(model, reset, 2, initial_epoch=1)
    for layer in _tables(model):
        assert len(layer.seeds) == 2
        assert len(set(layer.seeds)) == 1


def test_an_optimizer_without_reset_state_is_refused_at_once():
    model = reset_doubles.model(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="reset_state.*Received.*SGD"):
        _fit(model, callbacks.EmbeddingReset(), 1)


def test_a_model_without_tables_is_refused():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(reset_doubles.ResettingAdagrad(), "mse")
    with pytest.raises(ValueError, match="found no table"):
        model.fit(
            np.ones((4, 1)),
            np.ones(4),
            epochs=2,
            verbose=0,
            callbacks=[callbacks.EmbeddingReset()],
        )


def test_a_layer_of_another_model_is_refused():
    other = _tables(reset_doubles.model())[0]
    reset = callbacks.EmbeddingReset(layers=[other])
    with pytest.raises(ValueError, match=f"layer '{other.name}'"):
        _fit(reset_doubles.model(), reset, 2)


@pytest.mark.parametrize(
    ("argument", "value"), [("seed", -1), ("start_epoch", 0)]
)
def test_wrong_arguments_are_refused(argument, value):
    with pytest.raises(ValueError, match=f"Received: {argument}={value}"):
        callbacks.EmbeddingReset(**{argument: value})


def _real_model(rule):
    keras.utils.set_random_seed(5)
    wide = layers.TableConfig(
        "wide", embedding_dim=2, vocabulary_size=8, combiner="sum", seed=1
    )
    collection = layers.EmbeddingCollection(
        [layers.FeatureConfig("x", wide), layers.FeatureConfig("y", wide)]
    )
    inputs = {name: keras.Input((), dtype="int64", name=name) for name in "xyz"}
    vectors = collection({"x": inputs["x"], "y": inputs["y"]})
    mapping = layers.HashMapping(7)
    own = layers.Embedding(embedding_dim=2, id_mapping=mapping, seed=2)
    joined = keras.layers.Concatenate()([*vectors.values(), own(inputs["z"])])
    model = keras.Model(inputs, keras.layers.Dense(1)(joined))
    model.compile(
        optimizers.split(model, tables=rule, rest=keras.optimizers.Adam(0.01)),
        "mse",
    )
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.RowwiseAdagrad(0.1),
        lambda: optimizers.LazyAdam(0.01),
        lambda: optimizers.SparseSGD(0.1, momentum=0.9),
    ],
)
def test_real_tables_and_optimizers(make):
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(0, 8, 40) for name in "xyz"}
    targets = rng.normal(size=40)
    model = _real_model(make())
    model.fit(inputs, targets, epochs=1, batch_size=8, verbose=0)
    tables = [layer.embeddings for layer in _tables(model)]
    assert len(tables) == 2
    dense = [w for w in model.weights if all(w is not t for t in tables)]
    before = [w.numpy() for w in dense]
    rest = [v.numpy() for v in model.optimizer.rest.variables]
    fresh = _real_model(make())
    fresh.optimizer.build(fresh.trainable_variables)
    reset = callbacks.EmbeddingReset(seed=1)
    reset.set_model(model)
    reset.on_train_begin()
    old = [table.numpy() for table in tables]
    reset.on_epoch_begin(1)
    for weight, value in zip(dense, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    for variable, value in zip(
        model.optimizer.rest.variables, rest, strict=True
    ):
        np.testing.assert_array_equal(variable.numpy(), value)
    for table, value in zip(tables, old, strict=True):
        assert (table.numpy()[-5:] != value[-5:]).any(axis=1).all()
    own, new = (m.optimizer.tables.variables for m in (model, fresh))
    for variable, initial in zip(own, new, strict=True):
        # `iterations` and the rate stay; every slot is as before training.
        if "iteration" not in variable.path and variable.shape != ():
            np.testing.assert_array_equal(variable.numpy(), initial.numpy())


def _compiled(model, tables=None):
    model.compile(
        optimizers.split(
            model,
            tables=tables or optimizers.RowwiseAdagrad(0.1),
            rest=keras.optimizers.SGD(0.1),
        ),
        "mse",
    )
    return model


def _two_tables(second):
    ids = keras.Input((), dtype="int64")
    first = layers.Embedding(6, 2, seed=1, name="first")
    vectors = keras.layers.Concatenate()([first(ids), second(ids)])
    model = keras.Model(ids, keras.layers.Dense(1)(vectors))
    return model, first


@pytest.mark.parametrize("use_layers", [False, True])
def test_a_frozen_table_stays_as_it_is(use_layers):
    frozen = layers.Embedding(6, 2, seed=2, name="second")
    model, first = _two_tables(frozen)
    frozen.trainable = False
    _compiled(model)
    frozen_rows = frozen.embeddings.numpy()
    reset = callbacks.EmbeddingReset(
        layers=[first, frozen] if use_layers else None
    )
    _fit(model, reset, 1)
    trained = first.embeddings.numpy()
    reset.on_epoch_begin(1)
    np.testing.assert_array_equal(frozen.embeddings.numpy(), frozen_rows)
    assert (first.embeddings.numpy() != trained).any(axis=1).all()
    # The places of tables, and so their rows, do not depend on freezing.
    drawn = first.embeddings.numpy()
    first.reset_embeddings(embedding_reset.table_seed(0, 1, 0))
    np.testing.assert_array_equal(drawn, first.embeddings.numpy())


def test_tables_all_frozen_after_training_are_kept():
    second = layers.Embedding(6, 2, seed=2)
    model, first = _two_tables(second)
    _fit(_compiled(model), callbacks.EmbeddingReset(), 1)
    first.trainable = second.trainable = False
    model.compile(model.optimizer, "mse")
    before = [table.embeddings.numpy() for table in (first, second)]
    _fit(model, callbacks.EmbeddingReset(), 3)
    for table, rows in zip((first, second), before, strict=True):
        np.testing.assert_array_equal(table.embeddings.numpy(), rows)


def test_a_refused_state_leaves_the_table():
    class Refuses(reset_doubles.ResettingAdagrad):
        def reset_state(self, variable):
            raise RuntimeError("refused")

    model = reset_doubles.model(Refuses(0.1))
    with pytest.raises(RuntimeError, match="refused"):
        _fit(model, callbacks.EmbeddingReset(), 2)
    assert not any(layer.seeds for layer in _tables(model))


def test_a_split_whose_tables_cannot_be_reset_is_refused_at_once():
    model, first = _two_tables(layers.Embedding(6, 2, seed=2))
    _compiled(model, keras.optimizers.Adagrad(0.1))
    before = first.embeddings.numpy()
    with pytest.raises(ValueError, match="reset_state.*Received.*Adagrad"):
        _fit(model, callbacks.EmbeddingReset(), 2)
    np.testing.assert_array_equal(first.embeddings.numpy(), before)


def test_a_split_takes_any_tables_optimizer_that_resets():
    model, first = _two_tables(layers.Embedding(6, 2, seed=2))
    _compiled(model, reset_doubles.ResettingAdagrad(0.1))
    before = first.embeddings.numpy()
    _fit(model, callbacks.EmbeddingReset(), 2)
    assert (first.embeddings.numpy() != before).all()


def test_a_table_of_keras_is_refused_at_once_by_name():
    stock = keras.layers.Embedding(6, 2, name="stock")
    model, first = _two_tables(stock)
    _compiled(model)
    before = first.embeddings.numpy()
    with pytest.raises(ValueError, match="Received: layer 'stock'"):
        _fit(model, callbacks.EmbeddingReset(), 2)
    np.testing.assert_array_equal(first.embeddings.numpy(), before)
    _fit(model, callbacks.EmbeddingReset(layers=[first]), 2)
    stock.trainable = False
    model.compile(model.optimizer, "mse")
    _fit(model, callbacks.EmbeddingReset(), 2)


def test_finds_tables_that_cannot_be_drawn_anew():
    stock = keras.layers.Embedding(6, 2)
    model, _ = _two_tables(stock)
    assert resettable_tables.find_fixed(model) == [stock]
    assert resettable_tables.find_fixed(reset_doubles.model()) == []

import keras
import numpy as np
import pytest

from tests.callbacks import small_models
from tfplugin import callbacks
from tfplugin import kernels
from tfplugin import optimizers


def _lively_tables():
    """Rules and options that would all move rows or state."""
    return optimizers.LazyAdam(
        0.05,
        weight_decay=0.1,
        row_rate=optimizers.LogFrequency(),
        online_counts=optimizers.OnlineCounts(),
    )


@pytest.mark.parametrize("stock", [True, False], ids=["stock", "kernels"])
def test_tables_and_their_state_stay_and_the_rest_moves(stock):
    model, seen = small_models.one_objective(_lively_tables()), None
    seen = small_models.Snapshots()
    freeze = callbacks.FreezeTables(after_epochs=2)
    if stock:
        with kernels.fallback():
            small_models.fit(model, [freeze, seen], 4)
    else:
        small_models.fit(model, [freeze, seen], 4)
    tables = small_models.table_keys(model)
    for epoch in (2, 3):
        small_models.assert_same(seen.ended[1], seen.ended[epoch], tables)
    for epoch in range(1, 4):
        before, after = seen.ended[epoch - 1], seen.ended[epoch]
        key = "model/hidden/kernel"
        assert (before[key] != after[key]).any()
    moved = [k for k in tables if (seen.ended[0][k] != seen.ended[1][k]).any()]
    assert len(moved) >= 8  # both: rows, moments, counts


def test_before_the_epoch_nothing_differs():
    plain, gated = small_models.one_objective(), small_models.one_objective()
    small_models.fit(plain, [], 2)
    small_models.fit(gated, [callbacks.FreezeTables(2)], 2)
    small_models.assert_same(
        small_models.state(plain), small_models.state(gated)
    )


def test_frozen_dense_layers_train_as_over_fixed_vectors():
    """The reference: the same model with tables that are not trainable."""
    model = small_models.one_objective()
    small_models.fit(model, [], 1)
    fixed = small_models.one_objective()
    small_models.fit(fixed, [], 1)
    slots = [v.numpy() for v in fixed.optimizer.rest.variables]
    for name in ("user_table", "item_table"):
        fixed.get_layer(name).trainable = False
    rest = keras.optimizers.Adam(0.01)
    fixed.compile(rest, "mse")
    rest.build(fixed.trainable_variables)
    for variable, value in zip(rest.variables, slots, strict=True):
        variable.assign(value)
    small_models.fit(fixed, [], 3, initial_epoch=1)
    small_models.fit(model, [callbacks.FreezeTables(1)], 3, initial_epoch=1)
    for one, other in zip(model.weights, fixed.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_single_epochs_and_a_step_traced_before():
    model, freeze = small_models.one_objective(), callbacks.FreezeTables(1)
    small_models.fit(model, [], 1)
    keys = small_models.table_keys(model)
    before = small_models.state(model)
    functions = set()
    for epoch in (1, 2, 3):
        small_models.fit(model, [freeze], epoch + 1, initial_epoch=epoch)
        functions.add(id(model.train_function))
    assert len(functions) == 1  # traced anew once, not each time
    small_models.assert_same(before, small_models.state(model), keys)
    small_models.fit(model, [], 5, initial_epoch=4)
    after = small_models.state(model)
    assert any((before[k] != after[k]).any() for k in keys)


def test_layers_choose_the_tables():
    model, seen = small_models.one_objective(), small_models.Snapshots()
    chosen = [model.get_layer("user_table")]
    small_models.fit(model, [callbacks.FreezeTables(1, layers=chosen), seen], 2)
    first, last = seen.ended[0], seen.ended[1]
    for name, stays in (("user_table", True), ("item_table", False)):
        key = f"model/{name}/embeddings"
        assert (first[key] == last[key]).all() == stays


def test_wrong_arguments_and_models_are_refused():
    with pytest.raises(ValueError, match="Received: after_epochs=0"):
        callbacks.FreezeTables(0)
    model = small_models.one_objective()
    other = small_models.one_objective()
    with pytest.raises(ValueError, match="a table of the model"):
        small_models.fit(
            model, [callbacks.FreezeTables(1, layers=other.layers)], 1
        )
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="gate_updates.*Adam"):
        small_models.fit(model, [callbacks.FreezeTables(1)], 1)

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import optimizer_cases
from tfplugin import kernels
from tfplugin import optimizers

ROWS, DIM = optimizer_cases.ROWS, optimizer_cases.DIM


def _values(seed):
    return np.random.default_rng(seed).normal(size=(ROWS, DIM)).astype("f")


def _slices(seed):
    return optimizer_cases.slices([3, 4, 3], _values(seed)[:3])


@pytest.mark.parametrize("kind", list(optimizer_cases.KINDS))
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_a_closed_gate_leaves_everything_as_it_is(kind, dense):
    optimizer, _ = optimizer_cases.make(kind, _values(0))
    plain, _ = optimizer_cases.make(kind, _values(0))
    tables = [keras.Variable(_values(seed)) for seed in (0, 1)]
    others = [keras.Variable(_values(seed)) for seed in (0, 1)]
    optimizer.build(tables)
    plain.build(others)
    gate = tf.Variable(True)
    optimizer.gate_updates(tables[0], gate)

    def step(seed):
        gradient = tf.constant(_values(seed)) if dense else _slices(seed)
        return [gradient, gradient]

    optimizer.apply(step(2), tables)
    plain.apply(step(2), others)
    gate.assign(False)
    state = [v.numpy() for v in optimizer.state_variables(tables[0])]
    before = tables[0].numpy()
    for seed in (3, 4):
        optimizer.apply(step(seed), tables)
        plain.apply(step(seed)[1:], others[1:])
    np.testing.assert_array_equal(tables[0].numpy(), before)
    for variable, value in zip(
        optimizer.state_variables(tables[0]), state, strict=True
    ):
        np.testing.assert_array_equal(variable.numpy(), value)
    # Others do not notice, and an open gate is no gate.
    np.testing.assert_array_equal(tables[1].numpy(), others[1].numpy())
    gate.assign(True)
    optimizer.apply(step(5), tables)
    plain.apply(step(5), others)
    np.testing.assert_array_equal(tables[0].numpy(), others[0].numpy())


@pytest.mark.parametrize("stock", [True, False], ids=["stock", "kernels"])
def test_a_gate_is_read_in_every_step_of_a_graph(stock):
    table = keras.Variable(np.zeros((4, 2), "f"))
    optimizer = optimizers.SparseSGD(0.5)
    optimizer.build([table])
    gate = tf.Variable(False)
    optimizer.gate_updates(table, gate)
    traces = []

    @tf.function
    def step():
        traces.append(1)
        gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([1, 1]))
        optimizer.apply([gradient], [table])

    def run():
        for is_open in (False, True, False, True):
            gate.assign(is_open)
            step()

    if stock:
        with kernels.fallback():
            run()
    else:
        run()
    assert table.numpy()[:, 0].tolist() == [0.0, -2.0, 0.0, 0.0]
    assert len(traces) == 1


def test_a_gate_may_be_taken_away_and_is_saved_by_nobody(tmp_path):
    table = keras.Variable(np.zeros((2, 1), "f"))
    optimizer = optimizers.RowwiseAdagrad(0.5)
    optimizer.build([table])
    variables = len(optimizer.variables)
    optimizer.gate_updates(table, tf.Variable(False))
    assert len(optimizer.variables) == variables
    path = tf.train.Checkpoint(optimizer=optimizer).save(tmp_path / "state")
    names = [name for name, _ in tf.train.list_variables(path)]
    assert not [name for name in names if "gate" in name]
    optimizer.gate_updates(table, None)
    optimizer.apply([tf.ones((2, 1))], [table])
    assert (table.numpy() < 0).all()


def test_state_variables_are_what_a_reset_sets_back():
    table = keras.Variable(_values(0))
    optimizer = optimizers.PartialRowwiseAdam(
        0.1,
        row_rate=optimizers.LogFrequency(),
        online_counts=optimizers.OnlineCounts(),
    )
    optimizer.build([table])
    fresh = [v.numpy() for v in optimizer.state_variables(table)]
    optimizer.apply([_slices(1)], [table])
    learned = optimizer.state_variables(table)
    assert [tuple(v.shape) for v in learned] == [(ROWS, DIM), (ROWS, 1), ()]
    assert all(
        (v.numpy() != f).any() for v, f in zip(learned, fresh, strict=True)
    )
    optimizer.reset_state(table)
    for variable, value in zip(learned, fresh, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_split_hands_on_to_the_optimizer_of_the_table():
    table, bias = keras.Variable(_values(0)), keras.Variable(np.zeros(2, "f"))
    split = optimizers.SplitOptimizer(
        optimizers.SparseAdagrad(0.1),
        keras.optimizers.SGD(0.1),
        table_mask=[True, False],
    )
    split.build([table, bias])
    assert len(split.state_variables(table)) == 1
    split.gate_updates(table, tf.Variable(False))
    before = table.numpy()
    split.apply([_slices(1), tf.ones(2)], [table, bias])
    np.testing.assert_array_equal(table.numpy(), before)
    assert (bias.numpy() < 0).all()
    stock = optimizers.SplitOptimizer(
        keras.optimizers.SGD(0.1),
        keras.optimizers.SGD(0.1),
        table_mask=[True, False],
    )
    stock.build([table, bias])
    with pytest.raises(TypeError, match="`gate_updates`.*SGD"):
        stock.gate_updates(table, tf.Variable(False))


def test_a_gate_that_is_none_or_of_a_foreign_variable_is_refused():
    table = keras.Variable(_values(0))
    optimizer = optimizers.SparseSGD(0.1)
    optimizer.build([table])
    with pytest.raises(ValueError, match="float32 and shape"):
        optimizer.gate_updates(table, tf.Variable(1.0))
    with pytest.raises(ValueError, match="must be built with the variable"):
        optimizer.gate_updates(keras.Variable(_values(0)), tf.Variable(True))

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import optimizer_cases
from tfplugin import optimizers

TABLE = np.ones((6, 4), "float32")
COUNTS = np.array([5000, 7, 0, 1, 9, 99])


def step(optimizer, table, indices, value=1.0):
    values = np.full((len(indices), 4), value)
    optimizer.apply([optimizer_cases.slices(indices, values)], [table])


@pytest.mark.parametrize("maximum", [1, 7, 10**9])
def test_log_frequency_is_the_formula(maximum):
    counts = np.unique(np.linspace(0, maximum, 9).astype("int64"))
    factors = optimizers.LogFrequency()(
        tf.constant(counts, tf.float32), tf.constant(float(maximum))
    )
    expected = np.log(counts + 1.0) / np.log(maximum + 1.0)
    np.testing.assert_allclose(factors.numpy(), expected, rtol=1e-6)


def test_log_frequency_of_an_empty_log_is_the_plain_rate():
    factors = optimizers.LogFrequency()(tf.zeros(3), tf.constant(0.0))
    assert factors.numpy().tolist() == [1.0, 1.0, 1.0]


def test_constant_rate_needs_no_counts():
    table = keras.Variable(TABLE)
    step(
        optimizers.SparseSGD(1.0, row_rate=optimizers.ConstantRate(0.25)),
        table,
        [1, 1, 4],
    )
    assert table.numpy()[:, 0].tolist() == [1.0, 0.5, 1.0, 1.0, 0.75, 1.0]


@pytest.mark.parametrize("built_before", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("kind", optimizer_cases.KINDS)
def test_log_frequency_scales_each_row(kind, dense, built_before):
    optimizer, reference = optimizer_cases.make(
        kind, TABLE, row_rate=optimizers.LogFrequency(special_rate=0.5)
    )
    table = keras.Variable(TABLE)
    if built_before:
        optimizer.build([table])
    optimizer.set_row_counts(table, COUNTS, num_special_rows=2)
    factors = np.log(COUNTS + 1.0) / np.log(100.0)
    factors[:2] = 0.5
    rng = np.random.default_rng(0)
    indices = np.arange(6) if dense else np.array([5, 0, 2, 5, 3])
    for _ in range(3):
        values = rng.normal(size=(len(indices), 4)).astype("float32")
        gradient = optimizer_cases.slices(indices, values)
        optimizer.apply([tf.constant(values) if dense else gradient], [table])
        reference.apply(indices, values, factors)
    np.testing.assert_allclose(
        table.numpy(), reference.weights, rtol=1e-4, atol=1e-6
    )
    assert table.numpy()[2].tolist() == [1.0] * 4  # count 0: rate 0


def test_counts_of_special_rows_alone_leave_the_plain_rate():
    table = keras.Variable(TABLE)
    optimizer = optimizers.SparseSGD(1.0, row_rate=optimizers.LogFrequency(0.5))
    optimizer.set_row_counts(table, [9, 0, 0, 0, 0, 0], num_special_rows=1)
    step(optimizer, table, [0, 3])
    assert table.numpy()[:, 0].tolist() == [0.5, 1.0, 1.0, 0.0, 1.0, 1.0]


def test_all_rows_special():
    table = keras.Variable(TABLE)
    optimizer = optimizers.SparseSGD(1.0, row_rate=optimizers.LogFrequency(0.5))
    optimizer.set_row_counts(table, COUNTS, num_special_rows=6)
    step(optimizer, table, [3])
    assert table.numpy()[3, 0] == 0.5


def test_counts_may_be_replaced():
    table = keras.Variable(TABLE)
    optimizer = optimizers.SparseSGD(1.0, row_rate=optimizers.LogFrequency())
    optimizer.set_row_counts(table, COUNTS)
    optimizer.set_row_counts(table, [0, 0, 0, 3, 0, 15])
    optimizer.build([table])
    step(optimizer, table, [3])
    assert table.numpy()[3, 0] == pytest.approx(0.5)
    optimizer.set_row_counts(table, [0, 0, 0, 3, 0, 3])
    step(optimizer, table, [3])
    assert table.numpy()[3, 0] == pytest.approx(-0.5)


def test_handed_counts_are_copied():
    table = keras.Variable(TABLE)
    optimizer = optimizers.SparseSGD(1.0, row_rate=optimizers.LogFrequency())
    counts = COUNTS.astype("float32")
    optimizer.set_row_counts(table, counts)
    counts[:] = 0
    optimizer.build([table])
    assert optimizer.variables[-3].numpy().tolist() == COUNTS.tolist()


def test_update_without_counts_says_how_to_set_them():
    table = keras.Variable(TABLE)
    optimizer = optimizers.SparseSGD(1.0, row_rate=optimizers.LogFrequency())
    with pytest.raises(ValueError, match="Call `set_row_counts"):
        step(optimizer, table, [3])
    assert (table.numpy() == TABLE).all()
    optimizer.set_row_counts(table, COUNTS)
    step(optimizer, table, [3])


def test_variables_without_rows_have_the_plain_rate():
    bias = keras.Variable(np.ones(3, "float32"))
    scalar = keras.Variable(1.0)
    optimizer = optimizers.LazyAdam(0.5, row_rate=optimizers.LogFrequency())
    optimizer.apply([tf.ones(3), tf.constant(1.0)], [bias, scalar])
    np.testing.assert_allclose(bias.numpy(), [0.5] * 3, rtol=1e-5)
    np.testing.assert_allclose(scalar.numpy(), 0.5, rtol=1e-5)
    with pytest.raises(ValueError, match="two axes or more"):
        optimizer.set_row_counts(bias, [1, 2, 3])


@pytest.mark.parametrize(
    ("counts", "special", "message"),
    [
        ([1, 2], 0, "one count for each row"),
        ([[1]] * 6, 0, "one count for each row"),
        ([1, 2, 3, 4, 5, -1], 0, "not negative"),
        ([1, 2, 3, 4, 5, np.nan], 0, "finite"),
        ([1] * 6, 7, "num_special_rows"),
        ([1] * 6, -1, "num_special_rows"),
    ],
)
def test_wrong_counts_are_refused_at_once(counts, special, message):
    table = keras.Variable(TABLE)
    optimizer = optimizers.SparseSGD(1.0, row_rate=optimizers.LogFrequency())
    with pytest.raises(ValueError, match=message):
        optimizer.set_row_counts(table, counts, special)


@pytest.mark.parametrize("row_rate", [None, optimizers.ConstantRate(0.5)])
def test_counts_without_a_rate_that_reads_them_are_refused(row_rate):
    optimizer = optimizers.SparseSGD(1.0, row_rate=row_rate)
    with pytest.raises(ValueError, match="row rate that reads them"):
        optimizer.set_row_counts(keras.Variable(TABLE), COUNTS)


def test_counts_of_a_foreign_variable_are_refused():
    optimizer = optimizers.SparseSGD(1.0, row_rate=optimizers.LogFrequency())
    optimizer.build([keras.Variable(TABLE)])
    with pytest.raises(ValueError, match="built with the variable"):
        optimizer.set_row_counts(keras.Variable(TABLE), COUNTS)


def test_base_class_asks_for_the_formula():
    with pytest.raises(NotImplementedError, match="__call__"):
        optimizers.RowRate()(tf.zeros(1), tf.constant(0.0))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_wrong_constants_are_refused(value):
    with pytest.raises(ValueError, match="value"):
        optimizers.ConstantRate(value)
    with pytest.raises(ValueError, match="special_rate"):
        optimizers.LogFrequency(value)


@pytest.mark.parametrize(
    "row_rate",
    [optimizers.ConstantRate(0.5), optimizers.LogFrequency(0.25)],
)
def test_config_round_trip(row_rate):
    config = keras.saving.serialize_keras_object(row_rate)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(row_rate)
    assert copy.get_config() == row_rate.get_config()
    assert copy.special_rate == row_rate.special_rate

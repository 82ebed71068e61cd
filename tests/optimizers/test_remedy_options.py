"""Row options that are remedies, on TensorFlow's operators and the kernel.

Adaptive decay by absent steps, CowClip, decay by frequency: each against
loops in float64 (`optimizer_cases.Reference`) and its paper's arithmetic.
"""

import contextlib

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import optimizer_cases
from tfplugin import kernels
from tfplugin import layers
from tfplugin import optimizers
from tfplugin.optimizers import row_options

ROWS, DIM = optimizer_cases.ROWS, optimizer_cases.DIM
COUNTS = np.array([900, 0, 0.5, 1, 2, 3, 4, 50, 60, 70, 800, 9], "f")
OPTIONS = {
    "adaptive": {"adaptive_decay": 0.3},
    "adaptive_kept": {"adaptive_decay": 0.6, "adaptive_decay_kept": 0.1},
    "adaptive_and_decay": {"adaptive_decay": 0.2, "weight_decay": 0.2},
    "cow_clip": {"cow_clip_ratio": 0.3},
    "cow_clip_bound": {"cow_clip_ratio": 0.2, "cow_clip_bound": 9.0},
    "frequency": {"frequency_decay": 0.8},
    "frequency_compounded": {
        "frequency_decay": 0.5,
        "weight_decay": 0.1,
        "compound_weight_decay": True,
    },
    "all": {
        "adaptive_decay": 0.3,
        "cow_clip_ratio": 0.3,
        "frequency_decay": 0.8,
    },
}
# Unsorted, with duplicates, empty, absent for different spans, never seen.
STEPS = ([3, 7, 3, 1], [7], [], [3, 3, 3, 11], [7, 1], [1, 7, 10, 7])


@pytest.fixture(params=["operators", "kernel"])
def path(request):
    """Runs a test on either path of an update."""
    if request.param == "kernel" and kernels.library() is None:
        pytest.skip(kernels.status().reason)
    kernel = request.param == "kernel"
    context = contextlib.nullcontext() if kernel else kernels.fallback()
    with context:
        yield request.param


def start(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, DIM)).astype("f")


def apply_all(optimizer, tables, steps, references=(), seed=1):
    rng = np.random.default_rng(seed)
    for indices in steps:
        gradients = []
        for position, _ in enumerate(tables):
            values = rng.normal(size=(len(indices), DIM)).astype("f")
            gradients.append(optimizer_cases.slices(indices, values))
            if references:
                references[position].apply(indices, values, counts=COUNTS)
        optimizer.apply(gradients, tables)


def give_counts(optimizer, *tables):
    for table in tables:
        if optimizer.reads_row_counts:
            optimizer.set_row_counts(table, COUNTS, num_special_rows=2)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    "kind, option",
    [("rowwise", option) for option in OPTIONS]
    + [(kind, "all") for kind in optimizer_cases.KINDS],
)
def test_agrees_with_the_reference(kind, option):
    optimizer, reference = optimizer_cases.make(
        kind, start(), **OPTIONS[option]
    )
    table = keras.Variable(start())
    give_counts(optimizer, table)
    apply_all(optimizer, [table], STEPS, [reference])
    np.testing.assert_allclose(
        table.numpy(), reference.weights, rtol=1e-4, atol=1e-5
    )
    untouched = np.setdiff1d(np.arange(ROWS), [1, 3, 7, 10, 11])
    np.testing.assert_array_equal(table.numpy()[untouched], start()[untouched])


@pytest.mark.usefixtures("path")
def test_every_table_has_its_own_steps_and_norms():
    options = OPTIONS["all"]
    optimizer, first = optimizer_cases.make("sgd", start(), **options)
    _, second = optimizer_cases.make("sgd", 3 * start(5), **options)
    tables = [keras.Variable(start()), keras.Variable(3 * start(5))]
    give_counts(optimizer, *tables)
    apply_all(optimizer, tables, STEPS, [first, second])
    # A step of the first table alone is none of the second's.
    values = np.ones((1, DIM), "f")
    optimizer.apply([optimizer_cases.slices([1], values)], tables[:1])
    first.apply([1], values, counts=COUNTS)
    apply_all(optimizer, tables, STEPS, [first, second])
    for table, reference in zip(tables, (first, second), strict=True):
        np.testing.assert_allclose(
            table.numpy(), reference.weights, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("option", OPTIONS)
def test_dense_gradients_take_the_same_options(option):
    optimizer, reference = optimizer_cases.make(
        "adagrad", start(), **OPTIONS[option]
    )
    table = keras.Variable(start())
    give_counts(optimizer, table)
    for seed in (1, 2, 3):
        optimizer.apply([tf.constant(start(seed))], [table])
        reference.apply(range(ROWS), start(seed), counts=COUNTS)
    np.testing.assert_allclose(
        table.numpy(), reference.weights, rtol=1e-4, atol=1e-5
    )


def zeros(*rows):
    return tf.IndexedSlices(tf.zeros((len(rows), 1)), tf.constant(rows))


@pytest.mark.usefixtures("path")
def test_adaptive_decay_by_the_papers_arithmetic():
    table = keras.Variable(np.full((4, 1), 8.0, "f"))
    optimizer = optimizers.SparseSGD(
        0.125, adaptive_decay=0.25, adaptive_decay_kept=0.125
    )
    for step in ([0], [0], [0, 1], [0], [1, 2], *[[0]] * 7, [1, 2, 0]):
        optimizer.apply([zeros(*step)], [table])
    # Row 1: absent once, 3/4; then for 7 steps, of which 1/8 is kept. Row 2:
    # first in step 5, which is no absence; then as row 1. Row 0: absent in
    # step 5 alone. Whatever the rate.
    expected = [8 * 0.75, 8 * 0.75 * 0.125, 8 * 0.125, 8.0]
    assert table.numpy()[:, 0].tolist() == expected


@pytest.mark.usefixtures("path")
def test_adaptive_decay_forgets_its_steps_with_a_reset():
    table = keras.Variable(np.ones((3, 1), "f"))
    optimizer = optimizers.SparseSGD(0.1, adaptive_decay=0.25)
    for step in ([0, 1], [1], [1]):
        optimizer.apply([zeros(*step)], [table])
    optimizer.reset_state(table)
    optimizer.apply([zeros(1)], [table])
    optimizer.apply([zeros(0, 1)], [table])
    assert table.numpy()[:, 0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.usefixtures("path")
def test_cow_clip_by_the_papers_arithmetic():
    # Norms 5 and 0; at the least sqrt(2) * 2 * bound, which is 1.
    table = keras.Variable(np.array([[3, 4], [0, 0], [3, 4]], "f"))
    optimizer = optimizers.SparseSGD(
        1.0, cow_clip_ratio=2.0, cow_clip_bound=float(np.sqrt(0.125))
    )
    gradient = tf.IndexedSlices(
        tf.constant([[30.0, 0.0], [0.0, 6.0], [0.0, 1.0], [30.0, 0.0]]),
        tf.constant([0, 1, 2, 0]),
    )
    optimizer.apply([gradient], [table])
    # 2 * 2 * 5 of 60; 2 * 1 * 1 of 6; 1 is below its 10.
    np.testing.assert_allclose(
        table.numpy(), [[-17, 4], [0, -2], [3, 3]], rtol=1e-6
    )


@pytest.mark.usefixtures("path")
def test_frequency_decay_by_the_papers_arithmetic():
    table = keras.Variable(np.ones((5, 1), "f"))
    optimizer = optimizers.SparseSGD(
        0.5,
        row_rate=optimizers.ConstantRate(0.5),
        frequency_decay=1.0,
    )
    # A special row's own count is taken, and no `special_rate`.
    optimizer.set_row_counts(table, [4, 0, 0.25, 1, 8], num_special_rows=1)
    optimizer.apply([zeros(4, 3, 2, 1, 0, 4)], [table])
    np.testing.assert_allclose(
        table.numpy()[:, 0],
        [1 - 0.25 / 4, 0.75, 0.75, 0.75, 1 - 0.25 / 8],
        rtol=1e-6,
    )


@pytest.mark.usefixtures("path")
def test_frequency_decay_reads_counts_that_grow():
    table = keras.Variable(np.ones((3, 1), "f"))
    optimizer = optimizers.SparseSGD(
        0.5, frequency_decay=1.0, online_counts=optimizers.OnlineCounts()
    )
    optimizer.apply([zeros(1, 1, 2)], [table])
    np.testing.assert_allclose(table.numpy()[:, 0], [1, 0.75, 0.5])


@pytest.mark.usefixtures("path")
@hypothesis.settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    kind=st.sampled_from(["sgd", "rowwise", "adam", "ftrl"]),
    option=st.sampled_from(list(OPTIONS)),
    steps=st.lists(
        st.lists(st.integers(0, ROWS - 1), max_size=9), min_size=1, max_size=4
    ),
    seed=st.integers(0, 99),
)
def test_any_batches_agree_in_any_order(kind, option, steps, seed):
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=(len(step), DIM)).astype("f") for step in steps]
    tables = []
    for shuffled in (False, True):
        optimizer, reference = optimizer_cases.make(
            kind, start(), **OPTIONS[option]
        )
        table = keras.Variable(start())
        give_counts(optimizer, table)
        for rows, given in zip(steps, values, strict=True):
            order = np.arange(len(rows))
            if shuffled:
                rng.shuffle(order)
            rows = np.array(rows, int)[order]
            gradient = optimizer_cases.slices(rows, given[order])
            optimizer.apply([gradient], [table])
            reference.apply(rows, given[order], counts=COUNTS)
        np.testing.assert_allclose(
            table.numpy(), reference.weights, rtol=1e-4, atol=1e-5
        )
        tables.append(table.numpy())
    np.testing.assert_allclose(*tables, rtol=1e-4, atol=1e-5)
    untouched = np.setdiff1d(np.arange(ROWS), np.concatenate([[], *steps]))
    untouched = untouched.astype(int)
    np.testing.assert_array_equal(tables[0][untouched], start()[untouched])


@pytest.mark.usefixtures("path")
def test_switched_off_changes_no_bit_and_keeps_no_state():
    off = {
        "adaptive_decay": 0.0,
        "adaptive_decay_kept": 0.5,
        "cow_clip_bound": 3.0,
        "frequency_decay": 0.0,
    }
    for kind in ("sgd", "adagrad_from_zero", "adam", "ftrl"):
        results = []
        for options in ({}, off):
            optimizer, _ = optimizer_cases.make(kind, start(), **options)
            table = keras.Variable(start())
            apply_all(optimizer, [table], STEPS)
            results.append([table, *optimizer.variables])
        assert len(results[0]) == len(results[1])
        for mine, other in zip(*results, strict=True):
            np.testing.assert_array_equal(mine.numpy(), other.numpy())


@pytest.mark.usefixtures("path")
def test_a_saved_optimizer_goes_on_where_it_was(tmp_path):
    def make():
        optimizer, _ = optimizer_cases.make("adam", start(), **OPTIONS["all"])
        table = keras.Variable(start())
        optimizer.build([table])
        return optimizer, table

    optimizer, table = make()
    give_counts(optimizer, table)
    apply_all(optimizer, [table], STEPS)
    saved = tf.train.Checkpoint(optimizer=optimizer, table=table).save(
        str(tmp_path / "saved")
    )
    apply_all(optimizer, [table], STEPS)
    again, restored = make()
    tf.train.Checkpoint(optimizer=again, table=restored).restore(saved)
    apply_all(again, [restored], STEPS)
    np.testing.assert_array_equal(restored.numpy(), table.numpy())


def test_a_saved_model_goes_on_where_it_was(tmp_path):
    model = optimizer_cases.model()
    tables = optimizers.RowwiseAdagrad(0.1, **OPTIONS["all"])
    optimizer = optimizers.split(
        model, tables=tables, rest=keras.optimizers.Adam(0.01)
    )
    model.compile(optimizer, "mse", jit_compile=False)
    optimizer.build(model.trainable_variables)
    for table in optimizer_cases.table_variables(model):
        optimizer.set_row_counts(table, COUNTS, 2)
    ids, targets = optimizer_cases.data()
    model.train_on_batch(ids[:20], targets[:20])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, again):
        each.train_on_batch(ids[10:], targets[10:])
    np.testing.assert_array_equal(
        again.predict(ids, verbose=0), model.predict(ids, verbose=0)
    )


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("combiner", ["sum", "mean"])
def test_cow_clip_counts_ids_that_a_layer_would_sum_itself(combiner):
    table = layers.Embedding(6, 2, combiner=combiner, seed=1)
    bags = tf.ragged.constant([[3, 3, 5], [3]], dtype=tf.int64)
    table(bags)
    before = table.embeddings.numpy()
    optimizer = optimizers.SparseSGD(1.0, cow_clip_ratio=1e-3)
    optimizer.build([table.embeddings])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(table(bags, training=True)) * 100.0
    variables = [table.embeddings]
    optimizer.apply(
        tape.gradient(loss, [v.value for v in variables]), variables
    )
    moved = np.linalg.norm(table.embeddings.numpy() - before, axis=1)
    norms = np.linalg.norm(before, axis=1)
    expected = 1e-3 * norms * [0, 0, 0, 3, 0, 1]
    np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_cow_clip_lets_nan_through(bad):
    optimizer, _ = optimizer_cases.make("sgd", start(), cow_clip_ratio=0.5)
    table = keras.Variable(start())
    values = start(1)[:2]
    values[0] = bad
    optimizer.apply([optimizer_cases.slices([4, 5], values)], [table])
    nan = np.isnan(table.numpy()).all(axis=1)
    assert nan.tolist() == [row == 4 for row in range(ROWS)]


def test_variables_of_any_rank():
    optimizer = optimizers.SparseSGD(
        1.0, adaptive_decay=0.5, cow_clip_ratio=1.0, frequency_decay=0.5
    )
    shapes = ((), (2,), (2, 2, 2))
    variables = [keras.Variable(np.ones(shape, "f")) for shape in shapes]
    optimizer.set_row_counts(variables[2], [1, 2])
    optimizer.apply([tf.fill(v.shape, 4.0) for v in variables], variables)
    assert float(variables[0].numpy()) == 0.0
    assert variables[1].numpy().tolist() == [0.0, 0.0]
    decayed = variables[2].numpy()
    np.testing.assert_allclose(decayed[:, 0, 0], [-0.5, -0.25])


def test_frequency_decay_without_counts_is_refused():
    optimizer = optimizers.SparseSGD(0.1, frequency_decay=0.5)
    table = keras.Variable(start())
    with pytest.raises(ValueError, match="set_row_counts"):
        optimizer.apply([tf.ones((ROWS, DIM))], [table])
    with pytest.raises(ValueError, match="frequency_decay"):
        optimizers.SparseSGD(0.1).set_row_counts(table, COUNTS)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"adaptive_decay": -0.1}, "adaptive_decay"),
        ({"adaptive_decay": np.nan}, "adaptive_decay"),
        ({"adaptive_decay_kept": 1.5}, r"\[0, 1\]"),
        ({"frequency_decay": np.inf}, "frequency_decay"),
        ({"cow_clip_ratio": 0.0}, "above 0"),
        ({"cow_clip_ratio": 1.0, "cow_clip_bound": 0.0}, "above 0"),
        ({"cow_clip_ratio": 1.0, "clip_value": 1.0}, "At most one"),
        ({"cow_clip_ratio": 1.0, "clip_global_norm": 1.0}, "At most one"),
        (
            {
                "adaptive_decay": 0.1,
                "weight_decay": 0.1,
                "compound_weight_decay": True,
            },
            "twice",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        row_options.RowOptions(**options)


def test_options_survive_saving():
    options = {
        "adaptive_decay": 0.5,
        "adaptive_decay_kept": 0.25,
        "cow_clip_ratio": 2.0,
        "cow_clip_bound": 0.125,
        "frequency_decay": 0.75,
    }
    optimizer = optimizers.RowwiseAdagrad(0.1, **options)
    config = optimizer.get_config()
    assert {key: config[key] for key in options} == options
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == config

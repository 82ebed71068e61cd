"""The sparse optimizers of tf_keras; collected by `test_legacy_processes`."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.support import optimizer_cases
from tfplugin import legacy_keras
from tfplugin import optimizers
from tfplugin.optimizers import row_options
from tfplugin.optimizers import rules

ROWS, DIM = optimizer_cases.ROWS, optimizer_cases.DIM
_CLASSES = (
    "LazyAdam",
    "PartialRowwiseAdam",
    "RowwiseAdagrad",
    "SparseAdagrad",
    "SparseFtrl",
    "SparseSGD",
)
#: Values that no constructor has by default.
_NOT_DEFAULT = {
    "learning_rate": 0.25,
    "momentum": 0.5,
    "initial_accumulator_value": 0.75,
    "epsilon": 0.0625,
    "beta_1": 0.5,
    "beta_2": 0.75,
    "bias_correction": "row",
    "replay_skipped_steps": True,
    "learning_rate_power": -0.25,
    "l1": 0.5,
    "l2": 0.75,
    "l2_shrinkage": 0.125,
    "beta": 0.375,
    "row_rate": optimizers.LogFrequency(special_rate=0.5),
    "online_counts": optimizers.OnlineCounts("batches", half_life=9.0),
    "weight_decay": 0.01,
    "compound_weight_decay": True,
    "clip_value": None,
    "clip_row_norm": 3.0,
    "clip_global_norm": None,
    "adaptive_decay": None,
    "adaptive_decay_kept": 0.25,
    "cow_clip_ratio": None,
    "cow_clip_bound": 0.125,
    "frequency_decay": 0.75,
    "name": "chosen",
}


def _table(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, DIM)).astype("float32")


def _steps(seed=1, count=2):
    """Indices and values of a batch for each pattern, `count` times."""
    rng = np.random.default_rng(seed)
    return [
        (pattern, rng.normal(size=(len(pattern), DIM)).astype("float32"))
        for _ in range(count)
        for pattern in optimizer_cases.PATTERNS.values()
    ]


def _make(kind, **options):
    """The case's optimizer of Keras 3, and the same of tf_keras."""
    theirs = optimizer_cases.KINDS[kind][0](**options)
    create = getattr(legacy_keras, type(theirs).__name__)
    config = theirs.get_config()
    del config["name"]
    return theirs, create.from_config(config)


def _apply(optimizer, table, steps):
    # One trace for batches of any size, as `fit` makes it.
    signature = [
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None, DIM], tf.float32),
    ]

    @tf.function(input_signature=signature)
    def step(indices, values):
        gradient = tf.IndexedSlices(values, indices, tf.constant([ROWS, DIM]))
        optimizer.apply_gradients([(gradient, table)])

    for indices, values in steps:
        step(np.asarray(indices, np.int64), values)
    # The first call makes variables, so TensorFlow traces it once more.
    assert step.experimental_get_tracing_count() <= 2


@pytest.mark.parametrize("kind", optimizer_cases.KINDS)
def test_equal_to_the_reference_and_to_keras_3(kind):
    start, steps = _table(), _steps()
    options = {} if "ftrl" in kind else {"weight_decay": 0.02}
    options["clip_row_norm"] = 2.0
    theirs, ours = _make(kind, **options)
    reference = optimizer_cases.make(kind, start, **options)[1]
    table = tf.Variable(start)
    _apply(ours, table, steps)
    other = tf.Variable(start)
    theirs.build([other])
    for indices, values in steps:
        reference.apply(indices, values)
        theirs.apply([optimizer_cases.slices(indices, values)], [other])
    np.testing.assert_allclose(
        table.numpy(), reference.weights, rtol=2e-4, atol=2e-5
    )
    np.testing.assert_allclose(table.numpy(), other.numpy(), rtol=1e-6)
    assert int(ours.iterations) == len(steps)


def test_a_dense_gradient_takes_the_rule_over_all_rows():
    start = _table()
    values = np.random.default_rng(2).normal(size=(ROWS, DIM))
    values = values.astype("float32")
    ours, theirs = legacy_keras.LazyAdam(0.1), tf_keras.optimizers.Adam(0.1)
    tables = tf.Variable(start), tf.Variable(start)
    for optimizer, table in zip((ours, theirs), tables, strict=True):
        for _ in range(3):
            optimizer.apply_gradients([(tf.constant(values), table)])
    ours, theirs = (table.numpy() for table in tables)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_untouched_rows_and_missing_gradients_stay():
    start = _table()
    for name in _CLASSES:
        table, other = tf.Variable(start), tf.Variable([1.0])
        optimizer = getattr(legacy_keras, name)()
        gradient = optimizer_cases.slices([3, 3], np.ones((2, DIM)))
        optimizer.apply_gradients([(gradient, table), (None, other)])
        changed = np.flatnonzero((table.numpy() != start).any(1))
        assert changed.tolist() == [3]
        assert other.numpy().tolist() == [1.0]


def test_global_norm_is_of_summed_rows_of_all_variables():
    optimizer = legacy_keras.SparseSGD(1.0, clip_global_norm=1.0)
    table, other = tf.Variable(tf.zeros((9, 1))), tf.Variable([0.0])
    gradient = tf.IndexedSlices(tf.ones((4, 1)), tf.fill([4], 7))
    optimizer.apply_gradients(
        [(gradient, table), (tf.constant([3.0]), other), (None, tf.Variable(0))]
    )
    np.testing.assert_allclose(table.numpy()[7], -0.8, rtol=1e-6)
    np.testing.assert_allclose(other.numpy(), -0.6, rtol=1e-6)


def test_occurrences_are_counted_before_duplicates_are_summed():
    optimizer = legacy_keras.SparseSGD(
        1.0,
        row_rate=optimizers.LogFrequency(),
        online_counts=optimizers.OnlineCounts(),
    )
    table = tf.Variable(tf.zeros((ROWS, DIM)))
    _apply(optimizer, table, [([3, 7, 3, 3], np.ones((4, DIM), "float32"))])
    (counts,) = (v for v in optimizer.variables if "row_counts" in v.name)
    assert counts.numpy()[[3, 7, 0]].tolist() == [3.0, 1.0, 0.0]
    np.testing.assert_allclose(table.numpy()[7], -np.log(2) / np.log(4))


def test_counts_are_asked_for_checked_and_kept():
    rate = optimizers.LogFrequency()
    optimizer = legacy_keras.SparseAdagrad(1.0, row_rate=rate)
    table = tf.Variable(tf.zeros((3, 1)))
    gradient = tf.IndexedSlices(tf.ones((2, 1)), tf.constant([1, 2]))
    optimizer.build([table])
    with pytest.raises(ValueError, match="Received: none for"):
        optimizer.apply_gradients([(gradient, table)])
    with pytest.raises(ValueError, match="shape \\(2,\\)"):
        optimizer.set_row_counts(table, [1, 2])
    optimizer.set_row_counts(table, [5, 9, 99], num_special_rows=1)
    optimizer.apply_gradients([(gradient, table)])
    np.testing.assert_allclose(table.numpy()[:, 0], [0, -0.5, -1], rtol=1e-6)
    optimizer.reset_state(table)
    optimizer.apply_gradients([(gradient, table)])
    np.testing.assert_allclose(table.numpy()[:, 0], [0, -1, -2], rtol=1e-6)
    # The accumulator and the counts, the maximum, the number of special rows.
    assert optimizer.state_bytes(table) == 3 * 4 + 3 * 4 + 4 + 8
    with pytest.raises(ValueError, match="built with the variable"):
        optimizer.reset_state(tf.Variable(1.0))
    with pytest.raises(ValueError, match="need a row rate"):
        legacy_keras.SparseSGD(1.0).set_row_counts(table, [1, 2, 3])


@pytest.mark.parametrize("restore_first", [False, True])
@pytest.mark.parametrize("kind", ["momentum", "rowwise", "replay", "ftrl"])
def test_resume_equals_an_uninterrupted_run(tmp_path, kind, restore_first):
    options = {
        "row_rate": optimizers.LogFrequency(),
        "online_counts": optimizers.OnlineCounts(half_life=4.0),
    }
    steps = _steps()
    table = tf.Variable(_table())
    optimizer = _make(kind, **options)[1]
    optimizer.set_row_counts(table, np.arange(ROWS))
    _apply(optimizer, table, steps[:7])
    checkpoint = tf.train.Checkpoint(table=table, optimizer=optimizer)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    _apply(optimizer, table, steps[7:])
    resumed = tf.Variable(_table(seed=9))
    second = _make(kind, **options)[1]
    if not restore_first:
        second.build([resumed])
    checkpoint = tf.train.Checkpoint(table=resumed, optimizer=second)
    status = checkpoint.read(path)
    if restore_first:
        second.build([resumed])
    status.assert_consumed()
    _apply(second, resumed, steps[7:])
    np.testing.assert_array_equal(resumed.numpy(), table.numpy())
    kept = zip(second.variables, optimizer.variables, strict=True)
    for mine, other in kept:
        np.testing.assert_array_equal(mine.numpy(), other.numpy())


def test_remedies_are_those_of_keras_3():
    start, steps = _table(), _steps()
    counts = np.arange(ROWS) * 3.0
    options = {
        "adaptive_decay": 0.25,
        "cow_clip_ratio": 0.5,
        "frequency_decay": 0.5,
    }
    theirs, ours = _make("adam", **options)
    reference = optimizer_cases.make("adam", start, **options)[1]
    table, other = tf.Variable(start), tf.Variable(start)
    assert ours.reads_row_counts
    ours.set_row_counts(table, counts, 2)
    _apply(ours, table, steps)
    theirs.build([other])
    theirs.set_row_counts(other, counts, 2)
    for indices, values in steps:
        reference.apply(indices, values, counts=counts)
        theirs.apply([optimizer_cases.slices(indices, values)], [other])
    np.testing.assert_allclose(
        table.numpy(), reference.weights, rtol=2e-4, atol=2e-5
    )
    np.testing.assert_allclose(table.numpy(), other.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", _CLASSES)
def test_every_argument_survives_a_config(name):
    create = getattr(legacy_keras, name)
    arguments = {
        key: value
        for key, value in _NOT_DEFAULT.items()
        if key in inspect.signature(create).parameters
        or key in inspect.signature(legacy_keras.SparseOptimizer).parameters
        or key in row_options.RowOptions().get_config()
    }
    if name == "LazyAdam":
        # Rows' own steps are not replayed.
        arguments["bias_correction"] = "global"
    optimizer = create(**arguments)
    config = optimizer.get_config()
    assert set(arguments) == set(config)
    for serialized in (
        tf_keras.saving.serialize_keras_object(optimizer),
        tf_keras.optimizers.serialize(optimizer),
    ):
        again = tf_keras.optimizers.deserialize(serialized)
        assert type(again) is create
        assert again.get_config() == config
        assert (again.rule, again.options) == (
            optimizer.rule,
            optimizer.options,
        )
        assert again.online_counts == optimizer.online_counts
        assert again.row_rate.get_config() == optimizer.row_rate.get_config()


def test_constructors_are_those_of_keras_3():
    for name in _CLASSES:
        ours, theirs = (
            [
                (parameter.name, parameter.default)
                for parameter in inspect.signature(
                    getattr(front, name)
                ).parameters.values()
            ]
            for front in (legacy_keras, optimizers)
        )
        assert ours == theirs


def test_a_rule_of_ones_own_survives_a_config():
    rule = rules.Adagrad(epsilon=0.5)
    optimizer = legacy_keras.SparseOptimizer(rule, 0.5)
    again = legacy_keras.SparseOptimizer.from_config(optimizer.get_config())
    assert again.rule == rule


def test_a_schedule_is_followed_and_saved():
    schedule = tf_keras.optimizers.schedules.PiecewiseConstantDecay(
        [1], [1.0, 0.25]
    )
    optimizer = legacy_keras.SparseSGD(schedule)
    table = tf.Variable(tf.zeros((2, 1)))
    gradient = tf.IndexedSlices(tf.ones((1, 1)), tf.constant([1]))
    seen = []
    for _ in range(3):
        optimizer.apply_gradients([(gradient, table)])
        seen.append(float(table[1, 0]))
    assert seen == [-1.0, -2.0, -2.25]
    config = optimizer.get_config()
    again = legacy_keras.SparseSGD.from_config(config)
    assert again.get_config()["learning_rate"]["config"]["values"] == [
        1.0,
        0.25,
    ]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"jit_compile": True}, ValueError, "XLA"),
        ({"use_ema": True}, ValueError, "every row"),
        ({"clipnorm": 1.0}, ValueError, "clip_row_norm"),
        ({"clipvalue": 1.0}, ValueError, "clip_value"),
        ({"global_clipnorm": 1.0}, ValueError, "clip_global_norm"),
        ({"momentums": 1.0}, TypeError, "momentums"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay"),
        ({"row_rate": 0.5}, TypeError, "row_rate"),
        ({"epsilon": -1.0}, ValueError, "epsilon"),
    ],
)
def test_refused(options, error, says):
    with pytest.raises(error, match=f"{says}(.|\n)*"):
        legacy_keras.LazyAdam(**options)


def test_nothing_of_tf_keras_sweeps_a_table():
    optimizer = legacy_keras.LazyAdam(jit_compile=False, weight_decay=0.1)
    # tf_keras takes a weight decay of 0 for one.
    assert optimizer.weight_decay is None
    assert not optimizer.jit_compile
    assert not optimizer.use_ema


def test_variables_of_keras_3_are_refused():
    import keras

    with pytest.raises(TypeError, match="TF_USE_LEGACY_KERAS=1"):
        legacy_keras.LazyAdam().build([keras.Variable([[0.0]])])

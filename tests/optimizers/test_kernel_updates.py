"""The C++ operator against TensorFlow's operators and against NumPy.

The bound: after a few steps, kernel and fallback differ by at most 1e-5 of a
value and 2e-6 in absolute terms. Both compute in float32; they add up a row's
squares in another order, and fuse a multiplication with an addition or not.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import optimizer_cases
from tfplugin import kernels
from tfplugin import optimizers
from tfplugin.optimizers import rules

pytestmark = pytest.mark.skipif(
    kernels.library() is None, reason=kernels.status().reason
)

ROWS = 40
RELATIVE, ABSOLUTE = 1e-5, 2e-6

RULES = {
    "sgd": lambda **k: optimizers.SparseSGD(0.1, **k),
    "momentum": lambda **k: optimizers.SparseSGD(0.1, momentum=0.9, **k),
    "adagrad": lambda **k: optimizers.SparseAdagrad(0.1, **k),
    "rowwise_adagrad": lambda **k: optimizers.RowwiseAdagrad(0.1, **k),
    "adam": lambda **k: optimizers.LazyAdam(0.01, **k),
    "adam_by_row": lambda **k: optimizers.LazyAdam(
        0.01, bias_correction="row", **k
    ),
    "adam_replay": lambda **k: optimizers.LazyAdam(
        0.01, replay_skipped_steps=True, **k
    ),
    "partial_rowwise_adam": lambda **k: optimizers.PartialRowwiseAdam(
        0.01, **k
    ),
    "ftrl": lambda **k: optimizers.SparseFtrl(
        0.1, l1=0.01, l2=0.1, l2_shrinkage=0.01, beta=0.1, **k
    ),
    "ftrl_by_a_power": lambda **k: optimizers.SparseFtrl(
        0.1, learning_rate_power=-0.4, **k
    ),
}

LAWS = {
    "log": optimizers.LogFrequency(special_rate=0.3),
    "power": optimizers.PowerFrequency(
        0.3, floor=0.2, cap=0.8, warm_up_steps=3
    ),
    "inverse": optimizers.InverseFrequency(0.4),
    "saturating": optimizers.SaturatingFrequency(30.0),
    "tail": optimizers.TailDecrease(2.0, threshold=9.0, start_step=2),
    "constant": optimizers.ConstantRate(0.4),
}

OPTIONS = {
    "occurrences": {
        "row_rate": optimizers.LogFrequency(),
        "online_counts": optimizers.OnlineCounts(),
    },
    "half_life": {
        "row_rate": optimizers.LogFrequency(),
        "online_counts": optimizers.OnlineCounts("batches", half_life=3.0),
    },
    "long_half_life": {
        "row_rate": optimizers.LogFrequency(),
        "online_counts": optimizers.OnlineCounts(half_life=1e8),
    },
    "decay": {"weight_decay": 0.1},
    "compounded": {"weight_decay": 0.1, "compound_weight_decay": True},
    "clip_value": {"clip_value": 0.5},
    "clip_row_norm": {"clip_row_norm": 0.5},
    "clip_global_norm": {"clip_global_norm": 0.5},
    "adaptive": {"adaptive_decay": 0.4, "adaptive_decay_kept": 0.1},
    "cow_clip": {"cow_clip_ratio": 0.3, "cow_clip_bound": 2.0},
    "by_frequency": {"frequency_decay": 0.9},
    "by_grown_frequency": {
        "frequency_decay": 0.9,
        "weight_decay": 0.1,
        "row_rate": optimizers.ConstantRate(0.5),
        "online_counts": optimizers.OnlineCounts(half_life=3.0),
    },
    "remedies": {
        "adaptive_decay": 0.2,
        "cow_clip_ratio": 0.2,
        "frequency_decay": 0.5,
        "row_rate": optimizers.LogFrequency(special_rate=0.3),
    },
}


def train(make, *, fallback=False, dim=5, batch=9, rows=ROWS, dtype="int64"):
    """Table and state after a few eager steps, a row in every other absent."""
    rng = np.random.default_rng(3)
    table = keras.Variable(rng.normal(size=(rows, dim)).astype("float32"))
    optimizer = make()
    optimizer.build([table])
    if optimizer.reads_row_counts:
        optimizer.set_row_counts(table, np.arange(rows) * 3, 2)
    context = kernels.fallback() if fallback else contextlib.nullcontext()
    with context:
        for _ in range(4):
            indices = rng.integers(0, rows, batch).astype(dtype)
            values = rng.normal(size=(batch, dim)).astype("float32")
            optimizer.apply(
                [tf.IndexedSlices(tf.constant(values), tf.constant(indices))],
                [table],
            )
    return [table.numpy(), *(v.numpy() for v in optimizer.variables)]


def assert_agree(make, **sizes):
    ours = train(make, **sizes)
    theirs = train(make, fallback=True, **sizes)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, RELATIVE, ABSOLUTE)


@pytest.mark.parametrize("rule", RULES)
def test_rules_agree(rule):
    assert_agree(RULES[rule])


@pytest.mark.parametrize("law", LAWS)
def test_laws_agree(law):
    assert_agree(lambda: RULES["rowwise_adagrad"](row_rate=LAWS[law]))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("rule", ["adam", "ftrl"])
def test_options_agree(rule, option):
    assert_agree(lambda: RULES[rule](**OPTIONS[option]))


@pytest.mark.parametrize("dim", [1, 15, 16, 17, 32, 64, 100])
def test_lengths_of_rows_agree(dim):
    for rule in ("rowwise_adagrad", "adam"):
        assert_agree(RULES[rule], dim=dim, dtype="int32")


@pytest.mark.parametrize("rule", ["adagrad", "partial_rowwise_adam"])
def test_a_batch_large_enough_for_several_threads(rule):
    sizes = {"dim": 64, "batch": 9_000, "rows": 20_000}
    assert_agree(RULES[rule], **sizes)
    for first, second in zip(
        train(RULES[rule], **sizes), train(RULES[rule], **sizes), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("pattern", optimizer_cases.PATTERNS)
def test_untouched_rows_are_bit_identical(pattern):
    indices = optimizer_cases.PATTERNS[pattern]
    shape = (optimizer_cases.ROWS, optimizer_cases.DIM)
    start = np.random.default_rng(0).normal(size=shape).astype("float32")
    table = keras.Variable(start)
    optimizer = optimizers.LazyAdam(0.1, weight_decay=0.1)
    values = np.ones((len(indices), optimizer_cases.DIM))
    optimizer.apply([optimizer_cases.slices(indices, values)], [table])
    untouched = np.setdiff1d(np.arange(optimizer_cases.ROWS), indices)
    changed = np.unique(indices).astype(int)
    np.testing.assert_array_equal(table.numpy()[untouched], start[untouched])
    assert (table.numpy()[changed] != start[changed]).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_nan_makes_its_row_nan_and_no_other(rule):
    for options in (
        {},
        {"clip_value": 1.0},
        {"clip_row_norm": 1.0},
        {"cow_clip_ratio": 0.1},
    ):
        table = keras.Variable(np.ones((4, 3), "float32"))
        values = np.ones((3, 3), "float32")
        values[1] = np.nan
        gradient = tf.IndexedSlices(tf.constant(values), tf.constant([0, 2, 3]))
        RULES[rule](**options).apply([gradient], [table])
        nan = np.isnan(table.numpy()).all(axis=1)
        assert nan.tolist() == [False, False, True, False]
        assert not np.isnan(table.numpy()[[0, 1, 3]]).any()


@pytest.mark.parametrize("row", [-1, 4, 2**40])
def test_a_row_out_of_range_names_table_row_and_size(row):
    table = keras.Variable(np.ones((4, 2), "float32"), name="items")
    optimizer = optimizers.SparseSGD(0.1)
    gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([1, row]))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"items.* 0 to 3.*: {row}"
    ):
        optimizer.apply([gradient], [table])
    np.testing.assert_array_equal(table.numpy(), np.ones((4, 2)))


def test_laws_and_rules_of_a_user_keep_their_own_formula():
    class Halved(optimizers.LogFrequency):
        def __call__(self, counts, maximum_count):
            return super().__call__(counts, maximum_count) * 0.5

    plain = train(lambda: RULES["sgd"](row_rate=optimizers.LogFrequency()))
    halved = train(lambda: RULES["sgd"](row_rate=Halved()))
    again = train(lambda: RULES["sgd"](row_rate=Halved()), fallback=True)
    assert not np.allclose(plain[0], halved[0])
    np.testing.assert_allclose(halved[0], again[0], RELATIVE, ABSOLUTE)


def test_a_rule_with_other_states_keeps_its_own_formula():
    class OneNumberARow(rules.Adagrad):
        def state_specs(self):
            return (optimizers.StateSpec("accumulator", per_row=True),)

    table = keras.Variable(np.ones((6, 3), "float32"))
    optimizer = optimizers.SparseOptimizer(OneNumberARow(), 0.1)
    optimizer.build([table])
    gradient = tf.IndexedSlices(tf.ones((1, 3)), tf.constant([5]))
    # What the kernel of its parent would not see.
    with pytest.raises(ValueError, match="state_specs"):
        optimizer.apply([gradient], [table])


def _call(**changes):
    table, slot = tf.Variable(tf.ones((6, 3))), tf.Variable(tf.zeros((6, 3)))
    step, counts = tf.Variable(0, dtype=tf.int64), tf.Variable(tf.ones(6))
    maximum, special = tf.Variable(1.0), tf.Variable(0, dtype=tf.int64)
    books = {
        "step": step,
        "row_counts": counts,
        "maximum_count": maximum,
        "num_special_rows": special,
    }
    books |= changes.pop("books", {})
    books = {k: v for k, v in books.items() if v is not None}
    slots = changes.pop("slots", [slot])
    arguments = {
        "rule": "adagrad",
        "constants": [1e-7],
        "law": "log",
        "table_name": "items",
        "bookkeeping_roles": list(books),
    }
    kernels.library().tfplugin_update_rows(
        changes.pop("table", table).handle,
        [slot.handle for slot in slots],
        [book.handle for book in books.values()],
        tf.constant([1]),
        tf.ones((1, 3)),
        changes.pop("rate", tf.constant(0.1)),
        tf.zeros([0]),
        **{**arguments, **changes},
    )


def test_the_operator_called_as_it_should_be():
    _call()


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": []},
        {"slots": [tf.Variable(tf.zeros((6, 1)))]},
        {"slots": [tf.Variable(tf.zeros((5, 3)))]},
        {"slots": [tf.Variable(tf.zeros((6, 3), tf.float64))]},
        {"table": tf.Variable(tf.ones((6, 3), tf.float64))},
        {"table": tf.Variable(tf.ones((6, 3, 1)))},
        {"books": {"row_counts": tf.Variable(tf.ones(5))}},
        {"books": {"row_counts": None}},
        {"books": {"step": tf.Variable(0)}},
        {"books": {"step": tf.Variable(tf.zeros(0, tf.int64))}},
        {"rate": tf.ones(2)},
        {"constants": []},
        {"rule": "lazy_adam"},
        {"rule": "unknown"},
        {"law": "power"},
        {"half_life": 3.0},
        {"compound_weight_decay": True},
        {"adaptive_decay": 0.5},
        {
            "law": "",
            "frequency_decay": 0.5,
            "books": {"row_counts": None},
        },
        {"bookkeeping_roles": ["step"]},
    ],
    ids=str,
)
def test_the_operator_refuses_what_does_not_fit(changes):
    with pytest.raises(tf.errors.InvalidArgumentError):
        _call(**changes)


def test_a_table_is_not_its_own_slot():
    table = tf.Variable(tf.ones((6, 3)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="different"):
        _call(table=table, slots=[table])


def test_other_tables_take_the_fallback():
    for shape, dtype in (((6, 2), "bfloat16"), ((6, 2, 3), "float32")):
        table = keras.Variable(np.ones(shape), dtype=dtype)
        optimizer = optimizers.SparseAdagrad(0.5)
        values = tf.ones((1, *shape[1:]), dtype)
        gradient = tf.IndexedSlices(values, tf.constant([4]))
        optimizer.apply([gradient], [table])
        changed = np.asarray(table.numpy(), "float32").reshape(6, -1) != 1.0
        assert changed.all(axis=1).tolist() == [False] * 4 + [True, False]


def test_reading_a_table_before_an_update_keeps_what_was_read():
    table = keras.Variable(np.ones((4, 2), "float32"))
    before = tf.convert_to_tensor(table.value)
    gradient = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]))
    optimizers.SparseSGD(0.5).apply([gradient], [table])
    np.testing.assert_array_equal(before, np.ones((4, 2)))
    assert table.numpy()[1].tolist() == [0.5, 0.5]


def test_two_threads_train_two_tables():
    expected = {rule: train(RULES[rule], dim=16) for rule in ("adam", "ftrl")}
    found = {}

    def work(rule):
        for _ in range(5):
            found[rule] = train(RULES[rule], dim=16)

    threads = [threading.Thread(target=work, args=(r,)) for r in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rule, arrays in expected.items():
        for mine, other in zip(found[rule], arrays, strict=True):
            np.testing.assert_array_equal(mine, other)


_OTHER_INSTRUCTIONS = """
import json, sys
from tests.optimizers import test_kernel_updates as cases
from tfplugin import kernels
arrays = cases.train(cases.RULES[sys.argv[1]], dim=37)
print(json.dumps([kernels.status().instruction_set, arrays[0].tolist()]))
"""


@pytest.mark.parametrize(
    "name, shown", [("baseline", "baseline"), ("avx2", "AVX2")]
)
def test_every_instruction_set_agrees(name, shown):
    done = subprocess.run(
        [sys.executable, "-c", _OTHER_INSTRUCTIONS, "adam"],
        env={**os.environ, "TFPLUGIN_KERNELS": name},
        capture_output=True,
        text=True,
        check=True,
    )
    instruction_set, table = json.loads(done.stdout.splitlines()[-1])
    assert instruction_set in (shown, "baseline")
    expected = train(RULES["adam"], dim=37)[0]
    np.testing.assert_allclose(table, expected, RELATIVE, ABSOLUTE)

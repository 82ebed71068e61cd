"""The functions on arrays, against plain Python, without a pipeline."""

import decimal
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from beam_jobs import conversions
from beam_jobs import row_hash
from beam_jobs.roles import role_values
from beam_jobs.roles import splits
from beam_jobs.roles import time_counts
from tfplugin import schema

INT64 = st.integers(-(2**63), 2**63 - 1)


def converted(result):
    return result.values.to_pylist(), result.bad.tolist()


@pytest.mark.parametrize(
    ("column", "values", "bad"),
    [
        (pa.array([1, None, -5]), [1, None, -5], [0, 0, 0]),
        (pa.array([2**62 + 1, -(2**63)]), [2**62 + 1, None], [0, 0]),
        (pa.array([2**63, 5], pa.uint64()), [None, 5], [1, 0]),
        (pa.array([2.0, 2.5, math.nan]), [2, None, None], [0, 1, 0]),
        (pa.array([2.0**63, -math.inf]), [None, None], [1, 1]),
        (
            pa.array(["-7", "x", "", "0x1F", "1.0", " 3 ", None]),
            [-7, None, None, None, 1, 3, None],
            [0, 1, 0, 1, 0, 0, 0],
        ),
        (pa.array([True, False]), [1, 0], [0, 0]),
        (
            pa.array([decimal.Decimal("3.0"), decimal.Decimal("3.5")]),
            [3, None],
            [0, 1],
        ),
        (pa.array(["9"]).dictionary_encode(), [9], [0]),
        (pa.array([None, None]), [None, None], [0, 0]),
        (pa.array([], pa.int32()), [], []),
    ],
)
def test_ids_of_dtype_int64(column, values, bad):
    got = role_values.ids(column, "int64")
    assert converted(got) == (values, [bool(b) for b in bad])
    assert got.values.type == pa.int64()


@pytest.mark.parametrize(
    ("column", "values", "bad"),
    [
        (pa.array(["é\x00\n", "", None]), ["é\x00\n", None, None], [0, 0, 0]),
        (pa.array([b"a", b"\xff"]), ["a", None], [0, 1]),
        (pa.array([-5, 0]), ["-5", "0"], [0, 0]),
        (pa.array(["x"], pa.large_string()), ["x"], [0]),
    ],
)
def test_ids_of_dtype_string(column, values, bad):
    got = role_values.ids(column, "string")
    assert converted(got) == (values, [bool(b) for b in bad])


@pytest.mark.parametrize(
    ("convert", "column"),
    [
        (lambda c: role_values.ids(c, "int64"), pa.array([[1]])),
        (lambda c: role_values.ids(c, "string"), pa.array([1.5])),
        (lambda c: role_values.id_lists(c, "int64"), pa.array([1])),
        (role_values.dense, pa.array([[1.0]])),
        (role_values.labels, pa.array([b"x"])),
        (role_values.keys, pa.array([1.5])),
        (
            lambda c: role_values.seconds(c, required=False),
            pa.array([[1]]),
        ),
    ],
)
def test_types_that_can_never_do(convert, column):
    with pytest.raises(role_values.WrongType):
        convert(column)


def test_lists():
    column = pa.array([[1, None], None, [], [-(2**63), 4]])
    got = role_values.id_lists(column.slice(1), "int64")
    assert converted(got) == ([[], [], [-(2**63), 4]], [False] * 3)
    words = pa.array([["a", "x"], ["7"], ["8", ""]], pa.large_list(pa.string()))
    got = role_values.id_lists(words, "int64")
    assert got.bad.tolist() == [True, False, False]
    assert got.values[2].as_py() == [8, schema.MISSING_INT64]
    nothing = role_values.id_lists(pa.array([None, None]), "string")
    assert nothing.values.to_pylist() == [[], []]


def test_dense():
    column = pa.array([1.5, math.nan, None, math.inf, 1e300, -0.0])
    assert converted(role_values.dense(column)) == (
        [1.5, None, None, None, None, 0.0],
        [False, False, False, True, True, False],
    )
    assert converted(role_values.dense(pa.array(["1.5", "abc"]))) == (
        [1.5, None],
        [False, True],
    )
    whole = role_values.dense(pa.array([decimal.Decimal("1.25")]))
    assert converted(whole) == ([1.25], [False])


def test_unsigned_numbers_stay_positive():
    column = pa.array([2**63, 2**64 - 1, 5, None], pa.uint64())
    values, bad = converted(role_values.dense(column))
    assert values == [2.0**63, 2.0**64, 5.0, None] and bad == [False] * 4
    assert converted(role_values.weights(column.drop_null()))[1] == [False] * 3


def test_labels():
    column = pa.array([0, 1, None, 2])
    assert converted(role_values.labels(column)) == (
        [0, 1, None, None],
        [False, False, False, True],
    )
    mask = pa.array([True, False, True, None])
    assert converted(role_values.labels(column, mask)) == (
        [0, None, None, None],
        [False] * 4,
    )
    words = pa.array(["TRUE", "false", "1.0", "", "yes"])
    assert converted(role_values.labels(words)) == (
        [1, 0, 1, None, None],
        [False, False, False, False, True],
    )


def test_weights():
    column = pa.array([0.0, 2.5, None, -1.0, math.nan, math.inf])
    got = role_values.weights(column)
    assert got.bad.tolist() == [False, False, True, True, True, True]
    assert got.values.to_pylist()[:2] == [0.0, 2.5]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_seconds_of_timestamps(unit, zone):
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    column = pa.array([5 * factor, -factor, None], pa.timestamp(unit, zone))
    got = role_values.seconds(column, required=True)
    assert converted(got) == ([5, -1, None], [False, False, True])
    if factor > 1:
        early = pa.array([-1], pa.timestamp(unit, zone))
        assert role_values.seconds(early, required=True).values[0].as_py() == -1


def test_numbers_that_are_no_seconds_are_refused():
    last = role_values.LAST_SECOND
    column = pa.array([role_values.FIRST_SECOND, last, 1_700_000_000_000, 7])
    for kind in (pa.int64(), pa.float64(), pa.string()):
        got = role_values.seconds(column.cast(kind), required=False)
        wanted = [role_values.FIRST_SECOND, last, None, 7]
        assert converted(got) == (wanted, [False, False, True, False])
    # Nor do they move cut-offs.
    assert time_counts.TimeCounts.of(column).seconds[-1] == last


def test_seconds_of_text():
    column = pa.array(["1970-01-02", "1970-01-01T00:00:05Z", "abc", None])
    got = role_values.seconds(column, required=False)
    assert converted(got) == ([86400, 5, None, None], [0, 0, 1, 0])
    assert converted(role_values.seconds(pa.array(["7"]), required=False)) == (
        [7],
        [0],
    )


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_cast_marks_what_python_cannot_read(words):
    values, bad = conversions.cast(pa.array(words, pa.string()), pa.int64())
    for word, value, marked in zip(words, values.to_pylist(), bad, strict=True):
        if value is not None:
            assert int(word) == value and not marked
        elif word is not None and word.strip():
            assert marked


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), INT64), st.one_of(st.none(), st.text())),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 29),
    st.integers(0, 2**70),
)
@settings(max_examples=60, deadline=None)
def test_hash_knows_neither_chunks_nor_encodings(rows, cut, seed):
    numbers = pa.array([row[0] for row in rows], pa.int64())
    words = pa.array([row[1] for row in rows], pa.string())
    whole = row_hash.hash_columns([numbers, words], seed)
    encoded = row_hash.hash_columns(
        [
            numbers.dictionary_encode(),
            words.cast(pa.large_string()).dictionary_encode(),
        ],
        seed,
    )
    cut = min(cut, len(rows))
    parts = [
        row_hash.hash_columns([numbers[a:b], words[a:b]], seed)
        for a, b in ((0, cut), (cut, len(rows)))
        if a < b
    ]
    assert (whole == encoded).all()
    assert (whole == np.concatenate(parts)).all()
    for one, left in enumerate(rows):
        for two, right in enumerate(rows):
            assert (left == right) == (whole[one] == whole[two])


def test_hash_values_of_other_types():
    narrow = row_hash.hash_values(pa.array([5, None], pa.int8()))
    assert (narrow == row_hash.hash_values(pa.array([5, None]))).all()
    zeros = row_hash.hash_values(pa.array([0.0, -0.0]))
    assert zeros[0] == zeros[1]
    for column in (
        pa.array([1, 2], pa.date32()),
        pa.array([1, 2], pa.timestamp("us")),
        pa.array([decimal.Decimal("1.5"), decimal.Decimal("2.5")]),
        pa.array([2**63, 2**63 + 1], pa.uint64()),
        pa.array([True, False]),
    ):
        one, two = row_hash.hash_values(column)
        assert one != two
    with pytest.raises(pa.ArrowNotImplementedError):
        row_hash.hash_values(pa.array([[1]]))


def test_hashes_do_not_change():
    columns = [pa.array([1, None, -1]), pa.array(["a", "", None])]
    assert row_hash.hash_columns(columns, 7).tolist() == FROZEN


#: A dataset made again must have the same splits.
FROZEN = [
    638569655630767097,
    17430807895572577735,
    926590401586329178,
]


def test_hash_split_has_its_shares():
    hashes = row_hash.hash_columns([pa.array(range(100_000))], 3)
    found = splits.by_hash(hashes, validation=0.1, test=0.2)
    shares = np.bincount(found, minlength=3) / len(found)
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.005)
    other = row_hash.hash_columns([pa.array(range(100_000))], 4)
    agree = found == splits.by_hash(other, validation=0.1, test=0.2)
    assert 0.5 < agree.mean() < 0.6


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=200),
    st.sampled_from([(0.1, 0.2), (0.25, 0.25), (0.01, 0.5), (0.3, 0.3)]),
)
@settings(max_examples=80, deadline=None)
def test_cut_offs_take_the_fewest_early_seconds(times, shares):
    seconds, counts = np.unique(times, return_counts=True)
    validation, test = shares
    first, second = splits.cut_offs(
        seconds, counts, validation=validation, test=test
    )
    total = len(times)
    for cut, left_out in ((first, validation + test), (second, test)):
        before = sorted(t for t in times if t < cut)
        needed = round((1 - left_out) * total, 6)
        assert len(before) >= math.ceil(needed)
        fewer = [t for t in before if t < before[-1]]
        assert len(fewer) < math.ceil(needed)
    found = splits.by_time(np.array(times), (first, second))
    for time, split in zip(times, found, strict=True):
        assert split == (0 if time < first else 1 if time < second else 2)


def test_time_shards_are_about_equal():
    seconds = np.arange(1000)
    counts = np.ones(1000, np.int64)
    bounds = splits.time_shards(seconds, counts, 4)
    assert bounds.tolist() == [250, 500, 750]
    assert splits.time_shards(seconds[:0], counts[:0], 3).tolist() == [0, 0]
    assert splits.time_shards(seconds[:1], counts[:1], 3).tolist() == [0, 0]


def test_time_counts_merge():
    parts = [
        time_counts.TimeCounts.of(pa.array(column, pa.int64()))
        for column in ([3, 1, 3], [], [None, 1])
    ]
    merged = time_counts.merge(parts)
    assert dict(
        zip(merged.seconds.tolist(), merged.counts.tolist(), strict=True)
    ) == {1: 2, 3: 2}
    assert not len(time_counts.merge([]).seconds)

"""What is equal across two logs, and when two moments meet."""

import datetime
import decimal
import pathlib

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import strategies

from beam_jobs.joining import join_keys
from beam_jobs.joining import join_times
from beam_jobs.roles import role_values
from tfplugin import config

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "guides" / "joins.md"


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (pa.int8(), pa.uint32(), pa.int64()),
        (pa.uint64(), pa.uint64(), pa.uint64()),
        (pa.uint64(), pa.int8(), pa.decimal128(20, 0)),
        (pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.string(), pa.binary(4), pa.binary()),
        (pa.null(), pa.int16(), pa.int64()),
        (pa.null(), pa.null(), pa.null()),
        (pa.date32(), pa.date32(), pa.date32()),
        (pa.date32(), pa.date64(), None),
        (pa.timestamp("s"), pa.timestamp("us"), None),
        (pa.int64(), pa.string(), None),
        (pa.float64(), pa.float64(), None),
        (pa.list_(pa.int64()), pa.list_(pa.int64()), None),
    ],
)
def test_types_of_keys(left, right, wanted):
    assert join_keys.key_type(left, right) == wanted
    assert join_keys.key_type(right, left) == wanted


words = strategies.none() | strategies.sampled_from(["", "a", "b", "ä", "a\0"])
numbers = strategies.none() | strategies.sampled_from([-1, 0, 1, 2**63 - 1])


@hypothesis.given(
    left=strategies.lists(strategies.tuples(words, numbers, numbers)),
    right=strategies.lists(
        strategies.tuples(words, numbers, numbers).filter(
            lambda row: None not in row
        )
    ),
)
def test_keys_are_numbered_as_by_a_dict(left, right):
    kinds = [pa.string(), pa.int64(), pa.int64()]

    def columns(rows):
        return [
            pa.array([row[i] for row in rows], kind)
            for i, kind in enumerate(kinds)
        ]

    one, two = join_keys.encode(columns(left), columns(right))
    number = dict(zip(right, two.tolist(), strict=True))
    assert len(set(number.values())) == len(set(right))
    assert [number.get(row, -1) for row in left] == one.tolist()


def test_large_unsigned_keys_are_not_negative_ones():
    kind = join_keys.key_type(pa.uint64(), pa.int64())
    ours = pa.record_batch({"k": pa.array([2**64 - 1, 5], pa.uint64())})
    theirs = pa.record_batch({"k": pa.array([-1, 5], pa.int64())})
    keys = [join_keys.canonical(x, ["k"], [kind]) for x in (ours, theirs)]
    assert join_keys.encode(*keys)[0].tolist() == [-1, 1]
    assert join_keys.hashes(keys[0])[1] == join_keys.hashes(keys[1])[1]


def test_the_same_hash_whatever_the_types():
    def hashed(values, kind, other):
        rows = pa.record_batch({"k": pa.array(values, kind)})
        kinds = [join_keys.key_type(kind, other)]
        return join_keys.hashes(join_keys.canonical(rows, ["k"], kinds))

    a = hashed([1, 2], pa.int16(), pa.uint32())
    assert (a == hashed([1, 2], pa.uint32(), pa.int16())).all()
    b = hashed(["x", "ä"], pa.string(), pa.binary())
    assert (b == hashed(["x", "ä".encode()], pa.binary(), pa.string())).all()
    assert len({*a.tolist(), *b.tolist()}) == 4


def test_parts_of_a_level_spread_over_the_next():
    hashes = join_keys.hashes([pa.array(np.arange(8000))])
    first = join_keys.parts(hashes, 8, 0)
    counts = np.bincount(join_keys.parts(hashes[first == 3], 8, 1), minlength=8)
    assert counts.min() > 80


MOMENT = 1_704_067_200_123_456


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([MOMENT], pa.timestamp("us")), MOMENT),
        (pa.array([MOMENT * 1000 + 999], pa.timestamp("ns", "UTC")), MOMENT),
        (pa.array([-1], pa.timestamp("ns")), -1),
        (pa.array([7], pa.timestamp("ms", "Asia/Tokyo")), 7000),
        (pa.array([7], pa.int32()), 7_000_000),
        (pa.array([1704067200.123456]), MOMENT),
        (pa.array([decimal.Decimal("1.25")]), 1_250_000),
        (pa.array([datetime.date(1970, 1, 2)]), 86_400_000_000),
        (pa.array(["2024-01-01 00:00:00.123456"]), MOMENT),
        (pa.array(["2024-01-01T01:00:00.123456+01:00"]), MOMENT),
        (pa.array(["-5"]).dictionary_encode(), -5_000_000),
    ],
)
def test_moments(column, wanted):
    values, null, bad = join_times.micros(column)
    assert values.tolist() == [wanted]
    assert not null.any()
    assert not bad.any()
    join_times.check(column.type)


@pytest.mark.parametrize(
    "column",
    [
        # Microseconds taken for seconds would overflow in silence.
        pa.array([2**62]),
        pa.array([-(2**63)]),
        # Milliseconds taken for seconds would meet nothing, in silence.
        pa.array([1_700_000_000_000]),
        pa.array([1.7e12]),
        pa.array(["1700000000000"]),
        pa.array([np.nan]),
        pa.array([1e300]),
        pa.array([2**62], pa.timestamp("s")),
        pa.array(["yesterday"]),
        pa.array([str(2**62)]),
        pa.array([""]),
    ],
)
def test_what_is_no_moment(column):
    values, null, bad = join_times.micros(column)
    assert values.tolist() == [0]
    assert (null | bad).all()


def test_null_is_no_bad_moment():
    for kind in (pa.int64(), pa.float64(), pa.string(), pa.timestamp("s")):
        values, null, bad = join_times.micros(pa.nulls(2, kind))
        assert values.tolist() == [0, 0]
        assert null.all()
        assert not bad.any()


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.binary()])
def test_columns_without_moments(kind):
    with pytest.raises(role_values.WrongType):
        join_times.check(kind)


def test_the_guide_is_a_configuration():
    (text,) = GUIDE.read_text("utf-8").split("```yaml\n")[1:]
    read = yaml.safe_load(text.split("```")[0])
    joins = config.SourceConfig.model_validate(read["source"]).joins
    assert joins["orders"].window == 7 * 86_400
    assert list(joins["profiles"].keys) == ["user_id"]

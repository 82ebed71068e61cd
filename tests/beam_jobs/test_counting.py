"""Tables of counts, in C++ and by Arrow, against `collections.Counter`."""

import collections
import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from beam_jobs import counting
from beam_jobs import row_hash
from beam_jobs.counting import id_counts

DAY = 86_400
IDS = {
    "int64": st.one_of(
        st.integers(-3, 3), st.sampled_from([-(2**63), 2**63 - 1, 1 - 2**63])
    ),
    "string": st.one_of(
        st.sampled_from(["", "a", "b", "ab", "ü", "日本", "a" * 8, "a" * 9]),
        st.text(max_size=20),
    ),
}
MISSING = {"int64": -(2**63), "string": ""}
TYPES = {"int64": pa.int64(), "string": pa.string()}


@st.composite
def batches(draw):
    """A dtype, and batches of ids, lists of ids, labels and moments."""
    dtype = draw(st.sampled_from(list(IDS)))
    one = st.none() | IDS[dtype]
    row = st.tuples(
        one,
        st.none() | st.lists(one, max_size=4),
        st.sampled_from([None, 0.0, 1.0]),
        st.sampled_from([None, 0.0, 1.0]),
        st.none() | st.integers(-3 * DAY, 3 * DAY),
    )
    rows = draw(st.lists(st.lists(row, max_size=12), max_size=4))
    return dtype, rows


def arrow(dtype, rows, first=0):
    """The rows as a batch; from `first` on, so that offsets are not 0."""
    ids, lists, clicks, buys, times = zip(*rows, strict=True)
    kind = TYPES[dtype]
    return pa.RecordBatch.from_pydict(
        {
            "one": pa.array(ids, kind),
            "many": pa.array(lists, pa.list_(kind)),
            "click": pa.array(clicks, pa.float32()),
            "buy": pa.array(buys, pa.float32()),
            "event_time": pa.array(times, pa.int64()),
        }
    ).slice(first)


def expected(dtype, rows):
    """Counts, label counts and days of every id."""
    found = collections.defaultdict(lambda: [0, 0, 0, [], []])
    for one, many, click, buy, time in rows:
        for id_ in [one, *(many or [])]:
            if id_ is None or id_ == MISSING[dtype]:
                continue
            entry = found[id_]
            entry[0] += 1
            entry[1] += click == 1.0
            entry[2] += buy == 1.0
            if time is not None:
                entry[3].append(time // DAY)
    return {
        id_: (
            *entry[:3],
            min(entry[3], default=None),
            max(entry[3], default=None),
        )
        for id_, entry in found.items()
    }


def as_dict(blocks):
    found = {}
    for block in blocks:
        table = id_counts.with_dates(pa.table(block))
        for name in id_counts.FIRST_DAY, id_counts.LAST_DAY:
            index = table.schema.get_field_index(name)
            days = table[name].cast(pa.int32())
            table = table.set_column(index, name, days)
        for row in table.to_pylist():
            id_ = row.pop("id")
            assert id_ not in found
            found[id_] = tuple(row.values())
    return found


def counted(dtype, rows, ways):
    kind = id_counts.TableKind(dtype, ("click", "buy"), True)
    with ways():
        table = counting.for_rows(kind)
        for part in rows:
            if part:
                # The first row is cut off, and counted apart.
                for batch in (arrow(dtype, part, 1), arrow(dtype, part[:1])):
                    read = counting.read_rows(batch, kind.labels, days=True)
                    table.add_rows([read], ["one", "many"])
        assert table.nbytes >= 0
    return kind, table


WAYS = [contextlib.nullcontext, counting.fallback]


@settings(deadline=None, max_examples=60)
@given(batches(), st.sampled_from(WAYS))
def test_counts_are_those_of_a_counter(drawn, ways):
    dtype, rows = drawn
    _, table = counted(dtype, rows, ways)
    blocks = list(table.by_count(3))
    wanted = expected(dtype, [row for part in rows for row in part])
    assert as_dict(blocks) == wanted
    assert len(table) == len(wanted)
    order = [id_ for block in blocks for id_ in block["id"].to_pylist()]
    assert order == sorted(order, key=lambda id_: (-wanted[id_][0], id_))


@settings(deadline=None, max_examples=40)
@given(batches(), st.sampled_from(WAYS), st.booleans())
def test_parts_of_files_add_up(drawn, ways, decayed):
    dtype, rows = drawn
    kind, table = counted(dtype, rows, ways)
    with ways():
        total = counting.for_counts(kind, decayed=decayed)
        places = []
        for number, block in table.by_place(3, 2):
            hashes = counting.file_hashes(block["id"])
            assert set(hashes % np.uint64(3)) == {number}
            places += [(number, h) for h in hashes.tolist()]
            for _ in range(2):
                total.add_counts(block)
    assert places == sorted(places)
    once = as_dict(table.by_count(100))
    assert as_dict(total.by_count(100)) == {
        id_: (*(2 * n for n in entry[:3]), *entry[3:])
        for id_, entry in once.items()
    }


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1)) | st.lists(st.text(max_size=30))
)
def test_files_of_ids_are_those_of_row_hash(ids):
    kind = pa.string() if ids and isinstance(ids[0], str) else pa.int64()
    array = pa.array(ids, kind)
    np.testing.assert_array_equal(
        counting.file_hashes(array[1:]), row_hash.hash_columns([array[1:]], 0)
    )


@pytest.mark.parametrize("dtype", list(IDS))
def test_many_ids_and_one_with_half_of_all(dtype):
    numbers = np.random.default_rng(0).permutation(50_000)
    numbers = np.stack([numbers, np.full(50_000, 7)], 1).ravel()
    ids = pa.array(numbers)
    batch = pa.RecordBatch.from_pydict({"id": ids.cast(TYPES[dtype])})
    kind = id_counts.TableKind(dtype, (), False)
    table = counting.for_rows(kind)
    table.add_rows([counting.read_rows(batch, (), days=False)], ["id"])
    (block,) = table.by_count(1 << 20)
    assert block.num_rows == 50_000
    assert block["count"][:2].to_pylist() == [50_001, 1]
    assert block["id"][0].as_py() == (7 if dtype == "int64" else "7")
    assert block["id"][1:].to_pylist() == sorted(block["id"][1:].to_pylist())


def test_more_labels_than_bits_of_a_word():
    labels = tuple(f"label{i}" for i in range(65))
    columns = {name: pa.array([1.0, 0.0], pa.float32()) for name in labels}
    batch = pa.RecordBatch.from_pydict({"id": pa.array([3, 3]), **columns})
    kind = id_counts.TableKind("int64", labels, False)
    table = counting.for_rows(kind)
    table.add_rows([counting.read_rows(batch, labels, days=False)], ["id"])
    (block,) = table.by_count(10)
    row = block.to_pylist()[0]
    assert row["count"] == 2
    assert all(row[f"label_{name}"] == 1 for name in labels)


def test_64_labels_have_a_bit_each():
    labels = tuple(f"label{i}" for i in range(64))
    columns = {
        name: pa.array([float(i % 3 == 0), None], pa.float32())
        for i, name in enumerate(labels)
    }
    batch = pa.RecordBatch.from_pydict({"id": pa.array([3, 3]), **columns})
    kind = id_counts.TableKind("int64", labels, False)
    table = counting.for_rows(kind)
    table.add_rows([counting.read_rows(batch, labels, days=False)], ["id"])
    (block,) = table.by_count(10)
    row = block.to_pylist()[0]
    assert [row[f"label_{name}"] for name in labels] == [
        int(i % 3 == 0) for i in range(64)
    ]


def test_status_says_whether_the_library_counts():
    found = counting.status()
    assert found.in_use == (found.path is not None), found.reason

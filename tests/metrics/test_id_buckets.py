import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import metrics

MISSING = -(2**63)


def _name(count):
    """A bucket by its description."""
    if count == 0:
        return "0"
    for name in metrics.BUCKETS[2:-1]:
        first, _, last = name.partition("-")
        if count <= int(last or first):
            return name
    return "4097+"


@pytest.mark.parametrize(
    "count", [0, 1, 2, 4, 5, 16, 17, 64, 65, 256, 257, 1024, 1025, 4096, 4097]
)
def test_a_count_belongs_to_the_bucket_that_names_it(count):
    assert metrics.BUCKETS[metrics.bucket_of(count)] == _name(count)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.integers(-20, 20), st.integers(1, 6000), max_size=12),
    st.lists(st.integers(-25, 25), max_size=30),
)
def test_ids_are_found_by_their_counts(counts, asked):
    buckets = metrics.IdBuckets(
        np.array(list(counts), np.int64), np.array(list(counts.values()))
    )
    found = buckets.of_keys(np.array([*asked, MISSING], np.int64))
    expected = [_name(counts.get(id_, 0)) for id_ in asked]
    assert [metrics.BUCKETS[k] for k in found] == [*expected, "missing"]


def test_strings_are_found_by_their_hash():
    words = [f"Zürich {k}" for k in range(1000)]
    buckets = metrics.IdBuckets(words, np.arange(1000) + 1)
    keys = metrics.id_keys(tf.constant([*words, "Bern", ""])).numpy()
    expected = [_name(k + 1) for k in range(1000)] + ["0", "missing"]
    found = [metrics.BUCKETS[k] for k in buckets.of_keys(keys)]
    assert found == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=8), st.data())
def test_the_rarest_id_of_a_row_decides(lists, data):
    scalars = data.draw(
        st.lists(st.integers(0, 9), min_size=len(lists), max_size=len(lists))
    )
    splits = np.cumsum([0, *map(len, lists)])
    flat = np.array([k for one in lists for k in one], np.uint8)
    found = metrics.rarest_of_rows(
        len(lists), [(np.array(scalars, np.uint8), None), (flat, splits)]
    )
    expected = [
        min([k for k in (*one, scalar) if k], default=0)
        for one, scalar in zip(lists, scalars, strict=True)
    ]
    assert found.tolist() == expected

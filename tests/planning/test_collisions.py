import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin import layers
from tfplugin.errors import InputError
from tfplugin.planning import collisions


@pytest.mark.parametrize("num_buckets", [1, 2, 50, 700])
@pytest.mark.parametrize("num_ids", [1, 2, 300])
def test_expected_share_against_throwing_ids(num_ids, num_buckets):
    rng = np.random.default_rng(num_ids)
    counts = rng.zipf(1.5, num_ids).clip(max=50)
    shares = []
    for _ in range(400):
        rows = rng.integers(0, num_buckets, num_ids)
        found = collisions.count_shared(rows, counts, num_buckets)
        shares.append((found.ids, found.occurrences))
    means = np.mean(shares, axis=0)
    errors = np.std(shares, axis=0) / np.sqrt(len(shares))
    expected = collisions.expected_shared(num_ids, num_buckets)
    assert (np.abs(means - expected) <= 4 * errors + 0.002).all()


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 99)), max_size=25),
)
def test_counted_shares_against_dictionaries(pairs):
    rows = np.array([row for row, _ in pairs], np.int64)
    counts = np.array([count for _, count in pairs], np.int64)
    found = collisions.count_shared(rows, counts, 10)
    of_row = collections.defaultdict(list)
    for row, count in pairs:
        of_row[row].append(count)
    total = sum(count for _, count in pairs)
    if not pairs:
        assert (found.ids, found.occurrences, found.mixed) == (0, 0, 0)
        return
    shared = [counts for counts in of_row.values() if len(counts) > 1]
    assert found.ids == pytest.approx(sum(map(len, shared)) / len(pairs))
    assert found.occurrences == pytest.approx(sum(map(sum, shared)) / total)
    own = sum(c * c / sum(cs) for cs in of_row.values() for c in cs)
    assert found.mixed == pytest.approx(1 - own / total, abs=1e-12)
    assert 0 <= found.mixed <= found.occurrences <= 1


@pytest.mark.parametrize("dtype", ["int64", "string"])
def test_rows_are_those_of_the_layer(dtype, monkeypatch):
    monkeypatch.setattr(collisions, "_CHUNK", 64)
    ids = np.arange(-500, 500)
    if dtype == "string":
        ids = np.array([f"ä{k}" for k in ids], object)
    counts = np.arange(1, 1001)
    found = collisions.measure(ids, counts, dtype, [7, 1500, 1])
    assert [one.num_buckets for one in found] == [7, 1500, 1]
    for one in found:
        mapping = layers.HashMapping(one.num_buckets, id_dtype=dtype)
        rows = mapping(tf.constant(ids, dtype)).numpy()
        assert one == collisions.count_shared(rows, counts, one.num_buckets)
        # Counted through the layer's own sums of rows.
        alone = mapping.row_counts(ids, np.ones(len(ids), np.int64)) == 1
        of_rows = mapping.row_counts(ids, counts)
        assert one.occurrences == pytest.approx(
            1 - of_rows[alone].sum() / counts.sum()
        )


def test_a_vocabulary_of_as_many_rows_never_mixes_more():
    rng = np.random.default_rng(3)
    for exponent in (0.0, 0.7, 1.3):
        ranks = np.arange(1, 5001, dtype=float)
        counts = np.maximum(1, 3000 / ranks**exponent).astype(np.int64)
        ids = rng.permutation(5000)
        for rows in (50, 1000, 4000):
            (found,) = collisions.measure(ids, counts, "int64", [rows])
            missed = 1 - counts[:rows].sum() / counts.sum()
            assert missed <= found.mixed


def test_no_ids_and_no_buckets():
    empty = np.zeros(0, np.int64)
    (found,) = collisions.measure(empty, empty, "int64", [3])
    assert found == collisions.Collisions(3, 0.0, 0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="at least 1 bucket"):
        collisions.measure(empty, empty, "int64", [0])

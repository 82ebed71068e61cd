"""Sketches of ids: bounds, exactness, and independence of any order."""

import collections

import datasketches
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from beam_jobs.summaries import heavy_hitters
from beam_jobs.summaries import murmur
from beam_jobs.summaries.distinct_ids import DistinctIds
from beam_jobs.summaries.heavy_hitters import HeavyHitters

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40
)
INT64S = st.integers(-(2**63), 2**63 - 1)


def datasketches_hash(value):
    sketch = datasketches.update_theta_sketch()
    sketch.update(value)
    (found,) = sketch
    return found


@pytest.mark.parametrize("kind", [INT64S, TEXTS])
def test_the_hash_is_that_of_datasketches(kind):
    @given(st.lists(kind, max_size=9), st.integers(0, 9))
    @settings(max_examples=150, deadline=None)
    def check(values, first):
        dtype = pa.int64() if kind is INT64S else pa.string()
        ids = pa.array(values, dtype).slice(first)
        found = murmur.hash_ids(ids) >> np.uint64(1)
        assert found.tolist() == [
            datasketches_hash(value) for value in ids.to_pylist()
        ]

    check()


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view()])
def test_strings_of_any_type_have_one_hash(kind):
    values = ["a", "日本語" * 9, "exactly sixteen.", "🙂"]
    ids = pa.array(values)
    hashes = murmur.hash_ids(ids)
    assert (murmur.hash_ids(ids.cast(kind)) == hashes).all()
    assert (murmur.hash_ids(ids.dictionary_encode()) == hashes).all()


def distinct_of(ids):
    seen = DistinctIds()
    seen.add(ids, murmur.hash_ids(ids))
    return seen


@pytest.mark.parametrize("distinct", [0, 1, 8192])
def test_few_distinct_ids_are_counted_exactly(distinct):
    ids = pa.array(np.arange(distinct).repeat(2))
    assert distinct_of(ids).bounds() == (distinct,) * 3


def test_distinct_ids_are_within_bounds_in_any_order():
    rng = np.random.default_rng(0)
    ids = rng.permutation(120_000)
    found = set()
    for parts in (1, 5, 23):
        rng.shuffle(ids)
        states = [distinct_of(pa.array(p)) for p in np.array_split(ids, parts)]
        merged = states[0]
        for state in states[1:]:
            merged.merge(DistinctIds.from_bytes(state.to_bytes()))
        found.add((merged.bounds(), merged.to_bytes()))
    ((bounds, data),) = found
    estimate, lower, upper = bounds
    assert abs(estimate / 120_000 - 1) < 0.033
    assert lower < 120_000 < upper
    # Others may go on with it.
    native = datasketches.compact_theta_sketch.deserialize(data)
    assert native.get_estimate() == estimate


def test_the_standard_error_is_as_stated():
    errors = []
    for seed in range(20):
        ids = np.random.default_rng(seed).integers(0, 2**62, 40_000)
        errors.append(distinct_of(pa.array(ids)).bounds()[0] / 40_000 - 1)
    assert 0.004 < np.std(errors) < 0.018


def zipf_ids(rows, seed=0):
    ids = np.random.default_rng(seed).zipf(1.1, rows)
    return np.minimum(ids, 3_000_000).astype(np.int64)


def hitters_of(ids, draws):
    ids = ids if isinstance(ids, pa.Array) else pa.array(ids)
    found = HeavyHitters(ids.type)
    found.add(ids, murmur.hash_ids(ids), draws)
    return found


def test_heavy_hitters_are_found_with_their_bounds():
    ids = zipf_ids(200_000)
    draws = np.random.default_rng(1).random(len(ids))
    seen = hitters_of(ids, draws)
    told = seen.told()
    truth = collections.Counter(ids.tolist())
    assert not seen.complete and len(told) == 20
    assert seen.occurrences == len(ids)
    assert seen.error == pytest.approx(np.e / 8192 * len(ids))
    for hit in told:
        assert hit.lower <= truth[hit.id] <= hit.upper == hit.estimate
        assert hit.upper - truth[hit.id] <= seen.error
    frequent = {i for i, n in truth.items() if n > 0.01 * len(ids)}
    assert frequent and frequent <= {hit.id for hit in told}


def test_of_few_ids_heavy_hitters_are_exact():
    ids = zipf_ids(20_000) % 300
    told = hitters_of(ids, np.linspace(0, 0.999, len(ids))).told()
    truth = collections.Counter(ids.tolist())
    assert [h.estimate for h in told] == [n for _, n in truth.most_common(20)]
    assert all(h.lower == truth[h.id] == h.upper for h in told)


def test_of_ids_that_are_all_as_rare_none_is_told():
    rng = np.random.default_rng(0)
    ids = rng.permutation(100_000)
    assert hitters_of(ids, rng.random(len(ids))).told() == ()


@pytest.mark.parametrize("limit", [40, 8192])
def test_heavy_hitters_do_not_depend_on_batches_or_order(monkeypatch, limit):
    monkeypatch.setattr(heavy_hitters, "_KEPT", limit)
    rng = np.random.default_rng(3)
    ids, draws = zipf_ids(30_000), rng.random(30_000)
    found = []
    for parts in (1, 4, 31):
        order = rng.permutation(len(ids))
        states = [
            hitters_of(ids[part], draws[part])
            for part in np.array_split(order, parts)
        ]
        merged = states.pop()
        for state in states:
            merged.merge(state)
        found.append(merged)
    for other in found[1:]:
        assert other.told() == found[0].told()
        assert other.ids.equals(found[0].ids)
        for name, array in found[0].arrays().items():
            assert (other.arrays()[name] == array).all(), name


def test_one_id_given_with_its_count_is_as_good_as_each_occurrence():
    ids = zipf_ids(5000) % 1000
    draws = np.random.default_rng(0).random(len(ids))
    values, codes = np.unique(ids, return_inverse=True)
    smallest = np.ones(len(values))
    np.minimum.at(smallest, codes, draws)
    grouped = HeavyHitters(pa.int64())
    array = pa.array(values)
    grouped.add(
        array, murmur.hash_ids(array), smallest, counts=np.bincount(codes)
    )
    single = hitters_of(ids, draws)
    assert grouped.told() == single.told()
    assert grouped.ids.equals(single.ids)


def test_old_occurrences_decay():
    old = hitters_of([7] * 8 + [5] * 2, np.linspace(0.1, 0.9, 10))
    new = hitters_of([5] * 3, np.linspace(0.1, 0.3, 3))
    old.decay(0.25)
    old.merge(new)
    assert old.occurrences == 5.5
    told = [(hit.id, hit.lower, hit.upper) for hit in old.told()]
    assert told == [(5, 3.5, 3.5), (7, 2, 2)]


def test_decayed_ids_give_way():
    rng = np.random.default_rng(0)
    old = hitters_of(np.arange(20_000), rng.random(20_000))
    old.decay(1e-6)
    old.merge(hitters_of(np.arange(-9000, 0), rng.random(9000)))
    assert max(old.ids.to_pylist()) < 0


def test_strings_and_no_ids():
    ids = pa.array(["né", "né", "日本"])
    told = hitters_of(ids, np.array([0.5, 0.25, 0.75])).told()
    assert [(hit.id, hit.estimate) for hit in told] == [("né", 2), ("日本", 1)]
    assert hitters_of(pa.array([], pa.string()), np.zeros(0)).told() == ()

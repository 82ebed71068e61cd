"""Distances of counts against references that loop over a Counter."""

import collections
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin.planning import drift_distances
from tfplugin.planning import drift_sides

IDS = st.lists(
    st.one_of(st.sampled_from(["a", "Zürich", "東京", "🙂", " "]), st.text()),
    min_size=1,
    max_size=40,
)


def _reference(a, b):
    """All measures, id by id."""
    a, b = collections.Counter(a), collections.Counter(b)
    n_a, n_b = a.total(), b.total()
    divergence, largest = 0.0, 0.0
    for key in a | b:
        p, q = a[key] / n_a, b[key] / n_b
        mean = (p + q) / 2
        divergence += sum(s * math.log2(s / mean) / 2 for s in (p, q) if s)
        largest = max(largest, abs(p - q))
    new, lost = set(b) - set(a), set(a) - set(b)
    return {
        "new_ids": len(new) / len(b),
        "new_occurrences": sum(b[key] for key in new) / n_b,
        "lost_ids": len(lost) / len(a),
        "lost_occurrences": sum(a[key] for key in lost) / n_a,
        "l_infinity": largest,
        "jensen_shannon": math.sqrt(max(divergence, 0.0)),
    }


def _counts(values, dtype):
    counts = collections.Counter(values)
    return drift_sides.IdCounts(
        pa.array(list(counts), dtype),
        np.array(list(counts.values()), np.float64),
    )


def _measured(a, b, dtype):
    _, *counts = _counts(a, dtype).with_other(_counts(b, dtype))
    return drift_distances.id_measures(*counts)


@settings(max_examples=60, deadline=None)
@given(IDS, IDS)
def test_measures_of_text_are_those_of_a_loop(a, b):
    measured = _measured(a, b, pa.large_string())
    for name, value in _reference(a, b).items():
        assert measured[name].value == pytest.approx(value, abs=1e-7), name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.integers(-3, 3), min_size=1),
)
def test_measures_of_integers_are_those_of_a_loop(a, b):
    measured = _measured(a, b, pa.int64())
    for name, value in _reference(a, b).items():
        assert measured[name].value == pytest.approx(value, abs=1e-7), name


@settings(max_examples=60, deadline=None)
@given(IDS, IDS)
def test_distances_are_symmetric_and_bounded(a, b):
    there = _measured(a, b, pa.large_string())
    back = _measured(b, a, pa.large_string())
    for name in ("jensen_shannon", "l_infinity"):
        assert there[name].value == back[name].value
        assert there[name].expected == pytest.approx(back[name].expected)
    assert there["new_ids"].value == back["lost_ids"].value
    for measure in there.values():
        assert 0.0 <= measure.value <= 1.0
        assert 0.0 <= measure.excess <= 1.0
        assert measure.expected <= measure.chance


def test_equal_counts_are_no_distance_and_disjoint_ones_all():
    same = drift_distances.id_measures(np.arange(1, 99), np.arange(1, 99))
    assert all(m.value == m.excess == 0.0 for m in same.values())
    apart = drift_distances.id_measures(np.array([7, 0]), np.array([0, 3]))
    assert all(m.value == 1.0 for m in apart.values())


def test_counts_that_decayed_are_shares_all_the_same():
    a, b = np.array([0.4, 2.5, 0.0]), np.array([1.2, 7.5, 0.01])
    measured = drift_distances.id_measures(a, b)
    assert measured["new_occurrences"].value == pytest.approx(0.01 / 8.71)
    assert 0.0 < measured["jensen_shannon"].value < 0.1


@pytest.mark.parametrize("sizes", [(3000, 3000), (30_000, 200), (900, 40_000)])
def test_chance_is_what_shuffling_gives(sizes):
    """Both sides dealt out from one pool, again and again."""
    rng = np.random.default_rng(5)
    shares = 1.0 / np.arange(1, 2001) ** 1.1
    pool = np.repeat(
        np.arange(2000), rng.multinomial(sum(sizes), shares / shares.sum())
    )
    found = collections.defaultdict(list)
    for _ in range(60):
        rng.shuffle(pool)
        counts = [
            np.bincount(part, minlength=2000)
            for part in (pool[: sizes[0]], pool[sizes[0] :])
        ]
        present = counts[0] + counts[1] > 0
        measures = drift_distances.id_measures(*(c[present] for c in counts))
        for name, measure in measures.items():
            found[name].append(measure)
    for name, measures in found.items():
        values = [m.value for m in measures]
        beyond = sum(m.value > m.chance for m in measures)
        assert beyond <= 1, name
        if name != "l_infinity":
            expected = measures[0].expected
            noise = 4 * np.std(values) / math.sqrt(len(values))
            assert abs(np.mean(values) - expected) < noise + 0.01 * expected


def test_a_long_tail_of_two_samples_has_no_excess():
    """Two halves of one source share few ids, and that is no drift."""
    rng = np.random.default_rng(6)
    ids = rng.integers(0, 10**6, 20_000)
    measured = _measured(
        ids[:10_000].tolist(), ids[10_000:].tolist(), pa.int64()
    )
    assert measured["new_occurrences"].value > 0.9
    assert measured["jensen_shannon"].value > 0.9
    assert measured["new_occurrences"].excess < 0.01
    assert measured["jensen_shannon"].excess < 0.1


def test_a_rate_without_observations_has_no_deviation():
    assert drift_distances.deviation_of_rates(0.5, 0, 9) == math.inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfplugin.planning import dimensions
from tfplugin.planning import retention

COUNTS = st.lists(st.integers(1, 12), max_size=30).map(
    lambda found: np.array(sorted(found, reverse=True), np.int64)
)


@given(COUNTS, st.floats(0.01, 1.0), st.integers(1, 13), st.integers(1, 40))
def test_wanted_ids_against_adding_up(counts, coverage, min_count, top_n):
    kept, total = 0, 0
    for count in counts.tolist():
        enough = total >= coverage * counts.sum()
        if enough or count < min_count or kept == top_n:
            break
        kept += 1
        total += count
    found = retention.wanted_ids(counts, coverage, min_count, top_n)
    assert found == kept


@given(COUNTS)
def test_min_count_keeps_exactly_what_it_says(counts):
    for kept in range(len(counts) + 1):
        min_count = retention.min_count_of(counts, kept)
        ties = 0 < kept < len(counts) and counts[kept - 1] == counts[kept]
        assert (min_count is None) == ties
        if min_count is not None:
            assert (counts >= min_count).sum() == kept
            assert min_count == 1 or (counts >= min_count - 1).sum() != kept


def test_min_count_of_decayed_counts():
    counts = np.array([3.5, 2.4, 2.2, 0.5])
    found = [retention.min_count_of(counts, kept) for kept in range(5)]
    assert found == [4, 3, None, 1, 1]


@given(COUNTS)
def test_oov_share_against_good_turing_written_out(counts):
    total = counts.sum()
    for kept in range(len(counts) + 1):
        found = retention.expected_oov_share(counts, kept)
        if not len(counts):
            assert found == 0.0
            continue
        if kept == 0:
            assert found == 1.0
            continue
        mass = {
            seen: (seen + 1) * (counts == seen + 1).sum() / total
            for seen in range(14)
        }
        wanted = mass[0]
        for seen in set(counts[kept:].tolist()):
            left_out = (counts[kept:] == seen).sum() / (counts == seen).sum()
            wanted += left_out * mass[seen]
        # A count that no id has and that is below the cut: none is left out
        # of it, but its mass stems from ids that were seen once more.
        absent = set(range(1, int(counts[kept]) if kept < len(counts) else 0))
        wanted += sum(mass[seen] for seen in absent - set(counts.tolist()))
        assert found == pytest.approx(min(1.0, wanted))


def test_oov_share_comes_true_on_new_rows():
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, 50_001) ** 1.1
    chances /= chances.sum()
    log, new = (rng.choice(len(chances), 200_000, p=chances) for _ in "ab")
    counted = np.bincount(log, minlength=len(chances))
    order = np.argsort(-counted, kind="stable")
    counts = counted[order][: np.count_nonzero(counted)]
    for kept in (len(counts), int((counts >= 2).sum()), 3000):
        seen = np.isin(new, order[:kept])
        expected = retention.expected_oov_share(counts, kept)
        assert 1 - seen.mean() == pytest.approx(expected, rel=0.03)
        covered = retention.covered_share(counts, kept)
        assert covered == pytest.approx(
            np.isin(log, order[:kept]).mean(), abs=1e-12
        )


def test_oov_share_of_decayed_counts_is_not_known():
    counts = np.array([2.5, 1.0])
    assert retention.expected_oov_share(counts, 1) is None
    assert retention.expected_oov_share(np.array([2.0, 1.0]), 2) == (
        pytest.approx(1 / 3)
    )


def test_nothing_counted():
    empty = np.zeros(0, np.int64)
    assert retention.wanted_ids(empty, 0.9, 2) == 0
    assert retention.covered_share(empty, 0) == 1.0
    assert retention.min_count_of(empty, 0) == 1


@given(st.integers(0, 10**9), st.integers(1, 512))
def test_dimensions_suit_vectors_and_stay_in_bounds(num_ids, largest):
    free = dimensions.propose(num_ids)
    rule = dimensions.rule_of_thumb(num_ids)
    assert free % (4 if free <= 16 else 8) == 0
    assert 4 <= free <= dimensions.MAX_DIM
    assert free >= min(rule, dimensions.MAX_DIM)
    assert free - rule < 8
    assert dimensions.propose(num_ids, largest) <= largest

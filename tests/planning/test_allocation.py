import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfplugin.errors import InputError
from tfplugin.planning import allocation


def demand(name, counts, row_bytes, fixed_bytes=0):
    counts = np.array(sorted(counts, reverse=True), np.int64)
    return allocation.Demand(name, counts, row_bytes, fixed_bytes)


DEMANDS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 9), max_size=8),
        st.integers(1, 12),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=4,
).map(
    lambda parts: [
        demand(f"t{index}", *part) for index, part in enumerate(parts)
    ]
)


def cost(demands, rows):
    return sum(d.fixed_bytes + rows[d.name] * d.row_bytes for d in demands)


@given(DEMANDS, st.integers(0, 400))
def test_budget_is_kept_and_spent_where_it_covers_most(demands, budget):
    least = allocation.least_budget(demands)
    if budget < least:
        with pytest.raises(InputError, match=f"is {least:,} bytes"):
            allocation.allocate(demands, budget)
        return
    rows = allocation.allocate(demands, budget)
    assert cost(demands, rows) <= budget
    assert all(0 <= rows[d.name] <= len(d.counts) for d in demands)
    # The line of all ids, one by one; fractions of the last group allowed.
    line = sorted(
        (
            (count / d.row_bytes, count, d.row_bytes)
            for d in demands
            for count in d.counts.tolist()
        ),
        reverse=True,
    )
    left, best = budget - least, 0.0
    for density, count, size in line:
        if size > left:
            best += density * left
            break
        best += count
        left -= size
    covered = sum(int(d.counts[: rows[d.name]].sum()) for d in demands)
    dearest = sum(max(d.counts, default=0) for d in demands)
    assert best - dearest <= covered <= best + 1e-9


@given(DEMANDS)
def test_ample_budgets_hold_everything(demands):
    wanted = {d.name: len(d.counts) for d in demands}
    assert allocation.allocate(demands) == wanted
    assert allocation.allocate(demands, cost(demands, wanted)) == wanted


@given(DEMANDS, st.integers(0, 300), st.integers(0, 100))
def test_more_budget_never_covers_less(demands, spare, more):
    least = allocation.least_budget(demands)
    small, large = (
        allocation.allocate(demands, least + extra)
        for extra in (spare, spare + more)
    )
    assert all(small[name] <= large[name] for name in small)


def test_equal_ids_share_what_is_left():
    demands = [demand("a", [1] * 60, 4), demand("b", [1] * 20, 4)]
    assert allocation.allocate(demands, 4 * 40) == {"a": 30, "b": 10}


def test_wide_rows_wait():
    demands = [demand("wide", [9, 9], 100), demand("narrow", [2, 2], 10)]
    assert allocation.allocate(demands, 110) == {"wide": 0, "narrow": 2}


def test_many_ids_of_floats():
    rng = np.random.default_rng(0)
    counts = np.sort(rng.exponential(3, 200_000))[::-1]
    demands = [allocation.Demand("t", counts, 136, 300)]
    (rows,) = allocation.allocate(demands, 300 + 136 * 12_345 + 7).values()
    assert rows == 12_345

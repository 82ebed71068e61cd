"""One memory budget, shared out over tables by what its bytes buy."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfplugin.errors import InputError


@dataclasses.dataclass(frozen=True)
class Demand:
    """What one table asks of the budget.

    Args:
        name: Its name.
        counts: Counts of the ids that are worth a row, falling, `(n,)`.
        row_bytes: Bytes of a row with its optimizer state, at least 1.
        fixed_bytes: Bytes it takes without a row for any id.
    """

    name: str
    counts: np.ndarray
    row_bytes: int
    fixed_bytes: int


def least_budget(demands: Sequence[Demand]) -> int:
    """Bytes without which not even the rows of no id fit.

    Example:
    >>> least_budget([Demand("user", np.array([3, 1]), 8, 100)])
    100
    """
    return sum(demand.fixed_bytes for demand in demands)


def allocate(
    demands: Sequence[Demand], budget: int | None = None
) -> dict[str, int]:
    """Gives each table as many rows for ids as the budget buys.

    The ids of all tables stand in one line, by occurrences a byte: an id seen
    10 times whose row takes 64 bytes stands before one seen 15 times whose
    row takes 128. Rows are bought from the head of the line until the bytes
    are spent. This is the greedy solution of the fractional knapsack, and
    covers the most occurrences that the budget can, but for less than a row
    of each table: no exchange of rows between tables would cover more. In
    terms of each table it is one `min_count`, in proportion to its bytes a
    row. Where the money ends among ids that stand equal, the tables get the
    same share of theirs.

    Args:
        demands: The tables.
        budget: Bytes for all of them; None for no limit.

    Returns:
        Table to rows for ids, the most frequent ones; at most as many as
        asked for.

    Raises:
        InputError: The budget is below `least_budget`.

    Reference: G. B. Dantzig, "Discrete-variable extremum problems",
    Operations Research 5 (1957).

    Example:
    >>> users = Demand("user", np.array([9, 8, 1]), row_bytes=4, fixed_bytes=4)
    >>> items = Demand("item", np.array([9, 1]), row_bytes=8, fixed_bytes=8)
    >>> allocate([users, items], budget=28)
    {'user': 2, 'item': 1}
    """
    wanted = {demand.name: len(demand.counts) for demand in demands}
    if budget is None:
        return wanted
    left = budget - least_budget(demands)
    if left < 0:
        raise InputError(
            "The budget must hold the rows that every table needs, for "
            "missing and unknown ids. Received: a budget of "
            f"{budget:,} bytes; the smallest that works is "
            f"{budget - left:,} bytes. Raise --budget, or lower the embedding "
            "dimensions."
        )
    needed = sum(len(d.counts) * d.row_bytes for d in demands)
    if needed <= left:
        return wanted
    return _buy(demands, left)


def _buy(demands: Sequence[Demand], left: int) -> dict[str, int]:
    owners, numbers, densities = _levels(demands)
    row_bytes = np.array([demand.row_bytes for demand in demands], np.int64)
    order = np.argsort(-densities, kind="stable")
    owners, numbers = owners[order], numbers[order]
    costs = numbers * row_bytes[owners]
    # Levels of equal density are bought together.
    _, starts = np.unique(-densities[order], return_index=True)
    spent = np.cumsum(np.add.reduceat(costs, starts))
    whole = int(np.searchsorted(spent, left, "right"))
    first = int(starts[whole])
    rows = np.bincount(
        owners[:first], numbers[:first], minlength=len(demands)
    ).astype(np.int64)
    left -= int(spent[whole - 1]) if whole else 0
    last = starts[whole + 1] if whole + 1 < len(starts) else len(owners)
    cost = int(costs[first:last].sum())
    for owner, number in zip(
        owners[first:last].tolist(), numbers[first:last].tolist(), strict=True
    ):
        # In whole numbers: a float would round a row too many at times.
        rows[owner] += number * left // cost
    return {
        demand.name: int(number)
        for demand, number in zip(demands, rows, strict=True)
    }


def _levels(
    demands: Sequence[Demand],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Owner, ids and occurrences a byte of each distinct count of a table."""
    owners, numbers, densities = [], [], []
    for index, demand in enumerate(demands):
        values, repeated = np.unique(demand.counts, return_counts=True)
        owners.append(np.full(len(values), index, np.int64))
        numbers.append(repeated.astype(np.int64))
        densities.append(values / demand.row_bytes)
    return (
        np.concatenate(owners),
        np.concatenate(numbers),
        np.concatenate(densities),
    )

"""Which rows of two logs meet: functions on arrays, no I/O."""

import dataclasses
from typing import Literal

import numpy as np

from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s


@dataclasses.dataclass(frozen=True)
class Impressions:
    """Rows of the log, sorted by place.

    Args:
        codes: int64 `(rows,)`, the key's number; -1 for a key without
            events.
        times: int64 `(rows,)`, microseconds.
        places: int64 `(3, rows)`: file, position, occurrence.
    """

    codes: Int64s
    times: Int64s
    places: Int64s


def find_rows(codes: Int64s, others: Int64s) -> Int64s:
    """The row that each key has in a log with at most one a key.

    Args:
        codes: int64 `(m,)`, the keys' numbers; -1 for none.
        others: int64 `(n,)`, distinct numbers >= 0 of the other log.

    Returns:
        int64 `(m,)`, row of the other log, or -1.

    Example:
    >>> find_rows(np.array([1, -1, 0, 1]), np.array([0, 1])).tolist()
    [1, -1, 0, 1]
    """
    rows = np.full(int(others.max(initial=-1)) + 2, -1, np.int64)
    rows[others] = np.arange(len(others))
    # -1 is the last entry, which no number has.
    found: Int64s = rows[codes]
    return found


def credited_by_any(
    impressions: Impressions, codes: Int64s, times: Int64s, window: int
) -> Bools:
    """Impressions with an event of their key within the window after them.

    Args:
        impressions: Rows of the log, `(rows,)`.
        codes: int64 `(n,)`, events' keys, >= 0.
        times: int64 `(n,)`, events' moments, microseconds.
        window: Microseconds.

    Returns:
        bool `(rows,)`.
    """
    order, sorted_codes, keys, scale = _index(codes, times)
    lower = _bound(impressions.codes, impressions.times, scale, "left")
    found = np.searchsorted(keys, lower, side="left")
    inside = found < len(keys)
    place = np.where(inside, found, 0)
    if not len(keys):
        return np.zeros(len(impressions.codes), np.bool_)
    event = times[order[place]]
    mask: Bools = (
        inside
        & (sorted_codes[place] == impressions.codes)
        & (event <= impressions.times + window)
    )
    return mask


class OneEach:
    """The one impression that each event is credited to.

    Impressions come in any number of parts, so that they need not be in
    memory together.

    Args:
        times: int64 `(n,)`, events' moments, microseconds.
        window: Microseconds from an impression to an event, at most.
        last: Whether it is the last of the impressions within the window,
            or the first; of those at one moment by file, position and
            occurrence.
    """

    def __init__(self, times: Int64s, window: int, *, last: bool) -> None:
        self._times = times
        self._window = window
        self._last = last
        self._parts = np.full(len(times), -1, np.int64)
        self._rows = np.zeros(len(times), np.int64)
        # Moment, file, position and occurrence of the best so far.
        self._best = np.zeros((4, len(times)), np.int64)

    @property
    def matched(self) -> Bools:
        """Events that found an impression, bool `(n,)`."""
        return self._parts >= 0

    def rows(self, part: int) -> Int64s:
        """Rows of a part that an event is credited to."""
        return np.unique(self._rows[self._parts == part])

    def look_in(
        self, part: int, impressions: Impressions, codes: Int64s
    ) -> None:
        """Takes impressions into account.

        Args:
            part: Number of this part, each once.
            impressions: Its rows.
            codes: int64 `(n,)`, events' keys, by the numbers of this part.
        """
        events, rows = self._candidates(impressions, codes)
        found = np.stack(
            [impressions.times[rows], *impressions.places[:, rows]]
        )
        best = self._best[:, events]
        after = np.zeros(len(events), np.bool_)
        equal = np.ones(len(events), np.bool_)
        for new, old in zip(found, best, strict=True):
            after |= equal & (new > old)
            equal &= new == old
        better = (after == self._last) | (self._parts[events] < 0)
        events, rows = events[better], rows[better]
        self._parts[events] = part
        self._rows[events] = rows
        self._best[:, events] = found[:, better]

    def _candidates(
        self, impressions: Impressions, codes: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Events and the row of this part that each would be credited to."""
        known = np.flatnonzero(impressions.codes >= 0)
        row_codes = impressions.codes[known]
        order, sorted_codes, keys, scale = _index(
            row_codes, impressions.times[known]
        )
        if not len(keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        if self._last:
            upper = _bound(codes, self._times, scale, "right")
            found = np.searchsorted(keys, upper, side="right") - 1
        else:
            lower = _bound(codes, self._times - self._window, scale, "left")
            found = np.searchsorted(keys, lower, side="left")
        inside = (found >= 0) & (found < len(keys))
        place = np.where(inside, found, 0)
        rows = known[order[place]]
        delay = self._times - impressions.times[rows]
        inside &= sorted_codes[place] == codes
        inside &= (delay >= 0) & (delay <= self._window)
        return np.flatnonzero(inside), rows[inside]


def _index(
    codes: Int64s, times: Int64s
) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """Sorts by key and moment, in one number each.

    Returns:
        The order, stable; the keys' numbers in it; one sorted number for key
        and moment; the distinct moments, sorted.
    """
    distinct, ranks = np.unique(times, return_inverse=True)
    keys = codes * (len(distinct) + 1) + ranks.reshape(-1) + 1
    order = np.argsort(keys, kind="stable")
    return order, codes[order], keys[order], distinct


def _bound(
    codes: Int64s,
    times: Int64s,
    distinct: Int64s,
    side: Literal["left", "right"],
) -> Int64s:
    """The number that `_index` gives the first moment >= `times` (`left`),
    or the last one <= them (`right`), whether or not there is one.
    """
    ranks = np.searchsorted(distinct, times, side=side)
    found: Int64s = codes * (len(distinct) + 1) + ranks
    return found + 1 if side == "left" else found

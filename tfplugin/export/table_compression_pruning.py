"""Which rows of a table an export leaves out, and who answers instead."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

RareRows = Literal["oov", "shared"]


@dataclasses.dataclass(frozen=True, eq=False)
class RowMap:
    """From the rows of a trained table to those of a smaller one.

    The smaller table has `kept` in their order, then the shared row, if there
    is one.

    Args:
        kept: int64 `(n,)`, rising: the trained rows that stay.
        new_rows: int32 `(rows,)`: for each trained row the one that answers.
        pruned: int64 `(m,)`, rising: the trained rows that do not stay.
        shared_row: The row that pruned ones share; None if rows of ids out
            of vocabulary answer for them.
    """

    kept: np.ndarray
    new_rows: np.ndarray
    pruned: np.ndarray
    shared_row: int | None

    @property
    def num_rows(self) -> int:
        """Rows of the smaller table."""
        return len(self.kept) + (self.shared_row is not None)


def row_map(
    counts: np.ndarray,
    *,
    num_special_rows: int,
    min_count: float = 0,
    drop_unused: bool = False,
    rare_rows: RareRows = "oov",
    oov_rows: Callable[[np.ndarray], np.ndarray] | None = None,
) -> RowMap | None:
    """Decides which rows of a table stay.

    Args:
        counts: How often each row was read in training, `(rows,)`.
        num_special_rows: The first rows, of missing and unknown ids, which
            always stay.
        min_count: Rows with fewer are rare and do not stay; 0 for none.
        drop_unused: Whether rows of count 0 do not stay.
        rare_rows: Who answers for a row that does not stay: the row of
            unknown ids, or one row that they share.
        oov_rows: From pruned rows to the row of unknown ids that their id has;
            None for a table without such, whose pruned rows share one
            whatever `rare_rows` says.

    Returns:
        The map; None if all rows stay.

    Example:
    >>> found = row_map(np.array([0, 9, 1, 7, 2]), num_special_rows=1,
    ...                 min_count=3, rare_rows="shared")
    >>> found.kept.tolist(), found.new_rows.tolist(), found.num_rows
    ([0, 1, 3], [0, 1, 3, 2, 3], 4)
    """
    goes = np.zeros(len(counts), np.bool_)
    if min_count > 0:
        goes |= counts < min_count
    if drop_unused:
        goes |= counts <= 0
    goes[:num_special_rows] = False
    if not goes.any():
        return None
    kept, pruned = np.flatnonzero(~goes), np.flatnonzero(goes)
    new_rows = np.empty(len(counts), np.int32)
    new_rows[kept] = np.arange(len(kept), dtype=np.int32)
    if rare_rows == "oov" and oov_rows is not None:
        new_rows[pruned] = oov_rows(pruned)
        return RowMap(kept, new_rows, pruned, shared_row=None)
    new_rows[pruned] = len(kept)
    return RowMap(kept, new_rows, pruned, shared_row=len(kept))

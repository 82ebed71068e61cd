"""What flows between the steps: batches whose rows know their origin."""

import dataclasses
import json
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

#: Rows of a batch at most: large enough for vector code, small enough that a
#: few batches of wide rows fit into memory.
MAX_ROWS = 65_536


class Rejected(NamedTuple):
    """A row that was refused.

    Args:
        file: Index of its file.
        position: Its byte offset in the (decompressed) CSV file, or its row
            number in the Parquet file.
        reason: Why, in one line.
        row: The row, as text or JSON.
    """

    file: int
    position: int
    reason: str
    row: str


@dataclasses.dataclass(frozen=True)
class LogBatch:
    """Rows of one log file, before or after the select.

    Args:
        file: Index of the file.
        positions: int64 `(rows,)`, where each row stands; see `Rejected`.
        occurrences: int64 `(rows,)`, number of earlier rows that a join made
            of the same row of the log; zeros before the select.
        rows: The columns.
    """

    file: int
    positions: Int64s
    occurrences: Int64s
    rows: pa.RecordBatch

    def take(self, keep: Bools) -> "LogBatch":
        """The rows where `keep` is True."""
        return LogBatch(
            self.file,
            self.positions[keep],
            self.occurrences[keep],
            self.rows.filter(pa.array(keep)),
        )

    def pieces(self) -> Iterator["LogBatch"]:
        """The same rows in batches of at most `MAX_ROWS`."""
        for first in range(0, self.rows.num_rows, MAX_ROWS):
            part = slice(first, first + MAX_ROWS)
            yield LogBatch(
                self.file,
                self.positions[part],
                self.occurrences[part],
                self.rows.slice(first, MAX_ROWS),
            )

    def reject(self, reasons: Sequence[tuple[int, str]]) -> list[Rejected]:
        """Refused rows of this batch.

        Args:
            reasons: Row number in the batch, and why.
        """
        numbers = np.array([row for row, _ in reasons], np.int64)
        texts = rows_as_json(self.rows.take(pa.array(numbers)))
        return [
            Rejected(self.file, position, reason, text)
            for position, (_, reason), text in zip(
                self.positions[numbers].tolist(), reasons, texts, strict=True
            )
        ]


def rows_as_json(rows: pa.RecordBatch) -> list[str]:
    """A JSON object a row; what JSON lacks is written as text."""
    values: list[dict[str, Any]] = rows.to_pylist()
    return [json.dumps(row, ensure_ascii=False, default=str) for row in values]

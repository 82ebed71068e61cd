"""Rows of each second: what a split or an order by time is cut by."""

import dataclasses
from collections.abc import Iterable

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import progress
from beam_jobs.batches import Int64s
from beam_jobs.batches import LogBatch
from beam_jobs.roles import role_values


@dataclasses.dataclass(frozen=True)
class TimeCounts:
    """Number of rows by second.

    Args:
        seconds: int64 `(n,)`, since 1970, distinct and sorted.
        counts: int64 `(n,)`, their rows.
    """

    seconds: Int64s
    counts: Int64s

    @classmethod
    def of(cls, column: pa.Array) -> "TimeCounts":
        """Counts the moments of a batch; null is left out."""
        values = role_values.seconds(column, required=False).values
        return cls(
            *np.unique(values.drop_null().to_numpy(), return_counts=True)
        )


def merge(parts: Iterable[TimeCounts]) -> TimeCounts:
    """Adds up counts."""
    both = [*parts]
    if not both:
        return TimeCounts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    seconds = np.concatenate([part.seconds for part in both])
    distinct, place = np.unique(seconds, return_inverse=True)
    counts = np.zeros(len(distinct), np.int64)
    np.add.at(counts, place, np.concatenate([part.counts for part in both]))
    return TimeCounts(distinct, counts)


class CountTimes(beam.PTransform):
    """`LogBatch`es after the select → one `TimeCounts`; none without a batch.

    Args:
        column: The column of moments.
        token: Of the progress listener.
    """

    def __init__(self, column: str, token: int) -> None:
        super().__init__()
        self._column = column
        self._token = token

    def expand(
        self, batches: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        name, token = self._column, self._token

        def count(batch: LogBatch) -> TimeCounts:
            progress.tell(token, "count times", batch.rows.num_rows)
            return TimeCounts.of(batch.rows.column(name))

        return (
            batches
            | "OfBatch" >> beam.Map(count)
            | "Merge" >> beam.CombineGlobally(merge).without_defaults()
        )

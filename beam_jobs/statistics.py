"""What the training rows hold: labels, dense columns, missing ids."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs import value_summary
from beam_jobs.columns import ExampleBatch
from beam_jobs.id_frequencies import TableSummary
from tfplugin import schema as schemas


@dataclasses.dataclass(frozen=True)
class Summary:
    """Statistics of training rows; summaries merge in any order.

    Args:
        labels: Label to (observed, positive) rows.
        dense: Dense feature to its statistics.
        missing: Table to missing ids, in scalar features and inside lists.
        empty_lists: Table to rows with an empty list.
    """

    labels: dict[str, tuple[int, int]]
    dense: dict[str, value_summary.DenseSummary]
    missing: dict[str, int]
    empty_lists: dict[str, int]


def summarize(
    rows: pa.RecordBatch, schema: schemas.Schema, batch: value_summary.Place
) -> Summary:
    """Statistics of one batch.

    Args:
        rows: Training rows, as in `ExampleBatch`.
        schema: Their columns.
        batch: File, position and occurrence of the batch's first row.
    """
    labels = {}
    for name in schema.labels:
        column = rows.column(name)
        positives = pc.sum(pc.equal(column, 1.0)).as_py() or 0
        labels[name] = (len(column) - column.null_count, int(positives))
    dense = {}
    for name in schema.dense_features:
        column = rows.column(name)
        values = column.drop_null().to_numpy()
        dense[name] = value_summary.DenseSummary.of(
            values, column.null_count, batch
        )
    tables = schema.table_features()
    missing, empty_lists = dict.fromkeys(tables, 0), dict.fromkeys(tables, 0)
    for table, features in tables.items():
        for name in features:
            none, empty = _count_missing(rows.column(name))
            missing[table] += none
            empty_lists[table] += empty
    return Summary(labels, dense, missing, empty_lists)


def _count_missing(column: pa.Array) -> tuple[int, int]:
    """Missing ids and empty lists of one feature."""
    if not conversions.is_list(column.type):
        return column.null_count, 0
    values = column.flatten()
    marker: int | str = schemas.MISSING_INT64
    if pa.types.is_string(values.type):
        marker = schemas.MISSING_STRING
    missing = pc.sum(pc.equal(values, marker)).as_py() or 0
    lengths = pc.list_value_length(column).to_numpy()
    return int(missing), int(np.count_nonzero(lengths == 0))


def merge(summaries: Iterable[Summary]) -> Summary | None:
    """Statistics of all rows of `summaries`; None without any."""
    merged = None
    for other in summaries:
        merged = other if merged is None else _merge_two(merged, other)
    return merged


def _merge_two(left: Summary, right: Summary) -> Summary:
    def add(one: dict[str, int], two: dict[str, int]) -> dict[str, int]:
        return {name: one[name] + two[name] for name in one}

    return Summary(
        {
            name: (seen + right.labels[name][0], hits + right.labels[name][1])
            for name, (seen, hits) in left.labels.items()
        },
        {
            name: part.merge(right.dense[name])
            for name, part in left.dense.items()
        },
        add(left.missing, right.missing),
        add(left.empty_lists, right.empty_lists),
    )


def to_records(
    summary: Summary,
    schema: schemas.Schema,
    tables: Iterable[TableSummary],
) -> dict[str, Any]:
    """The parts `labels`, `dense` and `tables` of `statistics.json`.

    Args:
        summary: Of all training rows.
        schema: Their columns.
        tables: What each file of id frequencies holds.
    """
    parts: dict[str, list[TableSummary]] = {}
    for part in tables:
        parts.setdefault(part.table, []).append(part)
    return {
        "labels": {
            name: schemas.LabelStatistics(observed=seen, positives=hits)
            for name, (seen, hits) in summary.labels.items()
        },
        "dense": {
            name: part.to_record() for name, part in summary.dense.items()
        },
        "tables": {
            table: schemas.TableStatistics(
                ids=sum(part.file.rows for part in parts[table]),
                occurrences=sum(part.occurrences for part in parts[table]),
                ids_seen_once=sum(part.ids_seen_once for part in parts[table]),
                missing=summary.missing[table],
                empty_lists=summary.empty_lists[table],
                files=tuple(
                    sorted(
                        (part.file for part in parts[table]),
                        key=lambda file: file.name,
                    )
                ),
            )
            for table in schema.table_features()
        },
    }


class Summarize(beam.PTransform):
    """`ExampleBatch`es of training rows → one `Summary`; none without a batch.

    Args:
        schema: The columns.
    """

    def __init__(self, schema: schemas.Schema) -> None:
        super().__init__()
        self._schema = schema

    def expand(
        self, batches: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        schema = self._schema

        def of_batch(batch: ExampleBatch) -> Summary:
            # No two batches with rows begin at the same place.
            first = (batch.positions[:1], batch.occurrences[:1])
            place = (batch.file, *(int(x) for part in first for x in part))
            return summarize(batch.rows, schema, place)

        return (
            batches
            | "OfBatch" >> beam.Map(of_batch)
            | "Merge" >> beam.CombineGlobally(merge_any).without_defaults()
        )


def merge_any(summaries: Iterable[Summary | None]) -> Summary | None:
    """`merge`, for summaries that may be None."""
    return merge(part for part in summaries if part is not None)

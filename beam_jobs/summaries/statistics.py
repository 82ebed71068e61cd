"""What the training rows hold, as a step of a pipeline and as records."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from beam_jobs.counting.count_files import TableSummary
from beam_jobs.roles.columns import ExampleBatch
from beam_jobs.summaries import sketches as count_sketches
from beam_jobs.summaries import states
from tfplugin import schema as schemas


def to_records(
    state: states.State,
    schema: schemas.Schema,
    tables: Iterable[TableSummary],
) -> dict[str, Any]:
    """The parts of `statistics.json` that describe columns.

    Args:
        state: Of all training rows.
        schema: Their columns.
        tables: What each file of id frequencies holds.

    Returns:
        `labels`, `dense`, `tables` and `columns`.
    """
    parts: dict[str, list[TableSummary]] = {}
    for part in tables:
        parts.setdefault(part.table, []).append(part)
    return {
        "labels": {
            name: schemas.LabelStatistics(observed=seen, positives=hits)
            for name, (seen, hits) in state.labels.items()
        },
        "dense": {name: part.to_record() for name, part in state.dense.items()},
        "tables": {
            table: schemas.TableStatistics(
                ids=sum(part.file.rows for part in parts[table]),
                occurrences=sum(part.occurrences for part in parts[table]),
                ids_seen_once=sum(part.ids_seen_once for part in parts[table]),
                missing=state.missing[table],
                empty_lists=state.empty_lists[table],
                files=tuple(
                    sorted(
                        (part.file for part in parts[table]),
                        key=lambda file: file.name,
                    )
                ),
                count_quantiles=count_sketches.merge_count_sketches(
                    sketch
                    for part in parts[table]
                    for sketch in part.count_sketches
                ),
            )
            for table in schema.table_features()
        },
        "columns": {
            name: summary.to_record() for name, summary in state.ids.items()
        },
    }


class Summarize(beam.PTransform):
    """`ExampleBatch`es of training rows → one `State`; none without a batch.

    A worker holds one state, whose size depends on the columns alone.

    Args:
        schema: The columns.
        sketches: Whether to keep sketches of ids.
    """

    def __init__(self, schema: schemas.Schema, sketches: bool = True) -> None:
        super().__init__()
        self._combine = _AddUp(schema, sketches)

    def expand(
        self, batches: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        combine = beam.CombineGlobally(self._combine).without_defaults()
        return batches | "AddUp" >> combine


class _AddUp(beam.CombineFn):
    """Batches → their state."""

    def __init__(self, schema: schemas.Schema, sketches: bool) -> None:
        self._schema = schema
        self._sketches = sketches

    def create_accumulator(self) -> states.State:
        return states.State(self._schema, self._sketches)

    def add_input(
        self, mutable_accumulator: states.State, element: ExampleBatch
    ) -> states.State:
        mutable_accumulator.add(element)
        return mutable_accumulator

    def merge_accumulators(
        self, accumulators: Iterable[states.State]
    ) -> states.State:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: states.State) -> states.State:
        return accumulator

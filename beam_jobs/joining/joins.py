"""Keyed joins of the log with another log of any size.

Rows of both logs are divided by the hash of their keys and written to
temporary files; what is shuffled are the places of these rows. Each part is
then joined in memory, by arrays.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import apache_beam as beam

from beam_jobs.joining import join_division
from beam_jobs.joining import join_parts
from beam_jobs.joining import join_rows
from beam_jobs.joining import join_times
from beam_jobs.joining.join_logs import OpenedJoin
from beam_jobs.joining.join_logs import joined_schema
from beam_jobs.joining.join_logs import needed_columns
from beam_jobs.joining.join_logs import open_joins
from beam_jobs.joining.join_pieces import Piece
from beam_jobs.reading import sources
from tfplugin import config
from tfplugin import schema
from tfplugin.errors import InputError

__all__ = [
    "Join",
    "Joined",
    "OpenedJoin",
    "joined_schema",
    "needed_columns",
    "open_joins",
    "to_records",
]

_PREFIX = "joins/"


class Joined(NamedTuple):
    """What a join yields.

    Args:
        batches: `LogBatch`es with the new columns.
        rejected: Lists of `Rejected` rows of the log: without a moment.
        counts: (`joins/NAME/FIELD`, rows), for `to_records`.
        problems: What is wrong with the joined log.
    """

    batches: beam.pvalue.PCollection
    rejected: beam.pvalue.PCollection
    counts: beam.pvalue.PCollection
    problems: beam.pvalue.PCollection


class Join(beam.PTransform):
    """`LogBatch`es → `Joined`.

    Args:
        join: The joined log.
        temporary: Folder of what is removed when the job ends, a path or a
            URL; every worker must see it.
        memory: Bytes that one worker may hold.
    """

    def __init__(self, join: OpenedJoin, temporary: str, memory: int) -> None:
        super().__init__()
        self._join = join
        self._temporary = temporary
        self._budget = join_division.Budget(memory)

    # Beam warns of a hint that is not one PCollection.
    def expand(self, batches: beam.pvalue.PCollection) -> Any:
        """Builds the steps."""
        join, folder, budget = self._join, self._temporary, self._budget
        spooled = batches | "SpoolLog" >> beam.ParDo(
            join_rows.SpoolLog(join, folder, budget)
        ).with_outputs(sources.REJECTED, main="pieces")
        read = (
            batches.pipeline
            | "Blocks" >> beam.Create(join.log.blocks())
            | "SpreadBlocks" >> beam.Reshuffle()
            | "ReadBlocks"
            >> beam.ParDo(sources.ReadBlocks(join.log)).with_outputs(
                sources.REJECTED,
                sources.COUNTS,
                sources.PROBLEMS,
                main="batches",
            )
        )
        others = read.batches | "SpoolJoined" >> beam.ParDo(
            join_rows.SpoolJoined(join, folder, budget)
        ).with_outputs(
            sources.COUNTS,
            sources.PROBLEMS,
            join_rows.LAST_MOMENT,
            main="pieces",
        )
        last = others[join_rows.LAST_MOMENT] | "LastMoment" >> (
            beam.CombineGlobally(_latest)
        )
        joined = (
            (spooled.pieces, others.pieces)
            | "BothSides" >> beam.Flatten()
            | "ByPart" >> beam.GroupByKey()
            | "JoinPart"
            >> beam.ParDo(
                _JoinPart(join, folder, budget),
                beam.pvalue.AsSingleton(last),
            ).with_outputs(sources.COUNTS, sources.PROBLEMS, main="batches")
        )
        malformed = read[sources.REJECTED] | "Malformed" >> beam.Map(
            join_rows.Problem(join)
        )
        return Joined(
            joined.batches,
            spooled[sources.REJECTED],
            (others[sources.COUNTS], joined[sources.COUNTS])
            | "Counts" >> beam.Flatten(),
            (
                malformed,
                read[sources.PROBLEMS],
                others[sources.PROBLEMS],
                joined[sources.PROBLEMS],
            )
            | "Problems" >> beam.Flatten(),
        )


def to_records(
    counts: Mapping[str, int], joins: Iterable[str]
) -> dict[str, schema.JoinStatistics]:
    """What each join found, from the summed counts of the job.

    Args:
        counts: Sums by name; names of others than joins are passed over.
        joins: Names of the joins.

    Example:
    >>> counts = {"joins/users/rows": 3, "joins/users/matched": 2}
    >>> to_records(counts, ["users"])["users"].unmatched
    1
    """
    records = {}
    for name in joins:
        prefix = f"{_PREFIX}{name}/"
        found = {
            field: counts.get(prefix + field, 0)
            for field in schema.JoinStatistics.model_fields
        }
        found["unmatched"] = found["rows"] - found["matched"]
        records[name] = schema.JoinStatistics(**found)
    return records


def _latest(moments: Iterable[int | None]) -> int | None:
    return max((m for m in moments if m is not None), default=None)


class _JoinPart(beam.DoFn):
    """(part, (side, piece)s) → `LogBatch`es, counts and problems."""

    def __init__(
        self, join: OpenedJoin, temporary: str, budget: join_division.Budget
    ) -> None:
        self._join = join
        self._temporary = temporary
        self._budget = budget

    def process(
        self,
        element: tuple[int, Iterable[tuple[int, Piece]]],
        last_moment: int | None,
    ) -> Iterator[Any]:
        sides: tuple[list[Piece], list[Piece]] = ([], [])
        for side, piece in element[1]:
            sides[side].append(piece)
        complete_until = last_moment
        settings = self._join.config
        if isinstance(settings, config.EventsJoin) and settings.complete_until:
            complete_until = join_times.of_datetime(settings.complete_until)
        counts: dict[str, int] = {}

        def count(field: str, rows: int) -> None:
            counts[field] = counts.get(field, 0) + rows

        try:
            for part in join_division.divide(
                sides[join_rows.LOG],
                sides[join_rows.JOINED],
                self._temporary,
                self._budget,
            ):
                yield from join_parts.join_part(
                    self._join, part, complete_until, count
                )
        except InputError as error:
            yield beam.pvalue.TaggedOutput(sources.PROBLEMS, str(error))
        for field, rows in counts.items():
            name = f"{_PREFIX}{self._join.name}/{field}"
            yield beam.pvalue.TaggedOutput(sources.COUNTS, (name, rows))

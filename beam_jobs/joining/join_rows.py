"""Batches of either log → pieces by the hash of their keys."""

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import conversions
from beam_jobs import pipelines
from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s
from beam_jobs.batches import LogBatch
from beam_jobs.joining import join_division
from beam_jobs.joining import join_keys
from beam_jobs.joining import join_pieces
from beam_jobs.joining import join_times
from beam_jobs.joining.join_logs import OpenedJoin
from beam_jobs.reading import sources
from beam_jobs.roles import role_values
from tfplugin import config
from tfplugin.errors import InputError

#: Tags of the two sides among pieces.
LOG, JOINED = 0, 1
#: Tag of the last moment of a batch of events.
LAST_MOMENT = "last_moment"

# Hidden columns stand first and are known by number, never by name.
#: Of the log: hash, file, position, occurrence, and the moment for events.
PLACES = (1, 2, 3)
LOG_TIME = 4
#: Of a joined log: hash, then file and position, or the moment of an event;
#: then the keys, then its columns.
JOINED_PLACES = (1, 2)
EVENT_TIME = 1


def hidden(join: OpenedJoin, side: int) -> int:
    """Number of columns before those of the log, or before the keys."""
    events = isinstance(join.config, config.EventsJoin)
    if side == LOG:
        return LOG_TIME + events
    return 2 if events else 3


def of_log(batch: LogBatch, join: OpenedJoin, times: Int64s) -> pa.RecordBatch:
    """Rows of the log as pieces hold them.

    Args:
        batch: The rows.
        join: The join.
        times: int64 `(rows,)`, microseconds; read by an events join only.
    """
    keys = join_keys.canonical(
        batch.rows, list(join.config.keys), join.key_types
    )
    files = np.full(batch.rows.num_rows, batch.file, np.int64)
    places = (files, batch.positions, batch.occurrences)
    complete = join_keys.complete(keys)
    hashes = join_keys.hashes(keys)
    if not complete.all():
        # Rows that meet nothing spread over all parts.
        hashes = np.where(complete, hashes, join_keys.place_hashes(*places))
    before: list[Any] = [hashes, *places]
    if isinstance(join.config, config.EventsJoin):
        before.append(times)
    return _with_hidden(before, batch.rows)


def of_joined(
    batch: LogBatch, join: OpenedJoin
) -> tuple[pa.RecordBatch, int | None]:
    """Rows of a joined log as pieces hold them, but those that meet nothing.

    Args:
        batch: The rows.
        join: The join.

    Returns:
        Rows whose keys, and moments, are not null; and the last moment,
        microseconds; None without one, or in a lookup.

    Raises:
        InputError: A value is no moment.
    """
    rows, names = batch.rows, list(join.config.keys.values())
    keys = join_keys.canonical(rows, names, join.key_types)
    keep, last = join_keys.complete(keys), None
    files = np.full(rows.num_rows, batch.file, np.int64)
    before: list[Any] = [files, batch.positions]
    if isinstance(join.config, config.EventsJoin):
        times, null, bad = join_times.micros(rows.column(join.config.time))
        if bad.any():
            raise _no_moment(batch, join, join.config.time, int(np.argmax(bad)))
        if not null.all():
            last = int(times[~null].max())
        keep &= ~null
        before = [times]
    columns = [conversions.plain(rows.column(n)) for n in join.columns]
    kept = pa.RecordBatch.from_arrays(
        [*keys, *columns],
        names=[*(f"key_{i}" for i in range(len(keys))), *join.columns],
    )
    found = _with_hidden([join_keys.hashes(keys), *before], kept)
    return (found if keep.all() else found.filter(pa.array(keep))), last


def _with_hidden(before: Sequence[Any], rows: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [pa.array(values) for values in before]
    names = [f"__tfplugin_{number}" for number in range(len(arrays))]
    plain = [conversions.plain(column) for column in rows.columns]
    return pa.RecordBatch.from_arrays(
        [*arrays, *plain], names=[*names, *rows.schema.names]
    )


def _no_moment(
    batch: LogBatch, join: OpenedJoin, name: str, row: int
) -> InputError:
    kind = join.log.position_kind
    return InputError(
        f"`source.joins.{join.name}.time` must hold moments, or seconds since "
        f"1970. Received: {join.log.files[batch.file].path}, {kind} "
        f"{batch.positions[row]}: "
        f"{batch.rows.column(name)[row].as_py()!r}."
    )


class _Spool(beam.DoFn):
    """Batches of one side → (part, (side, piece))."""

    def __init__(
        self,
        join: OpenedJoin,
        temporary: str,
        budget: join_division.Budget,
        side: int,
    ) -> None:
        self._join = join
        self._temporary = temporary
        self._budget = budget
        self._side = side
        self._parts = budget.parts(join.log_bytes)

    def start_bundle(self) -> None:
        """Begins without rows."""
        self._spooler = join_pieces.Spooler(
            self._temporary, self._budget.buffer
        )

    def finish_bundle(self) -> Iterator[Any]:
        """Yields the pieces."""
        for part, piece in self._spooler.finish():
            yield pipelines.at_bundle_end((part, (self._side, piece)))
        self.start_bundle()

    def _add(self, rows: pa.RecordBatch) -> None:
        hashes = rows.column(0).to_numpy()
        self._spooler.add(join_keys.parts(hashes, self._parts, 0), rows)

    def _count(self, name: str, number: int) -> beam.pvalue.TaggedOutput:
        count = (f"joins/{self._join.name}/{name}", number)
        return beam.pvalue.TaggedOutput(sources.COUNTS, count)


class SpoolLog(_Spool):
    """`LogBatch`es of the log → pieces, and lists of `Rejected` rows.

    Args:
        join: The join.
        temporary: Folder of pieces, seen by every worker.
        budget: What may be held.
    """

    def __init__(
        self, join: OpenedJoin, temporary: str, budget: join_division.Budget
    ) -> None:
        super().__init__(join, temporary, budget, LOG)

    def process(self, batch: LogBatch) -> Iterator[Any]:
        """Takes rows; those without a moment are refused by events."""
        times = np.zeros(batch.rows.num_rows, np.int64)
        if isinstance(self._join.config, config.EventsJoin):
            name = self._join.config.log_time
            column = batch.rows.column(name)
            times, null, bad = join_times.micros(column)
            refused = null | bad
            if refused.any():
                yield beam.pvalue.TaggedOutput(
                    sources.REJECTED,
                    batch.reject(self._reasons(name, column, refused)),
                )
                batch, times = batch.take(~refused), times[~refused]
        if batch.rows.num_rows:
            self._add(of_log(batch, self._join, times))

    def _reasons(
        self, name: str, column: pa.Array, refused: Bools
    ) -> list[tuple[int, str]]:
        rule = (
            f"column `{name}` must be {role_values.SECONDS_RULE}, for "
            f"`source.joins.{self._join.name}`; received "
        )
        return [
            (row, f"{rule}{column[row].as_py()!r}")
            for row in np.flatnonzero(refused).tolist()
        ]


class SpoolJoined(_Spool):
    """`LogBatch`es of a joined log → pieces, counts and problems.

    Args:
        join: The join.
        temporary: Folder of pieces, seen by every worker.
        budget: What may be held.
    """

    def __init__(
        self, join: OpenedJoin, temporary: str, budget: join_division.Budget
    ) -> None:
        super().__init__(join, temporary, budget, JOINED)

    def process(self, batch: LogBatch) -> Iterator[Any]:
        """Takes rows."""
        try:
            rows, last = of_joined(batch, self._join)
        except InputError as error:
            yield beam.pvalue.TaggedOutput(sources.PROBLEMS, str(error))
            # The job fails for this, and not for having no moment at all.
            yield beam.pvalue.TaggedOutput(LAST_MOMENT, 0)
            return
        yield self._count("rows", batch.rows.num_rows)
        if last is not None:
            yield beam.pvalue.TaggedOutput(LAST_MOMENT, last)
        if rows.num_rows:
            self._add(rows)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A refused row of a joined log → what is wrong with it.

    Args:
        join: The join.
    """

    join: OpenedJoin

    def __call__(self, refused: Sequence[Any]) -> str:
        """Names the first of some refused rows."""
        first = min(refused)
        path = self.join.log.files[first.file].path
        kind = self.join.log.position_kind
        return (
            f"A joined log must be well-formed. Received: {path}, {kind} "
            f"{first.position}: {first.reason}."
        )

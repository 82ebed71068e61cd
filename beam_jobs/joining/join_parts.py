"""Joins the rows of one part in memory, or chunk by chunk."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_jobs import batches
from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s
from beam_jobs.batches import LogBatch
from beam_jobs.joining import join_keys
from beam_jobs.joining import join_matching
from beam_jobs.joining import join_pieces
from beam_jobs.joining import join_rows
from beam_jobs.joining import join_times
from beam_jobs.joining.join_division import Part
from beam_jobs.joining.join_logs import LABEL_TYPE
from beam_jobs.joining.join_logs import OpenedJoin
from beam_jobs.joining.join_pieces import Piece
from tfplugin import config
from tfplugin.errors import InputError

Count = Callable[[str, int], None]


@dataclasses.dataclass(frozen=True)
class _Side:
    """Rows of one chunk of the log.

    Args:
        rows: As `join_rows.of_log` gives them, or the hidden columns and
            keys only.
        order: Their numbers, by place.
    """

    rows: pa.RecordBatch
    order: Int64s

    def number(self, column: int) -> Int64s:
        """A hidden column of integers, by place."""
        values: Int64s = self.rows.column(column).to_numpy()[self.order]
        return values


def join_part(
    join: OpenedJoin, part: Part, complete_until: int | None, count: Count
) -> Iterator[LogBatch]:
    """Joins one part.

    Args:
        join: The join.
        part: Its pieces.
        complete_until: Moment until which all events are known,
            microseconds; read by an events join only.
        count: Told what was found: a field of `JoinStatistics` and rows.

    Yields:
        Batches of one file each, sorted by place, with the new columns.

    Raises:
        InputError: A lookup has a key twice, or events have no moment.
    """
    if isinstance(join.config, config.LookupJoin):
        yield from _look_up(join, part, count)
        return
    if complete_until is None:
        raise InputError(
            f"`source.joins.{join.name}.time` must have moments. Received: "
            f"column `{join.config.time}`, which has nulls only."
        )
    yield from _label(join, join.config, part, complete_until, count)


def _look_up(join: OpenedJoin, part: Part, count: Count) -> Iterator[LogBatch]:
    found = _load_distinct(join, part)
    if found is None:
        for pieces in part.log:
            side = _load_log(pieces)
            if side is not None:
                nulls = [pa.nulls(len(side.order), f.type) for f in join.fields]
                yield from _emit(join, side, nulls)
        return
    keys = _joined_keys(join, found)
    first = join_rows.hidden(join, join_rows.JOINED) + len(keys)
    met = np.zeros(found.num_rows, np.bool_)
    for pieces in part.log:
        side = _load_log(pieces)
        if side is None:
            continue
        ours, theirs = join_keys.encode(_log_keys(join, side.rows), keys)
        rows = join_matching.find_rows(ours, theirs)[side.order]
        met[rows[rows >= 0]] = True
        count("rows_credited", int((rows >= 0).sum()))
        numbers = pa.array(rows, mask=rows < 0)
        columns = [column.take(numbers) for column in found.columns[first:]]
        yield from _emit(join, side, columns)
    count("matched", int(met.sum()))


def _load_distinct(join: OpenedJoin, part: Part) -> pa.RecordBatch | None:
    """Rows of the joined log, no two of one key."""
    found: list[pa.RecordBatch] = []
    for pieces in part.joined:
        more = join_pieces.load(pieces)
        if more is None:
            continue
        found = [pa.concat_batches([*found, more]) if found else more]
        # Before the next chunk: what has one key has duplicates at once.
        _check_distinct(join, found[0])
    return found[0] if found else None


def _check_distinct(join: OpenedJoin, rows: pa.RecordBatch) -> None:
    keys = _joined_keys(join, rows)
    _, codes = join_keys.encode([key.slice(0, 0) for key in keys], keys)
    if len(np.unique(codes)) == len(codes):
        return
    files, positions = (
        rows.column(index).to_numpy() for index in join_rows.JOINED_PLACES
    )
    order = np.lexsort((positions, files))
    _, starts = np.unique(codes[order], return_index=True)
    repeated = np.ones(len(order), np.bool_)
    repeated[starts] = False
    second = order[np.argmax(repeated)]
    first = order[starts[codes[second]]]
    key = [column[int(second)].as_py() for column in keys]
    kind = join.log.position_kind
    places = [
        f"{join.log.files[files[row]].path}, {kind} {positions[row]}"
        for row in (first, second)
    ]
    names = ", ".join(join.config.keys.values())
    raise InputError(
        f"A lookup must have each key once (`source.joins.{join.name}`). "
        f"Received: {', '.join(repr(value) for value in key)} of `{names}` in "
        f"{places[0]} and in {places[1]}. Keep one row a key."
    )


def _label(
    join: OpenedJoin,
    settings: config.EventsJoin,
    part: Part,
    complete_until: int,
    count: Count,
) -> Iterator[LogBatch]:
    whole = _load_log(part.log[0]) if len(part.log) == 1 else None
    credited: list[Bools] = [np.zeros(0, np.bool_)] * len(part.log)
    for pieces in part.joined:
        events = join_pieces.load(pieces)
        if events is not None:
            _credit(join, settings, part, whole, events, credited, count)
    for number, pieces in enumerate(part.log):
        side = whole or _load_log(pieces)
        if side is None:
            continue
        has_event = np.zeros(len(side.order), np.bool_)
        if len(credited[number]):
            has_event = credited[number]
        open_window = (
            side.number(join_rows.LOG_TIME)
            + settings.window * join_times.SECOND
            > complete_until
        )
        unknown = open_window & ~has_event
        dropped = np.zeros_like(unknown)
        if settings.mature != "mask":
            dropped = unknown if settings.mature == "drop" else open_window
        count("rows_credited", int(has_event.sum()))
        count("rows_immature", int((unknown | dropped).sum()))
        count("rows_dropped", int(dropped.sum()))
        keep = ~dropped
        label = pa.array(has_event[keep].astype(np.int64), mask=unknown[keep])
        yield from _emit(
            join,
            dataclasses.replace(side, order=side.order[keep]),
            [label.cast(LABEL_TYPE)],
        )


def _credit(
    join: OpenedJoin,
    settings: config.EventsJoin,
    part: Part,
    whole: _Side | None,
    events: pa.RecordBatch,
    credited: list[Bools],
    count: Count,
) -> None:
    """Marks the rows of each chunk of the log that events are credited to."""
    keys = _joined_keys(join, events)
    times = events.column(join_rows.EVENT_TIME).to_numpy()
    window = settings.window * join_times.SECOND
    # Under `all`, an event still counts as matched if it meets any row.
    last = settings.credit != "first"
    each = join_matching.OneEach(times, window, last=last)
    for number, pieces in enumerate(part.log):
        side = whole or _load_log(pieces, _narrow(join, pieces))
        if side is None:
            continue
        ours, theirs = join_keys.encode(_log_keys(join, side.rows), keys)
        impressions = join_matching.Impressions(
            ours[side.order],
            side.number(join_rows.LOG_TIME),
            np.stack([side.number(place) for place in join_rows.PLACES]),
        )
        each.look_in(number, impressions, theirs)
        if not len(credited[number]):
            credited[number] = np.zeros(len(side.order), np.bool_)
        if settings.credit == "all":
            credited[number] |= join_matching.credited_by_any(
                impressions, theirs, times, window
            )
    if settings.credit != "all":
        for number, mask in enumerate(credited):
            mask[each.rows(number)] = True
    count("matched", int(each.matched.sum()))


def _narrow(join: OpenedJoin, pieces: tuple[Piece, ...]) -> list[int]:
    """Numbers of the hidden columns and of the keys."""
    before = join_rows.hidden(join, join_rows.LOG)
    if not pieces:
        return []
    names = join_pieces.schema(pieces[0]).names
    keys = {names.index(name, before) for name in join.config.keys}
    return sorted({*range(before), *keys})


def _load_log(
    pieces: tuple[Piece, ...], columns: list[int] | None = None
) -> _Side | None:
    rows = join_pieces.load(pieces, columns)
    if rows is None:
        return None
    places = [rows.column(index).to_numpy() for index in join_rows.PLACES]
    return _Side(rows, np.lexsort(places[::-1]).astype(np.int64))


def _log_keys(join: OpenedJoin, rows: pa.RecordBatch) -> list[pa.Array]:
    before = join_rows.hidden(join, join_rows.LOG)
    log = rows.select(list(range(before, rows.num_columns)))
    return join_keys.canonical(log, list(join.config.keys), join.key_types)


def _joined_keys(join: OpenedJoin, rows: pa.RecordBatch) -> list[pa.Array]:
    first = join_rows.hidden(join, join_rows.JOINED)
    keys: list[pa.Array] = rows.columns[first : first + len(join.key_types)]
    return keys


def _emit(
    join: OpenedJoin, side: _Side, columns: list[pa.Array]
) -> Iterator[LogBatch]:
    """Rows by place, with columns that stand in that order already."""
    if not len(side.order):
        return
    before = join_rows.hidden(join, join_rows.LOG)
    log = side.rows.select(list(range(before, side.rows.num_columns)))
    schema = log.schema
    for field in join.fields:
        schema = schema.append(field)
    files, positions, occurrences = (
        side.number(place) for place in join_rows.PLACES
    )
    starts = np.flatnonzero(np.r_[True, files[1:] != files[:-1]])
    for start, stop in zip(starts, [*starts[1:], len(files)], strict=True):
        for first in range(start, stop, batches.MAX_ROWS):
            some = slice(first, min(first + batches.MAX_ROWS, stop))
            taken = log.take(pa.array(side.order[some])).columns
            added = [column[some] for column in columns]
            yield LogBatch(
                int(files[first]),
                positions[some],
                occurrences[some],
                pa.RecordBatch.from_arrays([*taken, *added], schema=schema),
            )

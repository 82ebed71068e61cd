"""Keyed joins of the log with another log."""

import datetime
from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from tfplugin.config.log_format import LogFiles
from tfplugin.config.sizes import Seconds


def _as_mapping(value: Any) -> Any:
    if isinstance(value, str):
        return {value: value}
    if isinstance(value, list):
        return {name: name for name in value}
    return value


#: Column of the log to the column of the joined log that equals it.
Keys = Annotated[
    dict[str, str],
    pydantic.BeforeValidator(_as_mapping),
    pydantic.Field(min_length=1),
]


class LookupJoin(LogFiles):
    """Columns of another log that has at most one row a key.

    Args:
        kind: `lookup`.
        keys: Columns by which rows meet: names both logs have, or column of
            the log to column of the other. A null key meets nothing.
        columns: Columns to add; None for all but the keys. Null where no
            row has the key.
    """

    kind: Literal["lookup"]
    keys: Keys
    columns: tuple[str, ...] | None = None


class EventsJoin(LogFiles):
    """Later events, credited to rows of the log within a window.

    Args:
        kind: `events`.
        keys: As in `LookupJoin`.
        log_time: Column of the log's moments.
        time: Column of the events' moments.
        window: An event is credited to a row if it happens not before it and
            at most so long after: seconds, or as `7d`.
        credit: Of the rows that could be credited with an event: the `last`,
            the `first`, or `all`.
        label: Name of the new column: 1 where an event was credited, 0 where
            none was, null where it is too early to tell.
        mature: What becomes of rows without an event whose window reaches
            past `complete_until`: their label is null (`mask`), or they are
            left out (`drop`).
        complete_until: Moment up to which all events are known, UTC without
            a zone; None for the last event's.
    """

    kind: Literal["events"]
    keys: Keys
    log_time: str
    time: str
    window: Seconds
    credit: Literal["last", "first", "all"] = "last"
    label: str
    mature: Literal["mask", "drop"] = "mask"
    complete_until: datetime.datetime | None = None


JoinConfig = Annotated[LookupJoin | EventsJoin, pydantic.Discriminator("kind")]

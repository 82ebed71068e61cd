"""Keyed joins of the log with another log."""

import datetime
from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from tfplugin.config.log_format import LogFiles
from tfplugin.config.sizes import Seconds

#: A century of seconds, whose microseconds fit int64 beside any moment.
_LONGEST_WINDOW = 100 * 365 * 86_400


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
    columns: Annotated[tuple[str, ...], pydantic.Field(min_length=1)] | None = (
        None
    )

    @pydantic.field_validator("columns")
    @classmethod
    def _check_columns(
        cls, value: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        for name in value or ():
            if value is not None and value.count(name) > 1:
                raise ValueError(
                    f"each column must be named once; received `{name}` twice"
                )
        return value


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
        mature: What becomes of rows whose window reaches past
            `complete_until`: the label of those without an event is null
            (`mask`), those are left out (`drop`), or all of them are, also
            with an event, so that the label's rate stays what it is (`gap`).
        complete_until: Moment up to which all events are known, UTC without
            a zone; None for the last event's.
    """

    kind: Literal["events"]
    keys: Keys
    log_time: str
    time: str
    window: Annotated[Seconds, pydantic.Field(le=_LONGEST_WINDOW)]
    credit: Literal["last", "first", "all"] = "last"
    label: str
    mature: Literal["mask", "drop", "gap"] = "mask"
    complete_until: datetime.datetime | None = None

    @pydantic.model_validator(mode="after")
    def _check_label(self) -> "EventsJoin":
        if self.label in {*self.keys, self.log_time}:
            raise ValueError(
                "`label` must be the name of a new column; received "
                f"`{self.label}`, which `keys` or `log_time` names"
            )
        return self


JoinConfig = Annotated[LookupJoin | EventsJoin, pydantic.Discriminator("kind")]

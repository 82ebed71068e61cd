"""Where the raw log is and how it becomes columns."""

from typing import Annotated

import pydantic

from tfplugin.config.joins import JoinConfig
from tfplugin.config.log_format import LogFiles


class SideTable(LogFiles):
    """A small table that the select may join; files as in `LogFiles`."""


class SourceConfig(LogFiles):
    """The raw log; files as in `LogFiles`.

    Args:
        joins: Name to a keyed join with another log of any size, done in
            this order before the select, whose `log` has their columns.
        select: SQL over the table `log` and the side tables, run by DuckDB
            on each batch; None keeps the columns as they are.
        side_tables: Name to a table that `select` may join.
        max_rejected: How many malformed rows the job may set aside before it
            fails.
    """

    joins: dict[str, JoinConfig] = {}
    select: str | None = None
    side_tables: dict[str, SideTable] = {}
    max_rejected: Annotated[int, pydantic.Field(ge=0)] = 0

    @pydantic.model_validator(mode="after")
    def _check_side_tables(self) -> "SourceConfig":
        if "log" in self.side_tables:
            raise ValueError(
                "a side table must not be named `log`, which is the log "
                "itself; rename it"
            )
        if self.side_tables and self.select is None:
            raise ValueError(
                f"side tables {sorted(self.side_tables)} need a `select` "
                "that joins them"
            )
        return self

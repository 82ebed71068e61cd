"""Where the raw log is and how it becomes columns."""

from typing import Annotated
from typing import Literal

import pydantic

from tfplugin.config.records import Section


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


#: One path or glob, or a list of them.
Files = Annotated[
    tuple[str, ...],
    pydantic.BeforeValidator(_as_list),
    pydantic.Field(min_length=1),
]


class CsvOptions(Section):
    r"""How to read CSV.

    Args:
        delimiter: One ASCII character.
        column_names: Names of the columns of files without a header line;
            None when the first line names them.
        quoted_newlines: Whether quoted values may hold line breaks; such
            files are not read in parallel.
        types: Column to `int64`, `double` or `string`; the types of other
            columns follow from their roles or are inferred from the
            beginning of every file.
    """

    delimiter: str = ","
    column_names: (
        Annotated[tuple[str, ...], pydantic.Field(min_length=1)] | None
    ) = None
    quoted_newlines: bool = False
    types: dict[str, Literal["int64", "double", "string"]] = {}

    @pydantic.field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, value: str) -> str:
        if len(value) != 1 or not value.isascii() or value in '\n\r"\0':
            raise ValueError(
                "the delimiter must be one ASCII character, and neither a "
                f"line break, a quote nor NUL; received {value!r}"
            )
        return value

    @pydantic.field_validator("column_names")
    @classmethod
    def _check_column_names(
        cls, value: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        for name in value or ():
            if value is not None and value.count(name) > 1:
                raise ValueError(
                    f"each column must have a name of its own; received "
                    f"`{name}` twice"
                )
        return value


class SideTable(Section):
    """A small table that the select may join.

    Args:
        format: `csv` or `parquet`.
        files: Paths or globs, as in `SourceConfig`.
        csv: How to read it when it is CSV.
    """

    format: Literal["csv", "parquet"]
    files: Files
    csv: CsvOptions = CsvOptions()


class SourceConfig(Section):
    """The raw log.

    Args:
        format: `csv` (also .gz) or `parquet`.
        files: Paths or globs of its shards, relative to the configuration's
            folder; `package://NAME/PATH` is a file of an installed package.
        csv: How to read it when it is CSV.
        select: SQL over the table `log` and the side tables, run by DuckDB
            on each batch; None keeps the columns as they are.
        side_tables: Name to a table that `select` may join.
        max_rejected: How many malformed rows the job may set aside before it
            fails.
    """

    format: Literal["csv", "parquet"]
    files: Files
    csv: CsvOptions = CsvOptions()
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

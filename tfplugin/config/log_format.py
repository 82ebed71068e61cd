"""Files of a log, and how they are read."""

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


class JsonLinesOptions(Section):
    """How to read JSON lines.

    Args:
        types: Column to its type; the types of other columns follow from
            their roles or are inferred from the beginning of every file.
    """

    types: dict[
        str,
        Literal[
            "int64",
            "double",
            "string",
            "bool",
            "list<int64>",
            "list<double>",
            "list<string>",
        ],
    ] = {}


class LogFiles(Section):
    """Files of one format.

    Whether a file is compressed (gzip, bzip2, Zstandard) is seen from its
    first bytes, file by file.

    Args:
        format: `csv`, `jsonl` (an object a line), `parquet`, or `tfrecord`
            (tf.train.Examples).
        files: Paths or globs, relative to the configuration's folder, or
            URLs of any file system that Beam knows;
            `package://NAME/PATH` is a file of an installed package.
        csv: How to read CSV.
        jsonl: How to read JSON lines.
    """

    format: Literal["csv", "jsonl", "parquet", "tfrecord"]
    files: Files
    csv: CsvOptions = CsvOptions()
    jsonl: JsonLinesOptions = JsonLinesOptions()

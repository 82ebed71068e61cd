"""Which columns of the log a select reads: the others are never loaded."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import duckdb

from beam_jobs.selecting import select_rules


def mentioned(
    connection: duckdb.DuckDBPyConnection, sql: str, columns: Sequence[str]
) -> list[str]:
    """The columns of `log` that a select may read.

    Args:
        connection: Any connection; nothing is run but the parser.
        sql: The user's select.
        columns: Names of the columns of `log`.

    Returns:
        Those that it names anywhere, in whatever sense; all of them where it
        says `*`, joins by the columns that tables have in common, or renames
        columns by their order.

    Raises:
        InputError: It does not parse.

    Example:
    >>> sql = "SELECT Price * 2 AS twice FROM log"
    >>> mentioned(duckdb.connect(), sql, ["user", "price"])
    ['price']
    """
    tree = select_rules.parse(connection, sql)
    if any(_reads_all(part) for part in _outer_parts(tree)):
        return list(columns)
    words = {word.lower() for word in _words(tree)}
    return [name for name in columns if name.lower() in words]


def _reads_all(part: dict[str, Any]) -> bool:
    return bool(
        part.get("class") == "STAR"
        or part.get("ref_type") == "NATURAL"
        or part.get("column_name_alias")
    )


def _outer_parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every part of a tree that is in no subquery, which has no `log`."""
    if isinstance(value, list):
        for child in value:
            yield from _outer_parts(child)
    elif isinstance(value, dict):
        yield value
        for key, child in value.items():
            if key not in ("subquery", "cte_map"):
                yield from _outer_parts(child)


def _words(value: Any) -> Iterator[str]:
    """Every text of a tree."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for child in value:
            yield from _words(child)
    elif isinstance(value, dict):
        for child in value.values():
            yield from _words(child)

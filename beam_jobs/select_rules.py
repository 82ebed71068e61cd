"""Which SQL may run on batches: that whose result is a row's own affair."""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from tfplugin.errors import InputError

#: The hidden column of `log` by which selected rows know where they are from.
ROW_COLUMN = "__tfplugin_row"

_TABLE_FUNCTIONS = ("unnest", "range", "generate_series", "json_each")
_MODIFIERS = {
    "DISTINCT_MODIFIER": "DISTINCT",
    "ORDER_MODIFIER": "ORDER BY",
    "LIMIT_MODIFIER": "LIMIT or OFFSET",
    "LIMIT_PERCENT_MODIFIER": "LIMIT or OFFSET",
}
_CLAUSES = {
    "having": "HAVING",
    "group_expressions": "GROUP BY",
    "group_sets": "GROUP BY",
    "qualify": "QUALIFY",
}
#: Values that need no brackets, and so parse as columns.
_CLOCKS = (
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
)
#: Joins that give rows of the right even without a row on the left, by the
#: side on which `log` may stand.
_LEFT_ONLY = ("LEFT", "SEMI", "ANTI")
_RIGHT_ONLY = ("RIGHT",)


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Checks a select and adds the hidden column to it.

    Args:
        connection: Any connection; nothing is run but the parser.
        sql: The user's select.

    Returns:
        The select, with the column `ROW_COLUMN` of `log` in front.

    Raises:
        InputError: It is not one SELECT over `log`, or its result depends on
            how the log is cut into batches, or on chance or the clock.
    """
    tree = _parse(connection, sql)
    node = tree["statements"][0]["node"]
    if node["type"] != "SELECT_NODE":
        raise _refusal("UNION, INTERSECT, EXCEPT or a recursive query")
    _check_node(node, Functions(connection))
    alias = _check_from(node["from_table"])
    _check_no_whole_row(node, alias)
    node["select_list"].insert(
        0,
        {
            "class": "COLUMN_REF",
            "type": "COLUMN_REF",
            "alias": "",
            "query_location": 0,
            "column_names": [alias, ROW_COLUMN],
        },
    )
    row = connection.execute(
        "SELECT json_deserialize_sql(?)", [json.dumps(tree)]
    ).fetchall()[0]
    return str(row[0])


class Functions:
    """What DuckDB's catalogue says about its functions.

    Args:
        connection: Any connection.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = connection.sql(
            "SELECT lower(function_name), function_type, stability, "
            "coalesce(has_side_effects, false), macro_definition "
            "FROM duckdb_functions()"
        ).fetchall()
        scalars = {name for name, kind, *_ in rows if kind == "scalar"}
        self.unstable = {
            name
            for name, kind, stability, effects, _ in rows
            if kind == "scalar" and (effects or stability != "CONSISTENT")
        }
        self.aggregates = {
            name for name, kind, *_ in rows if kind == "aggregate"
        } - scalars
        self.unstable |= set(_CLOCKS)
        macros = {name: str(text) for name, *_, text in rows if text}
        # Macros call macros: as many rounds as they are nested.
        for _ in range(4):
            for name, text in macros.items():
                self._add_macro(name, text.lower())

    def _add_macro(self, name: str, text: str) -> None:
        # `list_sum` calls list_aggr(l, 'sum'), which is a scalar.
        if "list_aggr(" in text:
            return
        if set(re.findall(r"\w+", text)) & self.unstable:
            self.unstable.add(name)
        if set(re.findall(r"(\w+)\(", text)) & self.aggregates:
            self.aggregates.add(name)


def _parse(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    rows = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree: dict[str, Any] = json.loads(rows[0][0])
    if tree["error"]:
        reason = " ".join(str(tree["error_message"]).split())
        raise InputError(
            f"`source.select` must be one SELECT statement. Received: {reason}"
        )
    if len(tree["statements"]) != 1:
        raise InputError(
            "`source.select` must be one SELECT statement. Received: "
            f"{len(tree['statements'])} statements."
        )
    return tree


def _refusal(what: str) -> InputError:
    return InputError(
        "`source.select` runs on each batch of the log, so each row of its "
        f"result must depend on one row of `log` alone. Received: {what}. "
        "Do it in a subquery over side tables, or before."
    )


def _check_node(node: dict[str, Any], functions: Functions) -> None:
    """Refuses clauses of the outer select, and chance anywhere."""
    for modifier in node["modifiers"]:
        raise _refusal(_MODIFIERS.get(modifier["type"], modifier["type"]))
    for key, clause in _CLAUSES.items():
        if node[key]:
            raise _refusal(clause)
    if node["aggregate_handling"] != "STANDARD_HANDLING":
        raise _refusal("GROUP BY ALL")
    for part, inside in _walk(node, inside_subquery=False):
        _check_part(part, functions, inside_subquery=inside)


def _walk(
    value: Any, *, inside_subquery: bool
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every part of a tree, and whether it is inside a subquery."""
    if isinstance(value, dict):
        yield value, inside_subquery
        for key, child in value.items():
            nested = inside_subquery or key in ("subquery", "cte_map", "query")
            yield from _walk(child, inside_subquery=nested)
    elif isinstance(value, list):
        for child in value:
            yield from _walk(child, inside_subquery=inside_subquery)


def _check_part(
    part: dict[str, Any], functions: Functions, *, inside_subquery: bool
) -> None:
    if part.get("sample"):
        raise _refusal("a SAMPLE")
    if part.get("class") == "WINDOW" and not inside_subquery:
        raise _refusal(f"the window function {part['function_name']}()")
    if part.get("type") == "SHOW_REF":
        raise _refusal("DESCRIBE, SHOW or SUMMARIZE")
    if part.get("type") == "BASE_TABLE" and inside_subquery:
        if part["table_name"].lower() == "log":
            raise _refusal("`log` inside a subquery")
    if part.get("type") == "TABLE_FUNCTION":
        name = part["function"]["function_name"].lower()
        if name not in _TABLE_FUNCTIONS:
            raise _refusal(f"the table function {name}()")
    name = None
    if part.get("class") in ("FUNCTION", "WINDOW"):
        name = part["function_name"].lower()
    elif part.get("class") == "COLUMN_REF" and len(part["column_names"]) == 1:
        column = part["column_names"][0].lower()
        name = column if column in _CLOCKS else None
    if name in functions.unstable:
        raise _refusal(f"{name}(), whose value differs from run to run")
    if name in functions.aggregates and not inside_subquery:
        raise _refusal(f"the aggregate {name}()")


def _check_no_whole_row(node: dict[str, Any], alias: str) -> None:
    """Refuses what would see the hidden column, which counts in a batch."""
    for part, _ in _walk(node, inside_subquery=False):
        if part.get("class") == "STAR" and part.get("columns"):
            raise _refusal("COLUMNS(...), which names no columns")
        if part.get("class") != "COLUMN_REF":
            continue
        if [str(n).lower() for n in part["column_names"]] == [alias.lower()]:
            raise _refusal(f"the whole row `{alias}` as a value")


def _check_from(table: dict[str, Any]) -> str:
    """The name by which the one `log` of a FROM clause goes."""
    names = list(_find_log(table))
    if len(names) != 1:
        raise _refusal(
            "a FROM clause without `log`" if not names else "`log` twice"
        )
    return names[0]


def _find_log(table: dict[str, Any]) -> Iterator[str]:
    if table["type"] == "BASE_TABLE" and table["table_name"].lower() == "log":
        yield table["alias"] or table["table_name"]
    if table["type"] != "JOIN":
        return
    left, right = (
        list(_find_log(table["left"])),
        list(_find_log(table["right"])),
    )
    kind = table["join_type"]
    if left or right:
        if table["ref_type"] == "POSITIONAL":
            raise _refusal("a POSITIONAL JOIN")
        refused = (
            kind in ("FULL", "OUTER")
            or (left and kind in _RIGHT_ONLY)
            or (right and kind in _LEFT_ONLY)
        )
        if refused:
            side = "left" if left else "right"
            raise _refusal(f"a {kind} JOIN with `log` on its {side}")
    yield from left
    yield from right

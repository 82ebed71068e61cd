"""Which SQL may run on batches: that whose result is a row's own affair."""

import dataclasses
import json
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import duckdb

from beam_jobs.selecting import sql_functions
from tfplugin.errors import InputError

#: The hidden column of `log` by which selected rows know where they are from.
ROW_COLUMN = "__tfplugin_row"

_TABLE_FUNCTIONS = ("unnest", "range", "generate_series", "json_each")
#: Schemas and databases that hold `log` and the side tables.
_SCHEMAS = {"main", "temp", "memory"}
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
_JOINS = ("REGULAR", "NATURAL", "CROSS", "ASOF")
#: Joins that give rows of the right even without a row on the left, by the
#: side on which `log` may stand.
_LEFT_ONLY = ("LEFT", "SEMI", "ANTI")
_RIGHT_ONLY = ("RIGHT",)


def check(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    side_tables: Collection[str],
    columns: Sequence[str],
) -> str:
    """Checks a select and adds the hidden column to it.

    Args:
        connection: Any connection; nothing is run but the parser.
        sql: The user's select.
        side_tables: Names of the tables it may read beside `log`.
        columns: Names of the columns of `log`, without the hidden one.

    Returns:
        The select, with the column `ROW_COLUMN` of `log` in front.

    Raises:
        InputError: It is not one SELECT over `log`, or its result depends on
            how the log is cut into batches, or on chance or the clock.
    """
    tree = parse(connection, sql)
    node = tree["statements"][0]["node"]
    if node["type"] != "SELECT_NODE":
        raise _refusal("UNION, INTERSECT, EXCEPT or a recursive query")
    _check_clauses(node)
    if _names_hidden_column(node):
        raise _refusal(f"the hidden column `{ROW_COLUMN}`")
    functions = sql_functions.Functions(connection)
    tables = frozenset(name.lower() for name in side_tables)
    for part, scope in _walk(node, _Scope(tables, tables)):
        _check_part(part, scope, functions)
    log = _check_from(node["from_table"])
    _check_no_whole_row(node, log, columns)
    node["select_list"].insert(
        0,
        {
            "class": "COLUMN_REF",
            "type": "COLUMN_REF",
            "alias": "",
            "query_location": 0,
            "column_names": [_alias(log), ROW_COLUMN],
        },
    )
    row = connection.execute(
        "SELECT json_deserialize_sql(?)", [json.dumps(tree)]
    ).fetchall()[0]
    return str(row[0])


def parse(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The syntax tree of one statement, as DuckDB's JSON.

    Raises:
        InputError: It does not parse, or is not one SELECT.
    """
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


def _unordered(what: str) -> InputError:
    return InputError(
        "`source.select` must not depend on the order of a side table, which "
        f"differs with the batch of the log. Received: {what} in a subquery "
        "without an ORDER BY of its own. Add one, without ties."
    )


def _check_clauses(node: dict[str, Any]) -> None:
    """Refuses clauses of the outer select."""
    for modifier in node["modifiers"]:
        raise _refusal(_MODIFIERS.get(modifier["type"], modifier["type"]))
    for key, clause in _CLAUSES.items():
        if node[key]:
            raise _refusal(clause)
    if node["aggregate_handling"] != "STANDARD_HANDLING":
        raise _refusal("GROUP BY ALL")


def _names_hidden_column(value: Any) -> bool:
    """Whether any name of a tree is that of the hidden column."""
    if isinstance(value, str):
        return value.lower() == ROW_COLUMN
    if isinstance(value, list):
        return any(_names_hidden_column(child) for child in value)
    if isinstance(value, dict):
        return any(
            _names_hidden_column(child)
            for key, child in value.items()
            if key != "literal"
        )
    return False


@dataclasses.dataclass(frozen=True)
class _Scope:
    """Where a part of a select stands.

    Args:
        side_tables: Names of the side tables.
        tables: Those and the names that WITH gives here.
        in_subquery: Whether it is in a subquery or a WITH.
    """

    side_tables: frozenset[str]
    tables: frozenset[str]
    in_subquery: bool = False

    def inner(self) -> "_Scope":
        return dataclasses.replace(self, in_subquery=True)

    def with_table(self, name: str) -> "_Scope":
        return dataclasses.replace(self, tables=self.tables | {name})


def _walk(value: Any, scope: _Scope) -> Iterator[tuple[dict[str, Any], _Scope]]:
    """Every part of a tree, and where it stands."""
    if isinstance(value, list):
        for child in value:
            yield from _walk(child, scope)
    if not isinstance(value, dict):
        return
    for entry in value.get("cte_map", {}).get("map", []):
        name = entry["key"].lower()
        if name == "log":
            raise _refusal("a WITH that is called `log`")
        wider = scope.with_table(name)
        body = entry["value"]["query_node"]
        recursive = body["type"] == "RECURSIVE_CTE_NODE"
        yield from _walk(body, (wider if recursive else scope).inner())
        scope = wider
    yield value, scope
    for key, child in value.items():
        if key != "cte_map":
            nested = scope.inner() if key == "subquery" else scope
            yield from _walk(child, nested)


def _check_part(
    part: dict[str, Any], scope: _Scope, functions: sql_functions.Functions
) -> None:
    if part.get("sample"):
        raise _refusal("a SAMPLE")
    if part.get("type") == "SHOW_REF":
        raise _refusal("DESCRIBE, SHOW or SUMMARIZE")
    if part.get("type") == "BASE_TABLE":
        _check_table(part, scope)
    if part.get("type") == "TABLE_FUNCTION":
        _check_table_function(part["function"], scope)
    if part.get("class") in ("FUNCTION", "WINDOW"):
        _check_function(part, scope, functions)
    if part.get("class") == "COLUMN_REF" and len(part["column_names"]) == 1:
        column = part["column_names"][0].lower()
        if column in sql_functions.CLOCKS:
            raise _refusal(f"{column}(), whose value differs from run to run")
    if scope.in_subquery:
        _check_modifiers(part.get("modifiers", []))
    elif part.get("class") == "POSITIONAL_REFERENCE":
        raise _refusal(f"#{part['index']}, which names no column")


def _check_table(part: dict[str, Any], scope: _Scope) -> None:
    *schemas, name = (str(n).lower() for n in part["qualified_name"]["path"])
    known = scope.side_tables if schemas else scope.tables
    if name not in known | {"log"} or not set(schemas) <= _SCHEMAS:
        shown = ".".join(part["qualified_name"]["path"])
        raise InputError(
            "`source.select` may read `log`, the side tables and what it "
            f"names in a WITH. Received: the table `{shown}`. Name it in "
            "`source.side_tables`."
        )
    if name == "log" and scope.in_subquery:
        raise _refusal("`log` inside a subquery")


def _check_table_function(function: dict[str, Any], scope: _Scope) -> None:
    name = function["function_name"].lower()
    if name == "histogram_values" and function["arguments"]:
        argument = function["arguments"][0]
        table = argument["expression"]
        names = table.get("column_names") or [
            table.get("literal", {}).get("text", "")
        ]
        known = [str(n).lower() for n in names][0] in scope.side_tables
        if known and len(names) == 1 and argument["name"] in ("", "source"):
            return
    if name not in _TABLE_FUNCTIONS:
        raise _refusal(f"the table function {name}()")


def _check_function(
    part: dict[str, Any], scope: _Scope, functions: sql_functions.Functions
) -> None:
    name = part["function_name"].lower()
    # One moment is compared with the clock, which the catalogue leaves out.
    if name == "age" and len(part["arguments"]) == 1:
        raise _refusal("age() of one moment, which differs from run to run")
    if name in functions.unstable:
        raise _refusal(f"{name}(), whose value differs from run to run")
    is_window = part["class"] == "WINDOW"
    if not scope.in_subquery:
        if is_window:
            raise _refusal(f"the window function {name}()")
        if name in functions.aggregates:
            raise _refusal(f"the aggregate {name}()")
        return
    if is_window:
        ordered = part["orders"] or part["arg_orders"]
    else:
        ordered = part["order_bys"]["orders"]
    if name in functions.ordered and not ordered:
        # The parser makes the one of the other.
        also = " or ARRAY(...)" if name == "array_agg" else ""
        raise _unordered(f"{name}(){also}")


def _check_modifiers(modifiers: list[dict[str, Any]]) -> None:
    kinds = {modifier["type"] for modifier in modifiers}
    if "ORDER_MODIFIER" in kinds:
        return
    for modifier in modifiers:
        if modifier["type"] != "DISTINCT_MODIFIER":
            raise _unordered(_MODIFIERS.get(modifier["type"], "LIMIT"))
        if modifier["distinct_on_targets"]:
            raise _unordered("DISTINCT ON")


def _alias(table: dict[str, Any]) -> str:
    return str(table["alias"] or table["table_name"])


def _check_no_whole_row(
    node: dict[str, Any], log: dict[str, Any], columns: Sequence[str]
) -> None:
    """Refuses what would see the hidden column, which counts in a batch."""
    renamed = log["column_name_alias"]
    if len(renamed) > len(columns):
        raise _refusal(f"{len(renamed)} names for {len(columns)} columns")
    alias = _alias(log).lower()
    # A column goes before a table of the same name.
    names = [*renamed, *columns[len(renamed) :]]
    is_column = alias in [name.lower() for name in names]
    stars = [id(star) for star in _plain_stars(node)]
    for part, scope in _walk(node, _Scope(frozenset(), frozenset())):
        if part.get("class") == "STAR":
            if scope.in_subquery:
                if part["relation_name"].lower() == alias:
                    raise _refusal(f"`{_alias(log)}.*` inside a subquery")
            elif part["columns"]:
                raise _refusal("COLUMNS(...), which names no columns")
            elif id(part) not in stars:
                raise _refusal("a * with a name, or in an expression")
        if part.get("class") != "COLUMN_REF":
            continue
        *schemas, last = (str(n).lower() for n in part["column_names"])
        if last != alias or (is_column and not schemas):
            continue
        if set(schemas) <= _SCHEMAS - {alias}:
            shown = ".".join(part["column_names"])
            raise _refusal(f"the whole row `{shown}` as a value")


def _plain_stars(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each `*` or `* LIKE ...` whose columns keep their names."""
    for item in node["select_list"]:
        arguments = [a["expression"] for a in item.get("arguments", [])]
        for star in [item, *arguments[:1]]:
            if star["class"] == "STAR" and not item["alias"]:
                yield star


def _check_from(table: dict[str, Any]) -> dict[str, Any]:
    """The one `log` of a FROM clause."""
    tables = list(_find_log(table))
    if len(tables) != 1:
        raise _refusal(
            "a FROM clause without `log`" if not tables else "`log` twice"
        )
    return tables[0]


def _find_log(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if table["type"] == "BASE_TABLE" and table["table_name"].lower() == "log":
        yield table
    if table["type"] != "JOIN":
        return
    left = list(_find_log(table["left"]))
    right = list(_find_log(table["right"]))
    if left or right:
        _check_join(table, "left" if left else "right")
    yield from left
    yield from right


def _check_join(table: dict[str, Any], side: str) -> None:
    """Refuses joins whose rows are not of one row of `log`, on its `side`."""
    kind, way = table["join_type"], table["ref_type"]
    if way not in _JOINS:
        raise _refusal(f"a {way} JOIN")
    # It finds one row of the right for each of the left.
    if way == "ASOF" and side == "right":
        raise _refusal("an ASOF JOIN with `log` on its right")
    others = _RIGHT_ONLY if side == "left" else _LEFT_ONLY
    if kind in ("FULL", "OUTER") or kind in others:
        raise _refusal(f"a {kind} JOIN with `log` on its {side}")

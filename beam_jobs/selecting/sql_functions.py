"""What a select must know of DuckDB's functions."""

import re

import duckdb

#: Values that need no brackets, and so parse as columns; and two functions
#: that the catalogue takes for consistent.
CLOCKS = {
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "current_localtime",
    "current_localtimestamp",
}
#: Aggregates and window functions whose value depends on the order of rows,
#: if only among ties. The catalogue does not tell them from the others.
_ORDERED = {
    *("any_value", "arbitrary", "first", "last", "first_value", "last_value"),
    *("list", "array_agg", "string_agg", "group_concat", "listagg"),
    *("arg_max", "argmax", "max_by", "arg_max_null", "arg_max_nulls_last"),
    *("arg_min", "argmin", "min_by", "arg_min_null", "arg_min_nulls_last"),
    *("mode", "approx_top_k", "approx_quantile", "reservoir_quantile"),
    *("lttb", "variant_group_object"),
    *("nth_value", "lead", "lag", "row_number", "ntile"),
}


class Functions:
    """Names of functions, in lower case, by what a value of theirs hangs on.

    Args:
        connection: Any connection; its catalogue is read.

    Attributes:
        unstable: Those that hang on chance, the clock or the database.
        aggregates: Those that take many rows.
        ordered: Those that hang on the order of the rows they take.

    Example:
    >>> functions = Functions(duckdb.connect())
    >>> "random" in functions.unstable, "first" in functions.ordered
    (True, True)
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = connection.sql(
            "SELECT lower(function_name), function_type, stability, "
            "coalesce(has_side_effects, false), macro_definition "
            "FROM duckdb_functions()"
        ).fetchall()
        scalars = {name for name, kind, *_ in rows if kind == "scalar"}
        self.unstable = CLOCKS | {
            name
            for name, kind, stability, effects, _ in rows
            if kind in ("scalar", "aggregate")
            and (effects or stability != "CONSISTENT")
        }
        # It raises: no value of it differs.
        self.unstable.discard("error")
        self.aggregates = {
            name for name, kind, *_ in rows if kind == "aggregate"
        } - scalars
        self.ordered = set(_ORDERED)
        macros = [
            (name, re.sub(r"'[^']*'", "", text.lower()))
            for name, kind, *_, text in rows
            if kind == "macro"
        ]
        # Macros call macros: as many rounds as they are nested.
        for _ in range(4):
            for name, text in macros:
                self._add_macro(name, text)

    def _add_macro(self, name: str, text: str) -> None:
        # `list_sum` calls list_aggr(l, 'sum'), which is a scalar.
        if "list_aggr(" in text:
            return
        calls = set(re.findall(r"(\w+)\"?\(", text))
        clocks = CLOCKS & set(re.findall(r"\w+", text))
        # Those with a select read the catalogue.
        if calls & self.unstable or clocks or "(select " in text:
            self.unstable.add(name)
        if calls & self.aggregates:
            self.aggregates.add(name)
        if calls & self.ordered:
            self.ordered.add(name)

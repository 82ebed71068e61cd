"""Which columns of a log a select reads."""

import duckdb
import pyarrow as pa
import pytest

from beam_jobs import opening
from beam_jobs.selecting import select_columns
from tfplugin.errors import InputError

COLUMNS = ["user", "item", "price", "Brand", "tags"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT user FROM log", ["user"]),
        ("SELECT l.USER + 1 AS u FROM log AS l", ["user"]),
        ('SELECT "brand" FROM log WHERE price > 3', ["price", "Brand"]),
        ("SELECT item FROM log JOIN side USING (user)", ["user", "item"]),
        (
            "SELECT item FROM log JOIN (SELECT * FROM side) s ON s.a = tags",
            ["item", "tags"],
        ),
        (
            "WITH s AS (SELECT * FROM side) SELECT s.a FROM log, s "
            "WHERE s.b = log.price",
            ["price"],
        ),
        (
            "SELECT (SELECT max(a) FROM side WHERE b = log.item) AS m FROM log",
            ["item"],
        ),
        ("SELECT unnest(tags) AS tag FROM log", ["tags"]),
        ("SELECT log.tags.inner FROM log", ["tags"]),
        ("SELECT 1 AS one FROM log", []),
        # These read what they do not name.
        ("SELECT * FROM log", COLUMNS),
        ("SELECT * EXCLUDE (user) FROM log", COLUMNS),
        ("SELECT log.* FROM log", COLUMNS),
        ("SELECT item FROM log NATURAL JOIN side", COLUMNS),
        ("SELECT a FROM log AS l(a, b)", COLUMNS),
    ],
)
def test_columns(sql, expected):
    found = select_columns.mentioned(duckdb.connect(), sql, COLUMNS)
    assert found == expected


def test_what_is_no_select_is_refused():
    with pytest.raises(InputError, match=r"must be one SELECT"):
        select_columns.mentioned(duckdb.connect(), "SELECT FROM WHERE", COLUMNS)


def test_only_these_are_read(lab):
    table = pa.table(
        {"item": range(90), "click": [i % 2 for i in range(90)]}
        | {f"unused_{i}": ["x" * 50] * 90 for i in range(5)}
    )
    path = lab.write("a.parquet", table)
    sql = "SELECT item * 2 AS item, click FROM log"
    inputs = opening.open_inputs(lab.config(path, source={"select": sql}))
    assert inputs.log.schema.names == ["item", "click"]
    lab.run(path, source={"select": sql})
    assert len(lab.all_examples()) == 90


def test_rows_are_counted_by_some_column(lab):
    table = pa.table({"a": range(90), "b": range(90)})
    path = lab.write("a.parquet", table)
    sql = "SELECT 7 AS item, 1 AS click FROM log"
    config = lab.config(path, source={"select": sql})
    assert opening.open_inputs(config).log.schema.names == ["a"]

"""Which selects run, and what they do to rows."""

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.selecting import select
from beam_jobs.selecting import select_rules
from tfplugin import config
from tfplugin.errors import InputError

LOG = pa.RecordBatch.from_pydict(
    {"k": [1, 2, 9], "l": [[1], [], [2, 3]], "t": [1, 2, 3]}
)


@pytest.fixture
def source(lab):
    side = lab.write("side.csv", "k,v\n1,10\n1,11\n2,20\n")
    return lambda sql: config.SourceConfig.model_validate(
        {
            "format": "csv",
            "files": "log.csv",
            "select": sql,
            "side_tables": {"side": {"format": "csv", "files": side}},
        }
    )


def run(source, sql):
    query = select.prepare(source(sql), LOG.schema)
    return select.Runner(query).run(LOG)


REFUSED = {
    "SELECT count(*) FROM log": "aggregate count_star",
    "SELECT k, sum(t) s FROM log GROUP BY k": "GROUP BY",
    "SELECT k, sum(t) s FROM log GROUP BY ALL": "GROUP BY",
    "SELECT wavg(k, t) FROM log": "aggregate wavg",
    "SELECT k FROM log HAVING k > 1": "HAVING",
    "SELECT row_number() OVER () r FROM log": "window function row_number",
    "SELECT k FROM log QUALIFY rank() OVER (ORDER BY k) = 1": "QUALIFY",
    "SELECT DISTINCT k FROM log": "DISTINCT",
    "SELECT k FROM log ORDER BY k": "ORDER BY",
    "SELECT k FROM log LIMIT 2": "LIMIT",
    "SELECT k FROM log OFFSET 2": "LIMIT",
    "SELECT k FROM log LIMIT 10%": "LIMIT",
    "SELECT k FROM log USING SAMPLE 2": "SAMPLE",
    "SELECT k FROM log TABLESAMPLE 10%": "SAMPLE",
    "SELECT k FROM log, (SELECT k AS m FROM side USING SAMPLE 1)": "SAMPLE",
    "SELECT k FROM log UNION ALL SELECT 1": "UNION",
    "SELECT random() r FROM log": "random()",
    "SELECT (SELECT random()) r FROM log": "random()",
    "SELECT uuid() r FROM log": "uuid()",
    "SELECT now() r FROM log": "now()",
    "SELECT ago(INTERVAL 1 DAY) r FROM log": "ago()",
    "SELECT current_date d FROM log": "current_date()",
    "SELECT localtimestamp d FROM log": "localtimestamp()",
    "SELECT current_localtimestamp() d FROM log": "current_localtimestamp()",
    "SELECT pg_postmaster_start_time() d FROM log": "start_time(), whose",
    "SELECT pg_get_viewdef(1) d FROM log": "pg_get_viewdef(), whose",
    "SELECT age(TIMESTAMP '2020-01-01') a FROM log": "age() of one moment",
    "SELECT (TIMESTAMP '2020-01-01').age() a FROM log": "age() of one moment",
    "SELECT k FROM log WHERE k IN (SELECT year(age(v::DATE)) FROM side)": (
        "age() of one moment"
    ),
    "SELECT log.k FROM log RIGHT JOIN side USING (k)": "RIGHT JOIN",
    "SELECT log.k FROM log FULL JOIN side USING (k)": "FULL JOIN",
    "SELECT side.k FROM side LEFT JOIN log USING (k)": "LEFT JOIN",
    "SELECT k FROM side SEMI JOIN log USING (k)": "SEMI JOIN",
    "SELECT k FROM side ANTI JOIN log USING (k)": "ANTI JOIN",
    "SELECT side.k FROM side, (log FULL JOIN side s USING (k))": "FULL JOIN",
    "SELECT log.k FROM log POSITIONAL JOIN side": "POSITIONAL",
    "SELECT log.k, v FROM side ASOF JOIN log ON v >= t": "ASOF JOIN with `log`",
    "SELECT log.k, v FROM side ASOF LEFT JOIN log ON v >= t": "JOIN with `log`",
    "SELECT log.k FROM side ASOF JOIN (log JOIN side s USING (k)) ON v >= t": (
        "an ASOF JOIN with `log` on its right"
    ),
    "SELECT k FROM (SELECT * FROM log)": "`log` inside a subquery",
    "WITH x AS (SELECT * FROM log) SELECT k FROM x": "`log` inside a subq",
    "SELECT (SELECT max(k) FROM log) m FROM log": "`log` inside a subquery",
    "SELECT k FROM side": "without `log`",
    "SELECT 1 AS one": "without `log`",
    "SELECT log.k FROM log, log l": "`log` twice",
    "DESCRIBE log": "DESCRIBE",
    "SELECT * FROM log, query('SELECT 1')": "table function query()",
    "SELECT to_json(log) j FROM log": "the whole row `log`",
    "SELECT hash(r) j FROM log AS r": "the whole row `r`",
    "SELECT hash(k) j FROM log AS k(a)": "the whole row `k`",
    "SELECT hash(main.log) j FROM log": "the whole row `main.log`",
    "SELECT hash(temp.log) j FROM log": "the whole row `temp.log`",
    "SELECT hash(temp.main.log) j FROM log": "the whole row `temp.main.log`",
    "SELECT __tfplugin_row + 1 AS r FROM log": "the hidden column",
    "SELECT k FROM log WHERE log.__TFPLUGIN_row % 2 = 0": "the hidden column",
    "SELECT * RENAME (__tfplugin_row AS r) FROM log": "the hidden column",
    "SELECT * REPLACE (1 AS __tfplugin_row) FROM log": "the hidden column",
    "SELECT * EXCLUDE (__tfplugin_row) FROM log": "the hidden column",
    "SELECT * EXCLUDE (log.__tfplugin_row) FROM log": "the hidden column",
    "SELECT k AS __tfplugin_row FROM log": "the hidden column",
    "SELECT log.k FROM log JOIN side USING (__tfplugin_row)": "hidden column",
    "SELECT (SELECT max(v + log.__tfplugin_row) FROM side) r FROM log": (
        "the hidden column"
    ),
    "SELECT #4 AS r FROM log": "#4, which names no column",
    "SELECT x.r FROM log AS x(a, b, c, r)": "4 names for 3 columns",
    "SELECT * EXCLUDE (k, l, t) AS r FROM log": "a * with a name",
    "SELECT * SIMILAR TO '__tf.*' AS r FROM log": "a * with a name",
    "SELECT k FROM log WHERE * SIMILAR TO '__tf.*'": "in an expression",
    "SELECT (SELECT log.* EXCLUDE (k, l, t)) r FROM log": "`log.*` inside",
    "SELECT COLUMNS('__tf.*') AS r FROM log": "COLUMNS",
    "SELECT greatest(*COLUMNS(*)) g FROM log": "COLUMNS",
    "SELECT k FROM log; SELECT k FROM log": "2 statements",
    "DROP TABLE log": "Only SELECT statements",
    "SELEC k FROM log": "syntax error",
    "SELECT nothing FROM log": '"nothing" not found',
    "SELECT k FROM log JOIN nowhere USING (k)": "the table `nowhere`",
    "SELECT (SELECT count(*) FROM duckdb_views) n FROM log": (
        "the table `duckdb_views`"
    ),
    "SELECT k FROM log WHERE k IN (SELECT 1 FROM sqlite_master)": (
        "the table `sqlite_master`"
    ),
    "SELECT k FROM log, information_schema.tables": (
        "the table `information_schema.tables`"
    ),
    "SELECT k FROM log, information_schema.side": (
        "the table `information_schema.side`"
    ),
    "SELECT (SELECT count(*) FROM pragma_database_list) n FROM log": (
        "the table `pragma_database_list`"
    ),
    "SELECT k FROM log, 'other.csv'": "the table `other.csv`",
    "WITH pg_class AS (SELECT * FROM pg_class) SELECT k FROM log, pg_class": (
        "the table `pg_class`"
    ),
    "SELECT k FROM log, (WITH pg_am AS (SELECT 1) FROM pg_am), pg_am": (
        "the table `pg_am`"
    ),
    "SELECT k FROM log, (WITH a AS (FROM b), b AS (SELECT 1) FROM a)": (
        "the table `b`"
    ),
    "WITH log AS (SELECT * FROM side) SELECT k FROM log": "called `log`",
    "SELECT k, k FROM log": "`k` twice",
    "SELECT (SELECT sum(log.k)) s FROM log": "must appear in the GROUP BY",
    "SELECT * FROM log, read_csv('/etc/passwd')": "table function read_csv",
    "SELECT k FROM log, histogram_values(log, k)": "function histogram_values",
    "SELECT k FROM log, histogram_values('log', k)": "histogram_values",
}
# Each is a value of `side` for a row of `log`, whose first rows are meant.
UNORDERED = {
    "SELECT v FROM side WHERE side.k >= log.k LIMIT 1": "LIMIT",
    "SELECT v FROM side WHERE side.k >= log.k LIMIT 10%": "LIMIT",
    "SELECT v FROM side WHERE side.k >= log.k OFFSET 1": "LIMIT or OFFSET",
    "(SELECT v FROM side) UNION (SELECT k FROM side) LIMIT 1": "LIMIT",
    "SELECT max(v) FROM (SELECT DISTINCT ON (k) v FROM side)": "DISTINCT ON",
    "SELECT max(v) FROM (SELECT row_number() OVER () v FROM side)": "row_num",
    "SELECT max(v) FROM (SELECT lag(v) OVER () v FROM side)": "lag()",
    "SELECT max(v) FROM (SELECT first(v) OVER () v FROM side)": "first_value()",
    "SELECT first(v) FROM (SELECT v FROM side ORDER BY v)": "first()",
    "SELECT ARRAY(SELECT v FROM side)": "array_agg() or ARRAY(...)",
    "SELECT json_group_array(v) FROM side": "json_group_array()",
    "SELECT json_group_object(k, v) FROM side": "json_group_object()",
    "WITH a AS (FROM side LIMIT 1) SELECT max(v) FROM a": "LIMIT",
    **{
        f"SELECT {name}(v) FROM side WHERE side.k >= log.k": f"{name}()"
        for name in ("last", "any_value", "arbitrary", "list", "mode")
    },
    **{
        f"SELECT {name}(v, k) FROM side WHERE side.k >= log.k": f"{name}()"
        for name in ("arg_max", "min_by", "approx_top_k")
    },
    "SELECT string_agg(v, ',') FROM side": "string_agg()",
    "SELECT group_concat(v) FROM side": "group_concat()",
}


@pytest.mark.parametrize("sql", UNORDERED)
def test_order_of_a_side_table(source, sql):
    with pytest.raises(InputError, match="without an ORDER BY") as refusal:
        run(source, f"SELECT k, ({sql}) AS v FROM log")
    assert f"Received: {UNORDERED[sql]}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("sql", REFUSED)
def test_refused(source, sql):
    with pytest.raises(InputError) as refusal:
        run(source, sql)
    message = str(refusal.value)
    assert REFUSED[sql] in message
    assert "source.select" in message and "\n" not in message


ACCEPTED = {
    "SELECT k, t > 1 AS late FROM log WHERE k < 9": [0, 1],
    "FROM log": [0, 1, 2],
    "SELECT * FROM log LEFT JOIN side USING (k)": [0, 0, 1, 2],
    "SELECT l.k, v FROM side RIGHT JOIN log l USING (k)": [0, 0, 1, 2],
    "SELECT log.k, v FROM side JOIN log USING (k)": [0, 0, 1],
    "SELECT k FROM log SEMI JOIN side USING (k)": [0, 1],
    "SELECT k FROM log ANTI JOIN side USING (k)": [2],
    "SELECT k, unnest(l) AS i FROM log": [0, 2, 2],
    "SELECT k, u.i FROM log, unnest(log.l) AS u(i)": [0, 2, 2],
    "SELECT k, list_sum(l) AS s FROM log": [0, 1, 2],
    "SELECT k, (SELECT max(v) FROM side WHERE side.k = log.k) m FROM log": [
        0,
        1,
        2,
    ],
    "WITH m AS (SELECT k, count(*) n FROM side GROUP BY k ORDER BY k LIMIT 9) "
    "SELECT log.k, m.n FROM log JOIN m USING (k)": [0, 1],
    "SELECT k FROM log WHERE k IN (SELECT DISTINCT k FROM side)": [0, 1],
    "SELECT log.k FROM log ASOF LEFT JOIN side ON log.t >= side.k": [0, 1, 2],
    "SELECT l.k FROM log l ASOF JOIN (FROM side) s ON t >= s.k": [0, 1, 2],
    "SELECT log.k, l AS u FROM log AS l JOIN side log USING (k)": [0, 0, 1],
    "SELECT * LIKE 'k%' FROM log": [0, 1, 2],
    "SELECT log.* FROM log": [0, 1, 2],
    "SELECT log.k FROM temp.log JOIN main.side USING (k)": [0, 0, 1],
    "SELECT k, age(make_timestamp(t), make_timestamp(k)) a FROM log": [0, 1, 2],
    "SELECT k, (SELECT max(x) FROM (FROM side SELECT v AS x)) m FROM log": [
        0,
        1,
        2,
    ],
    "WITH a AS (SELECT k, max(v) m FROM side GROUP BY ALL ORDER BY ALL), "
    "b AS (SELECT max(COLUMNS(*)) FROM a) SELECT log.k FROM log, b": [0, 1, 2],
    "WITH RECURSIVE a AS (SELECT 1 AS k UNION ALL SELECT k + 1 FROM a "
    "WHERE k < 2) SELECT log.k FROM log JOIN a USING (k)": [0, 1],
}
# A value of `side` alone, and what it is.
VALUES = {
    "SELECT histogram(k) FROM side": [(1, 2), (2, 1)],
    "SELECT sum(count) FROM histogram_values(side, v)": 3,
    "SELECT sum(count) FROM histogram_values('side', v)": 3,
    "SELECT list(v ORDER BY v) FROM side": [10, 11, 20],
    "SELECT ARRAY(SELECT v FROM side ORDER BY v DESC)": [20, 11, 10],
    "SELECT string_agg(v, '+' ORDER BY v) FROM side": "10+11+20",
    "SELECT arg_max(v, k ORDER BY v) FROM side": 20,
    "SELECT v FROM side ORDER BY v LIMIT 1 OFFSET 1": 11,
    "SELECT max(v) FROM (SELECT DISTINCT ON (k) v FROM side ORDER BY v)": 20,
    "SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY v) r FROM side)": 3,
    "SELECT CASE WHEN max(v) > 99 THEN error('?') ELSE 1 END FROM side": 1,
    "SELECT sum(v) FROM side WHERE '__tfplugin_row' != ''": 41,
    "SELECT round(geomean(v), 3) FROM side": round(2200 ** (1 / 3), 3),
}


@pytest.mark.parametrize("sql", VALUES)
def test_value_of_a_side_table(source, sql):
    origin, rows = run(source, f"SELECT k, ({sql}) AS v FROM log")
    assert origin.tolist() == [0, 1, 2]
    assert rows.column("v").to_pylist() == [VALUES[sql]] * 3


def test_column_of_the_name_of_the_log(source):
    log = pa.RecordBatch.from_pydict({"log": [7, 8]})
    for sql in ("SELECT log AS u FROM log", "SELECT log.log AS u FROM log"):
        query = select.prepare(source(sql), log.schema)
        rows = select.Runner(query).run(log)[1]
        assert rows.to_pydict() == {"u": [7, 8]}
    with pytest.raises(InputError, match="the whole row `main.log`"):
        select.prepare(source("SELECT main.log AS u FROM log"), log.schema)


# Joins whose plan DuckDB chooses by the number of rows.
JOINS = {
    "JOIN side USING (k)": "v",
    "LEFT JOIN side ON log.k <= side.k AND log.t < side.v": "v",
    "JOIN (SELECT k, v, [v % 3, v] AS l, {'a': v} AS s, MAP {v: k} AS m, "
    "v::DECIMAL(9, 2) AS d, v::VARCHAR::JSON AS j, to_days(v::INT) AS i, "
    "v::HUGEINT AS h, v::VARCHAR::BLOB AS b, NULL AS n FROM side) "
    "USING (k)": "* EXCLUDE (k, t)",
    "ASOF JOIN side ON log.k >= side.k": "v",
    "ASOF LEFT JOIN side ON log.k > side.k": "v",
}


@pytest.mark.parametrize("join", JOINS)
def test_rows_do_not_depend_on_the_batch(lab, join):
    random = np.random.default_rng(0)
    keys = random.integers(0, 50, 400)
    lines = "".join(f"{k},{v}\n" for v, k in enumerate(keys))
    source = config.SourceConfig.model_validate(
        {
            "format": "csv",
            "files": "log.csv",
            "select": f"SELECT t, {JOINS[join]} FROM log {join}",
            "side_tables": {
                "side": {
                    "format": "csv",
                    "files": lab.write("many.csv", "k,v\n" + lines),
                }
            },
        }
    )
    log = pa.RecordBatch.from_pydict(
        {"k": random.integers(0, 50, 1200), "t": np.arange(1200)}
    )
    query = select.prepare(source, log.schema)
    runner = select.Runner(query)
    found = []
    for size in (7, 70, 1200):
        rows = []
        for first in range(0, 210, size):
            origin, part = runner.run(log.slice(first, size))
            assert (np.diff(origin) >= 0).all()
            rows += part.to_pylist()
        found.append([row for row in rows if row["t"] < 210])
    assert found[0]
    assert found[0] == found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize("sql", ACCEPTED)
def test_accepted(source, sql):
    origin, rows = run(source, sql)
    assert origin.tolist() == ACCEPTED[sql]
    assert rows.num_rows == len(origin)
    assert select_rules.ROW_COLUMN not in rows.schema.names
    only = select.prepare(source(sql), LOG.schema).only("k")
    again, narrow = select.Runner(only).run(LOG)
    assert again.tolist() == origin.tolist()
    assert narrow.schema.names == ["k"]
    assert narrow.column("k").equals(rows.column("k"))


def test_values_and_occurrences(source):
    origin, rows = run(source, "SELECT k, v FROM log JOIN side USING (k)")
    assert sorted(rows.column("v").to_pylist()) == [10, 11, 20]
    assert select.occurrences(origin).tolist() == [0, 1, 0]
    assert select.occurrences(np.zeros(0, np.int64)).tolist() == []


def test_a_value_that_sql_cannot_cast_is_one_line(source):
    query = select.prepare(source("SELECT k::UTINYINT b FROM log"), LOG.schema)
    rows = pa.RecordBatch.from_pydict({"k": [300], "l": [[1]], "t": [1]})
    with pytest.raises(InputError, match="Conversion Error") as refusal:
        select.Runner(query).run(rows)
    assert "\n" not in str(refusal.value)

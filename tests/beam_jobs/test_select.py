"""Which selects run, and what they do to rows."""

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs import select
from beam_jobs import select_rules
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
    "SELECT log.k FROM log RIGHT JOIN side USING (k)": "RIGHT JOIN",
    "SELECT log.k FROM log FULL JOIN side USING (k)": "FULL JOIN",
    "SELECT side.k FROM side LEFT JOIN log USING (k)": "LEFT JOIN",
    "SELECT k FROM side SEMI JOIN log USING (k)": "SEMI JOIN",
    "SELECT k FROM side ANTI JOIN log USING (k)": "ANTI JOIN",
    "SELECT side.k FROM side, (log FULL JOIN side s USING (k))": "FULL JOIN",
    "SELECT log.k FROM log POSITIONAL JOIN side": "POSITIONAL",
    "SELECT k FROM (SELECT * FROM log)": "`log` inside a subquery",
    "WITH x AS (SELECT * FROM log) SELECT k FROM x": "`log` inside a subq",
    "SELECT (SELECT max(k) FROM log) m FROM log": "`log` inside a subquery",
    "SELECT k FROM side": "without `log`",
    "SELECT 1 AS one": "without `log`",
    "SELECT log.k FROM log, log l": "`log` twice",
    "DESCRIBE log": "DESCRIBE",
    "SELECT * FROM log, query('SELECT 1')": "table function query()",
    "SELECT to_json(log) j FROM log": "the whole row `log`",
    "SELECT hash(l) j FROM log AS l": "the whole row `l`",
    "SELECT greatest(*COLUMNS(*)) g FROM log": "COLUMNS",
    "SELECT k FROM log; SELECT k FROM log": "2 statements",
    "DROP TABLE log": "Only SELECT statements",
    "SELEC k FROM log": "syntax error",
    "SELECT nothing FROM log": '"nothing" not found',
    "SELECT k FROM log JOIN nowhere USING (k)": "nowhere does not exist",
    "SELECT k, k FROM log": "`k` twice",
    "SELECT (SELECT sum(log.k)) s FROM log": "must appear in the GROUP BY",
    "SELECT * FROM log, read_csv('/etc/passwd')": "table function read_csv",
}


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
}


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

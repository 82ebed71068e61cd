"""Joins as a pipeline reads, divides and joins them; what they refuse."""

import datetime
import gzip
import json
import re

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest

from beam_jobs import pipelines
from beam_jobs import storage
from beam_jobs.joining import joins
from beam_jobs.reading import sources
from tests.support import shelf
from tfplugin import config
from tfplugin.errors import InputError

LOOKUP = {"kind": "lookup", "format": "csv", "keys": "user"}
EVENTS = {
    "kind": "events",
    "format": "csv",
    "keys": ["user", "item"],
    "log_time": "shown",
    "time": "bought_at",
    "window": "1h",
    "label": "bought",
}


@pytest.fixture(autouse=True)
def _empty_shelf():
    yield
    shelf.clear()


class Shop:
    """Files of logs, and a pipeline that joins them."""

    def __init__(self, path):
        self.path = path

    def csv(self, name, text):
        path = self.path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        return str(path)

    def parquet(self, name, columns):
        path = str(self.path / name)
        pq.write_table(pa.table(columns), path, row_group_size=70)
        return path

    def source(self, files, **others):
        kind = "csv" if ".csv" in files else "parquet"
        return config.SourceConfig.model_validate(
            {"format": kind, "files": files, "joins": others}
        )

    def open(self, source, types=None, wanted=None):
        log = sources.open_log(source, types=types)
        return log, joins.open_joins(source, log, types or {}, wanted)

    def run(self, files, *, memory=1 << 30, temporary=None, **others):
        """Rows of the log, what each join found, and the results."""
        log, opened = self.open(self.source(files, **others))
        folder = temporary or str(self.path / "temporary")
        path = str(self.path / "results")
        with pipelines.pipeline([]) as pipeline:
            batches = (
                pipeline
                | beam.Create(log.blocks())
                | beam.ParDo(sources.ReadBlocks(log)).with_outputs(
                    main="batches"
                )
            ).batches
            parts = []
            for join in opened:
                joined = batches | join.name >> joins.Join(join, folder, memory)
                batches = joined.batches
                for name in ("rejected", "counts", "problems"):
                    parts.append(
                        getattr(joined, name)
                        | f"{join.name}_{name}" >> pipelines.named(name)
                    )
            parts.append(batches | pipelines.named("batches"))
            parts | beam.Flatten() | pipelines.CollectResults(path)
        results = pipelines.read_results(path)
        schema = joins.joined_schema(log.schema, opened)
        rows = {}
        for batch in results.get("batches", []):
            assert batch.rows.schema == schema
            for place, row in zip(
                batch.positions.tolist(), batch.rows.to_pylist(), strict=True
            ):
                assert rows.setdefault((batch.file, place), row) is row
        counts = {}
        for name, number in results.get("counts", []):
            counts[name] = counts.get(name, 0) + number
        found = joins.to_records(counts, [join.name for join in opened])
        return [rows[place] for place in sorted(rows)], found, results


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_two_joins_one_after_the_other(shop):
    """The second one's keys are what the first one added."""
    log = shop.csv("log.csv", "user,item\nu1,1\nu2,2\n,3\nu9,4\nu1,5\n")
    users = shop.csv("u.csv.gz", "user,city,age\nu1,7,30\nu2,,40\nu3,8,50\n")
    cities = shop.parquet("c.parquet", {"id": [7, 8], "size": ["L", "S"]})
    rows, found, results = shop.run(
        log,
        users={**LOOKUP, "files": users},
        cities={
            "kind": "lookup",
            "format": "parquet",
            "files": cities,
            "keys": {"city": "id"},
        },
    )
    assert "problems" not in results
    assert [(r["item"], r["city"], r["age"], r["size"]) for r in rows] == [
        (1, 7, 30, "L"),
        (2, None, 40, None),
        (3, None, None, None),
        (4, None, None, None),
        (5, 7, 30, "L"),
    ]
    assert found["users"].model_dump() == {
        "rows": 3,
        "matched": 2,
        "unmatched": 1,
        "rows_credited": 3,
        "rows_immature": 0,
        "rows_dropped": 0,
    }
    assert (found["cities"].matched, found["cities"].rows_credited) == (1, 2)


LOG = """user,item,shown
a,1,2024-01-01 00:00:00
a,1,2024-01-01 00:10:00
a,2,2024-01-01 00:10:00
b,1,2024-01-01 00:59:59
,1,2024-01-01 00:00:00
c,1,2024-01-01 02:00:00
c,2,2024-01-01 02:00:00
"""
# In seconds since 1970, and later than what they follow.
BOUGHT = """user,item,bought_at
a,1,1704067800
a,1,1704067800
a,2,1704071399
b,1,1704074399
b,1,1704074400
,1,1704067200
d,1,1704067200
c,1,
c,2,1704074401
"""


@pytest.mark.parametrize(
    ("settings", "labels", "immature", "dropped"),
    [
        ({}, [0, 1, 1, 1, 0, None, 1], 1, 0),
        ({"credit": "first"}, [1, 0, 1, 1, 0, None, 1], 1, 0),
        ({"credit": "all"}, [1, 1, 1, 1, 0, None, 1], 1, 0),
        ({"mature": "drop"}, [0, 1, 1, 1, 0, 1], 1, 1),
        ({"mature": "gap"}, [0, 1, 1, 1, 0], 2, 2),
        (
            {"complete_until": "2024-01-01T03:00:00"},
            [0, 1, 1, 1, 0, 0, 1],
            0,
            0,
        ),
        (
            {"complete_until": "2024-01-01T02:30:00+01:00"},
            [0, 1, 1, 1, 0, None, 1],
            1,
            0,
        ),
        # A window that ends at the last event's moment is closed.
        ({"window": 1}, [0, 1, 0, 0, 0, 0, 1], 0, 0),
        ({"window": 2}, [0, 1, 0, 0, 0, None, 1], 1, 0),
    ],
)
def test_labels_of_events(shop, settings, labels, immature, dropped):
    bought = shop.csv("bought.csv", BOUGHT)
    rows, found, results = shop.run(
        shop.csv("log.csv", LOG),
        orders={**EVENTS, "files": bought, **settings},
    )
    assert "problems" not in results
    assert [row["bought"] for row in rows] == labels
    orders = found["orders"]
    # Without a key, without a moment, of nobody: these match nothing.
    assert orders.rows == 9
    assert orders.matched + orders.unmatched == 9
    assert orders.rows_credited == sum(label or 0 for label in labels) + (
        1 if settings.get("mature") == "gap" else 0
    )
    assert (orders.rows_immature, orders.rows_dropped) == (immature, dropped)


def test_moments_meet_in_microseconds(shop):
    """Timestamps of any unit and zone, beside seconds with a fraction."""
    moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    start = int(moment.timestamp())
    log = shop.parquet(
        "log.parquet",
        {
            "k": pa.array([1, 2, 3], pa.uint64()),
            "t": pa.array([moment] * 3, pa.timestamp("ns", "Asia/Tokyo")),
        },
    )
    events = shop.parquet(
        "events.parquet",
        {
            "k": pa.array([1, 2, 3], pa.int8()),
            "e": [start - 0.000001, start + 0.000001, start + 1.000001],
        },
    )
    settings = {
        **EVENTS,
        "format": "parquet",
        "files": events,
        "keys": "k",
        "log_time": "t",
        "time": "e",
        "window": 1,
    }
    rows, found, _ = shop.run(log, orders=settings)
    assert [row["bought"] for row in rows] == [0, 1, 0]
    assert found["orders"].unmatched == 2


def test_rows_without_a_moment_are_rejected(shop):
    log = shop.csv("log.csv", "user,item,shown\na,1,?\na,2,\na,3,7\n")
    bought = shop.csv("bought.csv", "user,item,bought_at\na,3,8\n")
    rows, _, results = shop.run(log, orders={**EVENTS, "files": bought})
    assert [row["item"] for row in rows] == [3]
    (refused,) = results["rejected"]
    reasons = [row.reason for row in refused]
    assert [json.loads(row.row)["item"] for row in refused] == [1, 2]
    assert reasons == [
        "column `shown` must be a moment, or seconds since 1970, of the years "
        f"1 to 9999, for `source.joins.orders`; received {value}"
        for value in ("'?'", "None")
    ]


def test_little_memory_and_a_bucket(shop):
    """Rows are the same; pieces go where the job's folder is."""
    generator = np.random.default_rng(0)
    users = generator.zipf(1.5, 3000) % 200
    log = shop.parquet(
        "log.parquet",
        {"user": users, "n": np.arange(3000), "shown": np.arange(3000)},
    )
    profiles = shop.parquet(
        "users.parquet",
        {"id": np.arange(150), "name": [f"n{i}" for i in range(150)]},
    )
    events = shop.parquet(
        "events.parquet",
        {"user": users[::7], "bought_at": np.arange(3000)[::7] + 5},
    )
    others = {
        "users": {
            "kind": "lookup",
            "format": "parquet",
            "files": profiles,
            "keys": {"user": "id"},
        },
        "orders": {
            **EVENTS,
            "format": "parquet",
            "files": events,
            "keys": "user",
            "window": 20,
        },
    }
    large = shop.run(log, **others)
    little = shop.run(
        log, memory=1 << 17, temporary="shelf://bucket/t", **others
    )
    assert large[:2] == little[:2]
    assert len(large[0]) == 3000
    assert large[1]["orders"].matched == 429
    assert all(row["bought"] in (0, 1, None) for row in large[0])
    assert [r["name"] for r in large[0][:9]] == [
        f"n{u}" if u < 150 else None for u in users[:9]
    ]
    left = storage.list_files("shelf://bucket/t")
    assert left
    assert all(path.endswith(".arrow") for path in left)


PROBLEMS = {
    "a lookup's key twice": (
        {"users": {**LOOKUP, "files": "a,1\nb,2\na,3\n"}},
        r"Received: 'a' of `user` in .*other.csv, byte 7 and in .*, byte 15\.",
    ),
    "a malformed row": (
        {"users": {**LOOKUP, "files": "a,1\nb\n"}},
        r"joined log must be well-formed. Received: .*other.csv, byte 11: ",
    ),
    "no moment": (
        {"orders": {**EVENTS, "keys": "user", "files": "a,?\nb,1\n"}},
        r"orders.time` must hold moments.*other.csv, byte 15: '\?'",
    ),
    "no moments at all": (
        {"orders": {**EVENTS, "keys": "user", "files": "a,\nb,\n"}},
        r"must have moments. Received: column `bought_at`, which has nulls",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_problems(shop, case):
    others, message = PROBLEMS[case]
    ((name, settings),) = others.items()
    column = "x" if name == "users" else "bought_at"
    path = shop.csv("other.csv", f"user,{column}\n" + settings["files"])
    log = shop.csv("log.csv", "user,shown\na,1\nb,2\n")
    _, _, results = shop.run(log, **{name: {**settings, "files": path}})
    assert results["problems"]
    for problem in results["problems"]:
        assert re.search(message, problem)


REFUSED = {
    "keys of other kinds": (
        {"keys": {"item": "user"}, "columns": ["age"], "format": "parquet"},
        r"joins.other.keys` must name columns whose values can be equal",
    ),
    "no such column of the log": (
        {"keys": {"usr": "user"}},
        "joins.other.keys` must .* Received: `usr`. Did you mean `user`?",
    ),
    "no such key": ({"keys": {"user": "usr"}}, "Received: `usr`. Did you"),
    "no such column": ({"columns": ["aeg"]}, "Received: `aeg`. Did you mean"),
    "a column there is": (
        {"columns": ["item"]},
        "must add new columns. Received: `item`, which the log",
    ),
    "no such file": ({"files": "gone.csv"}, "joins.other.files` must name"),
    "no moments": (
        {**EVENTS, "keys": "user", "log_time": "bool", "time": "age"},
        "`source.joins.other.log_time` must be a column of moments",
    ),
    "no event time": (
        {**EVENTS, "keys": "user", "time": "aeg"},
        "Received: `aeg`. Did you mean `age`?",
    ),
    "a label there is": (
        {**EVENTS, "keys": "user", "time": "age", "label": "item"},
        r"Received: `item`, which .* `source.joins.other.label`",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_runs(shop, case):
    settings, message = REFUSED[case]
    log = shop.parquet(
        "log.parquet",
        {"user": ["a"], "item": [1], "shown": [1], "bool": [[1]]},
    )
    other = shop.csv("o.csv", "user,age,item\na,1,2\n")
    if settings.get("format") == "parquet":
        other = shop.parquet("o.parquet", {"user": ["a"], "age": [1]})
    settings = {**LOOKUP, "files": other, **settings}
    with pytest.raises(InputError, match=message):
        shop.open(shop.source(log, other=settings))


@pytest.mark.parametrize(
    "settings",
    [
        {**LOOKUP, "files": "x", "columns": ["a", "a"]},
        {**LOOKUP, "files": "x", "columns": []},
        {**LOOKUP, "files": "x", "keys": []},
        {**EVENTS, "files": "x", "label": "user"},
        {**EVENTS, "files": "x", "label": "shown"},
        {**EVENTS, "files": "x", "window": "0d"},
    ],
)
def test_configurations_that_make_no_sense(shop, settings):
    with pytest.raises(pydantic.ValidationError):
        shop.source("log.csv", other=settings)


def test_only_what_is_wanted_is_read(shop):
    log = shop.csv("log.csv", "user,item\n007,1\n")
    users = shop.csv("u.csv", "user,age,city,plan\n007,1,2,3\n")
    cities = shop.csv("c.csv", "city,size\n2,L\n")
    source = shop.source(
        log,
        users={**LOOKUP, "files": users},
        cities={**LOOKUP, "files": cities, "keys": "city"},
    )
    assert joins.needed_columns(source.joins) == ["user", "city"]
    _, opened = shop.open(source, {"age": pa.string()}, wanted=["age", "size"])
    assert [sorted(join.columns) for join in opened] == [
        ["age", "city"],
        ["size"],
    ]
    # A code of the log, 007, is one of the joined log too.
    assert opened[0].key_types == (pa.string(),)
    assert opened[0].log.schema.field("age").type == pa.string()

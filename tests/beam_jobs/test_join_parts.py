"""Joins of parts against loops over rows, with memory for a few rows."""

import datetime

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies

from beam_jobs import batches
from beam_jobs.joining import join_division
from beam_jobs.joining import join_keys
from beam_jobs.joining import join_logs
from beam_jobs.joining import join_parts
from beam_jobs.joining import join_pieces
from beam_jobs.joining import join_rows
from beam_jobs.reading import log_files
from beam_jobs.reading import parquet_log
from tfplugin import config
from tfplugin.errors import InputError

SECOND = 1_000_000
LARGE = 1 << 24

LOOKUP = {"kind": "lookup", "format": "parquet", "files": "x"}
EVENTS = {
    **LOOKUP,
    "kind": "events",
    "log_time": "t",
    "time": "e",
    "label": "bought",
}


def opened(settings, log_schema, joined_schema):
    kind = {"lookup": config.LookupJoin, "events": config.EventsJoin}
    join = kind[settings["kind"]].model_validate(settings)
    log = parquet_log.ParquetLog(
        (log_files.LogFile(0, "a.x", 1), log_files.LogFile(1, "b.x", 1)),
        ((1,), (1,)),
        joined_schema,
        tuple(joined_schema.names),
    )
    kinds = tuple(
        join_keys.key_type(
            log_schema.field(a).type, joined_schema.field(b).type
        )
        for a, b in join.keys.items()
    )
    columns = tuple(
        name
        for name in joined_schema.names
        if settings["kind"] == "lookup" and name not in join.keys.values()
    )
    return join_logs.OpenedJoin("other", join, log, kinds, columns, 1)


def split(table, sizes):
    """Batches of two files, of rows with a number in `n`."""
    rows, start, found = table.combine_chunks().to_batches(), 0, []
    rows = rows[0] if rows else pa.RecordBatch.from_pylist([], table.schema)
    for number, size in enumerate([*sizes, rows.num_rows]):
        part = rows.slice(start, size)
        # Positions fall from batch to batch: bundles come in any order.
        stop = 10_000 - start
        places = np.arange(stop - part.num_rows, stop, dtype=np.int64)
        found.append(
            batches.LogBatch(number % 2, places, np.zeros_like(places), part)
        )
        start += size
    return [batch for batch in found if batch.rows.num_rows]


def run(join, log, joined, folder, memory=LARGE, complete_until=10**15):
    """Joins as the pipeline does; batches and counts."""
    budget = join_division.Budget(memory)
    sides = []
    for side, items in ((join_rows.LOG, log), (join_rows.JOINED, joined)):
        pieces = []
        spooler = join_pieces.Spooler(str(folder), budget.buffer)
        for batch in items:
            times = np.zeros(batch.rows.num_rows, np.int64)
            if "t" in batch.rows.schema.names:
                column = batch.rows.column("t").cast(pa.int64())
                times = column.to_numpy() * SECOND
            rows = (
                join_rows.of_log(batch, join, times)
                if side == join_rows.LOG
                else join_rows.of_joined(batch, join)[0]
            )
            spooler.add(np.zeros(rows.num_rows, np.int64), rows)
        pieces += [piece for _, piece in spooler.finish()]
        sides.append(pieces)
    counts = {}

    def count(name, rows):
        counts[name] = counts.get(name, 0) + rows

    found = []
    for part in join_division.divide(*sides, str(folder), budget):
        found += join_parts.join_part(join, part, complete_until, count)
    return found, counts


def by_number(found):
    rows = [row for batch in found for row in batch.rows.to_pylist()]
    return {row["n"]: row for row in rows}


def check_places(found, log):
    """Each row stands where it stood, and batches are sorted by place."""
    origin = {}
    for batch in log:
        for place, n in zip(
            batch.positions.tolist(), batch.rows["n"].to_pylist(), strict=True
        ):
            origin[n] = (batch.file, place)
    for batch in found:
        assert (np.diff(batch.positions) > 0).all()
        for place, n in zip(
            batch.positions.tolist(), batch.rows["n"].to_pylist(), strict=True
        ):
            assert origin[n] == (batch.file, place)


KEYS = {
    "int": (pa.int32(), pa.int64(), lambda k: k),
    "string": (pa.string(), pa.large_string(), lambda k: f"käse-{k}"),
    "uint": (pa.uint64(), pa.int64(), lambda k: k),
    "bytes": (pa.string(), pa.binary(), lambda k: str(k)),
}
small = strategies.none() | strategies.integers(0, 4)
sizes = strategies.lists(strategies.integers(0, 9), max_size=4)
memories = strategies.sampled_from([200, 900, 4000, LARGE])


def keyed(kind, make, keys):
    values = [None if k is None else make(k) for k in keys]
    if kind == pa.binary():
        values = [None if v is None else v.encode() for v in values]
    return pa.array(values, kind)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    log=strategies.lists(strategies.tuples(small, small), max_size=40),
    joined=strategies.lists(
        strategies.tuples(small, small), max_size=12, unique=True
    ),
    kinds=strategies.tuples(*[strategies.sampled_from(list(KEYS))] * 2),
    cuts=sizes,
    memory=memories,
)
def test_a_lookup_is_a_dict(tmp_path_factory, log, joined, kinds, cuts, memory):
    ours = {"n": pa.array(range(len(log)), pa.int64())}
    theirs = {
        "v": pa.array(
            [[i] * (i % 3) for i in range(len(joined))], pa.list_(pa.int64())
        )
    }
    for index, name in enumerate(kinds):
        left, right, make = KEYS[name]
        ours[f"k{index}"] = keyed(left, make, [row[index] for row in log])
        theirs[f"x{index}"] = keyed(right, make, [row[index] for row in joined])
    ours, theirs = pa.table(ours), pa.table(theirs)
    join = opened(
        {**LOOKUP, "keys": {"k0": "x0", "k1": "x1"}}, ours.schema, theirs.schema
    )
    rows = split(ours, cuts)
    found, counts = run(
        join, rows, split(theirs, [2]), tmp_path_factory.mktemp("x"), memory
    )
    wanted = {
        row: [i] * (i % 3) for i, row in enumerate(joined) if None not in row
    }
    result = by_number(found)
    assert len(result) == len(log)
    assert [result[n]["v"] for n in range(len(log))] == [
        wanted.get(row) for row in log
    ]
    check_places(found, rows)
    hits = [row for row in log if row in wanted]
    assert counts.get("rows_credited", 0) == len(hits)
    assert counts.get("matched", 0) == len(set(hits))


def credit(log, events, window, how):
    """Rows that are credited, and how many events are, row by row."""
    credited, matched = set(), 0
    for key, moment in events:
        near = [
            (t, file, place, n)
            for n, (k, t, file, place) in enumerate(log)
            if key is not None
            and moment is not None
            and k == key
            and t <= moment <= t + window
        ]
        matched += bool(near)
        if near and how == "all":
            credited.update(row[-1] for row in near)
        elif near:
            credited.add((max if how == "last" else min)(near)[-1])
    return credited, matched


@hypothesis.settings(max_examples=120, deadline=None)
@hypothesis.given(
    log=strategies.lists(
        strategies.tuples(small, strategies.integers(0, 12)), max_size=40
    ),
    events=strategies.lists(
        strategies.tuples(
            small, strategies.none() | strategies.integers(0, 14)
        ),
        max_size=30,
    ),
    window=strategies.integers(1, 6),
    how=strategies.sampled_from(["last", "first", "all"]),
    mature=strategies.sampled_from(["mask", "drop", "gap"]),
    until=strategies.integers(0, 20),
    cuts=sizes,
    memory=memories,
)
def test_events_are_credited_as_by_loops(
    tmp_path_factory, log, events, window, how, mature, until, cuts, memory
):
    ours = pa.table(
        {
            "n": pa.array(range(len(log)), pa.int64()),
            "k": pa.array([row[0] for row in log], pa.int64()),
            "t": pa.array([row[1] for row in log], pa.int64()),
        }
    )
    theirs = pa.table(
        {
            "k": pa.array([row[0] for row in events], pa.int16()),
            "e": pa.array([row[1] for row in events], pa.timestamp("s")),
        }
    )
    settings = {
        **EVENTS,
        "keys": ["k"],
        "window": window,
        "credit": how,
        "mature": mature,
    }
    join = opened(settings, ours.schema, theirs.schema)
    rows = split(ours, cuts)
    found, counts = run(
        join,
        rows,
        split(theirs, [5]),
        tmp_path_factory.mktemp("x"),
        memory,
        until * SECOND,
    )
    check_places(found, rows)
    places = [
        (batch.file, place)
        for batch in rows
        for place in batch.positions.tolist()
    ]
    placed = [(*row, *place) for row, place in zip(log, places, strict=True)]
    credited, matched = credit(placed, events, window, how)
    wanted = {}
    late = {n for n, (_, t) in enumerate(log) if t + window > until}
    for n in range(len(log)):
        if n in late and (
            mature == "gap" or (mature == "drop" and n not in credited)
        ):
            continue
        wanted[n] = 1 if n in credited else None if n in late else 0
    labels = {n: row["bought"] for n, row in by_number(found).items()}
    assert labels == wanted
    assert counts.get("matched", 0) == matched
    assert counts.get("rows_credited", 0) == len(credited)
    assert counts.get("rows_dropped", 0) == len(log) - len(wanted)
    immature = late if mature == "gap" else late - credited
    assert counts.get("rows_immature", 0) == len(immature)


@pytest.mark.parametrize("how", ["last", "first", "all"])
@pytest.mark.parametrize("events_a_key", [3, 4000])
def test_one_hot_key_larger_than_memory(tmp_path, how, events_a_key):
    """Chunks of the log, and of the events where they do not fit either."""
    generator = np.random.default_rng(0)
    t = generator.integers(0, 50_000, 3000)
    e = generator.integers(0, 50_000, events_a_key)
    ours = pa.table(
        {
            "n": np.arange(3000),
            "k": ["hot"] * 3000,
            "t": t,
            "wide": ["x" * 50] * 3000,
        }
    )
    theirs = pa.table({"k": ["hot"] * len(e), "e": e})
    settings = {**EVENTS, "keys": "k", "window": 7, "credit": how}
    join = opened(settings, ours.schema, theirs.schema)
    log = split(ours, [500] * 6)
    results = []
    for memory in (LARGE, 1 << 17):
        folder = tmp_path / str(memory)
        found, counts = run(
            join, log, split(theirs, [300] * 14), folder, memory
        )
        labels = {n: row["bought"] for n, row in by_number(found).items()}
        results.append((labels, counts))
    assert results[0] == results[1]
    assert len(results[0][0]) == 3000
    assert 0 < results[0][1]["rows_credited"] < 3000
    budget = join_division.Budget(1 << 17)
    assert max(b.rows.nbytes for b in found) < budget.part
    # Only what the first parts hold is left for the job to remove.
    assert len(list(folder.iterdir())) == 2


def test_batches_do_not_depend_on_bundles(tmp_path):
    """The same batches, however the rows came, so that sums are the same."""
    generator = np.random.default_rng(1)
    ours = pa.table(
        {"n": np.arange(4000), "k": generator.zipf(1.3, 4000) % 500}
    )
    theirs = pa.table({"k": np.arange(400), "v": np.arange(400) * 0.5})
    join = opened({**LOOKUP, "keys": "k"}, ours.schema, theirs.schema)
    log = split(ours, [700] * 5)
    seen = []
    for order in (log, log[::-1]):
        folder = tmp_path / str(len(seen))
        found, _ = run(join, order, split(theirs, [130] * 3), folder, 1 << 15)
        seen.append([(b.file, b.positions.tolist(), b.rows) for b in found])
    assert len(seen[0]) > 10
    assert seen[0] == seen[1]


@pytest.mark.parametrize("memory", [LARGE, 2000])
def test_a_key_twice_is_named(tmp_path, memory):
    ours = pa.table({"n": [0, 1], "k": ["a", "b"]})
    keys = [f"u{i}" for i in range(60)] + ["u7"] * 40
    theirs = pa.table({"k": keys, "v": range(100)})
    join = opened({**LOOKUP, "keys": "k"}, ours.schema, theirs.schema)
    message = (
        r"each key once \(`source.joins.other`\). Received: 'u7' of `k` in "
        r"a.x, row 9947 and in b.x, row 9900. Keep"
    )
    with pytest.raises(InputError, match=message):
        run(join, split(ours, []), split(theirs, [60]), tmp_path, memory)


def test_sizes_are_sums_of_rows():
    rows = pa.record_batch(
        {
            "a": pa.array([1, None, 3], pa.int32()),
            "b": ["x", None, "long word"],
            "c": [[1, 2], [], None],
            "d": [{"e": 1.0}, None, {"e": 2.0}],
            "f": pa.array([None] * 3),
            "g": [datetime.date(2024, 1, 1)] * 3,
        }
    )
    single = [join_pieces.row_bytes(rows.slice(i, 1)) for i in range(3)]
    assert sum(single) == join_pieces.row_bytes(rows)

"""`CountIds` in any memory, any bundles, over earlier counts."""

import collections
import datetime
import pathlib

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import counting
from beam_jobs import pipelines
from beam_jobs import storage
from beam_jobs.counting import count_files
from beam_jobs.counting import count_pieces
from beam_jobs.counting import id_counts
from beam_jobs.counting import id_frequencies
from tfplugin import data
from tfplugin import schema as schemas
from tfplugin.data import id_frequencies as reading
from tfplugin.errors import InputError

SCHEMA = schemas.Schema(
    id_features={
        "user": schemas.IdFeature(dtype="int64", table="user"),
        "shown": schemas.IdFeature(dtype="string", table="item"),
        "seen": schemas.IdFeature(dtype="string", table="item", is_list=True),
    },
    labels=("click",),
    event_time=True,
)
PLENTY = 1 << 30
#: So little that every block of rows is a piece, and files are made in parts.
LITTLE = 1 << 19


def rows(num_rows, seed=0):
    """A batch in which half of all users are one, and most others are new."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 10 * num_rows, num_rows) * (
        rng.random(num_rows) > 0.5
    )
    items = [f"item {i}" for i in rng.integers(0, num_rows, 3 * num_rows)]
    borders = np.minimum(np.arange(num_rows + 1) * 2, 2 * num_rows)
    times = rng.integers(-(10**6), 10**9, num_rows)
    return pa.RecordBatch.from_pydict(
        {
            "user": pa.array(users, mask=rng.random(num_rows) < 0.1),
            "shown": pa.array(items[2 * num_rows :]),
            "seen": pa.ListArray.from_arrays(
                pa.array(borders, pa.int32()), pa.array(items[: 2 * num_rows])
            ),
            "click": pa.array(
                (rng.random(num_rows) < 0.2).astype(np.float32),
                mask=rng.random(num_rows) < 0.3,
            ),
            "event_time": pa.array(times, mask=rng.random(num_rows) < 0.3),
        }
    )


def reference(batch, features):
    counts, clicks, days = collections.Counter(), collections.Counter(), {}
    for row in batch.to_pylist():
        for feature in features:
            ids = row[feature]
            for id_ in ids if isinstance(ids, list) else [ids]:
                if id_ is None:
                    continue
                counts[id_] += 1
                clicks[id_] += row["click"] == 1.0
                if row["event_time"] is not None:
                    days.setdefault(id_, []).append(row["event_time"] // 86_400)
    epoch = datetime.date(1970, 1, 1)
    found = []
    for id_, count in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])):
        seen = [epoch + datetime.timedelta(days=d) for d in days.get(id_, [])]
        found.append(
            {
                "id": id_,
                "count": count,
                "label_click": clicks[id_],
                "first_day": min(seen, default=None),
                "last_day": max(seen, default=None),
            }
        )
    return found


def read_batches(name):
    with pa.OSFile(name) as file:
        yield from pa.ipc.open_stream(file)


def count(folder, batches, memory=PLENTY, **options):
    """Runs the job; its summaries by table."""
    paths = storage.DatasetPaths(str(folder))
    found = folder / "summaries"
    folder.mkdir(exist_ok=True)
    # Beam would compress batches inside of a pipeline, and slowly.
    names = []
    for index, batch in enumerate(batches):
        names.append(str(folder / f"{index}.arrow"))
        with pa.ipc.new_stream(names[-1], batch.schema) as writer:
            writer.write_batch(batch)
    with pipelines.pipeline([]) as pipeline:
        _ = (
            pipeline
            | beam.Create(names)
            | beam.FlatMap(read_batches)
            | id_frequencies.CountIds(SCHEMA, paths, memory=memory, **options)
            | beam.Map(lambda summary: ("summary", summary))
            | pipelines.CollectResults(str(found))
        )
    by_table = collections.defaultdict(list)
    for summary in pipelines.read_results(str(found))["summary"]:
        by_table[summary.table].append(summary)
    return {
        table: sorted(parts, key=lambda part: part.file.name)
        for table, parts in by_table.items()
    }


def files(folder):
    root = pathlib.Path(
        storage.DatasetPaths(str(folder)).id_frequencies("user")
    )
    return {
        str(path.relative_to(root.parent)): path.read_bytes()
        for path in sorted(root.parent.rglob("*.parquet"))
    }


def read(folder, table):
    root = pathlib.Path(storage.DatasetPaths(str(folder)).id_frequencies(table))
    parts = [pq.read_table(path) for path in sorted(root.glob("*.parquet"))]
    return pa.concat_tables(parts).to_pylist()


def in_order(found):
    return sorted(found, key=lambda row: (-row["count"], row["id"]))


def test_counts_of_the_whole_log(tmp_path):
    batch = rows(1_000)
    parts = [batch.slice(first, 37) for first in range(0, 1_000, 37)]
    summaries = count(tmp_path, parts, num_shards=3)
    for table, features in SCHEMA.table_features().items():
        wanted = reference(batch, features)
        assert in_order(read(tmp_path, table)) == wanted
        assert len(summaries[table]) == 3
        assert sum(p.file.rows for p in summaries[table]) == len(wanted)
        assert sum(p.occurrences for p in summaries[table]) == sum(
            row["count"] for row in wanted
        )
        assert sum(p.ids_seen_once for p in summaries[table]) == sum(
            row["count"] == 1 for row in wanted
        )
    folder = tmp_path / "id_frequencies" / "user"
    for part in summaries["user"]:
        path = folder / part.file.name
        assert part.file.bytes == path.stat().st_size
        assert part.file.crc32c == storage.checksum(str(path))
        found = pq.read_table(path).to_pylist()
        assert found == in_order(found)


def test_files_have_the_same_bytes_in_any_memory_bundles_and_way(tmp_path):
    batch = rows(8_000)
    halves = [batch.slice(0, 3_000), batch.slice(3_000)]
    small = [batch.slice(first, 500) for first in range(0, 8_000, 500)]
    count(tmp_path / "a", [batch], num_shards=2)
    count(tmp_path / "b", halves[::-1], LITTLE, num_shards=2)
    with counting.fallback():
        count(tmp_path / "c", small, num_shards=2)
        count(tmp_path / "d", halves, 4 * LITTLE, num_shards=2)
    wanted = files(tmp_path / "a")
    assert len(wanted) == 4
    for other in "bcd":
        assert files(tmp_path / other) == wanted


def test_an_empty_log_has_empty_files(tmp_path):
    summaries = count(tmp_path, [rows(10).slice(0, 0)], num_shards=2)
    assert read(tmp_path, "user") == []
    assert [part.file.rows for part in summaries["user"]] == [0, 0]


def test_pieces_and_runs_that_cannot_be_open_at_once(tmp_path):
    kind = id_counts.TableKind("int64", (), False)
    counts = collections.Counter()
    pieces = []
    for seed in range(12):
        ids = np.random.default_rng(seed).integers(0, 40_000, 5_000)
        counts.update(ids.tolist())
        table = counting.for_rows(kind)
        batch = pa.RecordBatch.from_pydict({"id": ids})
        read_rows = counting.read_rows(batch, (), days=False)
        table.add_rows([read_rows], ["id"])
        pieces += count_pieces.write(
            {"user": table}, 1, str(tmp_path / "pieces"), 1_024
        )
    before = sorted((tmp_path / "pieces").iterdir())
    target = count_files.Target(
        "user", kind, str(tmp_path / "user"), "part.parquet", 0, 1
    )
    summary = count_files.write(
        target,
        [piece for _, piece in pieces],
        str(tmp_path / "pieces"),
        1 << 17,
    )
    found = pq.read_table(tmp_path / "user" / "part.parquet").to_pylist()
    assert found == in_order(found)
    assert {row["id"]: row["count"] for row in found} == counts
    assert summary.occurrences == 60_000
    # What it needed in between is gone.
    assert sorted((tmp_path / "pieces").iterdir()) == before


def names(folder, table, subfolder=""):
    root = folder / "id_frequencies" / table / subfolder
    return [str(path) for path in sorted(root.glob("*.parquet"))]


@pytest.mark.parametrize("memory", [PLENTY, LITTLE])
@pytest.mark.parametrize("num_shards", [2, 3])
def test_earlier_counts_are_added(tmp_path, memory, num_shards):
    first, second = rows(2_000, 1), rows(2_000, 2)
    count(tmp_path, [first], num_shards=2)
    earlier = {table: names(tmp_path, table) for table in ("user", "item")}
    summaries = count(
        tmp_path,
        [second],
        memory,
        num_shards=num_shards,
        subfolder="added-00001",
        earlier=earlier,
    )
    both = pa.Table.from_batches([first, second]).combine_chunks().to_batches()
    for table, features in SCHEMA.table_features().items():
        added = [
            row
            for name in names(tmp_path, table, "added-00001")
            for row in pq.read_table(name).to_pylist()
        ]
        assert in_order(added) == reference(both[0], features)
        file = summaries[table][0].file
        assert (
            file.name == f"added-00001/part-00000-of-0000{num_shards}.parquet"
        )
        assert (tmp_path / "id_frequencies" / table / file.name).exists()


def test_earlier_counts_decay(tmp_path):
    first, second, third = (rows(2_000, seed) for seed in range(3))
    count(tmp_path, [first], num_shards=2)
    folder = tmp_path / "id_frequencies"
    earlier = {table: names(tmp_path, table) for table in ("user", "item")}
    for subfolder, batch in (("one", second), ("two", third)):
        parts = [batch.slice(0, 500), batch.slice(500)]
        count(
            tmp_path,
            parts,
            num_shards=2,
            subfolder=subfolder,
            earlier=earlier,
            factor=0.3,
        )
        count(
            tmp_path / "little",
            parts[::-1],
            LITTLE,
            num_shards=2,
            subfolder=subfolder,
            earlier=earlier,
            factor=0.3,
        )
        earlier = {
            table: names(tmp_path, table, subfolder)
            for table in ("user", "item")
        }
    wanted = collections.Counter()
    for batch, weight in ((first, 0.3 * 0.3), (second, 0.3), (third, 1.0)):
        for row in reference(batch, ["shown", "seen"]):
            wanted[row["id"]] += weight * row["count"]
    files_of = [f"two/part-0000{i}-of-00002.parquet" for i in range(2)]
    found = reading.read(folder / "item", files_of)
    assert found.counts.dtype == np.float64
    assert found.label_counts["click"].dtype == np.float64
    assert set(found.ids) == set(wanted)
    np.testing.assert_allclose(
        found.counts, [wanted[id_] for id_ in found.ids], rtol=1e-12
    )
    assert found.first_days.dtype == np.int32
    same = tmp_path / "little" / "id_frequencies" / "item"
    for name in files_of:
        assert (same / name).read_bytes() == (
            folder / "item" / name
        ).read_bytes()
    assert len(found.with_coverage(0.5)) < len(found)
    assert found.with_min_count(1).counts.min() >= 1


def test_once_decayed_counts_stay_floats(tmp_path):
    count(tmp_path, [rows(100)], factor=0.5)
    earlier = {table: names(tmp_path, table) for table in ("user", "item")}
    summaries = count(tmp_path, [rows(100)], subfolder="more", earlier=earlier)
    (name, *_) = names(tmp_path, "user", "more")
    kinds = pq.read_schema(name)
    assert kinds.field("count").type == pa.float64()
    assert isinstance(summaries["user"][0].occurrences, float)


def test_earlier_counts_must_have_the_labels(tmp_path):
    table = pa.table({"id": [1], "count": [2]})
    path = tmp_path / "earlier.parquet"
    pq.write_table(table, path)
    target = count_files.Target(
        "user",
        id_counts.TableKind("int64", ("click",), False),
        str(tmp_path),
        "part.parquet",
        0,
        1,
        (str(path),),
    )
    with pytest.raises(InputError, match=r"`label_click`\. Received"):
        count_files.write(target, [], str(tmp_path), PLENTY)
    assert not (tmp_path / "part.parquet").exists()


def test_days_are_read(tmp_path):
    batch = rows(500)
    count(tmp_path, [batch], num_shards=1)
    found = data.id_frequencies.read(tmp_path / "id_frequencies" / "user")
    epoch = datetime.date(1970, 1, 1)
    for row, first, last in zip(
        reference(batch, ["user"]),
        found.first_days,
        found.last_days,
        strict=True,
    ):
        for day, wanted in ((first, row["first_day"]), (last, row["last_day"])):
            if wanted is None:
                assert day == reading.UNKNOWN_DAY
            else:
                assert epoch + datetime.timedelta(days=int(day)) == wanted
    top = found.top(3)
    assert len(top.first_days) == len(top.last_days) == 3

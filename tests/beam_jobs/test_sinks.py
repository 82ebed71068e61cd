"""Shards of a wanted number or size, in bounded memory, or none at all."""

import errno
import gzip
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from beam_jobs import storage
from beam_jobs.roles import columns
from beam_jobs.writing import example_sizes
from beam_jobs.writing import examples
from beam_jobs.writing import packed
from beam_jobs.writing import shard_layout
from beam_jobs.writing import sinks
from beam_jobs.writing import sorting
from beam_jobs.writing import spooling
from tfplugin import config
from tfplugin import schema as schema_lib

SCHEMA = schema_lib.Schema(
    id_features={
        "key": schema_lib.IdFeature(dtype="int64", table="key"),
        "word": schema_lib.IdFeature(dtype="string", table="word"),
        "tags": schema_lib.IdFeature(
            dtype="string", is_list=True, table="word"
        ),
    },
    dense_features={"time": schema_lib.DenseFeature()},
    labels=("click",),
    event_time=True,
)
PACKED = SCHEMA.model_copy(update={"format": "packed", "rows_per_record": 32})


def log(count, file=0, seed=0):
    """Rows whose `key` says where they stand; columns named to confuse."""
    rng = np.random.default_rng(seed + file)
    place = file * 100_000 + np.arange(count)
    rows = pa.RecordBatch.from_pydict(
        {
            "key": pa.array(place),
            "word": pa.array([None if k % 5 == 0 else f"w{k}" for k in place]),
            "tags": pa.array(
                [[f"t{j}" for j in range(k % 3)] for k in place],
                pa.list_(pa.string()),
            ),
            "time": pa.array(
                [None if k % 7 == 0 else k / 2 for k in place], pa.float32()
            ),
            "click": pa.array(
                [None if k % 11 == 0 else k % 2 for k in place], pa.float32()
            ),
            "event_time": pa.array(rng.integers(0, 50, count)),
        }
    )
    return columns.ExampleBatch(
        file=file,
        positions=np.arange(count),
        occurrences=np.zeros(count, np.int64),
        rows=rows,
        splits=rng.choice(3, count, p=[0.8, 0.2, 0]).astype(np.uint8),
    )


def cut(batch, sizes):
    """The same rows in batches of these sizes, and a last one."""
    bounds = [0, *np.minimum(np.cumsum(sizes), len(batch.splits))]
    for first, last in zip(
        bounds, [*bounds[1:], len(batch.splits)], strict=True
    ):
        part = slice(int(first), int(last))
        if last > first:
            yield columns.ExampleBatch(
                batch.file,
                batch.positions[part],
                batch.occurrences[part],
                batch.rows.slice(part.start, part.stop - part.start),
                batch.splits[part],
            )


def write(path, batches, order, schema=SCHEMA, **options):
    """Runs the transform; (split, shard) of every file, by name."""
    import apache_beam as beam

    from beam_jobs import pipelines

    results = str(path / "results")
    (path / "dataset").mkdir(parents=True, exist_ok=True)
    with pipelines.pipeline([]) as pipeline:
        _ = (
            pipeline
            | beam.Create(batches)
            | beam.Reshuffle()
            | sinks.WriteExamples(
                storage.DatasetPaths(str(path / "dataset")),
                order,
                schema=schema,
                **options,
            )
            | pipelines.named("shards")
            | pipelines.CollectResults(results)
        )
    found = pipelines.read_results(results)["shards"]
    return sorted(found, key=lambda one: (one[0], one[1].name))


def records(path):
    content = gzip.decompress(path.read_bytes())
    place = 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield example_pb2.Example.FromString(
            content[place + 12 : place + 12 + length]
        )
        place += 16 + length


def values(example):
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind is not None:
            found[name] = list(getattr(feature, kind).value)
    return found


def unpack(example):
    """Rows of a packed record, as `values` gives them of plain ones."""
    found = values(example)
    lengths = found.pop("tags_length")
    tags = iter(found.pop("tags", []))
    rows = []
    for place, length in enumerate(lengths):
        row = {name: [column[place]] for name, column in found.items()}
        row["tags"] = [next(tags) for _ in range(length)]
        missing = {"word": b"", "click": -1.0, "key": -(2**63)}
        rows.append(
            {
                name: value
                for name, value in row.items()
                if value
                and value[0] == value[0]
                and value[0] != missing.get(name, object())
            }
        )
    assert list(tags) == []
    return rows


def contents(path, shards, schema=SCHEMA):
    """Decoded rows by split and file; the sums are checked on the way."""
    found = {}
    for split, shard in shards:
        file = path / "dataset" / split / shard.name
        assert file.stat().st_size == shard.bytes
        assert storage.checksum(str(file)) == shard.crc32c
        if schema.format == "packed":
            decoded = [unpack(one) for one in records(file)]
            sizes = [len(rows) for rows in decoded]
            size = schema.rows_per_record
            assert all(rows == size for rows in sizes[:-1])
            rows = sum(decoded, [])
        else:
            rows = [values(one) for one in records(file)]
        assert len(rows) == shard.rows
        found[split, shard.name] = rows
    return found


def order_of(bounds=None, **dataset):
    return sinks.Order(config.DatasetConfig(**dataset), bounds)


def reference(batches, num_shards, order="shuffled", bounds=None):
    """Keys by split and shard, by sorting Python tuples."""
    from beam_jobs import row_hash

    found = {}
    for batch in batches:
        keys = row_hash.row_keys(
            file=batch.file,
            positions=batch.positions,
            occurrences=batch.occurrences,
            seed=0,
        ).tolist()
        for key, split, row in zip(
            keys, batch.splits.tolist(), batch.rows.to_pylist(), strict=True
        ):
            time = row["event_time"] if order == "time" else 0
            shard = key % num_shards
            if order == "time":
                shard = sum(bound <= time for bound in bounds[split].tolist())
            found.setdefault((split, shard), []).append((time, key, row["key"]))
    return {
        (schema_lib.SPLITS[split], shard): [row for *_, row in sorted(rows)]
        for (split, shard), rows in found.items()
    }


def keys_of(found):
    return {
        (split, int(name[5:10])): [row["key"][0] for row in rows]
        for (split, name), rows in found.items()
        if rows
    }


BATCHES = [log(700, 0), log(500, 1)]
BOUNDS = tuple(np.array(b) for b in ([20, 30], [10, 40], [1, 2]))


@pytest.mark.parametrize("schema", [SCHEMA, PACKED], ids=["plain", "packed"])
@pytest.mark.parametrize("by", ["shuffled", "time"])
def test_rows_stand_where_they_must(tmp_path, schema, by):
    bounds = BOUNDS if by == "time" else None
    order = order_of(bounds, num_shards=3, order=by)
    shards = write(tmp_path, BATCHES, order, schema)
    assert len(shards) == 9
    found = contents(tmp_path, shards, schema)
    assert keys_of(found) == reference(BATCHES, 3, by, BOUNDS)
    rows = {row["key"][0]: row for one in found.values() for row in one}
    for batch in BATCHES:
        for row in batch.rows.to_pylist():
            want = {
                name: value if isinstance(value, list) else [value]
                for name, value in row.items()
                if value is not None and value != []
            }
            for name in ("word", "tags"):
                if name in want:
                    want[name] = [one.encode() for one in want[name]]
            assert rows[row["key"]] == want


@pytest.mark.parametrize(
    "options", [{"num_shards": 2}, {"shard_size": 1 << 16}]
)
def test_nothing_depends_on_how_rows_were_batched(tmp_path, options):
    order = order_of(**options)
    whole = write(tmp_path / "a", BATCHES, order, PACKED)
    pieces = [
        piece
        for batch, sizes in zip(BATCHES, ([1, 50, 300], [499]), strict=True)
        for piece in cut(batch, sizes)
    ]
    cut_up = write(tmp_path / "b", pieces[::-1], order, PACKED, memory=1 << 16)
    assert contents(tmp_path / "a", whole, PACKED) == contents(
        tmp_path / "b", cut_up, PACKED
    )


def test_some_splits_into_a_subfolder(tmp_path):
    batch = log(300)
    batch.splits[:] = 2
    shards = write(
        tmp_path,
        [batch],
        order_of(num_shards=2),
        splits=["test"],
        subfolder="added-00001",
    )
    assert [(split, shard.name) for split, shard in shards] == [
        ("test", f"added-00001/part-{k:05d}-of-00002.tfrecord.gz")
        for k in range(2)
    ]
    found = contents(tmp_path, shards)
    assert sum(map(len, found.values())) == 300


def test_no_rows_at_all(tmp_path):
    for options in ({"num_shards": 2}, {"shard_size": 1 << 20}):
        path = tmp_path / str(len(options)) / next(iter(options))
        shards = write(path, [], order_of(**options))
        assert [shard.rows for _, shard in shards] == [0] * len(shards)
        assert {split for split, _ in shards} == set(schema_lib.SPLITS)


@pytest.mark.parametrize("schema", [SCHEMA, PACKED], ids=["plain", "packed"])
def test_shards_of_a_wanted_size(tmp_path, schema):
    batch = log(6_000)
    batch.splits[:100] = 1
    batch.splits[100:] = 0
    order = order_of(shard_size=1 << 16)
    shards = write(tmp_path, [batch], order, schema)
    by_split = {
        split: [shard for name, shard in shards if name == split]
        for split in schema_lib.SPLITS
    }
    assert len(by_split["validation"]) == len(by_split["test"]) == 1
    sizes = [
        len(gzip.decompress((tmp_path / "dataset/train" / s.name).read_bytes()))
        for s in by_split["train"]
    ]
    assert len(sizes) > 1
    assert 0.5 * (1 << 16) < np.mean(sizes) < 1.2 * (1 << 16)
    assert max(sizes) < 1.5 * (1 << 16)
    found = contents(tmp_path, shards, schema)
    keys = sorted(row["key"][0] for rows in found.values() for row in rows)
    assert keys == list(range(6_000))


@given(st.integers(0, 3000), st.integers(1, 300), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_every_key_has_a_shard(total, shard_size, seed):
    layout = shard_layout.ShardLayout.of_size(total, shard_size)
    assert total / layout.num_shards <= shard_size
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.integers(0, 2**64, 500, np.uint64))
    groups = shard_layout.group(keys)
    tasks = np.array([layout.task(group) for group in groups.tolist()])
    shards = np.concatenate(
        [layout.shard(t, keys[tasks == t]) for t in np.unique(tasks).tolist()]
    )
    assert (np.diff(shards) >= 0).all()
    assert 0 <= shards.min() and shards.max() < layout.num_shards
    for task in np.unique(tasks).tolist():
        assert set(shards[tasks == task]) <= set(layout.shards(task))
    every = [s for t in range(layout.num_tasks) for s in layout.shards(t)]
    assert every == list(range(layout.num_shards))


def test_many_shards_of_one_group():
    layout = shard_layout.ShardLayout.of_size(1000, 1)
    assert (layout.num_shards, layout.num_tasks) == (1024, 256)
    assert layout.shards(3) == range(12, 16)
    keys = np.array([3 << 56, (3 << 56) + (1 << 54)], np.uint64)
    assert layout.shard(3, keys).tolist() == [12, 13]


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=30), max_size=12),
    st.integers(1, 600),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_sorting_in_any_memory(tmp_path_factory, times, max_bytes, equal):
    folder = str(tmp_path_factory.mktemp("sort"))
    rng = np.random.default_rng(0)
    rows = []
    with spooling.open_writer(folder) as writer:
        pieces = []
        for some in times:
            keys = rng.integers(0, 2**64, len(some), np.uint64)
            if equal:
                keys[:] = 5
            batch = spooling.with_place(
                pa.RecordBatch.from_pydict({"time": pa.array(keys)}),
                np.array(some, np.int64),
                keys,
            )
            rows += zip(some, keys.tolist(), strict=True)
            pieces.append(writer.write(batch))
    got = []
    for batch in sorting.sort(pieces, folder=folder, max_bytes=max_bytes):
        some, keys = spooling.place(batch)
        assert batch.column(2).equals(pa.array(keys))
        got += zip(some.tolist(), keys.tolist(), strict=True)
    assert got == sorted(rows)
    # Temporary files are gone, but for the one that was handed in.
    assert storage.list_files(folder) == [writer.path]


def test_a_name_that_lengths_need_is_refused():
    rows = pa.RecordBatch.from_pydict({"a": [[1]], "a_length": [1]})
    with pytest.raises(ValueError, match="a_length"):
        packed.encode(rows, 2, labels=())


@pytest.mark.parametrize("kind", ["examples", "packed"])
def test_sizes_are_about_those_of_records(kind):
    rows = log(4096).rows
    if kind == "packed":
        encoded = packed.encode(rows, 1024, labels=("click",))
    else:
        encoded = examples.encode(rows)
    size = sum(len(record) + 16 for record in encoded)
    found = example_sizes.row_bytes(rows, kind)
    assert abs(found.sum() / size - 1) < 0.1
    parts = [
        example_sizes.row_bytes(rows.slice(first, 1000), kind)
        for first in range(0, 4096, 1000)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), found)


class _FullDisk:
    """A stream that takes some bytes, then says that the disk is full."""

    def __init__(self, stream, space):
        self._stream = stream
        self._space = space

    def write(self, data):
        self._space -= len(data)
        if self._space < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._stream.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stream.close()

    def __getattr__(self, name):
        return getattr(self._stream, name)


@pytest.mark.parametrize("space", [0, 2_000, 60_000])
def test_a_full_disk_fails_the_job_and_leaves_no_shard_by_halves(
    tmp_path, monkeypatch, space
):
    from apache_beam.io import filesystems

    create = filesystems.FileSystems.create

    def full(path, *args):
        return _FullDisk(create(path, *args), space)

    # The operating system's own limit would end pytest's output, too.
    monkeypatch.setattr(filesystems.FileSystems, "create", full)
    with pytest.raises(Exception, match="No space left"):
        write(tmp_path, [log(5000)], order_of(num_shards=1))
    left = storage.list_files(str(tmp_path / "dataset"))
    assert not [path for path in left if path.endswith(".tmp")]
    assert not [path for path in left if ".tfrecord.gz" in path]

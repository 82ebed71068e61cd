"""Every format, compressed in every way, on any file system of Beam's."""

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet
import pytest

from beam_jobs import batches
from beam_jobs import pipelines
from beam_jobs.reading import compression
from beam_jobs.reading import log_files
from beam_jobs.reading import sources
from beam_jobs.reading import text_files
from tests.beam_jobs import log_writing
from tests.support import shelf
from tfplugin import config
from tfplugin.errors import InputError

ROWS = [
    {"item": i * 7, "price": None if i % 5 == 0 else i / 4, "word": f"w{i}é"}
    for i in range(1, 40)
]
FORMATS = ("csv", "jsonl", "parquet", "tfrecord")
SPLITTABLE = ("csv", "jsonl")


@pytest.fixture
def shelf_files():
    shelf.clear()
    yield shelf
    shelf.clear()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("root", ["shelf://bucket/logs", "local"])
def test_formats_and_file_systems(shelf_files, tmp_path, format, root):
    """Plain and compressed files of one glob; CRLF and marks in texts."""
    kinds = [None] if format == "parquet" else log_writing.COMPRESSORS
    expected = []
    for number, kind in enumerate(kinds):
        rows = [{**row, "item": row["item"] + number} for row in ROWS]
        expected += rows
        data = log_writing.encode(rows, format)
        if format in SPLITTABLE and number % 2:
            data = b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")
        data = log_writing.COMPRESSORS[kind](data)
        # The name says nothing of what is inside.
        name = f"part-{number}.{format}"
        if root == "local":
            (tmp_path / name).write_bytes(data)
        else:
            shelf_files.put(f"{root}/{name}", data)
    folder = str(tmp_path) if root == "local" else root
    log = log_writing.open_log(format, f"{folder}/part-*")
    assert len(log.files) == len(kinds)
    rows, _, rejected = log_writing.read(log)
    assert rejected == []
    assert [
        {n: (-1 if r[n] is None else r[n]) for n in ("item", "price", "word")}
        for r in rows
    ] == [{n: -1 if v is None else v for n, v in r.items()} for r in expected]


@pytest.mark.parametrize("format", FORMATS)
def test_a_url_in_a_pipeline(shelf_files, tmp_path, format):
    path = shelf_files.put(
        f"shelf://bucket/a.{format}", log_writing.encode(ROWS, format)
    )
    log = log_writing.open_log(format, path, columns=["item"])
    results = tmp_path / "results"
    with pipelines.pipeline([]) as pipeline:
        read = (
            pipeline
            | beam.Create(log.blocks())
            | beam.ParDo(sources.ReadBlocks(log)).with_outputs(
                sources.COUNTS, main="batches"
            )
        )
        values = read["batches"] | beam.FlatMap(
            lambda batch: batch.rows.column("item").to_pylist()
        )
        checksums = (
            pipeline
            | "Files" >> beam.Create(log.files)
            | beam.ParDo(sources.Fingerprint())
        )
        (
            (
                values | pipelines.named("items"),
                read[sources.COUNTS] | pipelines.named("counts"),
                checksums | pipelines.named("checksums"),
            )
            | beam.Flatten()
            | pipelines.CollectResults(str(results))
        )
    found = pipelines.read_results(str(results))
    assert sorted(found["items"]) == [row["item"] for row in ROWS]
    assert sum(count for _, count in found["counts"]) == len(ROWS)
    assert [index for index, _ in found["checksums"]] == [0]


@pytest.mark.parametrize("format", FORMATS)
def test_columns_are_pruned(tmp_path, format):
    path = tmp_path / "a"
    path.write_bytes(log_writing.encode(ROWS, format))
    log = log_writing.open_log(format, [path], columns=["word", "none", "item"])
    assert log.schema.names == ["word", "item"]
    assert set(log.names) == {"item", "price", "word"}
    only = log.only(["word"])
    rows, positions, _ = log_writing.read(only)
    assert rows == [{"word": row["word"]} for row in ROWS]
    assert positions == log_writing.read(log)[1]


@pytest.mark.parametrize("format", FORMATS)
def test_side_tables(tmp_path, format):
    path = tmp_path / "a"
    path.write_bytes(log_writing.encode(ROWS, format))
    source = {"format": format, "files": str(path)}
    table = sources.read_table(config.SideTable.model_validate(source), "t")
    assert table["item"].to_pylist() == [row["item"] for row in ROWS]


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
@pytest.mark.parametrize("format", ["csv", "jsonl", "tfrecord"])
@pytest.mark.parametrize("cut", [1, 30, -12])
def test_a_truncated_compressed_file(tmp_path, format, kind, cut):
    data = log_writing.encode(ROWS * 20, format)
    data = log_writing.COMPRESSORS[kind](data)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data[:-cut])
    with pytest.raises(InputError, match="cut off or damaged") as refusal:
        log_writing.read(log_writing.open_log(format, [path]))
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
def test_members_and_blocks(tmp_path, monkeypatch, kind):
    """Compressed files of several members; pieces smaller than a line."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 5)
    compress = log_writing.COMPRESSORS[kind]
    data = log_writing.encode(ROWS, "jsonl")
    path = tmp_path / "a"
    path.write_bytes(compress(data[:100]) + compress(data[100:]))
    log = log_writing.open_log("jsonl", [path])
    rows, positions, _ = log_writing.read(log)
    assert rows == ROWS
    assert [data[p : p + 1] for p in positions] == [b"{"] * len(ROWS)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_goes_or_changes_while_reading(tmp_path, format):
    path = tmp_path / "a"
    data = log_writing.encode(ROWS, format)
    for change in ("gone", "shorter", "longer"):
        path.write_bytes(data)
        log = log_writing.open_log(format, [path])
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes(data[:-40] if change == "shorter" else data * 2)
        with pytest.raises(InputError, match="must stay as it is") as refusal:
            log_writing.read(log)
        assert str(path) in str(refusal.value)
        (problem,) = sources.Fingerprint().process(log.files[0])
        assert problem.tag == sources.PROBLEMS
        *_, count = list(sources.ReadBlocks(log).process(log.blocks()[0]))
        assert count.value == ("rows_read", 0)


def test_a_url_that_goes_while_reading(shelf_files):
    path = shelf_files.put("shelf://b/a", log_writing.encode(ROWS, "csv"))
    log = log_writing.open_log("csv", path)
    shelf_files.clear()
    with pytest.raises(InputError, match="cannot be read any more"):
        log_writing.read(log)


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows(tmp_path, format):
    """Empty files are refused; those that only lack rows are read."""
    path = tmp_path / "a"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        log_writing.open_log(format, [path])
    path.write_bytes(log_writing.encode(ROWS, format))
    with pytest.raises(InputError, match="twice"):
        log_writing.open_log(format, [path, str(path)])
    nothing = tmp_path / "b"
    if format == "csv":
        nothing.write_bytes(b"item,price,word\n")
    elif format == "parquet":
        table = pa.Table.from_pylist(ROWS).slice(0, 0)
        pa.parquet.write_table(table, nothing)
    else:
        nothing.write_bytes(log_writing.COMPRESSORS["gz"](b""))
        if format == "jsonl":
            with pytest.raises(InputError, match="is empty"):
                log_writing.open_log(format, [nothing])
            return
    log = log_writing.open_log(format, [path, nothing])
    assert len(log_writing.read(log)[0]) == len(ROWS)


@pytest.mark.parametrize("format", ["csv", "jsonl", "tfrecord"])
def test_a_name_that_promises_compression(tmp_path, format):
    path = tmp_path / "a.bz2"
    path.write_bytes(log_writing.encode(ROWS, format))
    with pytest.raises(InputError, match="must hold bz2"):
        log_writing.open_log(format, [path])


@pytest.mark.parametrize("format", FORMATS)
def test_another_format(tmp_path, format):
    """What is none of the format is refused, with its path."""
    path = tmp_path / "a"
    other = "parquet" if format != "parquet" else "csv"
    path.write_bytes(log_writing.encode(ROWS, other))
    with pytest.raises(InputError) as refusal:
        log_writing.read(log_writing.open_log(format, [path]))
    assert str(path) in str(refusal.value)


def test_marks_of_compression():
    assert compression.detect(b"") is None
    assert compression.detect(b"BZh9,a,b\n") is None
    for kind, name in (("gz", "gzip"), ("bz2", "bz2"), ("zst", "zstd")):
        for data in (b"", b"abc"):
            packed = log_writing.COMPRESSORS[kind](data)
            assert compression.detect(packed[:10]) == name
    assert compression.detect(b"\x50\x2a\x4d\x18\0\0\0\0") == "zstd"


def parquet_log(tmp_path, *columns, types=None):
    """Files of one column each."""
    for number, column in enumerate(columns):
        table = pa.table({"x": column})
        pa.parquet.write_table(table, tmp_path / f"{number}.parquet")
    glob = str(tmp_path / "*.parquet")
    return log_writing.open_log("parquet", glob, asked=types)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "asked", "wanted"),
    [
        (pa.int32(), pa.int64(), None, pa.int64()),
        (pa.uint8(), pa.uint64(), None, pa.uint64()),
        (pa.uint32(), pa.int8(), None, pa.int64()),
        (pa.float32(), pa.float64(), None, pa.float64()),
        (pa.int32(), pa.float64(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float32(), pa.float64(), pa.float64()),
        (pa.string(), pa.large_string(), None, pa.string()),
        (pa.binary(), pa.string(), None, pa.string()),
        (pa.timestamp("s"), pa.timestamp("us"), None, pa.timestamp("us")),
        (
            pa.list_(pa.int32()),
            pa.large_list(pa.int64()),
            None,
            pa.list_(pa.int64()),
        ),
        (pa.null(), pa.int16(), None, pa.int16()),
    ],
)
def test_parquet_types_that_differ(tmp_path, one, other, asked, wanted, turn):
    pair = (other, one) if turn else (one, other)
    columns = [pa.array([None, None], kind) for kind in pair]
    types = None if asked is None else {"x": asked}
    log = parquet_log(tmp_path, *columns, types=types)
    assert log.schema.field("x").type == wanted
    assert log_writing.read(log)[0] == [{"x": None}] * 4


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.float64()),
        (pa.int64(), pa.string()),
        (pa.int64(), pa.list_(pa.int64())),
        (pa.list_(pa.int64()), pa.list_(pa.string())),
        (pa.int64(), pa.bool_()),
    ],
)
def test_parquet_types_that_do_not_go_together(tmp_path, one, other, turn):
    pair = (other, one) if turn else (one, other)
    with pytest.raises(InputError, match="`x`") as refusal:
        parquet_log(tmp_path, *(pa.array([None], kind) for kind in pair))
    assert str(tmp_path / "1.parquet") in str(refusal.value)


def test_parquet_values_are_widened_exactly(tmp_path):
    log = parquet_log(
        tmp_path,
        pa.array([2**53 + 1, None]),
        pa.array([7.0, 7.5, None]),
        types={"x": pa.int64()},
    )
    rows, _, rejected = log_writing.read(log)
    assert [row["x"] for row in rows] == [2**53 + 1, None, 7, None]
    assert [(row.file, row.position) for row in rejected] == [(1, 1)]


@pytest.mark.parametrize("format", ["csv", "jsonl", "tfrecord", "parquet"])
def test_ids_that_are_floats(tmp_path, format):
    """7.0 is the id 7 in each format, if the column is one of ids."""
    rows = [{"item": 7.0}, {"item": 8.0}, {"item": 0.5}]
    path = tmp_path / "a"
    path.write_bytes(log_writing.encode(rows, format))
    log = log_writing.open_log(format, [path], asked={"item": pa.int64()})
    rows, _, rejected = log_writing.read(log)
    if format in ("csv", "jsonl"):
        assert rows == [{"item": 7}, {"item": 8}]
        assert len(rejected) == 1 and "must be int64" in rejected[0].reason
    else:
        # The role converts them, as exactly.
        assert rows == [{"item": 7.0}, {"item": 8.0}, {"item": 0.5}]


def test_a_long_log_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    for format in SPLITTABLE:
        path = tmp_path / format
        path.write_bytes(log_writing.encode(ROWS, format))
        log = log_writing.open_log(format, [path])
        assert len(log.blocks()) > 5
        assert log_writing.read(log)[0] == ROWS


def test_batches_are_not_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_ROWS", 10)
    for format in FORMATS:
        path = tmp_path / format
        path.write_bytes(log_writing.encode(ROWS, format))
        log = log_writing.open_log(format, [path])
        sizes = [
            item.rows.num_rows for b in log.blocks() for item in log.read(b)
        ]
        assert max(sizes) <= 10 and sum(sizes) == len(ROWS)


def test_kinds_of_positions(tmp_path):
    kinds = []
    for format in FORMATS:
        path = tmp_path / format
        path.write_bytes(log_writing.encode(ROWS, format))
        kinds.append(log_writing.open_log(format, [path]).position_kind)
    assert kinds == ["byte", "byte", "row", "record"]
    (file,) = log_files.expand([str(tmp_path / "csv")], "k")
    assert file.size == (tmp_path / "csv").stat().st_size


@pytest.mark.parametrize("format", ["jsonl", "tfrecord", "parquet"])
def test_the_same_dataset_from_each_format(lab, format):
    """Lists of ids stay lists, though no record has two of them."""
    rows = [
        {"item": i, "tags": [f"t{i % 3}"], "click": i % 2} for i in range(200)
    ]
    lab.write(f"a.{format}", log_writing.encode(rows, format))
    found = lab.run(
        str(lab.path / f"a.{format}"),
        source={"format": format},
        features={
            "item": {"type": "id", "dtype": "int64"},
            "tags": {"type": "id_list", "dtype": "string"},
        },
    )
    assert found.rows_read == 200 and found.rows_rejected == 0
    examples = sorted(lab.all_examples(), key=lambda row: row["item"])
    assert [row["tags"] for row in examples] == [
        [row["tags"][0].encode()] for row in rows
    ]

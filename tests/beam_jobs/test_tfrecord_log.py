"""TFRecords of Examples, by this and by other writers."""

import struct

import pyarrow as pa
import pytest

from beam_jobs.reading import decoding
from beam_jobs.reading import tfrecord_frames
from beam_jobs.writing import tfrecords
from tests.beam_jobs import log_writing
from tfplugin.errors import InputError

ROWS = [
    {"item": 7, "tags": [1, 2], "price": 0.5, "word": "é"},
    {"item": 8, "tags": [3], "price": None, "word": "x"},
    {"item": None, "tags": None, "price": 2.0, "word": None},
]


def write(path, records):
    path.write_bytes(tfrecords.frame(records))
    return path


def read(path, **options):
    log = log_writing.open_log("tfrecord", [path], **options)
    return log, *log_writing.read(log)


def test_files_that_tensorflow_wrote(tmp_path):
    tf = pytest.importorskip("tensorflow")
    for name, kind in (("plain", ""), ("packed", "GZIP")):
        path = tmp_path / name
        with tf.io.TFRecordWriter(str(path), kind) as writer:
            for row in ROWS:
                example = tf.train.Example()
                for key, value in row.items():
                    feature = example.features.feature[key]
                    if value is None:
                        continue
                    values = value if isinstance(value, list) else [value]
                    if isinstance(values[0], int):
                        feature.int64_list.value.extend(values)
                    elif isinstance(values[0], float):
                        feature.float_list.value.extend(values)
                    else:
                        feature.bytes_list.value.append(value.encode())
                writer.write(example.SerializeToString())
        log, rows, positions, rejected = read(path)
        assert rows == ROWS and rejected == [] and positions == [0, 1, 2]
        assert log.schema == pa.schema(
            {
                "item": pa.int64(),
                "price": pa.float32(),
                "tags": pa.list_(pa.int64()),
                "word": pa.string(),
            }
        )


def test_roles_decide_on_lists(tmp_path):
    """One value in each record of the head may still be a list."""
    path = write(tmp_path / "a", log_writing.examples([{"a": 1, "b": 2}] * 3))
    types = {"a": pa.list_(pa.int64()), "b": pa.int64()}
    log, rows, _, _ = read(path, asked=types)
    assert rows == [{"a": [1], "b": 2}] * 3


def test_records_that_are_no_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "PART_RECORDS", 4)
    rows = [{"x": i, "s": "a"} for i in range(20)]
    bad = [{"x": [1, 2]}, {"x": "word"}, {"s": b"\xff"}, {"s": ["a", "b"]}]
    records = log_writing.examples(rows)
    for number, record in enumerate(log_writing.examples(bad)):
        records.insert(number * 5 + 2, record)
    records += [b"no example", b""]
    path = write(tmp_path / "a", records)
    types = {"x": pa.int64(), "s": pa.string()}
    # Types come from the first two records.
    monkeypatch.setattr(
        "beam_jobs.reading.text_files.head_rows", lambda files: 2
    )
    _, got, positions, rejected = read(path, asked=types)
    assert got == [
        *({"s": r["s"], "x": r["x"]} for r in rows),
        {"s": None, "x": None},
    ]
    assert positions == [n for n in range(26) if n not in (2, 7, 12, 17, 24)]
    assert [row.position for row in rejected] == [2, 7, 12, 17, 24]
    reasons = [row.reason for row in rejected]
    assert reasons[0] == "feature `x` must have one value"
    assert "expected int64_list, found bytes_list" in reasons[1]
    assert reasons[2] == "feature `s` must be string, in UTF-8"
    assert reasons[3] == "feature `s` must have one value"
    assert "Unable to parse" in reasons[4]
    assert "no example" in rejected[4].row


def test_bytes_that_are_no_text_stay_bytes(tmp_path):
    path = write(tmp_path / "a", log_writing.examples([{"s": b"\xff"}]))
    assert read(path)[1] == [{"s": b"\xff"}]


@pytest.mark.parametrize("cut", [1, 5, 13, 40])
def test_a_truncated_file(tmp_path, cut):
    path = write(tmp_path / "a", log_writing.examples(ROWS * 50))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="record 14[89]: it is cut off"):
        read(path)


@pytest.mark.parametrize(
    ("place", "record"), [(0, 0), (9, 0), (30, 0), (-1, 2)]
)
def test_a_damaged_file(tmp_path, place, record):
    path = write(tmp_path / "a", log_writing.examples(ROWS))
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"record {record}: .*checksum"):
        read(path)


def test_a_length_that_looks_compressed(tmp_path):
    """Its first bytes are the mark of gzip."""
    (length,) = struct.unpack("<I", b"\x1f\x8b\x08\0")
    word = "w" * (length - 26)
    records = log_writing.examples([{"word": word}])
    record = records[0]
    for _ in range(20):
        word = word[: len(word) + length - len(record)]
        (record,) = log_writing.examples([{"word": word}])
        if len(record) == length:
            break
        word += "w" * max(0, length - len(record))
    assert len(record) == length
    path = write(tmp_path / "a", [record])
    assert path.read_bytes()[:3] == b"\x1f\x8b\x08"
    assert read(path)[1] == [{"word": word}]


def test_chunks_of_any_size(tmp_path):
    records = log_writing.examples(ROWS * 5)
    path = write(tmp_path / "a", records)
    (file,) = log_writing.open_log("tfrecord", [path]).files
    for size in (1, 17, 1 << 20):
        parts = tfrecord_frames.read(file, size)
        assert [record for part in parts for record in part] == records


def test_no_examples_at_all(tmp_path):
    path = write(tmp_path / "a", [b"no example"])
    with pytest.raises(InputError, match="tf.train.Examples"):
        read(path)

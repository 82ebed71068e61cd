"""What is written, read back by TensorFlow and by protocol buffers."""

import gzip

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from beam_jobs.writing import examples
from beam_jobs.writing import tfrecords

INT64 = st.integers(-(2**63), 2**63 - 1)
ROW = st.tuples(
    st.one_of(st.none(), INT64),
    st.one_of(st.none(), st.text(max_size=200)),
    st.one_of(st.none(), st.floats(width=32, allow_nan=False)),
    st.lists(INT64, max_size=40),
    st.lists(st.text(max_size=4), max_size=40),
)


def record_batch(rows):
    kinds = (
        pa.int64(),
        pa.string(),
        pa.float32(),
        pa.list_(pa.int64()),
        pa.list_(pa.string()),
    )
    names = ("number", "wörd", "dense", "numbers", "words" * 30)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([row[index] for row in rows], kind)
            for index, kind in enumerate(kinds)
        ],
        list(names),
    )


def decode(record):
    example = example_pb2.Example.FromString(record)
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in example.features.feature.items()
        if feature.WhichOneof("kind") is not None
    }


@given(st.lists(ROW, max_size=12), st.integers(0, 4))
@settings(max_examples=80, deadline=None)
def test_examples_hold_the_rows(rows, start):
    batch = record_batch(rows).slice(min(start, len(rows)))
    for row, record in zip(rows[start:], examples.encode(batch), strict=True):
        want = {}
        for name, value in zip(batch.schema.names, row, strict=True):
            listed = value if isinstance(value, list) else [value]
            if value is not None and listed:
                want[name] = [
                    v.encode() if isinstance(v, str) else v for v in listed
                ]
        assert decode(record) == want


def test_a_null_is_an_absent_feature():
    rows = record_batch([(None, None, None, None, None)])
    assert decode(examples.encode(rows)[0]) == {}


def test_tensorflow_takes_a_feature_without_a_value_for_absent():
    import tensorflow as tf

    rows = record_batch([(None, None, None, [], [])])
    parsed = tf.io.parse_example(
        examples.encode(rows),
        {
            "number": tf.io.FixedLenFeature([], tf.int64, -(2**63)),
            "wörd": tf.io.FixedLenFeature([], tf.string, "missing"),
            "dense": tf.io.FixedLenFeature([], tf.float32, -1.0),
            "numbers": tf.io.RaggedFeature(tf.int64),
        },
    )
    assert parsed["number"].numpy().tolist() == [-(2**63)]
    assert parsed["wörd"].numpy().tolist() == [b"missing"]
    assert parsed["dense"].numpy().tolist() == [-1.0]
    assert parsed["numbers"].to_list() == [[]]


def test_a_null_in_a_list_is_refused():
    rows = pa.RecordBatch.from_pydict({"a": [[1, None]]})
    with pytest.raises(ValueError, match="Received: 1 nulls"):
        examples.encode(rows)


def test_tensorflow_reads_the_records(tmp_path):
    import tensorflow as tf

    records = [b"", b"a" * 300, *(str(i).encode() for i in range(3000))]
    chunks = [
        tfrecords.Records(records[first : first + 1000], 1000)
        for first in (0, 1000, 2000, 3000)
    ]
    shard = tfrecords.write(str(tmp_path), "part", iter(chunks))
    read = tf.data.TFRecordDataset(str(tmp_path / "part"), "GZIP")
    assert list(read.as_numpy_iterator()) == records
    data = (tmp_path / "part").read_bytes()
    assert (shard.name, shard.rows, shard.bytes) == ("part", 4000, len(data))
    import google_crc32c

    assert shard.crc32c == google_crc32c.value(data)
    assert not list(tmp_path.glob(".*"))
    again = tfrecords.write(str(tmp_path), "again", chunks)
    assert again.crc32c == shard.crc32c


def test_no_records(tmp_path):
    shard = tfrecords.write(str(tmp_path), "part", [])
    assert shard.rows == 0
    assert gzip.decompress((tmp_path / "part").read_bytes()) == b""

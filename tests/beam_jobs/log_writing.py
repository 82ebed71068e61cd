"""The same rows in every format, and logs read back whole."""

import bz2
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from tfx_bsl.coders import example_coder

from beam_jobs import batches
from beam_jobs.reading import sources
from beam_jobs.writing import tfrecords
from tfplugin import config

COMPRESSORS = {
    None: bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def examples(rows):
    """Serialized Examples of dicts of int, float, str, bytes and lists."""
    records = []
    for row in rows:
        columns = {}
        for name, value in row.items():
            values = value if isinstance(value, list) else [value]
            if value is None:
                continue
            kinds = {int: pa.int64(), float: pa.float32()}
            kind = kinds.get(type(values[0]) if values else int, pa.binary())
            columns[name] = pa.array([values], pa.list_(kind))
        encoder = example_coder.RecordBatchToExamplesEncoder()
        batch = pa.RecordBatch.from_pydict(columns)
        records += [bytes(r) for r in encoder.encode(batch)] or [b""]
    return records


def encode(rows, format):
    """Rows, as dicts, in a format, uncompressed."""
    if format == "csv":
        names = list(rows[0])
        lines = [",".join(names)]
        for row in rows:
            words = ["" if row[n] is None else str(row[n]) for n in names]
            lines.append(",".join(words))
        return ("\n".join(lines) + "\n").encode()
    if format == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if format == "tfrecord":
        return tfrecords.frame(examples(rows))
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream, row_group_size=7)
    return stream.getvalue()


def open_log(format, files, *, columns=None, asked=None, **options):
    """A log of the files, which may be paths or globs."""
    files = [files] if isinstance(files, str) else [str(f) for f in files]
    source = {"format": format, "files": files, format: options}
    if not options:
        del source[format]
    side_table = config.SideTable.model_validate(source)
    return sources.open_log(side_table, columns=columns, types=asked)


def read(log):
    """All rows of a log, their positions, and its refused rows."""
    rows, positions, rejected = [], [], []
    for block in log.blocks():
        for item in log.read(block):
            if isinstance(item, batches.Rejected):
                rejected.append(item)
                continue
            assert item.rows.schema == log.schema
            assert item.rows.num_rows == len(item.positions)
            rows += item.rows.to_pylist()
            positions += item.positions.tolist()
    return rows, positions, sorted(rejected)

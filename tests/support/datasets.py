"""Writes dataset folders row by row, independently of beam_jobs."""

import math
import pathlib
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfplugin import artifacts
from tfplugin import schema as schema_lib

Row = dict[str, Any]


def write_dataset(
    path: pathlib.Path,
    schema: schema_lib.Schema,
    rows: dict[str, list[Row]],
    num_shards: int = 2,
) -> artifacts.DatasetFolder:
    """Writes rows by split; an absent or None value is missing."""
    folder = artifacts.DatasetFolder(path)
    shards = {}
    for split in schema_lib.SPLITS:
        folder.split(split).mkdir(parents=True)
        shards[split] = tuple(
            _write_shard(
                folder.split(split)
                / f"part-{shard:05d}-of-{num_shards:05d}.tfrecord.gz",
                [_example(row) for row in rows[split][shard::num_shards]],
            )
            for shard in range(num_shards)
        )
    train = rows["train"]
    tables = {
        table: _write_frequencies(folder, schema, table, features, train)
        for table, features in schema.table_features().items()
    }
    schema_lib.write_record(folder.schema_json, schema)
    schema_lib.write_record(
        folder.statistics_json,
        schema_lib.Statistics(
            source_files=(),
            rows_read=sum(map(len, rows.values())),
            rows_removed_by_select=0,
            rows_added_by_select=0,
            rows_rejected=0,
            time_cut_offs=None,
            shards=shards,
            labels={
                label: schema_lib.LabelStatistics(
                    observed=sum(r.get(label) is not None for r in train),
                    positives=sum(r.get(label) == 1 for r in train),
                )
                for label in schema.labels
            },
            dense={n: _dense(n, train) for n in schema.dense_features},
            tables=tables,
        ),
    )
    folder.completed.write_text("")
    return folder


def _example(row: Row) -> bytes:
    feature = {}
    for name, value in row.items():
        if value is None or value == []:
            continue
        values = value if isinstance(value, list) else [value]
        if name in schema_lib.RESERVED_FEATURES and isinstance(values[0], int):
            kind = {"int64_list": tf.train.Int64List(value=values)}
        elif values and isinstance(values[0], str):
            encoded = [v.encode() for v in values]
            kind = {"bytes_list": tf.train.BytesList(value=encoded)}
        elif values and isinstance(values[0], float):
            kind = {"float_list": tf.train.FloatList(value=values)}
        else:
            kind = {"int64_list": tf.train.Int64List(value=values)}
        feature[name] = tf.train.Feature(**kind)
    return tf.train.Example(
        features=tf.train.Features(feature=feature)
    ).SerializeToString()


def _write_shard(path: pathlib.Path, records: list[bytes]) -> schema_lib.Shard:
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for record in records:
            writer.write(record)
    content = path.read_bytes()
    return schema_lib.Shard(
        name=path.name,
        rows=len(records),
        bytes=len(content),
        crc32c=google_crc32c.value(content),
    )


def _write_frequencies(
    folder: artifacts.DatasetFolder,
    schema: schema_lib.Schema,
    table: str,
    features: list[str],
    train: list[Row],
) -> schema_lib.TableStatistics:
    counts: dict[Any, dict[str, int]] = {}
    for row in train:
        for name in features:
            value = row.get(name)
            values = value if isinstance(value, list) else [value]
            for id_ in values:
                if id_ in (None, "", schema_lib.MISSING_INT64):
                    continue
                entry = counts.setdefault(
                    id_,
                    {"count": 0, **{f"label_{k}": 0 for k in schema.labels}},
                )
                entry["count"] += 1
                for label in schema.labels:
                    entry[f"label_{label}"] += int(row.get(label) == 1)
    ids = pa.array(
        list(counts),
        pa.int64() if schema.table_dtype(table) == "int64" else pa.string(),
    )
    columns = {"id": ids}
    for key in ("count", *(f"label_{k}" for k in schema.labels)):
        columns[key] = pa.array([c[key] for c in counts.values()], pa.int64())
    folder.id_frequencies(table).mkdir(parents=True)
    path = folder.id_frequencies(table) / "part-00000-of-00001.parquet"
    pq.write_table(pa.table(columns), path)
    content = path.read_bytes()
    return schema_lib.TableStatistics(
        ids=len(counts),
        occurrences=sum(c["count"] for c in counts.values()),
        ids_seen_once=sum(c["count"] == 1 for c in counts.values()),
        missing=0,
        empty_lists=0,
        files=(
            schema_lib.Shard(
                name=path.name,
                rows=len(counts),
                bytes=len(content),
                crc32c=google_crc32c.value(content),
            ),
        ),
    )


def _dense(name: str, train: list[Row]) -> schema_lib.DenseStatistics:
    values = sorted(r[name] for r in train if r.get(name) is not None)
    logs = [math.copysign(math.log1p(abs(v)), v) for v in values]
    count = len(values)

    def moments(numbers: list[float]) -> tuple[float, float]:
        mean = sum(numbers) / count
        return mean, math.sqrt(sum((v - mean) ** 2 for v in numbers) / count)

    mean, deviation = moments(values)
    log_mean, log_deviation = moments(logs)
    return schema_lib.DenseStatistics(
        count=count,
        missing=len(train) - count,
        mean=mean,
        standard_deviation=deviation,
        log1p_mean=log_mean,
        log1p_standard_deviation=log_deviation,
        minimum=values[0],
        maximum=values[-1],
        quantiles=tuple(
            values[round(k * (count - 1) / 100)] for k in range(101)
        ),
    )

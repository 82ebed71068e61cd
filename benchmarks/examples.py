"""Writing Examples beside a row-wise job, and reading them plain and packed.

    python benchmarks/examples.py --docs docs
    python benchmarks/examples.py --rows 20000 --rounds 1

Writing: a log of 8 features (four int64 ids, one of strings, a list of 0 to
20 ids, two floats) and a label, from Parquet to 8 gzip shards. Ours is
`WriteExamples`; the peer makes a tf.train.Example a row and hands it to
`WriteToTFRecord`, in the same runner. Starting the pipeline is included,
importing Beam is not.

Reading: 26 int64 ids, 13 floats and a label, shuffled batches of 4,096 by
`Dataset.train`, three epochs after a first one. Every job has a process of
its own; those of a kind take turns.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from peers import reports
from peers import workloads

FEW, MANY = "8 features", "39 features"
OURS, ROW_WISE = "WriteExamples", "tf.train.Example + WriteToTFRecord"
OURS_PACKED = "WriteExamples, packed"
PLAIN, PACKED = "Dataset.train, a row a record", "Dataset.train, packed"
STEP = "RowwiseAdagrad + LogFrequency"
BATCH_SIZE = 4096
SHARDS = 8


def few_columns(rows: int, seed: int) -> dict[str, pa.Array]:
    """The log of the writing benchmark."""
    rng = np.random.default_rng(seed)
    columns = {
        f"id_{k}": pa.array(workloads.log_uniform_ids(rng, rows, 200_000))
        for k in range(4)
    }
    cities = workloads.log_uniform_ids(rng, rows, 5_000)
    columns["city"] = pa.array([f"city-{city}" for city in cities])
    lengths = rng.integers(0, 21, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    columns["history"] = pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(workloads.log_uniform_ids(rng, int(offsets[-1]), 200_000)),
    )
    for name in ("price", "age"):
        columns[name] = pa.array(rng.standard_normal(rows).astype(np.float32))
    columns["click"] = pa.array(rng.integers(0, 2, rows).astype(np.float32))
    return columns


def many_columns(rows: int, seed: int) -> dict[str, pa.Array]:
    """The log of the reading benchmark: that of the training step's."""
    rng = np.random.default_rng(seed)
    columns = {
        f"id_{k}": pa.array(workloads.log_uniform_ids(rng, rows, 200_000))
        for k in range(26)
    }
    for k in range(workloads.NUM_DENSE):
        values = rng.standard_normal(rows).astype(np.float32)
        columns[f"dense_{k}"] = pa.array(values)
    columns["click"] = pa.array(rng.integers(0, 2, rows).astype(np.float32))
    return columns


def write_log(folder: pathlib.Path, kind: str, rows: int) -> None:
    make = few_columns if kind == FEW else many_columns
    for part, first in enumerate(range(0, rows, 100_000)):
        table = pa.table(make(min(100_000, rows - first), part))
        pq.write_table(table, folder / f"log-{part:03d}.parquet")


def made_schema(log: pa.Schema, packed: bool):
    """The dataset's schema, by the types of the log's columns."""
    from tfplugin import schema

    ids, dense = {}, {}
    for column in log:
        is_list = pa.types.is_list(column.type)
        kind = column.type.value_type if is_list else column.type
        if pa.types.is_floating(kind):
            dense[column.name] = schema.DenseFeature()
            continue
        ids[column.name] = schema.IdFeature(
            dtype="int64" if pa.types.is_integer(kind) else "string",
            is_list=is_list,
            table=column.name,
        )
    del dense["click"]
    more = {"format": "packed", "rows_per_record": 1024} if packed else {}
    return schema.Schema(
        id_features=ids, dense_features=dense, labels=("click",), **more
    )


def write_ours(logs: list[str], out: pathlib.Path, packed: bool) -> float:
    import apache_beam as beam

    from beam_jobs import pipelines
    from beam_jobs import storage
    from beam_jobs.roles import columns
    from beam_jobs.writing import sinks
    from tfplugin import config

    def batches(element):
        number, path = element
        position = 0
        for rows in pq.ParquetFile(path).iter_batches(
            65_536, use_threads=False
        ):
            count = rows.num_rows
            yield columns.ExampleBatch(
                file=number,
                positions=np.arange(position, position + count),
                occurrences=np.zeros(count, np.int64),
                rows=rows,
                splits=np.zeros(count, np.uint8),
            )
            position += count

    schema = made_schema(pq.read_schema(logs[0]), packed)
    start = time.perf_counter()
    with pipelines.pipeline([]) as pipeline:
        written = (
            pipeline
            | beam.Create(list(enumerate(logs)))
            | beam.Reshuffle()
            | beam.FlatMap(batches)
            | sinks.WriteExamples(
                storage.DatasetPaths(str(out)),
                sinks.Order(config.DatasetConfig(num_shards=SHARDS)),
                schema=schema,
            )
        )
        # The runner is in this process; its elements are not.
        results = out / "shards.jsonl"
        (
            written
            | beam.Map(
                lambda shard: json.dumps([shard[0], shard[1].model_dump()])
            )
            | beam.io.WriteToText(str(results), shard_name_template="")
        )
    seconds = time.perf_counter() - start
    lines = results.read_text().splitlines()
    _finish(out, schema, [json.loads(line) for line in lines])
    return seconds


def _finish(out: pathlib.Path, made, shards: list) -> None:
    """Writes the records that make a dataset of the files."""
    from tfplugin import artifacts
    from tfplugin import schema

    folder = artifacts.DatasetFolder(out)
    schema.write_record(folder.schema_json, made)
    by_split: dict[str, list] = {split: [] for split in schema.SPLITS}
    for split, shard in shards:
        by_split[split].append(schema.Shard(**shard))
    schema.write_record(
        folder.statistics_json,
        schema.Statistics(
            source_files=(),
            rows_read=0,
            rows_removed_by_select=0,
            rows_added_by_select=0,
            rows_rejected=0,
            time_cut_offs=None,
            shards={split: tuple(found) for split, found in by_split.items()},
            labels={},
            dense={},
            tables={},
        ),
    )
    folder.completed.write_text("")


def write_row_wise(logs: list[str], out: pathlib.Path) -> float:
    import apache_beam as beam
    import tensorflow as tf

    from beam_jobs import pipelines

    def rows(path):
        for batch in pq.ParquetFile(path).iter_batches(
            65_536, use_threads=False
        ):
            yield from batch.to_pylist()

    def example(row):
        feature = {}
        for name, value in row.items():
            values = value if isinstance(value, list) else [value]
            if not values:
                continue
            if isinstance(values[0], int):
                found = tf.train.Feature(
                    int64_list=tf.train.Int64List(value=values)
                )
            elif isinstance(values[0], float):
                found = tf.train.Feature(
                    float_list=tf.train.FloatList(value=values)
                )
            else:
                encoded = [value.encode() for value in values]
                found = tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=encoded)
                )
            feature[name] = found
        return tf.train.Example(
            features=tf.train.Features(feature=feature)
        ).SerializeToString()

    start = time.perf_counter()
    with pipelines.pipeline([]) as pipeline:
        _ = (
            pipeline
            | beam.Create(logs)
            | beam.Reshuffle()
            | beam.FlatMap(rows)
            | beam.Map(example)
            | beam.io.WriteToTFRecord(
                str(out / "part"),
                file_name_suffix=".tfrecord.gz",
                num_shards=SHARDS,
            )
        )
    return time.perf_counter() - start


def read(folder: pathlib.Path) -> float:
    """Seconds an epoch, of three after the first."""
    from tfplugin import data

    dataset = data.open_dataset(folder)
    warm, timed = dataset.num_batches("train", BATCH_SIZE), 3
    rows = 0
    start = 0.0
    batches = dataset.train(BATCH_SIZE, seed=1, epochs=range(1 + timed))
    for number, (_, labels, _) in enumerate(batches):
        if number == warm:
            start = time.perf_counter()
        rows += len(labels["click"])
    seconds = (time.perf_counter() - start) / timed
    if rows != (1 + timed) * dataset.rows("train"):
        raise RuntimeError(f"Rows were lost. Received: {rows} rows")
    return seconds


def work(job: str, log: pathlib.Path, out: pathlib.Path) -> float:
    """Seconds of one job, in this process."""
    logs = sorted(str(path) for path in log.glob("*.parquet"))
    if job in (PLAIN, PACKED):
        return read(out)
    out.mkdir(parents=True)
    if job == ROW_WISE:
        return write_row_wise(logs, out)
    return write_ours(logs, out, packed=job == OURS_PACKED)


def run(job: str, log: pathlib.Path, out: pathlib.Path) -> float:
    """Seconds of one job, in a process of its own."""
    root = pathlib.Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, __file__, "--job", job, str(log), str(out)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": f"{root}{os.pathsep}{root / 'benchmarks'}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )
    return float(done.stdout.splitlines()[-1])


def measure(folder: pathlib.Path, args: argparse.Namespace) -> dict[str, dict]:
    """Seconds of every round, by job."""
    rows = {kind: args.rows or 500_000 for kind in (FEW, MANY)}
    for kind, count in rows.items():
        (folder / kind).mkdir()
        write_log(folder / kind, kind, count)
    found: dict[str, list[float]] = {}
    for turn in range(args.rounds):
        for job in (OURS, OURS_PACKED, ROW_WISE):
            out = folder / f"{job}-{turn}"
            found.setdefault(job, []).append(run(job, folder / FEW, out))
    plain, packed = folder / "plain", folder / "packed"
    run(OURS, folder / MANY, plain)
    run(OURS_PACKED, folder / MANY, packed)
    for _ in range(args.rounds):
        for job, out in ((PLAIN, plain), (PACKED, packed)):
            found.setdefault(job, []).append(run(job, folder / MANY, out))
    sizes = {
        job: sum(path.stat().st_size for path in out.rglob("*.gz"))
        for job, out in ((PLAIN, plain), (PACKED, packed))
    }
    return {
        job: {
            "kind": MANY if job in (PLAIN, PACKED) else FEW,
            "rows": rows[MANY if job in (PLAIN, PACKED) else FEW],
            "seconds": [round(one, 3) for one in seconds],
            "per_second": round(
                rows[MANY if job in (PLAIN, PACKED) else FEW]
                / statistics.median(seconds)
            ),
            **({"bytes": sizes[job]} if job in sizes else {}),
        }
        for job, seconds in found.items()
    }


def judge(jobs: dict[str, dict], docs: pathlib.Path) -> list[dict]:
    """What was asked for, and whether it is met."""
    speed = {job: one["per_second"] for job, one in jobs.items()}
    targets = [
        (OURS, ROW_WISE, speed[ROW_WISE], 8.0),
        (PACKED, PLAIN, speed[PLAIN], 3.0),
    ]
    step = docs / "results" / "step.json"
    if step.exists():
        steps = json.loads(step.read_text())["contenders"]
        if STEP in steps:
            per_second = steps[STEP]["per_second"]
            targets.append((PACKED, f"step: {STEP}", per_second, 2.0))
    return [
        {
            "ours": ours,
            "against": peer,
            "against_per_second": per_second,
            "ratio": round(speed[ours] / per_second, 2),
            "at_least": at_least,
            "met": speed[ours] >= at_least * per_second,
        }
        for ours, peer, per_second, at_least in targets
    ]


def markdown(found: dict) -> str:
    lines = ["| who | work | examples/s |", "|---|---|---:|"]
    for job, one in found["jobs"].items():
        shown = job if job == ROW_WISE else f"**{job}**"
        lines.append(f"| {shown} | {one['kind']} | {one['per_second']:,} |")
    lines += [
        "",
        "| ours | against | times as fast | asked | |",
        "|---|---|---:|---:|---|",
    ]
    for one in found["targets"]:
        lines.append(
            f"| {one['ours']} | {one['against']} | {one['ratio']} "
            f"| {one['at_least']} | {'met' if one['met'] else 'NOT MET'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--docs", type=pathlib.Path)
    parser.add_argument("--rows", type=int, help="for a quick try")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        job, log, out = args.job
        print(work(job, pathlib.Path(log), pathlib.Path(out)))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        jobs = measure(pathlib.Path(folder), args)
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_before": round(load, 2),
        "rounds": args.rounds,
        "jobs": jobs,
        "targets": judge(
            jobs, args.docs or pathlib.Path(__file__).parents[1] / "docs"
        ),
    }
    reports.write(args.docs, "examples", found, markdown(found), {})


if __name__ == "__main__":
    main()

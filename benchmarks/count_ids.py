"""Times counting ids with `beam_jobs.CountIds` beside its peers, in one run.

    python benchmarks/count_ids.py --folder impressions --rows 2000000
        [--peers count_ids.py] [--peer duckdb] [--tft-python PATH] [--repeat 3]

The log is made in `--folder` if it is not there: 4 scalar id columns (one of
strings), one list of ids, three labels, in Parquet; `--rows` of them in files
of 500,000, each seeded by its number. Ours counts all columns, with their
counts per label, and writes Parquet; every run is a process of its own, timed
from the start of the pipeline to its end. Runs take turns, and the median
counts.

`--peers` is a Python file with a function for each peer, called with the glob
of the log; those of `ALL_FILES` count all files (ids only, no labels),
`beam_rows` and `tft` the first one. `tft` needs tensorflow-transform:
`--tft-python` names the Python of a virtual environment made by `python -m
venv V && V/bin/pip install tensorflow-transform`, if it is not in this one.
"""

import argparse
import glob
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs import pipelines
from beam_jobs import storage
from beam_jobs.counting import id_frequencies
from tfplugin import schema

SCHEMA = schema.Schema(
    id_features={
        "user_id": schema.IdFeature(dtype="int64", table="user_id"),
        "item_id": schema.IdFeature(dtype="int64", table="item_id"),
        "advertiser_id": schema.IdFeature(dtype="int64", table="advertiser_id"),
        "campaign_id": schema.IdFeature(dtype="string", table="campaign_id"),
        "history": schema.IdFeature(
            dtype="int64", is_list=True, table="item_id"
        ),
    },
    labels=("click", "add_to_cart", "checkout"),
)
VOCABULARIES = {
    "user_id": 2_000_000,
    "item_id": 300_000,
    "advertiser_id": 20_000,
    "campaign_id": 50_000,
}
LABEL_RATES = {"click": 0.05, "add_to_cart": 0.01, "checkout": 0.002}
ROWS_A_FILE = 500_000
TIME_PEER = """
import importlib, json, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(path.parent))
peer = getattr(importlib.import_module(path.stem), sys.argv[2])
start = time.perf_counter()
peer(sys.argv[3])
print(json.dumps({"seconds": round(time.perf_counter() - start, 3)}))
"""
#: Peers that read every file.
ALL_FILES = ("duckdb", "polars")


def log_uniform_ids(rng, size, vocabulary_size):
    """Ids whose frequency falls as 1 / rank."""
    ids = np.exp(rng.random(size) * np.log(vocabulary_size)).astype(np.int64)
    return np.minimum(ids - 1, vocabulary_size - 1)


def impressions(num_rows, seed, vocabularies=None):
    """A table of the log."""
    rng = np.random.default_rng(seed)
    sizes = {**VOCABULARIES, **(vocabularies or {})}
    columns = {
        name: log_uniform_ids(rng, num_rows, size)
        for name, size in sizes.items()
    }
    columns["campaign_id"] = [f"c{i}" for i in columns["campaign_id"]]
    offsets = np.zeros(num_rows + 1, np.int32)
    np.cumsum(rng.integers(0, 8, num_rows), out=offsets[1:])
    columns["history"] = pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(log_uniform_ids(rng, offsets[-1], sizes["item_id"])),
    )
    for name, rate in LABEL_RATES.items():
        columns[name] = (rng.random(num_rows) < rate).astype(np.float32)
    return pa.table(columns)


def write_log(folder, num_rows):
    folder.mkdir(parents=True, exist_ok=True)
    num_files = -(-num_rows // ROWS_A_FILE)
    for number in range(num_files):
        path = folder / f"part-{number:05d}-of-{num_files:05d}.parquet"
        if not path.exists():
            rows = min(ROWS_A_FILE, num_rows - number * ROWS_A_FILE)
            table = impressions(rows, number)
            pq.write_table(table, path, row_group_size=65_536)


def batches(path):
    yield from pq.ParquetFile(path).iter_batches(65_536, use_threads=False)


def count(folder, memory=1 << 30):
    """Counts the log's ids in this process; seconds, and bytes at most."""
    paths = sorted(glob.glob(f"{folder}/*.parquet"))
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        with pipelines.pipeline([]) as pipeline:
            _ = (
                pipeline
                | beam.Create(paths)
                | beam.Reshuffle()
                | beam.FlatMap(batches)
                | id_frequencies.CountIds(
                    SCHEMA, storage.DatasetPaths(out), memory=memory
                )
            )
        seconds = time.perf_counter() - start
    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    return {
        "peer": "tfplugin",
        "rows": rows,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds),
        "peak_gib": round(peak_gib(), 3),
    }


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run(command):
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_peer(args, peer):
    python = args.tft_python if peer == "tft" else sys.executable
    paths = sorted(glob.glob(f"{args.folder}/*.parquet"))
    if peer not in ALL_FILES:
        paths = paths[:1]
    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    pattern = f"{args.folder}/*.parquet"
    found = run([python, "-c", TIME_PEER, args.peers, peer, pattern])
    speed = round(rows / found["seconds"])
    return {"peer": peer, "rows": rows, **found, "rows_per_second": speed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="impressions")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--peers", help="path of a program of peers")
    parser.add_argument("--peer", action="append", help="name of a peer")
    parser.add_argument("--tft-python", default=sys.executable)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count:
        print(json.dumps(count(args.folder)))
        return
    write_log(pathlib.Path(args.folder), args.rows)
    ours = [sys.executable, __file__, "--count", "--folder", args.folder]
    runs = {}
    for _ in range(args.repeat):
        found = [run(ours)]
        if args.peers:
            found += [run_peer(args, p) for p in args.peer or ["duckdb"]]
        for result in found:
            runs.setdefault(result["peer"], []).append(result)
    results = [
        min(
            some,
            key=lambda r, some=some: abs(
                r["seconds"] - statistics.median(x["seconds"] for x in some)
            ),
        )
        for some in runs.values()
    ]
    for result in results:
        speed = result["rows_per_second"]
        share = results[0]["rows_per_second"] / speed
        print(
            f"{result['peer']:12}{result['rows']:>12,} rows"
            f"{speed:>14,} rows/s   tfplugin is {share:.2f} x"
        )
    print(json.dumps({"results": results, "runs": runs}))


if __name__ == "__main__":
    main()

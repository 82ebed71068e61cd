"""Times counting ids with `beam_jobs.CountIds` beside a peer, in one run.

    python benchmarks/count_ids.py --folder impressions
        [--peers count_ids.py] [--peer beam_rows] [--repeat 3]

The log has 2,000,000 impressions: 4 scalar id columns (one of strings), one
list of ids, three labels. Ours counts all columns with their counts per label
and writes Parquet, start-up included. `--peers` is a program that is called
as `PROGRAM PEER --folder FOLDER` and prints one JSON line with
`rows_per_second`; it must have written, or write, the same log.
"""

import argparse
import glob
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import apache_beam as beam
import pyarrow.parquet as pq

from beam_jobs import id_frequencies
from beam_jobs import pipelines
from tfplugin import artifacts
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


def batches(path):
    file = pq.ParquetFile(path)
    yield from file.iter_batches(65_536, use_threads=False)


def count(folder):
    paths = sorted(glob.glob(f"{folder}/*.parquet"))
    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        with pipelines.pipeline([]) as pipeline:
            _ = (
                pipeline
                | beam.Create(paths)
                | beam.Reshuffle()
                | beam.FlatMap(batches)
                | id_frequencies.CountIds(
                    SCHEMA, artifacts.DatasetFolder(pathlib.Path(out))
                )
            )
        seconds = time.perf_counter() - start
    return {
        "peer": "tfplugin CountIds",
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
    }


def run_peer(program, peer, folder):
    done = subprocess.run(
        [sys.executable, program, peer, "--folder", folder],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="impressions")
    parser.add_argument("--peers", help="path of a program of peers")
    parser.add_argument("--peer", action="append", help="name of a peer")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    results = []
    if args.peers:
        for peer in args.peer or ["beam_rows"]:
            results.append(run_peer(args.peers, peer, args.folder))
    ours = [count(args.folder) for _ in range(args.repeat)]
    results.append(sorted(ours, key=lambda r: r["seconds"])[len(ours) // 2])
    for result in results:
        print(
            f"{result['peer']:24}{result['rows']:>12,} rows"
            f"{result['rows_per_second']:>14,} rows/s"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"results": results, "peak_gib": round(peak, 2)}))


if __name__ == "__main__":
    main()

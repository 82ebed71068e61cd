"""Time and memory of `beam_jobs.CountIds` from 2 to 100 million rows.

    python benchmarks/count_scale.py [--rows 2000000 --rows 100000000]
        [--memory 256] [--repeat 3] [--vocabulary fixed]

Each run is a process of its own. Rows are those of count_ids.py, made on the
fly: one table of 500,000 rows is made once, and every batch of it comes again
and again, at a growing vocabulary with an offset on its user and item ids, so
that these tables grow with the log; the bytes of the log would fill the disk.
The slope is that of a line through (log rows, log seconds). Memory is the peak
of the process above that of the same pipeline without rows before it, and is
to stay within `--memory` MiB.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time

import apache_beam as beam
import count_ids
import numpy as np
import pyarrow as pa

from beam_jobs import pipelines
from beam_jobs import storage
from beam_jobs.counting import id_frequencies

ROWS_A_TURN = 500_000
ROWS_A_BATCH = 62_500
SIZES = (2_000_000, 10_000_000, 50_000_000, 100_000_000)


class MakeRows(beam.DoFn):
    """Number of a turn → the batches of the log that it is.

    Args:
        path: An Arrow file of them.
        growing: Whether users and items are others in each turn.
    """

    def __init__(self, path, growing):
        self._path = path
        self._growing = growing

    def process(self, turn):
        with pa.OSFile(self._path) as file:
            for batch in pa.ipc.open_stream(file):
                yield moved(batch, turn) if self._growing else batch


def write_turn(path):
    table = count_ids.impressions(ROWS_A_TURN, 0).combine_chunks()
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, ROWS_A_BATCH)


def moved(batch, turn):
    """The batch with other users and items."""
    for name in ("user_id", "item_id"):
        ids = batch[name].to_numpy() + turn * count_ids.VOCABULARIES[name]
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, name, pa.array(ids))
    return batch


def count(rows, growing, memory):
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as out:
        turn = f"{out}/turn.arrow"
        # By a process of its own, or its memory would count.
        maker = multiprocessing.get_context("spawn").Process(
            target=write_turn, args=(turn,)
        )
        maker.start()
        maker.join()
        # Without rows: what Beam and Arrow load and keep by themselves.
        run_pipeline(f"{out}/base", turn, 0, growing, memory)
        base = peak_mib()
        start = time.perf_counter()
        found = run_pipeline(
            f"{out}/log", turn, rows // ROWS_A_TURN, growing, memory
        )
        seconds = time.perf_counter() - start
    return {
        "rows": rows,
        "vocabulary": "growing" if growing else "fixed",
        "ids": sum(summary.file.rows for summary in found),
        "occurrences": sum(summary.occurrences for summary in found),
        "seconds": round(seconds, 2),
        "memory_mib": memory >> 20,
        "base_mib": round(base),
        "peak_above_base_mib": round(peak_mib() - base),
    }


def run_pipeline(out, turn, turns, growing, memory):
    with pipelines.pipeline([]) as pipeline:
        _ = (
            pipeline
            | beam.Create(range(turns))
            | beam.Reshuffle()
            | beam.ParDo(MakeRows(turn, growing))
            | id_frequencies.CountIds(
                count_ids.SCHEMA, storage.DatasetPaths(out), memory=memory
            )
            | beam.Map(lambda summary: ("summary", summary))
            | pipelines.CollectResults(f"{out}/summaries")
        )
    return pipelines.read_results(f"{out}/summaries")["summary"]


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def run(rows, vocabulary, memory):
    command = [sys.executable, __file__, "--count", "--rows", str(rows)]
    command += ["--vocabulary", vocabulary, "--memory", str(memory)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(result), flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--memory", type=int, default=256, help="MiB")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--vocabulary", action="append", choices=["fixed", "growing"]
    )
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    kinds = args.vocabulary or ["fixed", "growing"]
    if args.count:
        growing = kinds == ["growing"]
        print(json.dumps(count(args.rows[0], growing, args.memory << 20)))
        return
    for kind in kinds:
        best = {}
        for _ in range(args.repeat):
            for rows in args.rows or SIZES:
                seconds = run(rows, kind, args.memory)["seconds"]
                best[rows] = min(seconds, best.get(rows, seconds))
        if len(best) > 1:
            logs = np.log(list(best)), np.log(list(best.values()))
            slope = float(np.polyfit(*logs, 1)[0])
            print(json.dumps({"vocabulary": kind, "slope": round(slope, 3)}))


if __name__ == "__main__":
    main()

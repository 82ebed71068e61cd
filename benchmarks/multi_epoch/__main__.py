"""Remedies against multi-epoch overfitting, on five logs.

    python -m benchmarks.multi_epoch --folder F [--workers 2] [LOG ...]

Prepares the datasets, searches each arm's settings on validation, trains the
chosen ones for six epochs with three seeds, asks `tfplugin recommend` and
trains what it proposes, and writes F/results.json. What is
done is not repeated. `protocol.py` says what is compared; `page.py` makes the
page. The funnel's log comes from `tfplugin funnel --folder funnel`.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]


def work_on(
    name: str, folder: pathlib.Path, stage: str, limit: float, first: bool
) -> None:
    """Does what no other worker has begun, until `limit` seconds are over."""
    from benchmarks.multi_epoch import protocol
    from benchmarks.multi_epoch import runs

    begun = time.monotonic()
    log = runs.Log(name, folder)
    for arm in log.arms():
        if first and not arm.first:
            continue
        if stage == "search":
            jobs = [(c, protocol.SEARCH_SEED) for c in arm.settings]
            if len(jobs) == 1:
                continue
        else:
            chosen = runs.chosen_setting(log, arm)
            if chosen is None:
                continue
            jobs = [(chosen, seed) for seed in protocol.SEEDS]
            runs.write_labels(log)
        for changes, seed in jobs:
            if time.monotonic() - begun > limit:
                return
            where = runs.place(log, arm.name, changes, seed, stage)
            if not runs.claim(where.with_suffix(".claim")):
                continue
            epochs = protocol.SEARCH_EPOCHS if stage == "search" else arm.epochs
            done = runs.run(
                log, arm.name, changes, seed=seed, epochs=epochs, stage=stage
            )
            last = {k: round(v[-1], 4) for k, v in done["validation"].items()}
            print(
                f"{name} {stage} {arm.name} seed {seed} {last} "
                f"{done['cpu_seconds']:.0f} s of CPU",
                flush=True,
            )


def main() -> None:
    """Runs the benchmark, or as a worker a part of it."""
    from benchmarks.multi_epoch import protocol
    from benchmarks.multi_epoch import results
    from benchmarks.multi_epoch import runs

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("logs", nargs="*", default=list(protocol.LOGS))
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1e9, help="Seconds.")
    parser.add_argument(
        "--first", action="store_true", help="What the claims rest on, alone."
    )
    parser.add_argument("--worker", choices=["search", "final"])
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.worker:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for name in arguments.logs:
            work_on(
                name,
                folder,
                arguments.worker,
                arguments.limit,
                arguments.first,
            )
        return
    for name in arguments.logs:
        log = runs.Log(name, folder)
        runs.prepare(name, log.work)
        for stage in ("search", "final", "recommend", "final"):
            if stage == "recommend":
                runs.recommend(log)
                continue
            workers = [
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.multi_epoch", name]
                    + ["--folder", str(folder), "--worker", stage]
                    + ["--limit", str(arguments.limit)]
                    + ["--first"] * arguments.first,
                    cwd=ROOT,
                    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                )
                for _ in range(arguments.workers)
            ]
            for worker in workers:
                if worker.wait():
                    raise SystemExit(f"a worker failed on {name}, {stage}")
    results.write(folder, "python -m benchmarks.multi_epoch --folder F")


if __name__ == "__main__":
    main()

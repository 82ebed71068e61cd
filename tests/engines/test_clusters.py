"""Flink and Spark make the same dataset, also where a worker is killed.

One file, as one process runs it: two would fetch and start each engine twice.
"""

import os
import signal
import subprocess

import pytest

from tests.engines import conftest


def test_flink_with_workers_in_the_caller(engines, expected, flink):
    made = engines.run("loopback", *flink, "--environment_type=LOOPBACK")
    assert made == expected


def test_flink_with_worker_processes_of_which_one_is_killed(
    engines, expected, process_workers, task_manager
):
    process = engines.start("lost_flink", *process_workers)
    conftest.await_(lambda: conftest.writes(engines, "lost_flink"), process)
    workers = conftest.await_(
        lambda: conftest.named(b"sdk_worker_main", {task_manager}),
        process,
    )
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    status = process.wait(2 * conftest.PATIENCE_SECONDS)
    conftest.check(engines, expected, "lost_flink", status)


def test_spark(engines, expected, spark):
    made = engines.run("spark", *spark, "--environment_type=LOOPBACK")
    assert made == expected


@pytest.mark.parametrize("script", [conftest.FLINK, conftest.SPARK])
@pytest.mark.parametrize("arguments", [[], ["restart"]])
def test_a_script_says_what_it_takes(script, arguments):
    done = subprocess.run(
        [script, *arguments], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"start|stop|status" in done.stderr

"""Beam's own engines make the same dataset, also where workers are killed."""

import os
import pathlib
import signal
import time

import pytest

from tests.beam_jobs import conftest as beam_conftest
from tests.engines import conftest


def test_in_memory(engines, expected):
    shards = [
        part
        for name, part in expected.items()
        if name.split("/")[0] in beam_conftest.SPLITS
    ]
    assert len(shards) == 3 * 2
    assert sum(len(rows) for _, rows in shards) == 3 * conftest.ROWS
    assert engines.lab("in_memory").frequencies("item")


def test_multi_processing(engines, expected):
    assert engines.run("processes", *conftest.IN_PROCESSES) == expected


@pytest.mark.parametrize("moment", ["start", "work"])
def test_a_worker_is_killed(engines, expected, moment):
    name = f"lost_{moment}"
    process = engines.start(name, *conftest.IN_PROCESSES)
    workers = conftest.await_(lambda: conftest.descendants(process), process)
    if moment == "work":
        conftest.await_(lambda: conftest.writes(engines, name), process)
    os.kill(workers[0], signal.SIGKILL)
    status = process.wait(conftest.PATIENCE_SECONDS)
    # Beam itself would wait for ever for the one that never connected.
    assert moment == "work" or status
    conftest.check(engines, expected, name, status)


def test_the_caller_is_killed(engines, expected):
    process = engines.start("orphans", *conftest.IN_PROCESSES)
    (first, *_) = conftest.await_(
        lambda: conftest.named(b"beam_jobs.local_worker", {process.pid}),
        process,
    )
    line = pathlib.Path(f"/proc/{first}/cmdline").read_bytes()
    folder = line.split(b"\0")[3]
    process.kill()
    process.wait()
    limit = time.monotonic() + conftest.PATIENCE_SECONDS
    # One that was about to start counts as well.
    while conftest.named(folder):
        assert time.monotonic() < limit, "workers go on without their job"
        time.sleep(0.05)
    conftest.check(engines, expected, "orphans", -signal.SIGKILL)


def test_a_cluster_that_cannot_be_reached_leaves_no_dataset(engines):
    process = engines.start(
        "nowhere",
        "--runner=PortableRunner",
        "--job_endpoint=localhost:9",
        "--job_server_timeout=1",
    )
    assert process.wait(60) != 0
    assert not (engines.path / "nowhere/dataset/COMPLETED").exists()

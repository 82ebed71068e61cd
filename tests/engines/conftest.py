"""A log, a local Flink with worker processes, and jobs to run on it."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.beam_jobs import conftest as beam_conftest
from tests.support import source_imports

FLINK = source_imports.CHECKOUT / "scripts" / "flink.sh"
SPARK = source_imports.CHECKOUT / "scripts" / "spark.sh"
WORKER = source_imports.CHECKOUT / "scripts" / "engines" / "beam_worker.sh"
ROWS = 6_000
IN_PROCESSES = (
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
)
PATIENCE_SECONDS = 120
#: What the scripts end with if the packages cannot be had just now.
_UNFETCHED = 75


class Engines:
    """A log, and its dataset made by any engine."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.files = []
        random = np.random.default_rng(5)
        for number in range(3):
            clicks = random.integers(0, 2, ROWS).astype(np.float64)
            table = pa.table(
                {
                    "item": random.zipf(1.3, ROWS).clip(0, 10**6),
                    "user": random.integers(0, 400, ROWS),
                    "price": random.normal(size=ROWS),
                    "click": pa.array(clicks, mask=random.random(ROWS) < 0.1),
                    "shown": random.integers(0, 10**6, ROWS),
                }
            )
            file = path / f"log-{number}.parquet"
            pq.write_table(table, file, row_group_size=1_000)
            self.files.append(str(file))
        self.experiment = {
            "name": "engines",
            "source": {"format": "parquet", "files": self.files},
            "features": {
                "item": {"type": "id", "dtype": "int64"},
                "user": {"type": "id", "dtype": "int64"},
                "price": {"type": "dense"},
            },
            "labels": ["click"],
            "event_time": "shown",
            "split": {"by": "hash", "columns": ["user"]},
            "dataset": {"num_shards": 2},
        }
        self.config = path / "experiment.yaml"
        self.config.write_text(yaml.safe_dump(self.experiment), "utf-8")

    def lab(self, name):
        """Reads what a run wrote."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return beam_conftest.Lab(folder)

    def start(self, name, *arguments):
        """The command line, as a process of its own."""
        log = (self.path / f"{name}.log").open("wb")
        with log:
            return subprocess.Popen(
                [
                    str(source_imports.CHECKOUT / ".venv/bin/tfplugin"),
                    "preprocess",
                    f"--config={self.config}",
                    f"--workdir={self.path / name}",
                    "--",
                    *arguments,
                ],
                stdout=log,
                stderr=log,
            )

    def contents(self, name):
        return self.lab(name).contents()

    def run(self, name, *arguments):
        """The dataset, once the command line has made it."""
        status = self.start(name, *arguments).wait(240)
        said = (self.path / f"{name}.log").read_text("utf-8", "replace")
        assert status == 0, said[-4000:]
        return self.contents(name)


@pytest.fixture(scope="session")
def engines(tmp_path_factory):
    return Engines(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="session")
def expected(engines):
    """What the in-memory runner makes of the log."""
    return engines.run("in_memory")


@pytest.fixture(scope="session")
def flink_state(tmp_path_factory):
    """Folder of the logs and process numbers of Flink."""
    return tmp_path_factory.mktemp("flink")


@contextlib.contextmanager
def _running(script, **environment):
    """An engine: the options that send a job to it."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    environment = {**os.environ, **environment}
    started = subprocess.run(
        [script, "start"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if started.returncode == _UNFETCHED:
        pytest.skip(f"Maven could not fetch the engine: {started.stderr}")
    assert started.returncode == 0, started.stderr
    try:
        yield tuple(started.stdout.split())
    finally:
        subprocess.run([script, "stop"], env=environment, check=True)


@pytest.fixture(scope="session")
def flink(flink_state):
    """A standalone Flink."""
    port = str(_free_ports())
    with _running(
        FLINK, FLINK_STATE=str(flink_state), FLINK_PORT=port
    ) as options:
        yield options


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A Spark in its job server."""
    state = str(tmp_path_factory.mktemp("spark"))
    with _running(
        SPARK, SPARK_STATE=state, SPARK_PORT=str(_free_ports())
    ) as options:
        yield options


@pytest.fixture(scope="session")
def task_manager(flink, flink_state):
    """Number of the process that starts workers."""
    return int((flink_state / "taskmanager.pid").read_text("utf-8"))


@pytest.fixture(scope="session")
def process_workers(flink):
    """The same, with workers that the task manager starts itself."""
    return (
        *flink,
        "--environment_type=PROCESS",
        f'--environment_config={{"command": "{WORKER}"}}',
        "--parallelism=2",
    )


def _free_ports():
    """The first of four neighbouring ports that nobody listens at."""
    for first in range(20_081, 28_000, 10):
        sockets = [socket.socket() for _ in range(4)]
        try:
            for port, one in enumerate(sockets, first):
                one.bind(("localhost", port))
        except OSError:
            continue
        else:
            return first
        finally:
            for one in sockets:
                one.close()
    raise RuntimeError("There must be four free ports. Received: none.")


def await_(condition, process):
    """What the condition is once it holds; None if the process ends first."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None:
        found = condition()
        if found:
            return found
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.01)
    return None


def named(name, among=None):
    """Processes whose command line holds a name."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            parent = int(
                (entry / "stat").read_text().rsplit(")")[-1].split()[1]
            )
        except OSError:  # it has ended
            continue
        if name in line and not line.startswith(b"/bin/sh"):
            if among is None or parent in among:
                found.append(int(entry.name))
    return found


def descendants(process):
    """Workers of Beam's multi-processing below a process."""
    starters = named(b"beam_jobs.local_worker", {process.pid})
    return named(b"sdk_worker_main", set(starters))


def writes(engines, name):
    """Temporary files of a run that is under way."""
    folder = engines.path / name / "dataset" / ".temporary"
    return [path for path in folder.rglob("*") if path.is_file()]


def check(engines, expected, name, status):
    """Right or absent; and right when run again."""
    if status:
        completed = engines.path / name / "dataset" / "COMPLETED"
        assert not completed.exists()
        engines.run(name)
    assert engines.contents(name) == expected

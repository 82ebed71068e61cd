"""A disk that takes no more, in whole jobs of their own process."""

import subprocess
import sys

import pytest

from tests.beam_jobs import test_append
from tests.beam_jobs.test_append import base  # noqa: F401  a fixture
from tests.beam_jobs.test_append import lab  # noqa: F401  a fixture

# The limit on the size of a file is what a test may set without a disk of its
# own: writing beyond it fails as on a full disk, with another number.
JOB = """
import pathlib, resource, signal, sys
from tests.beam_jobs import conftest, test_append
lab = conftest.Lab(pathlib.Path(sys.argv[1]))
limit = int(sys.argv[3])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
path = str(lab.path / "b.parquet")
if sys.argv[2] == "append":
    test_append.add(lab, path)
else:
    lab.run(path, **test_append.CONFIG)
"""


def job(lab, stage, limit):  # noqa: F811
    return subprocess.run(
        [sys.executable, "-c", JOB, str(lab.path), stage, str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("limit", [500, 6_000])
def test_no_dataset_on_a_full_disk(lab, limit):  # noqa: F811
    lab.write("b.parquet", test_append.log(0, 4_000))
    done = job(lab, "preprocess", limit)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert not lab.folder.completed.exists()
    assert not (lab.folder.path / ".temporary").exists()
    assert not list(lab.folder.path.rglob("*.tmp"))
    assert job(lab, "preprocess", 0).returncode == 0
    assert lab.folder.read_statistics().rows_read == 4_000


def test_a_full_disk_leaves_the_dataset_as_it_was(lab):  # noqa: F811
    before = test_append.snapshot(lab)
    lab.write("b.parquet", test_append.log(400, 4_000))
    done = job(lab, "append", 6_000)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert test_append.snapshot(lab) == before
    assert job(lab, "append", 0).returncode == 0
    assert lab.folder.read_statistics().rows_read == 4_400

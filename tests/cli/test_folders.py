"""Work folders that cannot be written to, and a job that is interrupted."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import tempfile
import time

import pytest

from tests.cli import shop
from tests.support import experiments

_NOBODY = 65534


@pytest.fixture
def read_only():
    """A folder with a log and a work folder that may only be read."""
    # Not pytest's: root's folders are closed to the user that root becomes.
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shop.write(folder)
        experiments.make(folder)
        folders = [folder, folder / "work"]
        for path in folders:
            path.chmod(stat.S_IRUSR | stat.S_IXUSR | 0o055)
        root = os.geteuid() == 0
        if root:
            os.seteuid(_NOBODY)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            for path in folders:
                path.chmod(stat.S_IRWXU)


def test_a_new_folder_where_none_may_be_made(read_only):
    ended = shop.run(
        "preprocess",
        f"--config={read_only}/shop.yaml",
        f"--workdir={read_only}/new",
    )
    shop.check_refused(ended, f"{read_only}/new", "Permission denied")


@pytest.mark.parametrize(
    "words",
    [
        "preprocess --config={}/small.yaml --workdir={}/work --overwrite",
        "train --config={}/small.yaml --workdir={}/work",
        "report --workdir={}/work",
    ],
)
def test_a_folder_that_cannot_be_written_to(read_only, words):
    words = words.replace("{}", str(read_only)).split()
    ended = shop.run(*words)
    shop.check_refused(ended, f"{read_only}/work", "Permission denied")


def test_an_interrupted_preprocessing_says_so_and_may_be_redone(tmp_path):
    config = shop.write(tmp_path)
    header, *rows = (tmp_path / "log.csv").read_text("utf-8").splitlines()
    long = "\n".join([header, *rows * 700]) + "\n"
    (tmp_path / "long.csv").write_text(long, "utf-8")
    work = tmp_path / "W"
    words = ["preprocess", "--config", str(config), "--workdir", str(work)]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tfplugin", *words),
            f"--set=source.files={tmp_path}/long.csv",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (work / "dataset/.temporary").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "tfplugin: Interrupted.\n")
    assert not (work / "dataset/COMPLETED").exists()
    assert not (work / "dataset/.temporary").exists()
    ended = shop.run_in_one_process(
        [["train", *words[1:]], words, ["report", "--workdir", str(work)]]
    )
    shop.check_refused(ended[0], str(work / "dataset"), "preprocess")
    assert [e.status for e in ended[1:]] == [0, 0]

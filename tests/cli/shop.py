"""A tiny raw log and its configuration, and commands run on them."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import yaml

from tfplugin import cli

HEADER = "user,city,price,ts,click,buy,seen"
CONFIG = {
    "name": "shop",
    "source": {"format": "csv", "files": "log.csv"},
    "features": {
        "user": {"type": "id", "dtype": "int64"},
        "city": {"type": "id", "dtype": "string"},
        "price": {"type": "dense", "transforms": ["log1p"]},
    },
    "labels": {"click": None, "buy": {"mask": "seen"}},
    "event_time": "ts",
    "split": {"by": "time"},
    "dataset": {"num_shards": 2},
    "model": {"hidden_units": [8], "embedding_dim": 4, "dropout": 0.1},
    "training": {"epochs": 1, "batch_size": 128},
}

# Runs command lines in one fresh process, each with the file descriptors of
# a terminal's process, and says what TensorFlow had to do with it.
_DRIVER = """
import json, os, sys, tempfile
from tfplugin import cli

results = []
for words in json.load(sys.stdin):
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
        try:
            status = cli.main(words)
        except BaseException as error:
            status = repr(error)
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(saved[0], 1), os.dup2(saved[1], 2)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    loaded = sorted({"tensorflow", "keras"} & set(sys.modules))
    results.append([status, *texts, loaded])
json.dump(results, sys.stdout)
"""


class Ended(NamedTuple):
    """How a command ended."""

    status: int | str
    out: str
    err: str
    loaded: list[str]


def write(folder: pathlib.Path, rows: int = 300) -> pathlib.Path:
    """Writes log.csv and shop.yaml; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = [HEADER]
    for moment in range(rows):
        user = int(rng.zipf(1.5)) % 50
        city = rng.choice(["Bern", "Zürich", "Genève", ""])
        click = int(rng.random() < 0.2 + 0.4 * (user % 2))
        buy = int(rng.random() < 0.2)
        seen = int(rng.random() < 0.8)
        price = "" if rng.random() < 0.1 else f"{rng.exponential(9):.3f}"
        lines.append(
            f"{user},{city},{price},{1_700_000_000 + moment},"
            f"{click},{buy},{seen}"
        )
    (folder / "log.csv").write_text("\n".join(lines) + "\n", "utf-8")
    config = folder / "shop.yaml"
    config.write_text(yaml.safe_dump(CONFIG), "utf-8")
    return config


def run_in_one_process(lines: list[list[str]]) -> list[Ended]:
    """Runs command lines one after the other in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*result) for result in json.loads(done.stdout)]


def run(*words: object) -> Ended:
    """Runs a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main([str(word) for word in words])
    return Ended(status, out.getvalue(), err.getvalue(), [])


def check_refused(ended: Ended, *says: str) -> None:
    """Status 2 and one line on standard error that names the culprit."""
    assert ended.status == 2, ended
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("tfplugin: "), ended.err
    assert "Traceback" not in ended.err
    for words in says:
        assert words in ended.err, (words, ended.err)

"""A small real log in Parquet, and the command line as its own process."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROWS = 3000
TEST_ROWS = 600
EPOCHS = 4
# They occur in rows of the test split alone.
PLANTED_USER = 987_654_321_012
PLANTED_CITY = "Atlantis"
PLANTED_TAG = "planted-tag"

CONFIG = {
    "name": "shop",
    "source": {"format": "parquet", "files": "log-*.parquet"},
    "features": {
        "user": {"type": "id", "dtype": "int64"},
        "city": {"type": "id", "dtype": "string"},
        "tags": {"type": "id_list", "dtype": "string"},
        "position": {
            "type": "id",
            "dtype": "int64",
            "training_only": True,
            "serving_value": 1,
        },
        "price": {"type": "dense", "transforms": ["log1p"]},
    },
    "labels": {"click": None, "buy": {"mask": "seen"}},
    "event_time": "ts",
    "split": {"by": "time", "validation": 0.1, "test": 0.2},
    "dataset": {"num_shards": 2},
    "tables": {"user": {"min_count": 2}},
    "model": {"hidden_units": [8], "embedding_dim": 4, "dropout": 0.1},
    "training": {
        "epochs": 2,
        "batch_size": 64,
        "tables": {"learning_rate": 0.2},
        "rest": {"learning_rate": 0.02},
    },
}


def log() -> pa.Table:
    """Rows whose labels follow user, city and tags; the last are the test."""
    rng = np.random.default_rng(0)
    user = rng.zipf(1.4, ROWS) % 97
    city = rng.integers(0, 3, ROWS)
    tags = [
        [f"t{k}" for k in rng.integers(0, 9, rng.integers(0, 4))]
        for _ in range(ROWS)
    ]
    score = (user % 5) - 2.0 + (city == 0) + np.array(["t3" in t for t in tags])
    chance = 1 / (1 + np.exp(-score))
    table = {
        "user": [
            int(u) if m else None
            for u, m in zip(user, rng.random(ROWS) > 0.05, strict=True)
        ],
        "city": [["Bern", "Zürich", "Genève"][c] for c in city],
        "tags": tags,
        "position": rng.integers(0, 5, ROWS),
        "price": [
            p if m else None
            for p, m in zip(
                rng.exponential(20, ROWS), rng.random(ROWS) > 0.1, strict=True
            )
        ],
        "ts": 1_700_000_000 + np.arange(ROWS),
        "click": (rng.random(ROWS) < chance).astype(int),
        "buy": (rng.random(ROWS) < chance / 4).astype(int),
        "seen": rng.random(ROWS) < 0.8,
    }
    for row in range(ROWS - 50, ROWS):
        table["user"][row] = PLANTED_USER
        table["city"][row] = PLANTED_CITY
        table["tags"][row] = [PLANTED_TAG]
        table["buy"][row], table["seen"][row] = 1, True
    return pa.table(table)


def write(folder: pathlib.Path) -> pathlib.Path:
    """Writes two shards of the log and shop.yaml; returns the latter."""
    table = log()
    pq.write_table(table.slice(0, 1700), folder / "log-0.parquet")
    pq.write_table(table.slice(1700), folder / "log-1.parquet")
    config = folder / "shop.yaml"
    config.write_text(yaml.safe_dump(CONFIG), "utf-8")
    return config


def start(*words: object) -> subprocess.Popen[str]:
    """A command as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "tfplugin", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: object) -> str:
    """Runs a command to its end; returns what it printed.

    Nothing may be said on standard error.
    """
    process = start(*words)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), err
    return out


@dataclasses.dataclass
class Server:
    """`tfplugin serve` as a process."""

    process: subprocess.Popen[str]
    url: str
    grpc: str


def serve(work: pathlib.Path) -> Server:
    """Starts a server on free ports and waits until it answers."""
    process = start(
        "serve", "--workdir", work, "--rest-port", 0, "--grpc-port", 0
    )
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline()
        assert line, (said, process.communicate())
        said += line
    url = re.search(r"(http://\S+):predict", said)
    grpc = re.search(r"gRPC +(127\.0\.0\.1:\d+)", said)
    assert url and grpc, said
    return Server(process, url[1], grpc[1])

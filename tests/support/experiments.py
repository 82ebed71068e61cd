"""A small experiment on real files, for training, export and serving."""

import pathlib

import numpy as np
import yaml

from tests.support import datasets
from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin import schema as schema_lib

CONFIG = {
    "name": "small",
    "source": {"format": "csv", "files": "log.csv"},
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
        "price": {
            "type": "dense",
            "transforms": ["standardize", "log1p", "quantile_buckets"],
            "num_buckets": 4,
        },
    },
    "labels": ["click", "buy"],
    "split": {"by": "hash", "columns": ["user"]},
    "tables": {
        "user": {"min_count": 2, "embedding_dim": 3},
        "city": {"mapping": "hash", "num_buckets": 5},
    },
    "model": {"embedding_dim": 4, "hidden_units": [8], "dropout": 0.1},
    "training": {
        "epochs": 4,
        "batch_size": 64,
        "shuffle_rows": 200,
        # Its own tests switch it on; it would slow all others down.
        "telemetry": False,
        "tables": {"learning_rate": 0.2},
        "rest": {"learning_rate": 0.02},
    },
}
SCHEMA = schema_lib.Schema(
    id_features={
        "user": schema_lib.IdFeature(dtype="int64", table="user"),
        "city": schema_lib.IdFeature(dtype="string", table="city"),
        "tags": schema_lib.IdFeature(
            dtype="string", table="tags", is_list=True
        ),
        "position": schema_lib.IdFeature(
            dtype="int64",
            table="position",
            training_only=True,
            serving_value=1,
        ),
    },
    dense_features={"price": schema_lib.DenseFeature()},
    labels=("click", "buy"),
)


def rows(count: int, seed: int) -> list[datasets.Row]:
    """Rows whose labels follow user, city and price."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        user = int(rng.zipf(1.4)) % 97
        city = ["Bern", "Zürich", "Genève"][int(rng.integers(3))]
        price = float(rng.exponential(20))
        score = (user % 5 - 2) + (city == "Bern") - price / 40
        chance = 1 / (1 + np.exp(-score))
        made.append(
            {
                "user": None if rng.random() < 0.05 else user,
                "city": None if rng.random() < 0.05 else city,
                "tags": [f"t{k}" for k in range(int(rng.integers(0, 4)))],
                "position": int(rng.integers(0, 5)),
                "price": None if rng.random() < 0.05 else price,
                "click": float(rng.random() < chance),
                "buy": None
                if rng.random() < 0.2
                else float(rng.random() < chance / 4),
            }
        )
    return made


def make(
    path: pathlib.Path, *overrides: str
) -> tuple[config_lib.ExperimentConfig, artifacts.WorkFolder]:
    """A work folder with a dataset, and its configuration."""
    work = artifacts.WorkFolder(path / "work")
    work.prepare()
    datasets.write_dataset(
        work.dataset.path,
        SCHEMA,
        {
            "train": rows(500, 0),
            "validation": rows(200, 1),
            "test": rows(200, 2),
        },
    )
    (path / "small.yaml").write_text(yaml.safe_dump(CONFIG))
    config = config_lib.load(path / "small.yaml", overrides)
    work.config.write_text(config_lib.dump(config))
    return config, work

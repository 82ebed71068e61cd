"""A training step against the number of rows in its table.

    python benchmarks/table_size.py --json result.json

One table of dim 16, 8 one-hot features over it, batch 4,096, a small MLP. The
same 100,000 ids, spread over the whole table, so that every size sees equal
duplicates. Ours and stock Keras take turns, step by step, in one process;
figures are medians in milliseconds and ratios to the smallest table.
"""

import argparse
import json
import os
import pathlib
import platform
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfplugin import layers
from tfplugin import optimizers

NUM_FEATURES = 8
DIM = 16
BATCH_SIZE = 4096
DISTINCT_IDS = 100_000
ROWS = (100_000, 1_000_000)


def batches(rows: int, count: int = 4, seed: int = 0) -> list[tuple]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        uniform = rng.random((BATCH_SIZE, NUM_FEATURES))
        ids = np.exp(uniform * np.log(DISTINCT_IDS)).astype(np.int64) - 1
        ids = ids * 2654435761 % DISTINCT_IDS * (rows // DISTINCT_IDS)
        labels = rng.integers(0, 2, (BATCH_SIZE, 1)).astype(np.float32)
        made.append((tf.constant(ids), tf.constant(labels)))
    return made


def network(table: keras.layers.Layer) -> keras.Model:
    ids = keras.Input((NUM_FEATURES,), dtype="int64")
    x = keras.layers.Flatten()(table(ids))
    x = keras.layers.Dense(64, activation="relu")(x)
    return keras.Model(ids, keras.layers.Dense(1)(x))


def ours(rows: int, rule: type) -> keras.Model:
    table = layers.Embedding(rows, DIM, seed=1)
    model = network(table)
    tables = rule(0.01, row_rate=optimizers.LogFrequency())
    optimizer = optimizers.split(
        model, tables=tables, rest=keras.optimizers.Adam(1e-3)
    )
    optimizer.build(model.trainable_variables)
    optimizer.set_row_counts(table.embeddings, np.arange(rows) % 97)
    return compiled(model, optimizer)


def stock(rows: int, rule: type) -> keras.Model:
    model = network(keras.layers.Embedding(rows, DIM))
    return compiled(model, rule(0.01))


def compiled(
    model: keras.Model, optimizer: keras.optimizers.Optimizer
) -> keras.Model:
    model.compile(
        optimizer,
        keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


CONTENDERS = {
    "RowwiseAdagrad + LogFrequency": (ours, optimizers.RowwiseAdagrad),
    "LazyAdam + LogFrequency": (ours, optimizers.LazyAdam),
    "stock Keras Adagrad": (stock, keras.optimizers.Adagrad),
    "stock Keras Adam": (stock, keras.optimizers.Adam),
}


def measure(steps: int) -> dict[str, dict[int, float]]:
    """Median milliseconds of a step by contender and rows."""
    work = {rows: batches(rows) for rows in ROWS}
    models = {
        (name, rows): make(rows, rule)
        for name, (make, rule) in CONTENDERS.items()
        for rows in ROWS
    }
    seconds: dict = {key: [] for key in models}
    for step in range(-4, steps):
        for (name, rows), model in models.items():
            ids, labels = work[rows][step % 4]
            start = time.perf_counter()
            model.train_on_batch(ids, labels)
            if step >= 0:
                seconds[name, rows].append(time.perf_counter() - start)
    return {
        name: {
            rows: round(float(np.median(seconds[name, rows])) * 1e3, 2)
            for rows in ROWS
        }
        for name in CONTENDERS
    }


def markdown(found: dict[str, dict[int, float]]) -> str:
    small, large = ROWS
    lines = [
        f"| optimizer | {small:,} rows | {large:,} rows | ratio |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {ms[small]:.1f} ms | {ms[large]:.1f} ms "
        f"| {ms[large] / ms[small]:.2f} |"
        for name, ms in found.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    found = measure(arguments.steps)
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {
                    "step_ms": found,
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                    "versions": {
                        "tensorflow": tf.__version__,
                        "keras": keras.__version__,
                    },
                },
                indent=1,
            )
            + "\n"
        )
    print(markdown(found))


if __name__ == "__main__":
    main()

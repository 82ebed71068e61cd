"""What each remedy against multi-epoch overfitting costs.

    python benchmarks/remedies.py --json result.json

A step: one table of 1,000,000 rows and dim 16, 8 one-hot features over it with
ids by a power law, batch 4,096, an MLP of 128-64 and two objectives; the
optimizer is RowwiseAdagrad with one rate for all rows, so that a remedy that
reads counts or steps pays for it. All models take turns in random order in one
process; a ratio is the median over rounds of a remedy's step to the plain one
of the same round. `plain, again` is the plain step once more: how far its
ratio is from 1 is what the figures are worth.

An epoch: what a remedy does between two epochs, in a table of 10,000,000 rows
and dim 16, against the time of one epoch of as many examples as the table has
rows. Such an epoch is not trained: its time is that of a step on this table
times its steps, without reading data, metrics or validation, so a share is
rather too large. Memory: 1.5 GB, with the sets of tables 2.2 GB.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import platform
import random
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfplugin import kernels
from tfplugin import layers
from tfplugin import optimizers
from tfplugin import remedies
from tfplugin import schema as schema_lib

NUM_FEATURES = 8
DIM = 16
BATCH_SIZE = 4096
NUM_BATCHES = 32
OBJECTIVES = ("click", "buy")
PLAIN = "plain"
STEP_LIMIT = 1.10
EPOCH_LIMIT = 0.05

#: Name to a section of `training.remedies`, and the epoch, from 0, it is in.
STEPS: dict[str, tuple[dict[str, Any], int]] = {
    PLAIN: ({}, 0),
    "plain, again": ({}, 0),
    "frequency-adaptive rate": ({}, 0),
    "adaptive_regularization": ({"adaptive_regularization": True}, 0),
    "cow_clip": ({"cow_clip": True}, 0),
    "frequency_weight_decay": ({"frequency_weight_decay": True}, 0),
    "embedding_reset": ({"embedding_reset": True}, 0),
    "table_sets": ({"table_sets": True}, 0),
    "freeze_tables, free": ({"freeze_tables": True}, 0),
    "freeze_tables, frozen": ({"freeze_tables": True}, 1),
    "objective_early_stopping": ({"objective_early_stopping": True}, 0),
}


def row_rate(name: str) -> optimizers.RowRate | None:
    adaptive = name == "frequency-adaptive rate"
    return optimizers.LogFrequency() if adaptive else None


@dataclasses.dataclass(frozen=True)
class Contender:
    """A compiled model, its remedy's callbacks and the batches it takes."""

    model: keras.Model
    callbacks: keras.callbacks.CallbackList
    batches: list[tuple[tf.Tensor, dict[str, tf.Tensor]]]

    def step(self, number: int) -> float:
        """Seconds of one step, with what its callbacks do in it."""
        ids, labels = self.batches[number % len(self.batches)]
        start = time.perf_counter()
        self.callbacks.on_train_batch_begin(number)
        logs = self.model.train_on_batch(ids, labels, return_dict=True)
        self.callbacks.on_train_batch_end(number, logs)
        return time.perf_counter() - start

    def epoch_begin(self, epoch: int) -> float:
        """Seconds of what happens before an epoch, from 0."""
        start = time.perf_counter()
        self.callbacks.on_epoch_begin(epoch)
        return time.perf_counter() - start


def batches(rows: int, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(NUM_BATCHES):
        uniform = rng.random((BATCH_SIZE, NUM_FEATURES))
        ids = np.exp(uniform * np.log(rows)).astype(np.int64) - 1
        labels = {
            name: tf.constant(
                rng.integers(0, 2, (BATCH_SIZE, 1)).astype(np.float32)
            )
            for name in OBJECTIVES
        }
        # A prime, so that frequent rows do not lie together.
        made.append((tf.constant(ids * 2654435761 % rows), labels))
    return made


def contender(
    rows: int,
    work: list,
    sections: dict[str, Any],
    rate: optimizers.RowRate | None = None,
    epoch: int = 0,
) -> Contender:
    table = layers.Embedding(rows, DIM, seed=1)
    ids = keras.Input((NUM_FEATURES,), dtype="int64")
    x = keras.layers.Flatten()(table(ids))
    for units in (128, 64):
        x = keras.layers.Dense(units, activation="relu")(x)
    model = keras.Model(
        ids, {name: keras.layers.Dense(1, name=name)(x) for name in OBJECTIVES}
    )
    facts = training_facts(model, table, rows)
    chosen = remedies.parse(sections).values()
    options: dict[str, Any] = {}
    losses: dict[str, keras.losses.Loss] = {
        name: keras.losses.BinaryCrossentropy(from_logits=True)
        for name in OBJECTIVES
    }
    for remedy in chosen:
        options |= remedy.row_options(facts.steps_per_epoch)
        losses = remedy.losses(facts, losses)
    tables = optimizers.RowwiseAdagrad(0.05, row_rate=rate, **options)
    optimizer = optimizers.split(
        model, tables=tables, rest=keras.optimizers.Adam(1e-3)
    )
    model.compile(optimizer, losses, jit_compile=False)
    optimizer.build(model.trainable_variables)
    if tables.reads_row_counts:
        optimizer.set_row_counts(table.embeddings, np.arange(rows) % 97)
    callbacks = keras.callbacks.CallbackList(
        [made for remedy in chosen for made in remedy.callbacks(facts)],
        model=model,
    )
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(epoch)
    return Contender(model, callbacks, work)


def training_facts(
    model: keras.Model, table: keras.Layer, rows: int
) -> remedies.Training:
    return remedies.Training(
        model=model,
        schema=schema_lib.Schema(
            id_features={
                "item": schema_lib.IdFeature(dtype="int64", table="item")
            },
            labels=OBJECTIVES,
        ),
        # Of remedies that choose tables by these; here there is one.
        statistics=None,  # type: ignore[arg-type]
        tables={"item": [table]},
        id_frequencies=lambda name: None,  # type: ignore[arg-type,return-value]
        steps_per_epoch=math.ceil(rows / BATCH_SIZE),
        seed=0,
    )


def measure_steps(
    rows: int, rounds: int, steps: int, names: Sequence[str] = tuple(STEPS)
) -> dict[str, Any]:
    """Milliseconds of a step, and ratios to the plain one, by name."""
    work = batches(rows)
    models = {
        name: contender(rows, work, sections, row_rate(name), epoch)
        for name, (sections, epoch) in STEPS.items()
        if name in {PLAIN, *names}
    }
    for one in models.values():
        for number in range(4):
            one.step(number)
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds):
        for name in order.sample(list(models), len(models)):
            # The first step finds the caches full of another's data.
            taken = [
                models[name].step(turn * (steps + 1) + number)
                for number in range(steps + 1)
            ]
            seconds[name].append(float(np.median(taken[1:])))
    plain = np.array(seconds[PLAIN])
    found = {}
    for name, taken in seconds.items():
        low, ratio, high = np.percentile(np.array(taken) / plain, [25, 50, 75])
        found[name] = {
            "step_ms": round(float(np.median(taken)) * 1e3, 3),
            "ratio": round(float(ratio), 4),
            "quartiles": [round(float(low), 4), round(float(high), 4)],
        }
    return found


def measure_epochs(rows: int, steps: int, repeats: int) -> dict[str, Any]:
    """Seconds between two epochs against those of an epoch."""
    work = batches(rows)
    plain = contender(rows, work, {})
    taken = [plain.step(number) for number in range(-4, steps)][4:]
    epoch = float(np.median(taken)) * math.ceil(rows / BATCH_SIZE)
    del plain
    found: dict[str, Any] = {}
    for name in ("embedding_reset", "table_sets"):
        made = contender(rows, work, {name: True})
        made.step(0)
        # The first traces what is traced, and draws the second set.
        made.epoch_begin(1)
        seconds = [made.epoch_begin(number + 2) for number in range(repeats)]
        found[name] = {
            "seconds": round(float(np.median(seconds)), 4),
            "epoch_seconds": round(epoch, 2),
            "share": round(float(np.median(seconds)) / epoch, 5),
        }
        del made
    return found


def markdown(found: dict[str, Any]) -> str:
    lines = ["| a step with | ms | to the plain step | quartiles |"]
    lines.append("|---|---:|---:|---:|")
    for name, one in found["steps"].items():
        low, high = one["quartiles"]
        lines.append(
            f"| {name} | {one['step_ms']:.2f} | {one['ratio']:.3f} "
            f"| {low:.3f} - {high:.3f} |"
        )
    lines += ["", "| between epochs | s | an epoch, s | share |"]
    lines.append("|---|---:|---:|---:|")
    lines += [
        f"| {name} | {one['seconds']:.2f} | {one['epoch_seconds']:.1f} "
        f"| {one['share']:.2%} |"
        for name, one in found["epochs"].items()
    ]
    return "\n".join(lines)


def verdicts(found: dict[str, Any]) -> dict[str, bool]:
    """Whether each stays below its limit."""
    steps = {
        f"a step with {name}": one["ratio"] < STEP_LIMIT
        for name, one in found["steps"].items()
        if name != PLAIN
    }
    epochs = {
        f"{name} between epochs": one["share"] < EPOCH_LIMIT
        for name, one in found["epochs"].items()
    }
    return steps | epochs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--epoch-rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=[*STEPS])
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    found: dict[str, Any] = {
        "steps": measure_steps(
            options.rows, options.rounds, options.steps, options.only
        ),
        "epochs": measure_epochs(
            options.epoch_rows, options.rounds * options.steps, options.repeats
        ),
    }
    found["met"] = verdicts(found)
    found["settings"] = {
        key: value for key, value in vars(options).items() if key != "json"
    }
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    found["kernels"] = kernels.status().instruction_set
    found["load_before"] = load
    found["versions"] = {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()

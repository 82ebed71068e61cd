"""The paper's three claims (arXiv 2505.05605), measured.

    python -m benchmarks.multi_epoch.claims --folder F

(a) A sparse optimizer gets faster to the AUC that dense Adam has after an
epoch. (b) The rarer the positives, the harder a model overfits. (c) Rates by
frequency against re-initialisation, also over chunks in order of time. Writes
F/claims.json; finished parts in F/claims are not repeated.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.multi_epoch import protocol
from benchmarks.multi_epoch import runs
from tfplugin import artifacts
from tfplugin.training import scores
from tfplugin.training import trials as trials_lib

#: Looks at the curve an epoch.
POINTS = 10
DENSE_RATES = (0.001, 0.003, 0.01)
SPARSE = (
    ("adagrad", 0.05),
    ("adagrad", 0.15),
    ("lazy_adam", 0.01),
)
SPEED_LOGS = ("trivago", "taobao_conversion", "movielens_1m", "completejourney")
FRACTIONS = (1.0, 0.5, 0.25, 0.125, 0.0625)
#: Log and objective whose positives are masked.
MASKED = (("taobao_conversion", "cart"), ("movielens_1m", "loved"))
CHUNK_LOGS = ("trivago", "completejourney")
CHUNKS = 5
PASSES = 3


class DenseAdam(keras.optimizers.Adam):
    """Keras's Adam on the whole of every table, duplicates summed."""

    def update_step(self, gradient, variable, learning_rate):  # type: ignore[no-untyped-def]
        """Makes the gradient dense, as without an embedding's slices."""
        super().update_step(
            tf.convert_to_tensor(gradient), variable, learning_rate
        )


def _kept(path: pathlib.Path, make: Callable[[], Any]) -> Any:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = time.process_time()
        artifacts.write_json(path, make())
        seconds = time.process_time() - begun
        path.with_suffix(".seconds").write_text(f"{seconds}\n")
    return json.loads(path.read_text())


def _mean_auc(measured: dict[str, Any], split: str) -> float:
    return float(np.mean([m["auc"] for m in measured[split].values()]))


def _curve(
    trial: trials_lib.Trial, rows: int, seed: int
) -> dict[str, list[float]]:
    """Mean AUC over objectives at points of the first epoch."""
    order = np.random.default_rng([seed, 0]).permutation(rows)
    size = trial.config.training.batch_size
    whole = np.array_split(
        order[: rows // size * size].reshape(-1, size), POINTS
    )
    steps, done = [], 0
    for part in whole:
        trial.train_epoch(part.reshape(-1))
        done += len(part)
        steps.append(done)
    return {
        "steps": steps,
        **{
            split: [_mean_auc(e, split) for e in trial.epochs]
            for split in ("validation", "test")
        },
    }


def _dense(log: runs.Log, rate: float, seed: int) -> dict[str, list[float]]:
    trial = log.trials.start(
        {"training.tables.row_rate": "constant"}, seed=seed
    )
    trial.model.compile(
        DenseAdam(rate), loss=trial.model.loss, jit_compile=False
    )
    return _curve(trial, log.trials.rows["train"], seed)


def _sparse(
    log: runs.Log, rule: str, rate: float, seed: int
) -> dict[str, list[float]]:
    changes = {
        "training.tables.row_rate": "constant",
        "training.tables.rule": rule,
        "training.tables.learning_rate": rate,
    }
    trial = log.trials.start(changes, seed=seed)
    return _curve(trial, log.trials.rows["train"], seed)


def steps_to(curve: dict[str, list[float]], target: float, split: str) -> float:
    """Steps at which a curve first reaches a value, between its points.

    Infinity if it does not.

    Example:
    >>> steps_to({"steps": [10, 20], "test": [0.6, 0.8]}, 0.7, "test")
    15.0
    """
    steps, values = curve["steps"], curve[split]
    for index, value in enumerate(values):
        if value >= target:
            if index == 0:
                return float(steps[0])
            before = values[index - 1]
            share = (target - before) / (value - before)
            return steps[index - 1] + share * (steps[index] - steps[index - 1])
    return float("inf")


def claim_a(log: runs.Log) -> dict[str, Any]:
    """Steps of sparse optimizers to dense Adam's AUC after one epoch."""
    seed = protocol.SEARCH_SEED
    dense = {rate: _dense(log, rate, seed) for rate in DENSE_RATES}
    rate = max(dense, key=lambda r: dense[r]["validation"][-1])
    target = dense[rate]["validation"][-1]
    sparse = {s: _sparse(log, *s, seed) for s in SPARSE}
    best = min(sparse, key=lambda s: steps_to(sparse[s], target, "validation"))
    pairs = [
        (_dense(log, rate, s), _sparse(log, *best, s)) for s in protocol.SEEDS
    ]
    targets = [pair[0]["test"][-1] for pair in pairs]
    return {
        "dense_rate": rate,
        "sparse": {"rule": best[0], "learning_rate": best[1]},
        "searched": {
            "dense": {str(r): c["validation"] for r, c in dense.items()},
            "sparse": {
                f"{rule} {r}": c["validation"]
                for (rule, r), c in sparse.items()
            },
        },
        "steps": pairs[0][0]["steps"],
        "dense": [pair[0]["test"] for pair in pairs],
        "sparse_curves": [pair[1]["test"] for pair in pairs],
        "auc": float(np.mean(targets)),
        "steps_dense": pairs[0][0]["steps"][-1],
        "steps_sparse": [
            steps_to(pair[1], target, "test")
            for pair, target in zip(pairs, targets, strict=True)
        ],
    }


def claim_b(log: runs.Log, objective: str) -> dict[str, Any]:
    """Fall of the AUC where positives, or as many random rows, are masked."""
    trials = log.trials
    labels = trials.labels("train", objective)
    weights = trials.weights("train", objective)
    positive = np.flatnonzero((labels == 1) & (weights > 0))
    observed = np.flatnonzero(weights > 0)
    others = {k: 0.0 for k in log.config.labels if k != objective}
    found = []
    for fraction in FRACTIONS:
        for masked in ("positives", "random rows"):
            curves = []
            for seed in protocol.SEEDS:
                rng = np.random.default_rng([seed, int(1 / fraction)])
                pool = positive if masked == "positives" else observed
                lost = rng.choice(
                    pool, round(len(positive) * (1 - fraction)), replace=False
                )
                kept = weights.copy()
                kept[lost] = 0.0
                trial = trials.start(
                    {
                        **protocol.BASE,
                        "training.tables.row_rate": "constant",
                        "training.loss_weights": others,
                    },
                    seed=seed,
                    train_weights={objective: kept},
                )
                curves.append(
                    [
                        trial.train_epoch()["test"][objective]["auc"]
                        for _ in range(4)
                    ]
                )
            found.append(
                {
                    "fraction": fraction,
                    "masked": masked,
                    "positives": int(
                        len(positive)
                        * (fraction if masked == "positives" else 1)
                    ),
                    "auc": curves,
                }
            )
    return {"objective": objective, "runs": found}


def claim_c(log: runs.Log) -> dict[str, Any]:
    """AUC on the next chunk of time, whatever was trained on those before."""
    arms: dict[str, protocol.Changes] = {
        "none, 1 pass": {"training.tables.row_rate": "constant"},
        "none": {"training.tables.row_rate": "constant"},
        "FAL, online counts": {
            "training.tables.row_rate": "log_frequency",
            "training.tables.counts": {"source": "online"},
        },
        "MEDA": {
            "training.tables.row_rate": "constant",
            "training.remedies": {"embedding_reset": {}},
        },
        "MEDA-C": {
            "training.tables.row_rate": "constant",
            "training.remedies": {"table_sets": {"sets": PASSES}},
        },
    }
    trials = log.trials
    bounds = np.linspace(0, trials.rows["train"], CHUNKS + 1).astype(int)
    found: dict[str, Any] = {}
    for name, changes in arms.items():
        curves = []
        for seed in protocol.SEEDS:
            trial = trials.start({**protocol.BASE, **changes}, seed=seed)
            passes = 1 if name.endswith("1 pass") else PASSES
            curves.append(_prequential(trial, trials, bounds, passes, seed))
        found[name] = curves
    return {"chunks": CHUNKS, "passes": PASSES, "auc": found}


def _prequential(
    trial: trials_lib.Trial,
    trials: trials_lib.Trials,
    bounds: np.ndarray,
    passes: int,
    seed: int,
) -> list[dict[str, float]]:
    measured = []
    for chunk in range(CHUNKS - 1):
        first, middle, last = (int(b) for b in bounds[chunk : chunk + 3])
        for number in range(passes):
            rng = np.random.default_rng([seed, chunk, number])
            trial.train_epoch(first + rng.permutation(middle - first))
        logits = trial.predict("train", middle, last)
        measured.append(
            {
                objective: scores.auc(
                    trials.labels("train", objective)[middle:last],
                    values,
                    trials.weights("train", objective)[middle:last],
                )
                for objective, values in logits.items()
            }
        )
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the three claims."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=["a", "b", "c"])
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    claims: dict[str, dict[str, Any]] = {}
    parts: list[tuple[str, str, Callable[[], Any]]] = []
    for name in SPEED_LOGS:
        parts.append(("a", name, lambda n=name: claim_a(runs.Log(n, folder))))
    for name, objective in MASKED:
        parts.append(
            (
                "b",
                name,
                lambda n=name, o=objective: claim_b(runs.Log(n, folder), o),
            )
        )
    for name in CHUNK_LOGS:
        parts.append(
            (
                "c",
                name,
                lambda n=name: claim_c(runs.Log(n, folder, order="time")),
            )
        )
    for claim, name, make in parts:
        if given.only in (None, claim):
            found = _kept(folder / "claims" / f"{claim}-{name}.json", make)
            claims.setdefault(claim, {})[name] = found
            print("claim", claim, name, flush=True)
    artifacts.write_json(folder / "claims.json", claims)


if __name__ == "__main__":
    main()

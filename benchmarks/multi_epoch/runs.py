"""One training of one arm on one log, kept as files; done ones are skipped."""

import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.multi_epoch import protocol
from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.training import trials as trials_lib

ROOT = pathlib.Path(__file__).parents[2]
#: Tables of fewer ids are not hashed: they have nothing to save.
SMALL_TABLE = 1000


class Log:
    """One log, prepared, its rows in memory once they are needed.

    Args:
        name: Of its configuration.
        folder: Of the benchmark; `folder/NAME/work` holds the dataset, and
            `folder/NAME/time` the one in order of time.
        order: `shuffled` or `time`.
    """

    def __init__(
        self, name: str, folder: pathlib.Path, order: str = "shuffled"
    ) -> None:
        self.name = name
        self.folder = folder / name
        self.work = artifacts.WorkFolder(
            self.folder / {"shuffled": "work", "time": "time"}[order]
        )
        self.config = config_lib.load(ROOT / "configs" / f"{name}.yaml")
        self._trials: trials_lib.Trials | None = None

    @property
    def trials(self) -> trials_lib.Trials:
        """Its rows, all splits."""
        if self._trials is None:
            prepare(self.name, self.work)
            self._trials = trials_lib.Trials(
                self.config, self.work, splits=("validation", "test")
            )
        return self._trials

    def arms(self) -> list[protocol.Arm]:
        """The contenders on this log."""
        statistics = self.work.dataset.read_statistics()
        positives = {k: v.positives for k, v in statistics.labels.items()}
        sparsest = min(positives, key=lambda name: positives[name])
        found = protocol.arms(self.name, self.flat_factors(), sparsest)
        advice = self.work.recommendation_json
        if advice.exists():
            made = json.loads(advice.read_text())
            changes = dict(made["changes"])
            changes.pop("training.epochs", None)
            found.append(
                protocol.Arm(
                    protocol.RECOMMENDED,
                    f"What `tfplugin recommend` proposes: {made['recipe']}.",
                    (changes,),
                    epochs=made["epochs"],
                    first=True,
                )
            )
        return found

    def flat_factors(self) -> dict[str, float]:
        """Table to FAL's mean factor over the training occurrences."""
        path = self.folder / "flat.json"
        if not path.exists():
            dataset = self.trials.dataset
            factors = {}
            for table in dataset.statistics.tables:
                counts = dataset.id_frequencies(table).counts.astype(float)
                laws = np.log1p(counts) / math.log1p(counts.max())
                factors[table] = float((counts * laws).sum() / counts.sum())
            artifacts.write_json(path, factors)
        found: dict[str, float] = json.loads(path.read_text())
        return found

    def resolve(self, changes: protocol.Changes) -> protocol.Changes:
        """Changes with what depends on the log filled in."""
        changes = dict(changes)
        if changes.get("tables") == "double_hash":
            del changes["tables"]
            tables = self.work.dataset.read_statistics().tables
            for name, table in tables.items():
                if table.ids < SMALL_TABLE:
                    continue
                changes[f"tables.{name}.mapping"] = "double_hash"
                buckets = max(1, round(table.ids / 4))
                changes[f"tables.{name}.num_buckets"] = buckets
        return changes


def run(
    log: Log,
    arm: str,
    changes: protocol.Changes,
    *,
    seed: int,
    epochs: int,
    stage: str,
) -> dict[str, Any]:
    """Trains once, or reads what an earlier call left.

    Args:
        log: Where.
        arm: Name of the contender.
        changes: What is set.
        seed: Of the training.
        epochs: How many.
        stage: `search`, which measures validation alone, or `final`, which
            also keeps the test split's logits of every epoch.

    Returns:
        `changes`, `seed`, `cpu_seconds`, `validation` and, if final, `test`:
        objective to its AUC by epoch.
    """
    folder = place(log, arm, changes, seed, stage)
    path = folder / "run.json"
    if path.exists():
        done: dict[str, Any] = json.loads(path.read_text())
        return done
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.process_time()
    trial = log.trials.start(log.resolve(changes), seed=seed)
    splits = ("validation", "test") if stage == "final" else ("validation",)
    for epoch in range(1, epochs + 1):
        trial.train_epoch()
        if stage == "final":
            np.savez(folder / f"epoch-{epoch}.npz", **trial.predict("test"))
    record = {
        "changes": changes,
        "seed": seed,
        "cpu_seconds": time.process_time() - begun,
        "train_loss": [e["train_loss"] for e in trial.epochs],
        **{
            split: {
                objective: [e[split][objective]["auc"] for e in trial.epochs]
                for objective in log.config.labels
            }
            for split in splits
        },
    }
    artifacts.write_json(path, record)
    return record


def prepare(name: str, work: artifacts.WorkFolder) -> None:
    """Makes a log's dataset, packed, unless it is there."""
    if work.dataset.completed.exists():
        return
    command = [sys.executable, "-m", "tfplugin", "preprocess"]
    command += ["--config", f"configs/{name}.yaml", "--workdir", str(work.path)]
    command += ["--set", "dataset.format=packed"]
    if work.path.name == "time":
        command += ["--set", "dataset.order=time"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def recommend(log: Log) -> None:
    """Asks `tfplugin recommend`, unless it was asked before.

    On all rows, and for so many recipes, whatever the machine's speed.
    """
    if log.work.recommendation_json.exists():
        return
    command = [sys.executable, "-m", "tfplugin", "recommend"]
    command += ["--config", f"configs/{log.name}.yaml"]
    command += ["--workdir", str(log.work.path)]
    command += ["--set", f"recommend.rows={protocol.RECOMMEND_ROWS}"]
    command += ["--set", f"recommend.recipes={protocol.RECOMMEND_RECIPES}"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def chosen_setting(log: Log, arm: protocol.Arm) -> protocol.Changes | None:
    """The setting that the search chose; None while it is not finished."""
    if len(arm.settings) == 1:
        return arm.settings[0]
    found = searched(log, arm)
    if len(found) < len(arm.settings):
        return None
    return arm.settings[choose(arm, found)]


def searched(log: Log, arm: protocol.Arm) -> list[dict[str, Any]]:
    """What the search has measured of an arm, in the order of its settings."""
    found = []
    for changes in arm.settings:
        where = place(log, arm.name, changes, protocol.SEARCH_SEED, "search")
        path = where / "run.json"
        if path.exists():
            found.append(json.loads(path.read_text()))
    return found


def place(
    log: Log, arm: str, changes: protocol.Changes, seed: int, stage: str
) -> pathlib.Path:
    """Folder of one run."""
    name = arm.replace(" ", "_").replace(",", "")
    text = json.dumps(changes, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    return log.folder / stage / name / f"{key}-seed-{seed}"


def claim(path: pathlib.Path) -> bool:
    """Whether this process is the first to ask for a piece of work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def write_labels(log: Log) -> None:
    """Keeps the test split's labels, weights and groups for the intervals."""
    path = log.folder / "test.npz"
    if path.exists():
        return
    trials = log.trials
    group = config_group(log)
    keys = (
        np.unique(trials.ids("test", group), return_inverse=True)[1]
        if group
        else np.arange(trials.rows["test"])
    )
    arrays = {"group": keys.astype(np.int64)}
    for objective in log.config.labels:
        arrays[objective] = trials.labels("test", objective)
        arrays[f"{objective}_weight"] = trials.weights("test", objective)
    np.savez(path, **arrays)


def config_group(log: Log) -> str | None:
    """The feature that holds the group's column."""
    for name, feature in log.config.features.items():
        if (feature.column or name) == log.config.group:
            return name
    return None


def choose(arm: protocol.Arm, found: list[dict[str, Any]]) -> int:
    """The setting whose validation AUC, mean over objectives, is best.

    After the last epoch of the search, or in the best one for an arm that is
    stopped there.
    """
    curves = [
        np.mean(list(one["validation"].values()), axis=0) for one in found
    ]
    values = [c.max() if arm.stopped else c[-1] for c in curves]
    return int(np.nanargmax(values))

"""All runs of the benchmark in one file, with the comparisons that matter.

    python -m benchmarks.multi_epoch.results --folder F

What is not finished is left out.
"""

import argparse
import json
import pathlib
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.multi_epoch import protocol
from benchmarks.multi_epoch import runs
from benchmarks.multi_epoch import statistics
from benchmarks.multi_epoch import summary
from tfplugin import artifacts

#: The epoch of the paper's comparison.
EPOCH = 4


class LogResults:
    """Finished final runs of one log.

    Args:
        log: Which.
    """

    def __init__(self, log: runs.Log) -> None:
        self.log = log
        self.test = np.load(log.folder / "test.npz")
        self.users = statistics.Users(self.test["group"])
        self.folders: dict[str, list[pathlib.Path]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        for arm in log.arms():
            self._add(arm)
        self._draws: dict[tuple[str, str], np.ndarray] = {}

    def _add(self, arm: protocol.Arm) -> None:
        chosen = runs.chosen_setting(self.log, arm)
        if chosen is None:
            return
        folders = [
            runs.place(self.log, arm.name, chosen, seed, "final")
            for seed in protocol.SEEDS
        ]
        if not all((folder / "run.json").exists() for folder in folders):
            return
        found = [json.loads((f / "run.json").read_text()) for f in folders]
        self.folders[arm.name] = folders
        self.runs[arm.name] = {
            "summary": arm.summary,
            "changes": chosen,
            "epochs": arm.epochs,
            "stopped": arm.stopped,
            "seeds": {
                str(one["seed"]): {
                    key: one[key]
                    for key in ("validation", "test", "cpu_seconds")
                }
                for one in found
            },
        }

    def draws(
        self, arm: str, objective: str, epoch: int | None
    ) -> list[np.ndarray]:
        """AUC on the users' resamples, by seed.

        Args:
            arm: Its name.
            objective: Which.
            epoch: From 1; None for that where the arm ends.
        """
        run = self.runs[arm]
        found = []
        for folder, seed in zip(
            self.folders[arm], run["seeds"].values(), strict=True
        ):
            end = run["epochs"] if epoch is None else epoch
            if epoch is None and run["stopped"]:
                end = summary.picked_epoch(seed)
            path = folder / f"epoch-{end}.npz"
            key = (str(path), objective)
            if key not in self._draws:
                self._draws[key] = self.users.aucs(
                    self.test[objective],
                    np.load(path)[objective],
                    self.test[f"{objective}_weight"],
                )
            found.append(self._draws[key])
        return found

    def compare(
        self,
        arm: str,
        against: str,
        objective: str | None,
        epoch: int | None,
    ) -> dict[str, Any] | None:
        """Difference of two arms and its interval; None if one is absent.

        Args:
            arm: The one.
            against: The other.
            objective: Which; None for the mean over objectives.
            epoch: From 1; None for that where each arm ends.
        """
        if arm not in self.runs or against not in self.runs:
            return None
        names = [objective] if objective else list(self.log.config.labels)
        sides = [
            [d for name in names for d in self.draws(side, name, epoch)]
            for side in (arm, against)
        ]
        found = statistics.difference(*sides)
        return {
            "log": self.log.name,
            "objective": objective or "mean",
            "arm": arm,
            "against": against,
            "epoch": epoch or "last of each",
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
        }

    def comparisons(self) -> Iterator[dict[str, Any] | None]:
        """Those that the protocol names."""
        labels = self.log.work.dataset.read_statistics().labels
        sparsest = min(labels, key=lambda name: labels[name].positives)
        for suffix in ("", ", lazy Adam"):
            for control in ("none", "flat control"):
                yield self.compare(
                    "FAL" + suffix, control + suffix, sparsest, EPOCH
                )
        ours = protocol.RECOMMENDED
        for objective in self.log.config.labels:
            yield self.compare(ours, protocol.STOPPED, objective, None)
        tuned = [
            name for name in ("MEDA, tuned", "FAL, tuned") if name in self.runs
        ]
        for rival in tuned:
            yield self.compare(ours, rival, None, None)
        for arm in self.runs:
            if arm != protocol.STOPPED:
                yield self.compare(arm, protocol.STOPPED, None, None)


def collect(folder: pathlib.Path, command: str) -> dict[str, Any]:
    """Everything that is finished.

    Args:
        folder: Of the benchmark.
        command: By which it was made.
    """
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, 2 cores",
        "versions": {
            name: metadata.version(name)
            for name in ("tensorflow", "keras", "numpy")
        },
        "command": command,
        "logs": {},
        "search": {},
        "runs": {},
        "comparisons": [],
        "claims": {},
    }
    for name in protocol.LOGS:
        log = runs.Log(name, folder)
        if not (log.folder / "test.npz").exists():
            continue
        statistics_of = log.work.dataset.read_statistics()
        found["logs"][name] = {
            "rows": {
                split: statistics_of.rows(split)
                for split in ("train", "validation", "test")
            },
            "objectives": {
                k: {"rate": v.positive_rate, "positives": v.positives}
                for k, v in statistics_of.labels.items()
            },
        }
        found["search"][name] = _search(log)
        results = LogResults(log)
        found["runs"][name] = results.runs
        found["comparisons"] += [c for c in results.comparisons() if c]
    claims = folder / "claims.json"
    if claims.exists():
        found["claims"] = json.loads(claims.read_text())
    found["budget"] = {
        "cpu_hours_stated": protocol.CPU_HOURS,
        "cpu_hours_used": _cpu_seconds(folder) / 3600,
    }
    return found


def _search(log: runs.Log) -> dict[str, Any]:
    found = {}
    for arm in log.arms():
        done = runs.searched(log, arm)
        if len(arm.settings) > 1 and len(done) == len(arm.settings):
            found[arm.name] = {
                "settings": [
                    {
                        key: one[key]
                        for key in ("changes", "validation", "cpu_seconds")
                    }
                    for one in done
                ],
                "chosen": runs.choose(arm, done),
            }
    return found


def _cpu_seconds(folder: pathlib.Path) -> float:
    """Of all runs, the pilots of `recommend` and the claims."""
    total = 0.0
    for path in folder.glob("*/*/*/*/run.json"):
        total += json.loads(path.read_text())["cpu_seconds"]
    for path in folder.glob("*/work/recommendation.json"):
        total += json.loads(path.read_text())["pilot"]["seconds"]
    for path in folder.glob("claims/*.seconds"):
        total += float(path.read_text())
    return total


def write(folder: pathlib.Path, command: str) -> None:
    """Writes results.json into the benchmark's folder."""
    artifacts.write_json(folder / "results.json", collect(folder, command))


def main() -> None:
    """Collects."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    folder = parser.parse_args().folder.resolve()
    write(folder, "python -m benchmarks.multi_epoch --folder F")


if __name__ == "__main__":
    main()

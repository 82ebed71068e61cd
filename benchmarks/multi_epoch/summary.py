"""From results.json to what the page and the tables say."""

import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np

#: A difference of AUC that the page takes for none.
NOTHING = 0.0005
PLAIN = "none"


@dataclasses.dataclass(frozen=True)
class Curve:
    """Test AUC of one arm and objective after each epoch.

    Args:
        mean: Over seeds, one an epoch.
        low: The least of the seeds.
        high: The greatest.
        final: Mean over seeds in the epoch where the arm ends: its last, or
            for one that is stopped, the one that its validation picks.
    """

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    final: float

    @property
    def fall(self) -> float:
        """AUC lost from the best epoch to the last."""
        return max(self.mean) - self.mean[-1]


def objectives(results: Mapping[str, Any], log: str) -> list[str]:
    """Objectives of a log, the one with most positives first."""
    found = results["logs"][log]["objectives"]
    return sorted(found, key=lambda name: -found[name]["positives"])


def curve(results: Mapping[str, Any], log: str, arm: str, name: str) -> Curve:
    """One arm's curve of one objective; a seed may have fewer epochs."""
    run = results["runs"][log][arm]
    seeds = list(run["seeds"].values())
    epochs = min(len(one["test"][name]) for one in seeds)
    values = np.array([one["test"][name][:epochs] for one in seeds], float)
    ends = [epochs - 1] * len(seeds)
    if run.get("stopped"):
        ends = [picked_epoch(one) - 1 for one in seeds]
    final = [
        one["test"][name][end] for one, end in zip(seeds, ends, strict=True)
    ]
    return Curve(
        tuple(values.mean(axis=0).tolist()),
        tuple(values.min(axis=0).tolist()),
        tuple(values.max(axis=0).tolist()),
        float(np.mean(final)),
    )


def picked_epoch(seed: Mapping[str, Any]) -> int:
    """Epoch, from 1, of the best mean validation AUC over objectives."""
    means = np.mean(list(seed["validation"].values()), axis=0)
    return int(np.argmax(means)) + 1


def finals(results: Mapping[str, Any], log: str) -> dict[str, float]:
    """Arm to its final test AUC, mean over objectives, best first."""
    found = {
        arm: float(
            np.mean(
                [
                    curve(results, log, arm, name).final
                    for name in objectives(results, log)
                ]
            )
        )
        for arm in results["runs"][log]
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def sentences(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Log to what won there and what did not, in words and numbers."""
    for log, runs in results["runs"].items():
        if PLAIN in runs:
            yield log, f"{_falls(results, log)} {_winners(results, log)}"


def _falls(results: Mapping[str, Any], log: str) -> str:
    falls = {
        name: curve(results, log, PLAIN, name).fall
        for name in objectives(results, log)
    }
    falling = [f"{k} by {v:.4f}" for k, v in falls.items() if v > NOTHING]
    if not falling:
        return "Without a remedy nothing falls."
    return (
        "Without a remedy the test AUC falls from its best epoch to the last: "
        f"{', '.join(falling)}."
    )


def _winners(results: Mapping[str, Any], log: str) -> str:
    ranked = finals(results, log)
    plain = ranked.pop(PLAIN)
    gains = {arm: value - plain for arm, value in ranked.items()}
    parts = ["No arm ends above that recipe by more than .0005."]
    best = max(gains, key=lambda arm: gains[arm], default=PLAIN)
    if gains.get(best, 0.0) > NOTHING:
        parts = [
            f"The best at the end is {best}: {ranked[best]:.4f}, mean over "
            f"objectives, against {plain:.4f} without a remedy."
        ]
    neither = [arm for arm, gain in gains.items() if abs(gain) <= NOTHING]
    if neither:
        parts.append(f"No help, within .0005: {', '.join(neither)}.")
    worse = [f"{k} ({v:+.4f})" for k, v in gains.items() if v < -NOTHING]
    if worse:
        parts.append(f"Worse than none: {', '.join(worse)}.")
    return " ".join(parts)


def verdict(comparison: Mapping[str, Any]) -> str:
    """Whether the interval of a comparison lies above 0, below, or over it."""
    if comparison["low"] > 0:
        return "higher"
    if comparison["high"] < 0:
        return "lower"
    return "no difference shown"

"""What callbacks that watch objectives share: their names, their logs."""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any


def keys(
    objective: str, metric: str, prefix: str, is_only_one: bool
) -> list[str]:
    """Returns the keys under which Keras may log a metric of an objective.

    Args:
        objective: Name of an output.
        metric: Name of the metric.
        prefix: `val_`, or nothing for training.
        is_only_one: Whether the model has no other objective.

    Returns:
        The most explicit key first.

    Example:
    >>> keys("click", "auc", "val_", True)
    ['val_click_auc', 'val_auc']
    """
    found = [f"{prefix}{objective}_{metric}"]
    if is_only_one:
        found.append(f"{prefix}{metric}")
    return found


def read(logs: Mapping[str, Any], wanted: Sequence[str]) -> float | None:
    """Returns the value of the first key that was logged.

    Args:
        logs: Of `on_epoch_end`.
        wanted: Of `keys`.

    Returns:
        The value; None for NaN and infinity, which are not JSON, and no peak.

    Raises:
        ValueError: None of the keys was logged.

    Example:
    >>> read({"val_auc": 0.5}, ["val_click_auc", "val_auc"])
    0.5
    """
    for key in wanted:
        if key in logs:
            value = float(logs[key])
            return value if math.isfinite(value) else None
    names = " or ".join(map(repr, wanted))
    raise ValueError(
        f"The logs of the epoch must have the key {names}. "
        f"Received: logs with the keys {sorted(logs)}. Compile with "
        "`weighted_metrics={objective: objective_metrics(rate)}` and give "
        "`validation_data` to `fit`, with `validation_freq=1`."
    )


def check_objectives(objectives: Sequence[str] | str, mode: str) -> list[str]:
    """The names of objectives that are watched, once they are checked.

    Args:
        objectives: Their names; one name alone is one objective.
        mode: `"max"` or `"min"`: what is better of their metric.

    Raises:
        ValueError: There is none, one comes twice, or the mode is neither.

    Example:
    >>> check_objectives("click", "max")
    ['click']
    """
    names = [objectives] if isinstance(objectives, str) else list(objectives)
    if not names or len(set(names)) != len(names):
        raise ValueError(
            "`objectives` must name at least one objective, each once. "
            f"Received: objectives={objectives}."
        )
    if mode not in ("max", "min"):
        raise ValueError(
            f"`mode` must be 'max' or 'min'. Received: mode={mode!r}."
        )
    return names

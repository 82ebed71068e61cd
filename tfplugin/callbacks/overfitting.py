"""When an objective peaked, and when it began to overfit."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any


def assess(
    epochs: Sequence[int],
    training: Sequence[float | None],
    validation: Sequence[float | None],
    *,
    mode: str = "max",
    tolerance: float = 0.0,
) -> Mapping[str, Any]:
    """Finds the peak of an objective and the start of its overfitting.

    The peak is the first epoch with the best validation value. The objective
    overfits from the first epoch after the peak at which both hold: validation
    is worse than at the peak by more than `tolerance`, and training is better
    than at the peak. Validation that falls while training falls too (a learning
    rate that is too high, a reset) is not overfitting. Both are judged by what
    is known now: a later, better peak withdraws an earlier verdict.

    Args:
        epochs: Epochs, from 1, rising.
        training: Value of the metric on the training data in each epoch; None
            where it has no value.
        validation: The same on the validation data after each epoch.
        mode: "max" if greater is better, "min" if less is.
        tolerance: How much worse than the peak still counts as level, in the
            metric's own unit.

    Returns:
        `peak_epoch` and `peak_value`, None while no epoch has a value, and
        `overfits_from`, an epoch or None.

    Example:
    >>> assess([1, 2, 3], [0.7, 0.8, 0.9], [0.6, 0.65, 0.5])
    {'peak_epoch': 2, 'peak_value': 0.65, 'overfits_from': 3}
    """
    sign = 1.0 if mode == "max" else -1.0
    known = [
        (epoch, train, value)
        for epoch, train, value in zip(
            epochs, training, validation, strict=True
        )
        if value is not None
    ]
    if not known:
        return {"peak_epoch": None, "peak_value": None, "overfits_from": None}
    # `max` keeps the first of equal values.
    peak = max(known, key=lambda row: sign * row[2])
    peak_epoch, peak_training, peak_value = peak
    overfits_from = None
    for epoch, train, value in known[known.index(peak) + 1 :]:
        worse = sign * (peak_value - value) > tolerance
        learned = (
            train is not None
            and peak_training is not None
            and sign * (train - peak_training) > 0.0
        )
        if worse and learned:
            overfits_from = epoch
            break
    return {
        "peak_epoch": peak_epoch,
        "peak_value": peak_value,
        "overfits_from": overfits_from,
    }

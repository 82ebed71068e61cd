"""Exact measures of predictions that are held in memory."""

import numpy as np
import numpy.typing as npt


def auc(
    labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike
) -> float:
    """Area under the ROC curve; equal scores count half.

    The weighted Mann-Whitney statistic.

    Args:
        labels: 0 or 1, `(n,)`.
        scores: Any numbers that rise with the probability, `(n,)`.
        weights: Not negative, `(n,)`; 0 leaves a row out.

    Returns:
        NaN where a class has no weight, or a score that has is NaN.

    Example:
    >>> auc([0, 1, 1, 0], [0.1, 0.4, 0.3, 0.3], np.ones(4))
    0.875
    """
    labels, scores, weights = map(np.asarray, (labels, scores, weights))
    if np.isnan(scores[weights != 0]).any():
        return float("nan")
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    rises = np.concatenate([[False], ordered[1:] != ordered[:-1]])
    # Rows of one score have one place.
    place = np.cumsum(rises)
    labels, weights = labels[order], weights[order]
    positive = np.bincount(place, weights * labels)
    negative = np.bincount(place, weights * (1.0 - labels))
    total = positive.sum() * negative.sum()
    if total == 0.0:
        return float("nan")
    below = np.cumsum(negative) - 0.5 * negative
    return float((positive * below).sum() / total)


def log_loss(
    labels: npt.ArrayLike, logits: npt.ArrayLike, weights: npt.ArrayLike
) -> float:
    """Mean cross entropy in nats.

    Args:
        labels: 0 or 1, `(n,)`.
        logits: `(n,)`.
        weights: Not negative, `(n,)`; 0 leaves a row out.

    Returns:
        NaN without weight.

    Example:
    >>> round(log_loss([0, 1], [0.0, 0.0], [1, 1]), 4)
    0.6931
    """
    labels, weights = np.asarray(labels), np.asarray(weights, np.float64)
    logits = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # NaN logits have a NaN loss
        each = np.logaddexp(0.0, logits) - labels * logits
    total = weights.sum()
    return float((weights * each).sum() / total) if total else float("nan")

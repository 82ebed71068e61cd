"""Platt scaling: the best straight line on logits."""

import numpy as np

from tfplugin.calibration import curve as curve_lib

_SMALLEST_SLOPE = 1e-3
_STEPS = 100
_TOLERANCE = 1e-12


def fit_platt(
    scores: curve_lib.Floats,
    weights: curve_lib.Floats,
    precision: float = 0.01,
) -> curve_lib.Curve:
    """The line a z + b of the smallest cross entropy.

    Newton's method, halving steps that do not help. The mean calibrated
    probability is the weighted rate of positives, since the derivative by b is
    their difference.

    Args:
        scores: Logits of bins, float64 `(n,)`.
        weights: Of negatives and positives, `(n, 2)`; each sum is positive.
        precision: Of a Gaussian around slope 1, so that there is a slope
            where classes are separable; 0.01 is nothing beside 20 positives.

    Returns:
        A curve without knots. Its slope is at least 0.001: scores that rank
        worse than chance are not turned round.

    Example:
    >>> weights = np.array([[90.0, 10.0], [25.0, 75.0]])
    >>> curve = fit_platt(np.array([-1.0, 1.0]), weights)
    >>> curve.apply([-1.0, 1.0]).round(2).tolist()  # log 1/9, log 3
    [-2.2, 1.1]

    Reference: Platt, "Probabilistic outputs for support vector machines"
    (1999), without its change of the targets, which would add positives.
    """
    prior = np.array([precision, 0.0])
    # From the right mean no step is lost where all probabilities are 0 or 1.
    start = np.array([1.0, shift(scores, weights)])
    slope, intercept = _newton(scores, weights, start, prior)
    if slope < _SMALLEST_SLOPE:
        slope = _SMALLEST_SLOPE
        intercept = shift(slope * scores, weights)
    return curve_lib.Curve(slope=float(slope), intercept=float(intercept))


def shift(calibrated: curve_lib.Floats, weights: curve_lib.Floats) -> float:
    """What to add to logits for their mean probability to be the rate.

    Args:
        calibrated: Logits of bins, float64 `(n,)`.
        weights: Of negatives and positives, `(n, 2)`; each sum is positive.

    Example:
    >>> moved = shift(np.array([-1.0, -1.0]), np.array([[1.0, 0], [0, 1.0]]))
    >>> round(moved, 6)
    1.0
    """
    rate = weights[:, 1].sum() / weights.sum()
    middle = float(np.log(rate) - np.log1p(-rate))
    # From the middle each way the error has one sign: between these it is 0.
    low, high = middle - calibrated.max(), middle - calibrated.min()
    total = weights.sum(1)
    for _ in range(_STEPS):
        tried = (low + high) / 2
        over = total @ _sigmoid(calibrated + tried) > weights[:, 1].sum()
        low, high = (low, tried) if over else (tried, high)
    return float((low + high) / 2)


def _newton(
    scores: curve_lib.Floats,
    weights: curve_lib.Floats,
    line: curve_lib.Floats,
    prior: curve_lib.Floats,
) -> curve_lib.Floats:
    design = np.stack([scores, np.ones_like(scores)], 1)
    total = weights.sum(1)
    loss = _loss(design @ line, weights, line, prior)
    for _ in range(_STEPS):
        p = _sigmoid(design @ line)
        gradient = design.T @ (total * p - weights[:, 1])
        gradient += prior * (line - [1.0, 0.0])
        curvature = (design * (total * p * (1.0 - p))[:, None]).T @ design
        curvature += np.diag(prior) + np.eye(2) * 1e-12
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-9:
            tried = line - size * step
            new = _loss(design @ tried, weights, tried, prior)
            if new <= loss:
                break
            size /= 2
        if size <= 1e-9 or np.max(np.abs(line - tried)) < _TOLERANCE:
            break
        line, loss = tried, new
    return line


def _loss(
    logits: curve_lib.Floats,
    weights: curve_lib.Floats,
    line: curve_lib.Floats,
    prior: curve_lib.Floats,
) -> float:
    entropy = weights[:, 0] * np.logaddexp(0.0, logits)
    entropy += weights[:, 1] * np.logaddexp(0.0, -logits)
    penalty = prior @ (line - [1.0, 0.0]) ** 2 / 2
    return float(entropy.sum() + penalty)


def _sigmoid(logits: curve_lib.Floats) -> curve_lib.Floats:
    p: curve_lib.Floats = np.exp(-np.logaddexp(0.0, -logits))
    return p

"""Isotonic regression: the best rising curve."""

import numpy as np
import numpy.typing as npt

from tfplugin.calibration import curve as curve_lib
from tfplugin.calibration import platt

#: Rows of the rarer class a group of bins has before groups are pooled.
_ROWS_A_GROUP = 10
_MOST_GROUPS = 200
#: Knots are at least this far apart, in logits.
_NEAREST = 1e-3
#: What the curve rises by from the first knot to the last one, in logits,
#: where rates say that it is flat: float32 keeps apart what it keeps apart.
_TILT = 0.02
#: How surely the slope inside an end block is 1, before its rows are seen: as
#: of ten rows of the rarer class.
_END_PRECISION = 10.0


def pool_adjacent_violators(
    values: npt.ArrayLike, weights: npt.ArrayLike
) -> tuple[curve_lib.Floats, npt.NDArray[np.int64]]:
    """The rising sequence nearest to a given one in weighted squares.

    Args:
        values: float `(n,)`.
        weights: Positive, `(n,)`.

    Returns:
        The value of each block of equal values, strictly rising, float64
        `(m,)`, and the number of elements of each, int64 `(m,)`.

    Example:
    >>> means, sizes = pool_adjacent_violators([1.0, 3.0, 2.0], [1, 1, 1])
    >>> means.tolist(), sizes.tolist()
    ([1.0, 2.5], [1, 2])

    Reference: Barlow et al., "Statistical inference under order
    restrictions" (1972).
    """
    means: list[float] = []
    masses: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(
        np.asarray(values, np.float64).tolist(),
        np.asarray(weights, np.float64).tolist(),
        strict=True,
    ):
        mean, mass, size = value, weight, 1
        while means and means[-1] >= mean:
            below, under = means.pop(), masses.pop()
            mean = (below * under + mean * mass) / (under + mass)
            mass += under
            size += sizes.pop()
        means.append(mean)
        masses.append(mass)
        sizes.append(size)
    return np.array(means, np.float64), np.array(sizes, np.int64)


def fit_isotonic(
    scores: curve_lib.Floats,
    weights: curve_lib.Floats,
    rows: npt.NDArray[np.float64],
) -> curve_lib.Curve:
    """The rising curve of the smallest cross entropy, by groups of bins.

    Bins are joined, from the lowest, into at most 200 groups of at least ten
    rows of the rarer class, so that no knot stands on one positive; groups are
    pooled until their rates rise. A group that stands alone gives one knot,
    the logit of its rate at its mean logit; a pooled block two, at the mean
    logits of its first and last group. Knots are joined by straight lines,
    and all rise by 0.02 from the first to the last besides: what rises
    strictly keeps the ranking, and so the AUC but for rounding. Beyond the
    first and the last knot lie halves of their groups; there the slope is that
    of Platt scaling inside the block, drawn to 1. All knots are then moved by
    one number, for the mean probability to be the rate.

    Args:
        scores: Rising logits of bins, float64 `(n,)`.
        weights: Of negatives and positives, `(n, 2)`; each sum is positive.
        rows: How many they are, likewise.

    Returns:
        A curve of at most 200 knots.

    Example:
    >>> weights = np.array([[90.0, 10.0], [25.0, 75.0]])
    >>> curve = fit_isotonic(np.array([-1.0, 1.0]), weights, weights)
    >>> curve.apply([-1.0, 1.0]).round(1).tolist()
    [-2.2, 1.1]

    Reference: Zadrozny and Elkan, "Transforming classifier scores into
    accurate multiclass probability estimates" (KDD 2002); centred as in Oron
    and Flournoy, "Centered isotonic regression" (2017).
    """
    rarer = rows[:, int(rows[:, 1].sum() < rows[:, 0].sum())]
    groups = _groups(rarer)
    mass = np.zeros((groups[-1] + 1, 2))
    np.add.at(mass, groups, weights)
    total = mass.sum(1)
    centres = np.zeros(len(total))
    np.add.at(centres, groups, scores * weights.sum(1))
    centres /= total
    _, sizes = pool_adjacent_violators(mass[:, 1] / total, total)
    starts = np.append(0, np.cumsum(sizes)[:-1])
    rates = _rates(np.add.reduceat(mass, starts), weights.sum() / rows.sum())
    knots = _knots(centres, rates, starts, sizes)
    first, last = groups < sizes[0], groups >= starts[-1]
    ends = (
        _slope(scores[first], weights[first]),
        _slope(scores[last], weights[last]),
    )
    curve = curve_lib.Curve(knots=tuple(knots), end_slopes=ends)
    moved = platt.shift(curve.apply(scores), weights)
    raised = tuple((x, y + moved) for x, y in knots)
    return curve.model_copy(update={"knots": raised})


def _slope(scores: curve_lib.Floats, weights: curve_lib.Floats) -> float:
    """The slope inside one block."""
    if not weights.sum(0).all():
        return 1.0
    return platt.fit_platt(scores, weights, _END_PRECISION).slope


def _groups(rarer: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The group of each bin, rising from 0 without gaps."""
    wanted = max(_ROWS_A_GROUP, rarer.sum() / _MOST_GROUPS)
    groups = np.zeros(len(rarer), np.int64)
    group, held = 0, 0.0
    for place, rows in enumerate(rarer.tolist()):
        if held >= wanted:
            group, held = group + 1, 0.0
        groups[place] = group
        held += rows
    # What is left over at the top is no group of its own.
    return np.minimum(groups, max(group - (held < wanted), 0))


def _rates(mass: curve_lib.Floats, row_weight: float) -> curve_lib.Floats:
    """Rising logits of the rates of blocks.

    Args:
        mass: Weights of negatives and positives, `(m, 2)`.
        row_weight: The mean weight of a row.
    """
    # Blocks of one class alone have half a row of the other.
    held = np.where(mass == 0.0, row_weight / 2, mass)
    logits: curve_lib.Floats = np.maximum.accumulate(
        np.log(held[:, 1]) - np.log(held[:, 0])
    )
    return logits


def _knots(
    centres: curve_lib.Floats,
    rates: curve_lib.Floats,
    starts: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> list[tuple[float, float]]:
    """One knot a block of one group, two of a longer one.

    Args:
        centres: Mean logits of groups.
        rates: Logits of the rates of blocks.
        starts: The first group of each block.
        sizes: Groups of each block.
    """
    tilt = _TILT / max(centres[-1] - centres[0], _NEAREST)
    knots: list[tuple[float, float]] = []
    for start, size, rate in zip(
        starts.tolist(), sizes.tolist(), rates.tolist(), strict=True
    ):
        for x in centres[[start, start + size - 1]].tolist():
            if not knots or x - knots[-1][0] >= _NEAREST:
                knots.append((x, rate + tilt * float(x - centres[0])))
    return knots

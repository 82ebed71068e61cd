"""Both sides of one column, compared: a `DriftColumn`."""

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tfplugin.planning import drift_distances
from tfplugin.planning import drift_quantiles
from tfplugin.planning import drift_sides
from tfplugin.schema import LabelStatistics
from tfplugin.schema import drift as records

#: Ids that gained, and that lost, most.
TOP_IDS = 10
_CURVE_POINTS = 200
# Half the width of a normal distribution's middle 95 %, in deviations.
_MIDDLE = 1.96

Limits = Mapping[str, float]


def ids(
    table: str,
    baseline: drift_sides.Side,
    current: drift_sides.Side,
    limits: Limits,
) -> records.DriftColumn:
    """Compares the ids of a table.

    Args:
        table: Its name.
        baseline: What is taken as given.
        current: The other side.
        limits: Measure to threshold.

    Returns:
        All measures of `drift_distances.id_measures` and `missing_rate`; the
        latter alone if a side has no ids.
    """
    one, two = baseline.read_ids(table), current.read_ids(table)
    missing = baseline.missing_ids[table], current.missing_ids[table]
    measures = _missing_rate(
        (missing[0], float(one.counts.sum())),
        (missing[1], float(two.counts.sum())),
    )
    gained: tuple[records.SharedId, ...] = ()
    lost: tuple[records.SharedId, ...] = ()
    if len(one.counts) and len(two.counts):
        union, a, b = one.with_other(two)
        measures |= drift_distances.id_measures(a, b)
        shares = a / a.sum(), b / b.sum()
        gained = _top(union, *shares, shares[1] - shares[0])
        lost = _top(union, *shares, shares[0] - shares[1])
    return records.DriftColumn(
        name=table,
        kind="ids",
        baseline=_id_side(one, missing[0]),
        current=_id_side(two, missing[1]),
        measures=judge(measures, limits),
        gained=gained,
        lost=lost,
    )


def numbers(
    name: str,
    kind: records.ColumnKind,
    baseline: drift_sides.Column,
    current: drift_sides.Column,
    limits: Limits,
) -> records.DriftColumn:
    """Compares numbers, or lengths of lists.

    Args:
        name: The feature.
        kind: `numbers` or `lengths`.
        baseline: What is taken as given.
        current: The other side.
        limits: Measure to threshold.

    Returns:
        The measures of `drift_quantiles.number_measures`, unless a side has
        no numbers, and the `missing_rate` (of lists: of empty ones), unless it
        is not known of a side.
    """
    one, two = baseline.numbers, current.numbers
    measures = {}
    if baseline.missing is not None and current.missing is not None:
        measures = _missing_rate(
            (baseline.missing, one.count if one else 0),
            (current.missing, two.count if two else 0),
        )
    if one and two:
        measures |= drift_quantiles.number_measures(one, two)
    return records.DriftColumn(
        name=name,
        kind=kind,
        baseline=_number_side(baseline),
        current=_number_side(current),
        measures=judge(measures, limits),
    )


def label(
    name: str,
    baseline: LabelStatistics,
    current: LabelStatistics,
    limits: Limits,
) -> records.DriftColumn:
    """Compares a label's rates.

    Chance is that of a difference of two binomial rates, about normal, so
    that a small sample does not alarm.

    Args:
        name: The label.
        baseline: What is taken as given.
        current: The other side.
        limits: Measure to threshold.

    Returns:
        `label_rate`, the difference, and `label_rate_relative`, the same over
        the baseline's rate; none where a side observed nothing, and no
        relative one where the baseline's rate is 0.

    Example:
    >>> column = label(
    ...     "click",
    ...     LabelStatistics(observed=1000, positives=100),
    ...     LabelStatistics(observed=1000, positives=150),
    ...     {"label_rate": 0.02, "label_rate_relative": 0.6},
    ... )
    >>> round(column.measures["label_rate"].value, 3), column.crossed
    (0.05, ['label_rate'])
    """
    measures = {}
    if baseline.observed and current.observed:
        rate = baseline.positive_rate
        change = round(abs(current.positive_rate - rate), 15)
        pooled = (baseline.positives + current.positives) / (
            baseline.observed + current.observed
        )
        chance = (
            drift_distances.DEVIATIONS
            * drift_distances.deviation_of_rates(
                pooled, baseline.observed, current.observed
            )
        )
        measures["label_rate"] = drift_distances.Measured(
            change, 0.0, chance, change
        )
        if rate:
            measures["label_rate_relative"] = drift_distances.Measured(
                change / rate, 0.0, chance / rate, change / rate
            )
    return records.DriftColumn(
        name=name,
        kind="label",
        baseline=_label_side(baseline),
        current=_label_side(current),
        measures=judge(measures, limits),
    )


def judge(
    measures: Mapping[str, drift_distances.Measured], limits: Limits
) -> dict[str, records.DriftMeasure]:
    """Holds measures against their limits.

    Example:
    >>> measured = drift_distances.Measured(0.4, 0.1, 0.2, 0.3)
    >>> judged = judge({"l_infinity": measured}, {"l_infinity": 0.3})
    >>> judged["l_infinity"].crossed
    False
    """
    return {
        name: records.DriftMeasure(
            value=found.value,
            expected=found.expected,
            chance=found.chance,
            excess=found.excess,
            threshold=limits[name],
            crossed=found.excess > limits[name] and found.value > found.chance,
        )
        for name, found in measures.items()
    }


def interval(positives: int, observed: int) -> tuple[float, float]:
    """Where a rate lies with 95 % confidence.

    Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", 1927: right for few observations and rates near 0, too.

    Example:
    >>> [round(bound, 3) for bound in interval(0, 10)]
    [0.0, 0.278]
    """
    rate, square = positives / observed, _MIDDLE**2 / observed
    centre = (rate + square / 2.0) / (1.0 + square)
    half = math.sqrt(rate * (1.0 - rate) * square + square**2 / 4.0) / (
        1.0 + square
    )
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _missing_rate(
    baseline: tuple[int, float], current: tuple[int, float]
) -> dict[str, drift_distances.Measured]:
    """Change of the share of missing values; each side missing, present."""
    totals = [missing + present for missing, present in (baseline, current)]
    if not all(totals):
        return {}
    rates = baseline[0] / totals[0], current[0] / totals[1]
    change = abs(rates[1] - rates[0])
    pooled = (baseline[0] + current[0]) / sum(totals)
    deviation = drift_distances.deviation_of_rates(pooled, *totals)
    return {
        "missing_rate": drift_distances.Measured(
            change, 0.0, drift_distances.DEVIATIONS * deviation, change
        )
    }


def _top(
    ids: pa.Array, baseline: np.ndarray, current: np.ndarray, rise: np.ndarray
) -> tuple[records.SharedId, ...]:
    """The ids that rose most, equal ones by id."""
    kept = min(TOP_IDS, len(rise))
    least = np.partition(rise, len(rise) - kept)[len(rise) - kept]
    # The least rise may be that of millions of ids: its first ones do.
    above = np.flatnonzero(rise > max(least, 0.0))
    equal = np.flatnonzero((rise == least) & (rise > 0.0))
    places = np.concatenate([above, equal[: kept - len(above)]])
    found = [
        records.SharedId(
            id=ids[int(place)].as_py(),
            baseline=float(baseline[place]),
            current=float(current[place]),
        )
        for place in places
    ]
    return tuple(
        sorted(found, key=lambda i: (-abs(i.current - i.baseline), str(i.id)))
    )


def _id_side(found: drift_sides.IdCounts, missing: int) -> records.ColumnSide:
    return records.ColumnSide(
        values=_whole(float(found.counts.sum())),
        missing=missing,
        ids=len(found.counts),
        curve=_curve(found.counts),
    )


def _curve(counts: np.ndarray) -> records.RankCurve:
    if not len(counts):
        return records.RankCurve()
    falling = np.sort(counts)[::-1]
    ranks = np.unique(
        np.rint(np.geomspace(1, len(counts), _CURVE_POINTS)).astype(np.int64)
    )
    ranks = np.clip(ranks, 1, len(counts))
    return records.RankCurve(
        ranks=tuple(ranks.tolist()),
        shares=tuple((falling[ranks - 1] / counts.sum()).tolist()),
    )


def _number_side(found: drift_sides.Column) -> records.ColumnSide:
    numbers = found.numbers
    return records.ColumnSide(
        values=numbers.count if numbers else 0,
        missing=found.missing or 0,
        quantiles=tuple(numbers.quantiles.tolist()) if numbers else (),
    )


def _label_side(found: LabelStatistics) -> records.ColumnSide:
    return records.ColumnSide(
        values=found.observed,
        positives=found.positives,
        rate=found.positive_rate if found.observed else None,
        interval=interval(found.positives, found.observed)
        if found.observed
        else None,
    )


def _whole(value: float) -> int | float:
    return int(value) if value.is_integer() else value

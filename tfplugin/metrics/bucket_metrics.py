"""Metrics of one objective by bucket of rows, and its calibration curve."""

import math
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

#: Quantiles of the first rows that part the scores, besides a fixed grid.
_QUANTILES = 1024
#: Rows that are waited for before bins are placed.
_PLACING_ROWS = 8192
_FIXED_EDGES = np.linspace(-16.0, 16.0, 129)


_Buckets: TypeAlias = dict[str, np.ndarray]


class BucketMetrics:
    """AUC, normalised entropy and calibration by bucket, over a stream.

    Rows are sorted into buckets in one way or several (by the frequency of
    their ids in each table, say). Of each bucket it keeps sums and a histogram
    of logits by class: some 20 kB a bucket, whatever the number of rows.

    All but AUC are exact. AUC counts logits of one bin as tied: bins are parted
    by 1,024 quantiles of the first 8,192 rows and by every quarter of a logit
    from -16 to 16, so that pairs in one bin are some thousandth of all; up to
    1,024 rows it is exact too.

    Args:
        base_rate: Fraction of positives in the training split, between 0 and 1.
        ways: Name of a way to the number of its buckets.

    Raises:
        ValueError: `base_rate` does not lie between 0 and 1.

    Example:
    >>> metrics = BucketMetrics(base_rate=0.5, ways={"user": 2})
    >>> metrics.update(
    ...     labels=[0, 1, 1],
    ...     logits=[0.0, 0.0, 1.0],
    ...     weights=[1, 1, 1],
    ...     buckets={"user": [0, 0, 1]},
    ... )
    >>> first, second = metrics.by_bucket("user")
    >>> first["rows"], first["auc"], first["normalized_entropy"]
    (2, 0.5, 1.0)
    >>> second["positives"], second["auc"]
    (1, nan)

    Reference: He et al., "Practical lessons from predicting clicks on ads at
    Facebook", ADKDD 2014, for normalised entropy and calibration.
    """

    def __init__(self, base_rate: float, ways: Mapping[str, int]) -> None:
        if not 0.0 < base_rate < 1.0:
            raise ValueError(
                "`base_rate` must lie between 0 and 1. "
                f"Received: base_rate={base_rate}."
            )
        self._entropy = -(
            base_rate * math.log(base_rate)
            + (1.0 - base_rate) * math.log1p(-base_rate)
        )
        self._ways = dict(ways)
        self._edges = np.zeros(0)
        self._sums = {name: np.zeros((6, n)) for name, n in ways.items()}
        self._histograms: dict[str, np.ndarray] = {}
        self._curve = np.zeros((6, 1))
        # Batches that came before bins were placed.
        self._waiting: list[tuple[np.ndarray, np.ndarray, _Buckets]] = []

    def update(
        self,
        labels: npt.ArrayLike,
        logits: npt.ArrayLike,
        weights: npt.ArrayLike,
        buckets: Mapping[str, npt.ArrayLike],
    ) -> None:
        """Adds a batch.

        Args:
            labels: 0 or 1, `(n,)`.
            logits: `(n,)`; a NaN makes the metrics of its buckets NaN.
            weights: `(n,)`; 0 leaves a row out, whatever it holds.
            buckets: Way to the bucket of each row, `(n,)`.
        """
        kept = np.asarray(weights) != 0.0
        weight = np.asarray(weights, np.float64)[kept]
        label = np.asarray(labels, np.float64)[kept]
        logit = np.asarray(logits, np.float64)[kept]
        weight = np.where(np.isnan(logit), np.nan, weight)
        logit = np.where(np.isnan(logit), 0.0, logit)
        predicted = 1.0 / (1.0 + np.exp(-np.clip(logit, -80.0, 80.0)))
        losses = np.logaddexp(0.0, logit) - label * logit
        columns = np.stack(
            [
                np.ones_like(weight),
                label > 0.5,
                weight,
                weight * label,
                weight * predicted,
                weight * losses,
            ]
        )
        of_rows = {
            name: np.asarray(buckets[name])[kept].astype(np.int64)
            for name in self._ways
        }
        if self._edges.size:
            self._count(logit, columns, of_rows)
            return
        self._waiting.append((logit, columns, of_rows))
        if sum(len(batch[0]) for batch in self._waiting) >= _PLACING_ROWS:
            self._count_waiting()

    def by_bucket(self, way: str) -> list[dict[str, Any]]:
        """What was measured of each bucket.

        Args:
            way: Its name.

        Returns:
            One dict a bucket, in their order: `rows` and `positives` (rows
            with weight, and those of them that are positive, as numbers of
            rows), and weighted: `auc`, `normalized_entropy`, `calibration`
            (predicted over observed positives). NaN where undefined.
        """
        self._count_waiting()
        areas = _areas_under_roc(self._histograms[way]).tolist()
        return [
            self._summary(sums, area)
            for sums, area in zip(self._sums[way].T, areas, strict=True)
        ]

    def calibration_curve(self, num_points: int = 20) -> list[dict[str, Any]]:
        """Predicted against observed rates, from low scores to high ones.

        Points hold about equal shares of the predicted positives, not of the
        rows: of a rare event nearly all rows would tell of nothing but the
        lowest rates.

        Args:
            num_points: How many points at most.

        Returns:
            One dict a point, of rising score: `prediction` and `rate`, the
            weighted means of prediction and label; `rows`, `positives`.
        """
        self._count_waiting()
        held = self._curve[:, self._curve[0] > 0]
        if not held.size or not np.isfinite(held).all():
            return []
        mass = np.cumsum(held[4]) - 0.5 * held[4]
        total = held[4].sum()
        shares = np.floor(num_points * mass / total)
        points = []
        for share in sorted(set(shares.tolist())):
            rows, positives, weight, observed, predicted, _ = held[
                :, shares == share
            ].sum(axis=1)
            points.append(
                {
                    "prediction": predicted / weight,
                    "rate": observed / weight,
                    "rows": int(rows),
                    "positives": int(positives),
                }
            )
        return points

    def _summary(self, sums: np.ndarray, area: float) -> dict[str, Any]:
        rows, positives, weight, observed, predicted, loss = sums.tolist()
        return {
            "rows": int(rows),
            "positives": int(positives),
            "auc": area,
            "normalized_entropy": _ratio(loss, weight * self._entropy),
            "calibration": _ratio(predicted, observed),
        }

    def _count_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not self._edges.size:
            self._place(np.concatenate([[], *(batch[0] for batch in waiting)]))
        for batch in waiting:
            self._count(*batch)

    def _place(self, logits: np.ndarray) -> None:
        known = logits[np.isfinite(logits)]
        if len(known) > _QUANTILES:
            shares = np.linspace(0.0, 1.0, _QUANTILES)
            known = np.quantile(known, shares, method="nearest")
        self._edges = np.sort(np.concatenate([known, _FIXED_EDGES]))
        size = len(self._edges) + 1
        self._curve = np.zeros((6, size))
        self._histograms = {
            name: np.zeros((n, size, 2)) for name, n in self._ways.items()
        }

    def _count(
        self, logits: np.ndarray, columns: np.ndarray, buckets: _Buckets
    ) -> None:
        bins = np.searchsorted(self._edges, logits, side="right")
        _add(self._curve, bins, columns)
        num_bins = self._curve.shape[1]
        for name, number in self._ways.items():
            _add(self._sums[name], buckets[name], columns)
            places = buckets[name] * num_bins + bins
            size = number * num_bins
            positives = np.bincount(places, columns[3], size)
            negatives = np.bincount(places, columns[2] - columns[3], size)
            both = np.stack([negatives, positives], axis=-1)
            self._histograms[name] += both.reshape(number, num_bins, 2)


def _add(
    totals: np.ndarray, places: np.ndarray, columns: Iterable[np.ndarray]
) -> None:
    for total, column in zip(totals, columns, strict=True):
        total += np.bincount(places, column, len(total))


def _areas_under_roc(histograms: np.ndarray) -> np.ndarray:
    """`areas.area_under_roc` of `(buckets, bins, 2)`: all buckets at once."""
    negatives, positives = histograms[..., 0], histograms[..., 1]
    below = np.cumsum(negatives, axis=1)
    pairs = (positives * (below - 0.5 * negatives)).sum(axis=1)
    total = negatives.sum(axis=1) * positives.sum(axis=1)
    areas = np.full(len(pairs), np.nan)
    return np.divide(pairs, total, out=areas, where=total != 0.0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan

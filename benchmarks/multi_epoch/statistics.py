"""Exact AUC, and how sure a difference of two arms is.

Intervals are percentiles of a paired bootstrap over users: rows of one user
are not independent, so users are drawn, with replacement, and every arm, seed,
objective and epoch is measured on the same draws.

    users = statistics.Users(test["group"])
    fal = [users.aucs(labels, logits, weights) for logits in fal_by_seed]
    none = [users.aucs(labels, logits, weights) for logits in none_by_seed]
    statistics.difference(fal, none)  # Difference(difference, low, high)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

RESAMPLES = 200
COVERED = 0.95


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of means and its interval.

    Args:
        difference: On all rows.
        low: Lower end of the interval of 95 %.
        high: Its upper end.
        resamples: How many of the draws defined it: one without a positive
            or without a negative has no AUC.
    """

    difference: float
    low: float
    high: float
    resamples: int


class _Ranked:
    """Labels sorted by one prediction, which is then measured many times."""

    def __init__(
        self, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
    ) -> None:
        if not np.all(np.isfinite(scores)):
            raise ValueError(
                "Scores must be finite. Received: "
                f"{np.sum(~np.isfinite(scores))} that are not."
            )
        # Rows without weight, as of unknown labels, take part in nothing.
        kept = np.flatnonzero(weights)
        self.rows = kept[np.argsort(scores[kept], kind="stable")]
        ordered = scores[self.rows]
        positive = labels[self.rows] > 0
        self.positives = np.flatnonzero(positive)
        self.negative_weights = np.where(positive, 0.0, weights[self.rows])
        self.positive_weights = weights[self.rows][self.positives]
        among = ordered[self.positives]
        # Half of the negatives that tie: below and not above, on average.
        self.below = np.searchsorted(ordered, among, side="left")
        self.not_above = np.searchsorted(ordered, among, side="right")
        self._sums = np.zeros(len(self.rows) + 1)

    def auc(self, times: np.ndarray) -> float:
        """AUC with the sorted rows taken so many times; NaN if undefined."""
        positives = self.positive_weights * times[self.positives]
        np.multiply(times, self.negative_weights, out=self._sums[1:])
        np.cumsum(self._sums[1:], out=self._sums[1:])
        pairs = positives.sum() * self._sums[-1]
        if pairs == 0:
            return float("nan")
        ranks = (self._sums[self.below] + self._sums[self.not_above]) / 2
        return float(positives @ ranks / pairs)


def auc(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Area under the ROC curve, ties counted half.

    sum over pairs of w_i w_j (s_i > s_j) + w_i w_j (s_i = s_j) / 2, of
    positives i and negatives j, over the sum of w_i w_j.

    Args:
        labels: 0 or 1, shape `(n,)`.
        scores: Shape `(n,)`; only their order counts.
        weights: At least 0, shape `(n,)`; None for 1 everywhere.

    Returns:
        The AUC; NaN without a positive or without a negative of any weight.
    """
    if weights is None:
        weights = np.ones(len(labels))
    ranked = _Ranked(labels, scores, np.asarray(weights, np.float64))
    return ranked.auc(np.ones(len(ranked.rows)))


class Users:
    """Resamples of the users of a test split, the same for all that ask.

    Args:
        groups: Whose each row is, shape `(n,)`, any dtype.
        resamples: Draws of as many users as there are.
        seed: Of the draws.
    """

    def __init__(
        self, groups: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        _, self._user_of_row = np.unique(groups, return_inverse=True)
        self.number = int(self._user_of_row.max()) + 1
        rng = np.random.default_rng(seed)
        #: How often each user is in each resample.
        self.multiplicities = [
            np.bincount(
                rng.integers(self.number, size=self.number),
                minlength=self.number,
            ).astype(np.float32)
            for _ in range(resamples)
        ]

    def aucs(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """AUC on all rows, then on each resample: shape `(1 + resamples,)`."""
        if weights is None:
            weights = np.ones(len(labels))
        ranked = _Ranked(labels, scores, np.asarray(weights, np.float64))
        # Sorted once: a resample then costs a gather and a running sum.
        users = self._user_of_row[ranked.rows]
        found = [ranked.auc(np.ones(len(users)))]
        found += [ranked.auc(times[users]) for times in self.multiplicities]
        return np.array(found)


def difference(
    arm: Sequence[np.ndarray], against: Sequence[np.ndarray]
) -> Difference:
    """Difference of the means of two arms over seeds, or over objectives.

    Args:
        arm: What `Users.aucs` returned, one a seed (and objective).
        against: The same of the other arm, by the same `Users`.

    Returns:
        Mean of `arm` minus mean of `against`, with its interval.

    Raises:
        ValueError: Fewer than nine tenths of the resamples define it.
    """
    draws = np.mean(arm, axis=0) - np.mean(against, axis=0)
    resampled = draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(draws[0]) or len(resampled) < 0.9 * (len(draws) - 1):
        raise ValueError(
            "Nine tenths of the resamples must have positives and negatives. "
            f"Received: {len(resampled)} of {len(draws) - 1}. Take more rows."
        )
    tail = (1 - COVERED) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Difference(float(draws[0]), float(low), float(high), len(resampled))

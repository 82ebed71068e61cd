"""Logits of rows and their labels, counted in bins as they stream by."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LARGEST_LOGIT = 32.0
_BINS_PER_UNIT = 128
_NUM_BINS = int(2 * _LARGEST_LOGIT * _BINS_PER_UNIT)


class ScoreCounts:
    """What calibration needs to know of one objective's scores.

    Rows and weights by class in 8,192 even bins of logit from -32 to 32;
    within a bin, 1/128 wide, the mean logit stands for all. Memory is fixed
    however many rows are seen.

    Attributes:
        rows: float64 `(8192, 2)`: rows that carry weight, by bin, negatives
            first.
        weights: float64 `(8192, 2)`: their weights.
        refused: Rows that carry weight and whose logit is NaN.

    Example:
    >>> counts = ScoreCounts()
    >>> counts.add([1, 0, 1], [0.5, -0.25, 0.5], [1.0, 2.0, 0.0])
    >>> counts.rows.sum(0).tolist(), counts.weights.sum(0).tolist()
    ([1.0, 1.0], [2.0, 1.0])
    >>> scores, weights = counts.occupied()
    >>> scores.tolist(), weights.tolist()
    ([-0.25, 0.5], [[2.0, 0.0], [0.0, 1.0]])
    """

    def __init__(self) -> None:
        self.rows = np.zeros((_NUM_BINS, 2))
        self.weights = np.zeros((_NUM_BINS, 2))
        self.refused = 0
        self._sums = np.zeros(_NUM_BINS)

    def add(
        self,
        labels: npt.ArrayLike,
        logits: npt.ArrayLike,
        weights: npt.ArrayLike,
    ) -> None:
        """Counts a batch.

        Args:
            labels: 0 or 1, `(n,)` or `(n, 1)`.
            logits: Of the same size; an infinity counts as +-32.
            weights: Of the same size; 0 masks a row.
        """
        label, score, weight = (
            np.asarray(values, np.float64).reshape(-1)
            for values in (labels, logits, weights)
        )
        counted = weight > 0.0
        refused = counted & np.isnan(score)
        self.refused += int(refused.sum())
        counted &= ~refused
        label, score, weight = label[counted], score[counted], weight[counted]
        score = np.clip(score, -_LARGEST_LOGIT, _LARGEST_LOGIT)
        bins = ((score + _LARGEST_LOGIT) * _BINS_PER_UNIT).astype(np.int64)
        bins = np.minimum(bins, _NUM_BINS - 1)
        cells = 2 * bins + (label > 0.5)
        size = 2 * _NUM_BINS
        self.rows += np.bincount(cells, minlength=size).reshape(-1, 2)
        self.weights += np.bincount(cells, weight, size).reshape(-1, 2)
        self._sums += np.bincount(bins, weight * score, _NUM_BINS)

    def occupied(self) -> tuple[Floats, Floats]:
        """Bins that hold weight, by rising logit.

        Returns:
            float64 mean logits `(n,)` and weights by class `(n, 2)`.
        """
        held = self._held()
        total = self.weights[held].sum(1)
        return self._sums[held] / total, self.weights[held]

    def occupied_rows(self) -> Floats:
        """Rows by class `(n, 2)` of the bins that `occupied` gives."""
        return self.rows[self._held()]

    def _held(self) -> npt.NDArray[np.bool_]:
        held: npt.NDArray[np.bool_] = self.weights.sum(1) > 0.0
        return held

"""AUC within groups and NDCG at k, exact, in bounded memory."""

import math
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tfplugin.metrics import id_buckets

_RECORD = np.dtype([("key", "<i8"), ("score", "<f4"), ("label", "<f4")])
#: Rows that a partition should hold: 16 bytes each on disk, and some ten
#: times that while it is ranked.
PARTITION_ROWS = 2**21


class GroupedRanking:
    """How well the rows of one user, or of one request, are ranked.

    A global AUC also rewards telling active users from idle ones, which ranks
    no list any better. Grouped AUC is the mean of each group's AUC, weighted
    by the group's rows, over the groups that have both classes; ties count
    half. NDCG at k is the mean over groups that have a positive of

        DCG / best DCG,  DCG = sum over ranks i <= k of label_i / log2(i + 1)

    where equal scores share the discounts of their ranks, which is the mean
    over all orders of them.

    Rows are written to files, parted by a hash of their group, and read again
    one file at a time: memory holds `PARTITION_ROWS` rows or the largest group,
    whichever is more. Example weights do not weigh: a row is one impression.

    Args:
        folder: An existing folder for the files; they stay until it goes.
        expected_rows: How many rows will come, about; it sets the number of
            files.

    Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ranking = GroupedRanking(folder, expected_rows=5)
    ...     ranking.update(
    ...         keys=np.array([1, 1, 1, 2, 2]),
    ...         labels=[0, 1, 0, 0, 0],
    ...         scores=[0.1, 0.2, 0.3, 0.5, 0.4],
    ...         weights=[1, 1, 1, 1, 1],
    ...     )
    ...     found = ranking.result(k=10)
    >>> found["auc"], found["groups"], found["rows"], round(found["ndcg"], 4)
    (0.5, 1, 3, 0.6309)

    Reference: Zhu et al., "Optimized cost per click in Taobao display
    advertising", KDD 2017 (grouped AUC); Järvelin and Kekäläinen, "Cumulated
    gain-based evaluation of IR techniques", TOIS 2002; McSherry and Najork,
    "Computing information retrieval performance measures efficiently in the
    presence of tied scores", ECIR 2008.
    """

    def __init__(self, folder: str | pathlib.Path, expected_rows: int) -> None:
        number = max(1, -(-expected_rows // PARTITION_ROWS))
        self._paths = [
            pathlib.Path(folder) / f"part-{part:05d}" for part in range(number)
        ]
        self._is_nan = False

    def update(
        self,
        keys: np.ndarray,
        labels: npt.ArrayLike,
        scores: npt.ArrayLike,
        weights: npt.ArrayLike,
    ) -> None:
        """Adds a batch.

        Args:
            keys: Groups, int64 `(n,)`, as `id_keys` gives them; rows without
                one (`MISSING_KEY`) are left out.
            labels: 0 or 1, `(n,)`.
            scores: `(n,)`, as float32.
            weights: `(n,)`; 0 leaves a row out.
        """
        kept = (np.asarray(weights) != 0.0) & (keys != id_buckets.MISSING_KEY)
        rows = np.empty(int(kept.sum()), _RECORD)
        rows["key"] = keys[kept]
        rows["score"] = np.asarray(scores)[kept]
        rows["label"] = np.asarray(labels)[kept]
        self._is_nan |= bool(np.isnan(rows["score"]).any())
        parts = _mix(rows["key"]) % np.uint64(len(self._paths))
        for part, path in enumerate(self._paths):
            mine = rows[parts == part] if len(self._paths) > 1 else rows
            if len(mine):
                with path.open("ab") as file:
                    file.write(mine.tobytes())

    def result(self, k: int = 10) -> dict[str, Any]:
        """Reads the files and ranks.

        Args:
            k: Ranks that NDCG looks at; at least 1.

        Returns:
            `auc`, over `groups` groups that have both classes, with `rows`
            rows; `ndcg` at `k`, over `ndcg_groups` groups that have a positive.
            NaN where there is no such group, or a score was NaN.

        Raises:
            ValueError: `k` is below 1.
        """
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}.")
        area, rows, groups, gain, gain_groups = sum(
            (
                _rank(np.fromfile(path, _RECORD), k)
                for path in self._paths
                if path.exists()
            ),
            np.zeros(5),
        ).tolist()
        return {
            "auc": self._mean(area, rows),
            "groups": int(groups),
            "rows": int(rows),
            "ndcg": self._mean(gain, gain_groups),
            "ndcg_groups": int(gain_groups),
            "k": k,
        }

    def _mean(self, total: float, number: float) -> float:
        return total / number if number and not self._is_nan else math.nan


def _mix(keys: np.ndarray) -> np.ndarray:
    """Spreads keys over 64 bits: the finalizer of SplitMix64."""
    mixed = (
        keys.view(np.uint64)
        if keys.flags.contiguous
        else (np.ascontiguousarray(keys).view(np.uint64))
    )
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _rank(rows: np.ndarray, k: int) -> np.ndarray:
    """The five sums of `GroupedRanking.result`, of whole groups."""
    rows = rows[np.lexsort((-rows["score"], rows["key"]))]
    is_group = _begins(rows["key"])
    is_tie = is_group | _begins(rows["score"])
    groups = np.flatnonzero(is_group)
    ties = np.flatnonzero(is_tie)
    labels = rows["label"].astype(np.float64)
    group_of_tie = np.cumsum(is_group)[ties] - 1
    sizes = np.diff(np.append(groups, len(rows)))
    tie_sizes = np.diff(np.append(ties, len(rows)))
    positives = np.add.reduceat(labels, groups)
    tie_positives = np.add.reduceat(labels, ties)
    # Ranks within the group, from 0, of the best and past the worst.
    first = ties - groups[group_of_tie]
    last = first + tie_sizes
    tie_negatives = tie_sizes - tie_positives
    above = np.cumsum(tie_negatives) - tie_negatives
    above -= above[np.searchsorted(group_of_tie, group_of_tie)]
    negatives = sizes - positives
    below = negatives[group_of_tie] - above - 0.5 * tie_negatives
    pairs = np.bincount(group_of_tie, tie_positives * below, len(groups))
    both = (positives > 0) & (negatives > 0)
    areas = pairs[both] / (positives[both] * negatives[both])
    discounts = 1.0 / np.log2(np.arange(k) + 2.0)
    cumulated = np.concatenate([[0.0], np.cumsum(discounts)])
    shared = cumulated[np.minimum(last, k)] - cumulated[np.minimum(first, k)]
    gains = np.bincount(
        group_of_tie, tie_positives / tie_sizes * shared, len(groups)
    )
    some = positives > 0
    best = cumulated[np.minimum(positives[some], k).astype(np.int64)]
    return np.array(
        [
            (areas * sizes[both]).sum(),
            sizes[both].sum(),
            both.sum(),
            (gains[some] / best).sum(),
            some.sum(),
        ]
    )


def _begins(values: np.ndarray) -> np.ndarray:
    """Where another value begins."""
    return np.append(True, values[1:] != values[:-1])

"""How often each id of a table occurs in the training rows."""

import dataclasses
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfplugin.errors import InputError

_LABEL_PREFIX = "label_"
#: The day of an id that was never seen at a known moment.
UNKNOWN_DAY = np.iinfo(np.int32).min
#: What `IdFrequencies.evidence` calls the occurrences of an id.
OCCURRENCES = "occurrences"


@dataclasses.dataclass(frozen=True)
class IdFrequencies:
    """The ids of one table, most frequent first, equal counts by id.

    Args:
        ids: `(n,)`, int64 or object (str).
        counts: int64 `(n,)`, occurrences in training rows; float64 where
            those of earlier logs have decayed.
        label_counts: Label to an array of that type, `(n,)`, occurrences in
            training rows where that label is 1.
        first_days: int32 `(n,)`, the day of an id's first occurrence at a
            known moment, in days since 1970, UTC; `UNKNOWN_DAY` without one.
            None where the log has no `event_time`.
        last_days: Likewise of its last.

    Example:
    >>> frequencies = IdFrequencies.from_counts([7, 8, 9], [1, 5, 1])
    >>> frequencies.ids.tolist(), frequencies.with_min_count(2).ids.tolist()
    ([8, 7, 9], [8])
    """

    ids: np.ndarray
    counts: np.ndarray
    label_counts: dict[str, np.ndarray] = dataclasses.field(
        default_factory=dict
    )
    first_days: np.ndarray | None = None
    last_days: np.ndarray | None = None

    @classmethod
    def from_counts(
        cls,
        ids: np.ndarray | list[int] | list[str],
        counts: np.ndarray | list[int] | list[float],
        label_counts: dict[str, np.ndarray] | None = None,
        *,
        first_days: np.ndarray | None = None,
        last_days: np.ndarray | None = None,
    ) -> "IdFrequencies":
        """Sorts ids by falling count, equal counts by rising id.

        Args:
            ids: `(n,)`, int64 or str, unique.
            counts: `(n,)`, positive integers or floats.
            label_counts: Label to `(n,)`.
            first_days: int32 `(n,)`, or None.
            last_days: int32 `(n,)`, or None.
        """
        ids = np.asarray(ids)
        if ids.dtype.kind == "U":
            ids = ids.astype(object)
        counts = np.asarray(counts)
        if not np.issubdtype(counts.dtype, np.floating) or not len(counts):
            counts = counts.astype(np.int64)
        unsorted = cls(
            ids,
            counts,
            {k: np.asarray(v) for k, v in (label_counts or {}).items()},
            first_days,
            last_days,
        )
        return unsorted.take(np.lexsort((ids, -counts)))

    def __len__(self) -> int:
        return len(self.ids)

    def top(self, num_ids: int) -> "IdFrequencies":
        """The `num_ids` most frequent ids."""
        return self.take(slice(num_ids))

    def take(self, rows: np.ndarray | slice) -> "IdFrequencies":
        """Some of the ids.

        Args:
            rows: Their places, as NumPy takes them.
        """
        first, last = self.first_days, self.last_days
        return IdFrequencies(
            self.ids[rows],
            self.counts[rows],
            {k: v[rows] for k, v in self.label_counts.items()},
            None if first is None else first[rows],
            None if last is None else last[rows],
        )

    def with_min_count(self, min_count: float) -> "IdFrequencies":
        """The ids that occur at least `min_count` times."""
        return self.top(int(np.searchsorted(-self.counts, -min_count, "right")))

    def with_coverage(self, coverage: float) -> "IdFrequencies":
        """The fewest most frequent ids that make a share of occurrences.

        Args:
            coverage: In (0, 1]; 0.99 keeps the ids behind 99 % of all
                occurrences.
        """
        cumulated = np.cumsum(self.counts)
        if not len(cumulated):
            return self
        wanted = coverage * cumulated[-1]
        return self.top(int(np.searchsorted(cumulated, wanted)) + 1)

    def evidence(self, weights: Mapping[str, float]) -> np.ndarray:
        """How much is known of each id: a weighted sum of its counts.

        An id with 10,000 impressions and no purchase tells nothing about
        purchases; `{"purchase": 1.0}` counts those alone.

        Args:
            weights: Weight of `"occurrences"` and of labels, by name; finite
                and not negative. What is not named weighs 0.

        Returns:
            float64 `(n,)`, for `IdMapping.row_counts`.

        Raises:
            InputError: A name is neither `occurrences` nor a label that was
                counted, or a weight is negative or not finite.

        Example:
        >>> frequencies = IdFrequencies.from_counts(
        ...     ["a", "b"], [50, 10], {"buy": [0, 4]}
        ... )
        >>> frequencies.evidence({"occurrences": 0.1, "buy": 1.0}).tolist()
        [5.0, 5.0]
        """
        # Occurrences last, so that a label of that name does not hide them.
        known = {**self.label_counts, OCCURRENCES: self.counts}
        total = np.zeros(len(self), np.float64)
        for name, weight in weights.items():
            if name not in known:
                raise InputError(
                    "Evidence must be weighed by `occurrences` or a counted "
                    f"label. Received: {name}; known are {', '.join(known)}. "
                    "Name one of these, or run `tfplugin preprocess "
                    "--overwrite` with the label."
                )
            if not 0.0 <= weight < float("inf"):
                raise InputError(
                    "A weight of evidence must be finite and not negative. "
                    f"Received: {name}={weight}"
                )
            total += weight * known[name]
        return total


def read(
    folder: pathlib.Path, names: Iterable[str] | None = None
) -> IdFrequencies:
    """Reads a table's frequencies from its Parquet files.

    Args:
        folder: `DatasetFolder.id_frequencies(table)`.
        names: Files in it, as `TableStatistics.files` names them; None for
            all `part-*.parquet` that stand right in it.

    Raises:
        InputError: A file or the folder is absent, or a file is malformed.
    """
    if names is None:
        paths = sorted(folder.glob("part-*.parquet"))
    else:
        paths = [folder / name for name in names]
    if not paths:
        raise InputError(
            f"Id frequencies must be there. Received: {folder}, which holds "
            "no part-*.parquet. Run `tfplugin preprocess --overwrite`."
        )
    try:
        table = pa.concat_tables([pq.read_table(path) for path in paths])
        labels = {
            name.removeprefix(_LABEL_PREFIX): table[name].to_numpy()
            for name in table.column_names
            if name.startswith(_LABEL_PREFIX)
        }
        return IdFrequencies.from_counts(
            table["id"].to_numpy(),
            table["count"].to_numpy(),
            labels,
            first_days=_days(table, "first_day"),
            last_days=_days(table, "last_day"),
        )
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(
            f"Id frequencies must be Parquet files with `id` and `count`. "
            f"Received: {folder}: {' '.join(str(error).split())}. Run "
            "`tfplugin preprocess --overwrite`."
        ) from error


def _days(table: pa.Table, name: str) -> np.ndarray | None:
    if name not in table.column_names:
        return None
    days = table[name].cast(pa.int32())
    return days.fill_null(int(UNKNOWN_DAY)).to_numpy()

"""Rank-frequency curves: how often the most frequent id came, and the rest."""

import dataclasses
import pathlib
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfplugin.errors import InputError

#: Points of a curve; more cannot be told apart on a screen.
MAX_POINTS = 300
_BATCH_ROWS = 1 << 20


@dataclasses.dataclass(frozen=True)
class FrequencyCurve:
    """Counts of a table's ids by rank, thinned for drawing.

    Args:
        ids: Distinct ids.
        ids_seen_once: Ids with count 1; they have the last ranks.
        ranks: int64, shape `(num_points,)`, from 1 to `ids`; empty without
            ids.
        counts: int64, shape `(num_points,)`: the count of the id at each
            rank, exact; float64 within 2^-12 where older counts decay.
    """

    ids: int
    ids_seen_once: int
    ranks: np.ndarray
    counts: np.ndarray


def read(
    folder: pathlib.Path,
    names: Sequence[str] = (),
    max_points: int = MAX_POINTS,
) -> FrequencyCurve:
    """Reads the curve of one table.

    Memory grows with the number of different counts, not with the number of
    ids: N occurrences have fewer than sqrt(2 N) different counts.

    Args:
        folder: The table's Parquet files, with a column `count` of int64 or
            float64.
        names: Those of them to read; all that lie in the folder when empty.
        max_points: Bound of the number of points, about.

    Returns:
        The curve.

    Raises:
        InputError: The folder holds no Parquet file, or one that is damaged
            or lacks the column.
    """
    files = [folder / name for name in names]
    files = files or sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(
            f"A table's frequencies must be Parquet files. Received: {folder}, "
            "which holds none. Run `tfplugin preprocess --overwrite`."
        )
    values: np.ndarray = np.empty(0, np.int64)
    numbers = np.empty(0, np.int64)
    for file in files:
        for batch in _count_batches(file):
            new_values, new_numbers = np.unique(batch, return_counts=True)
            values, places = np.unique(
                np.concatenate([values, new_values]), return_inverse=True
            )
            merged = np.zeros(len(values), np.int64)
            np.add.at(merged, places, np.concatenate([numbers, new_numbers]))
            numbers = merged
    return from_histogram(values, numbers, max_points)


def from_histogram(
    values: np.ndarray, numbers: np.ndarray, max_points: int = MAX_POINTS
) -> FrequencyCurve:
    """The curve of ids of which `numbers[i]` have the count `values[i]`.

    Args:
        values: int64, shape `(n,)`, ascending, unique.
        numbers: int64, shape `(n,)`.
        max_points: Bound of the number of points, about.

    Returns:
        The curve: the first and last rank, those between spaced evenly on a
        logarithmic scale, and the two ranks where the ids seen once begin.

    >>> from_histogram(np.array([1, 9]), np.array([3, 1])).counts.tolist()
    [9, 1, 1, 1]
    """
    ids = int(numbers.sum())
    once = int(numbers[values == 1].sum())
    if ids == 0:
        empty = np.empty(0, np.int64)
        return FrequencyCurve(0, 0, empty, empty)
    ranks = np.rint(np.geomspace(1, ids, max_points)).astype(np.int64)
    corners = np.array([ids - once, ids - once + 1], np.int64)
    ranks = np.unique(np.clip(np.concatenate([ranks, corners]), 1, ids))
    # Descending counts: the k-th rank falls into the first group whose
    # running number of ids reaches k.
    last_ranks = np.cumsum(numbers[::-1])
    counts = values[::-1][np.searchsorted(last_ranks, ranks)]
    return FrequencyCurve(ids, once, ranks, counts)


def _count_batches(file: pathlib.Path) -> Iterator[np.ndarray]:
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=["count"]):
                counts = batch.column("count")
                if pa.types.is_floating(counts.type):
                    yield _thin(counts.to_numpy(zero_copy_only=False))
                else:
                    counts = counts.cast(pa.int64())
                    yield counts.to_numpy(zero_copy_only=False)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InputError(
            f"A table's frequencies must be Parquet with a column `count`. "
            f"Received: {file} ({str(error).splitlines()[0]}). "
            "Run `tfplugin preprocess --overwrite`."
        ) from error


def _thin(counts: np.ndarray) -> np.ndarray:
    """Counts to 12 bits, so that few are different; only 1 becomes 1."""
    fractions, exponents = np.frexp(counts)
    thin = np.ldexp(np.rint(fractions * 4096) / 4096, exponents)
    return np.where((thin == 1) & (counts != 1), np.nextafter(1, 2), thin)

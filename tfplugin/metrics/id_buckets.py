"""How often training saw an id, in buckets: the evidence behind a row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

#: What a bucket holds: ids by their occurrences in training rows.
BUCKETS = (
    "missing",
    "0",
    "1",
    "2-4",
    "5-16",
    "17-64",
    "65-256",
    "257-1024",
    "1025-4096",
    "4097+",
)
#: The key of a missing id; the dataset's own value for int64 ids.
MISSING_KEY = -(2**63)

_UPPER_BOUNDS = np.array([0, 1, 4, 16, 64, 256, 1024, 4096], np.float64)
_LARGEST_HASH = 2**63 - 1
_NO_ID = len(BUCKETS)
#: Strings hashed at a time: TensorFlow copies them.
_CHUNK_IDS = 262_144


def bucket_of(counts: npt.ArrayLike) -> np.ndarray:
    """The bucket of each count, a place in `BUCKETS`; never `missing`.

    Args:
        counts: Any shape, at least 0; what has decayed below 1 counts as 1.

    Returns:
        uint8 of that shape.

    Example:
    >>> [BUCKETS[k] for k in bucket_of([0, 1, 2, 4, 5, 5000, 0.25])]
    ['0', '1', '2-4', '2-4', '5-16', '4097+', '1']
    """
    return (np.searchsorted(_UPPER_BOUNDS, counts) + 1).astype(np.uint8)


def id_keys(ids: Any) -> tf.Tensor:
    """Ids as int64 numbers: themselves, or a 63-bit hash of strings.

    Two of 10^8 strings share a hash with a probability of 1 in 2,000.

    Args:
        ids: int64 or string, dense, any shape; missing ones -2^63 or `''`.

    Returns:
        int64 of that shape; `MISSING_KEY` where missing.

    Example:
    >>> id_keys(tf.constant([3, -2**63], tf.int64)).numpy().tolist()
    [3, -9223372036854775808]
    >>> int(id_keys(tf.constant([""]))[0]) == MISSING_KEY
    True
    """
    ids = tf.convert_to_tensor(ids)
    if ids.dtype != tf.string:
        return tf.cast(ids, tf.int64)
    hashed = tf.strings.to_hash_bucket_fast(ids, _LARGEST_HASH)
    missing = tf.constant(MISSING_KEY, tf.int64)
    return tf.where(tf.equal(ids, ""), missing, hashed)


class IdBuckets:
    """The bucket of every id of a table, by its count in training rows.

    Holds 9 bytes an id. An id that training did not see is in bucket `0`,
    however often another split holds it.

    Args:
        ids: `(n,)`, int64 or str, unique.
        counts: `(n,)`, occurrences in training rows.

    Example:
    >>> buckets = IdBuckets([7, 8], [1, 3])
    >>> found = buckets.of_keys(np.array([8, 9, 7, MISSING_KEY]))
    >>> [BUCKETS[k] for k in found]
    ['2-4', '0', '1', 'missing']
    """

    def __init__(self, ids: npt.ArrayLike, counts: npt.ArrayLike) -> None:
        ids, counts = np.asarray(ids), np.asarray(counts)
        if ids.dtype.kind not in "iu":
            ids = ids.astype(object)
        chunks = np.array_split(ids, len(ids) // _CHUNK_IDS + 1)
        keys = np.concatenate(
            [id_keys(tf.constant(c)).numpy() if len(c) else c for c in chunks]
        ).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._buckets = bucket_of(counts[order])

    def of_keys(self, keys: np.ndarray) -> np.ndarray:
        """The bucket of each id.

        Args:
            keys: int64 `(m,)`, as `id_keys` gives them.

        Returns:
            uint8 `(m,)`, places in `BUCKETS`.
        """
        found = np.full(len(keys), BUCKETS.index("0"), np.uint8)
        if len(self._keys):
            places = np.searchsorted(self._keys, keys)
            places = np.minimum(places, len(self._keys) - 1)
            known = self._keys[places] == keys
            found[known] = self._buckets[places[known]]
        found[keys == MISSING_KEY] = 0
        return found


def rarest_of_rows(
    num_rows: int,
    columns: Sequence[tuple[np.ndarray, np.ndarray | None]],
) -> np.ndarray:
    """The bucket of the rarest id of each row.

    The weakest evidence decides: what a row's prediction knows of a table is
    as uncertain as the id that was seen least.

    Args:
        num_rows: n.
        columns: Buckets of scalar ids `(n,)` and None; or of the ids of lists
            `(m,)` and where each row's begin, and the end, int64 `(n + 1,)`.

    Returns:
        uint8 `(n,)`; `missing` where a row has no id.

    Example:
    >>> scalars = np.array([3, 0, 0], np.uint8)
    >>> lists = np.array([5, 2, 4], np.uint8)
    >>> columns = [(scalars, None), (lists, np.array([0, 2, 3, 3]))]
    >>> [BUCKETS[k] for k in rarest_of_rows(3, columns)]
    ['1', '5-16', 'missing']
    """
    rarest = np.full(num_rows, _NO_ID, np.uint8)
    for buckets, splits in columns:
        known = np.where(buckets == 0, _NO_ID, buckets).astype(np.uint8)
        if splits is None:
            rarest = np.minimum(rarest, known)
        else:
            rows = np.repeat(np.arange(num_rows), np.diff(splits))
            np.minimum.at(rarest, rows, known)
    rarest[rarest == _NO_ID] = 0
    return rarest

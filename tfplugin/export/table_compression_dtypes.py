"""Rows of a table in fewer bytes, read by TensorFlow's own operators."""

from typing import Literal
from typing import get_args

import numpy as np
import tensorflow as tf

from tfplugin.errors import InputError

Dtype = Literal["float32", "float16", "bfloat16", "int8"]
DTYPES: tuple[str, ...] = get_args(Dtype)

#: The greatest magnitude of an int8 number: -128 is not used, so that a row
#: and its negative are stored alike.
_GREATEST = 127


class StoredRows:
    """A table that is written by the chunk and read by the row.

    float16 and bfloat16 hold each number rounded. int8 holds a row r as
    q = round(r / s), with one scale s a row, the least float16 that is not
    below max|r| / 127: a number differs from q s by at most s / 2, and a row
    of zeros is exact.

    Args:
        num_rows: Rows.
        dim: Length of a row.
        dtype: `float16`, `bfloat16`, `int8` or another floating dtype.
        table_name: For messages.

    Example:
    >>> stored = StoredRows(3, 2, "int8", "item")
    >>> stored.write(0, tf.constant([[0.0, 0.0], [127.0, -1.0], [0.5, 0.25]]))
    >>> stored.gather(tf.constant([1, 0]), tf.float32).numpy().tolist()
    [[127.0, -1.0], [0.0, 0.0]]
    >>> stored.num_bytes
    12

    Reference: Dettmers et al., "8-bit Optimizers via Block-wise Quantization",
    ICLR 2022 (a scale a block, the block's greatest magnitude); Guan et al.,
    "Post-Training 4-bit Quantization on Embedding Tables", 2019 (a scale a
    row).
    """

    def __init__(
        self, num_rows: int, dim: int, dtype: str, table_name: str
    ) -> None:
        self.dtype = tf.as_dtype(dtype)
        self.table_name = table_name
        self._numbers = tf.Variable(
            tf.zeros((num_rows, dim), self.dtype), trainable=False
        )
        self._scales: tf.Variable | None = None
        if self.dtype == tf.int8:
            self._scales = tf.Variable(
                tf.zeros((num_rows,), tf.float16), trainable=False
            )

    @property
    def variables(self) -> list[tf.Variable]:
        """What holds the numbers."""
        return [v for v in (self._numbers, self._scales) if v is not None]

    @property
    def num_bytes(self) -> int:
        """Bytes of the numbers, scales included."""
        return sum(
            v.shape.num_elements() * v.dtype.size for v in self.variables
        )

    def write(
        self,
        start: int,
        vectors: tf.Tensor,
        origin: np.ndarray | None = None,
    ) -> None:
        """Stores rows, one after the other.

        Args:
            start: Where the first of them goes.
            vectors: Floating, shape (n, dim).
            origin: Their rows in the trained table, for messages; None if
                these are `start` and following.

        Raises:
            InputError: A number is NaN or infinite, or beyond the dtype.
        """
        rows = tf.range(start, start + len(vectors))
        if self._scales is None:
            numbers = tf.cast(vectors, self.dtype)
            self._check(numbers, vectors, start, origin)
        else:
            vectors = tf.cast(vectors, tf.float32)
            scales = _scales(vectors)
            self._check(scales[:, np.newaxis], vectors, start, origin)
            self._scales.scatter_update(tf.IndexedSlices(scales, rows))
            wide = tf.cast(scales, tf.float32)[:, tf.newaxis]
            quotients = tf.math.divide_no_nan(vectors, wide)
            numbers = tf.cast(tf.round(quotients), tf.int8)
        self._numbers.scatter_update(tf.IndexedSlices(numbers, rows))

    def gather(self, rows: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Reads rows.

        Args:
            rows: int32 or int64, any shape.
            dtype: Of the vectors.

        Returns:
            Shape `rows.shape + (dim,)`.
        """
        vectors = tf.cast(tf.gather(self._numbers, rows), dtype)
        if self._scales is None:
            return vectors
        scales = tf.cast(tf.gather(self._scales, rows), dtype)
        return vectors * scales[..., tf.newaxis]

    def _check(
        self,
        stored: tf.Tensor,
        vectors: tf.Tensor,
        start: int,
        origin: np.ndarray | None,
    ) -> None:
        if tf.reduce_all(tf.math.is_finite(stored)):
            return
        finite = np.all(tf.math.is_finite(stored).numpy(), axis=1)
        place = int(np.flatnonzero(~finite)[0])
        greatest = float(np.max(np.abs(vectors[place].numpy())))
        row = start + place if origin is None else int(origin[place])
        raise InputError(
            f"A table that is stored as {self.dtype.name} must hold finite "
            f"numbers in that dtype's range. Received: table "
            f"{self.table_name}, row {row}, whose greatest magnitude is "
            f"{greatest:g}. "
            + (
                "Store the table as bfloat16 or float32."
                if np.isfinite(greatest)
                else "Its training has diverged: train it again, with a lower "
                "learning rate."
            )
        )


def _scales(vectors: tf.Tensor) -> np.ndarray:
    """The least float16 not below max|r| / 127, of each row."""
    exact = tf.reduce_max(tf.abs(vectors), axis=1).numpy() / _GREATEST
    # TensorFlow's maximum may pass over a NaN.
    exact = np.where(np.isfinite(vectors.numpy()).all(axis=1), exact, np.nan)
    with np.errstate(over="ignore"):
        scales = exact.astype(np.float16)
    below = scales.astype(np.float32) < exact
    # A scale rounded down would leave the greatest number no room.
    return np.where(below, np.nextafter(scales, np.float16(np.inf)), scales)

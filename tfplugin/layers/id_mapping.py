"""What every mapping from raw ids to table rows has in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin import schema

_ID_DTYPES = ("int64", "string")
#: Ids mapped at a time by `row_counts`: some megabytes, whatever the table.
_COUNT_CHUNK = 262_144


class IdMapping(keras.layers.Layer):
    """Maps raw ids to rows of an embedding table; the base of all mappings.

    Row 0 is the missing id's (-2**63 or `""`), then come rows for ids out of
    vocabulary, if the mapping has such; these first `num_special_rows` rows
    are not ids. A subclass implements `map_ids`.

    Args:
        id_dtype: `"int64"` or `"string"`.
        vocabulary_size: All rows, the special ones included.
        num_special_rows: How many of the first rows are not ids.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        ids: int64, int32 or string, as `id_dtype` says; a dense tensor of any
            rank or a `tf.RaggedTensor`.

    Returns:
        int64 rows of the same shape, ragged if `ids` is.

    Raises:
        TypeError: `ids` are of another dtype.

    Example:
    >>> from tfplugin import layers
    >>> mapping = layers.HashMapping(num_buckets=10)
    >>> (mapping.id_dtype, mapping.vocabulary_size, mapping.num_special_rows)
    ('int64', 11, 1)
    """

    def __init__(
        self,
        id_dtype: str,
        vocabulary_size: int,
        num_special_rows: int,
        **kwargs: Any,
    ) -> None:
        if id_dtype not in _ID_DTYPES:
            raise ValueError(
                f"`id_dtype` must be one of {_ID_DTYPES}. "
                f"Received: id_dtype={id_dtype!r}"
            )
        # Without `autocast=False` Keras would cast float ids silently, and
        # the dtype check below would not see what came in.
        super().__init__(autocast=False, **kwargs)
        self.supports_jit = False
        self._id_dtype = id_dtype
        self._vocabulary_size = vocabulary_size
        self._num_special_rows = num_special_rows
        self.built = True

    @property
    def id_dtype(self) -> str:
        """The dtype of raw ids: `"int64"` or `"string"`."""
        return self._id_dtype

    @property
    def vocabulary_size(self) -> int:
        """The number of all rows, the special ones included."""
        return self._vocabulary_size

    @property
    def num_special_rows(self) -> int:
        """How many of the first rows are not ids."""
        return self._num_special_rows

    @property
    def missing_id(self) -> int | str:
        """The raw id that says an id is missing."""
        if self._id_dtype == "string":
            return schema.MISSING_STRING
        return schema.MISSING_INT64

    def map_ids(self, ids: tf.Tensor) -> tf.Tensor:
        """Maps checked ids; what a subclass implements.

        Args:
            ids: Dense tensor of dtype `id_dtype`, any shape.

        Returns:
            int64 tensor of rows, the same shape.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `map_ids`."
        )

    def call(self, ids: Any) -> Any:
        """Maps raw ids to rows; see the class for shapes and dtypes."""
        self._check_dtype(ids)
        if isinstance(ids, tf.RaggedTensor):
            return ids.with_flat_values(self.call(ids.flat_values))
        if ids.dtype == tf.int32:
            ids = tf.cast(ids, tf.int64)
        return self.map_ids(ids)

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        """Says shape and dtype of the rows without mapping anything."""
        self._check_dtype(ids)
        ragged = bool(getattr(ids, "ragged", False))
        return keras.KerasTensor(ids.shape, dtype="int64", ragged=ragged)

    def row_counts(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Sums counts of raw ids into counts of rows.

        Args:
            ids: Raw ids of dtype `id_dtype`, shape (n,); an id may come more
                than once.
            counts: Integers or floats, shape (n,).

        Returns:
            int64 counts if `counts` are integers, otherwise float64; shape
            (vocabulary_size,).

        Raises:
            ValueError: The two are not one-dimensional and equally long.

        Example:
        >>> from tfplugin import layers
        >>> mapping = layers.VocabularyMapping(["a", "b"])
        >>> mapping.row_counts(np.array(["b", "x", ""]), np.array([5, 2, 1]))
        array([1, 2, 0, 5])
        """
        ids = np.asarray(ids)
        counts = np.asarray(counts)
        if ids.ndim != 1 or ids.shape != counts.shape:
            raise ValueError(
                "`ids` and `counts` must be one-dimensional and equally long. "
                f"Received: ids.shape={ids.shape}, counts.shape={counts.shape}"
            )
        is_integer = np.issubdtype(counts.dtype, np.integer)
        totals = np.zeros(
            self.vocabulary_size, np.int64 if is_integer else np.float64
        )
        for start in range(0, len(ids), _COUNT_CHUNK):
            chunk = slice(start, start + _COUNT_CHUNK)
            rows = self.call(tf.constant(ids[chunk])).numpy()
            np.add.at(totals, rows, counts[chunk].astype(totals.dtype))
        return totals

    @contextmanager
    def exporting(self) -> Iterator[list[Any]]:
        """Yields what a SavedModel must track besides the variables.

        `tf.saved_model.save` belongs inside the `with`.

        Yields:
            A list of trackable objects; empty for a mapping without a table.

        Example:
        >>> from tfplugin import layers
        >>> mapping = layers.HashMapping(num_buckets=10)
        >>> with mapping.exporting() as trackables:
        ...     trackables
        []
        """
        yield []

    def _check_dtype(self, ids: Any) -> None:
        dtype = tf.as_dtype(ids.dtype)
        expected = tf.as_dtype(self._id_dtype)
        if dtype == expected or (dtype, expected) == (tf.int32, tf.int64):
            return
        raise TypeError(
            f"{type(self).__name__} {self.name!r} maps ids of dtype "
            f"{self._id_dtype}. Received: ids.dtype={dtype.name}"
        )

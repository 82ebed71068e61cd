"""Raw ids to rows by a vocabulary: one row an id, the others share."""

import pathlib
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin.layers import hashing
from tfplugin.layers import id_mapping
from tfplugin.layers import vocabulary_keys
from tfplugin.layers import vocabulary_table

_ASSET_NAME = "vocabulary.tensor"


@keras.saving.register_keras_serializable(package="tfplugin")
class VocabularyMapping(id_mapping.IdMapping):
    """Maps each id of a vocabulary to its own row, all others to OOV rows.

    Row 0 is the missing id's, rows 1 to `num_oov_buckets` are for ids out of
    vocabulary (by the seeded hash of `HashMapping` if there are several), and
    `vocabulary[k]` has row `num_special_rows + k`.

    The vocabulary is no part of `get_config()`, which holds its fingerprint;
    a `.keras` file carries it beside the configuration, byte for byte. A
    layer made by `from_config` takes it from a mapping of the same process
    that has the fingerprint; failing that, it maps once `set_vocabulary` or
    `load_assets` was called.

    Args:
        vocabulary: Unique ids in row order: int64, or str and bytes in which
            any byte may occur. A str is its UTF-8 bytes. May be empty. None
            leaves it for later; then `num_ids` and `id_dtype` are needed.
        num_oov_buckets: Rows for ids out of vocabulary, at least 1.
        seed: Of the hash to OOV rows, from 0 to 2**63 - 1.
        id_dtype: `"int64"` or `"string"`; taken from `vocabulary` if None.
        num_ids: How many ids a vocabulary set later will have.
        fingerprint: Of the vocabulary set later; see `fingerprint` below.
        **kwargs: Of `keras.layers.Layer`, such as `name`.

    Call arguments:
        ids: Raw ids, see `IdMapping`.

    Returns:
        int64 rows of the same shape, ragged if `ids` is.

    Raises:
        ValueError: An id comes twice or is the missing id; an argument is out
            of range or contradicts the vocabulary.

    Example:
    >>> mapping = VocabularyMapping([30, 10, 20])
    >>> mapping(tf.constant([[10, 99], [30, -(2**63)]])).numpy().tolist()
    [[3, 1], [2, 0]]
    """

    def __init__(
        self,
        vocabulary: Sequence[Any] | np.ndarray | None = None,
        num_oov_buckets: int = 1,
        seed: int = 0,
        id_dtype: str | None = None,
        num_ids: int | None = None,
        fingerprint: str | None = None,
        **kwargs: Any,
    ) -> None:
        if num_oov_buckets < 1:
            raise ValueError(
                "`num_oov_buckets` must be at least 1. "
                f"Received: num_oov_buckets={num_oov_buckets}"
            )
        if not 0 <= seed < 2**63:
            raise ValueError(
                "`seed` must be at least 0 and below 2**63. "
                f"Received: seed={seed}"
            )
        if vocabulary is None and (num_ids is None or id_dtype is None):
            raise ValueError(
                "`vocabulary` must be given, or `num_ids` and `id_dtype` for "
                "one that is set later. Received: vocabulary=None, "
                f"num_ids={num_ids}, id_dtype={id_dtype!r}"
            )
        keys = None
        if vocabulary is not None:
            keys = vocabulary_keys.key_tensor(vocabulary, id_dtype)
            id_dtype = keys.dtype.name
            num_ids = len(keys) if num_ids is None else num_ids
        num_special_rows = 1 + num_oov_buckets
        super().__init__(
            id_dtype=str(id_dtype),
            vocabulary_size=num_special_rows + int(num_ids or 0),
            num_special_rows=num_special_rows,
            **kwargs,
        )
        self.num_oov_buckets = num_oov_buckets
        self.seed = seed
        self.num_ids = int(num_ids or 0)
        self._fingerprint = fingerprint
        self._table: vocabulary_table.VocabularyTable | None = None
        if keys is not None:
            self._set_keys(keys)
            self._check_fingerprint()

    @property
    def vocabulary(self) -> np.ndarray:
        """The ids in row order: int64, or object of bytes; shape (num_ids,)."""
        return self._loaded_table().keys.numpy()

    def vocabulary_slice(self, start: int, stop: int) -> tf.Tensor:
        """A part of the ids in row order, without a copy of them all.

        Args:
            start: Place of the first id; its row is `num_special_rows + start`.
            stop: Place after the last; may lie behind the end.

        Returns:
            Tensor of dtype `id_dtype`, shape (number of ids,).

        Example:
        >>> mapping = VocabularyMapping([30, 10, 20])
        >>> mapping.vocabulary_slice(1, 9).numpy().tolist()
        [10, 20]
        """
        return self._loaded_table().keys[start:stop]

    @property
    def lookup_table(self) -> tf.lookup.StaticHashTable:
        """The table from id to row; other ids: -1, or 1 with one OOV row."""
        return self._loaded_table().lookup_table

    @property
    def fingerprint(self) -> str | None:
        """Says ids, order and OOV rows; None before there is a vocabulary."""
        return self._table.fingerprint if self._table else self._fingerprint

    def set_vocabulary(self, vocabulary: Sequence[Any] | np.ndarray) -> None:
        """Gives the mapping its ids, of the number and dtype it was made for.

        Args:
            vocabulary: As in the constructor.

        Raises:
            ValueError: Number or dtype differ, or as in the constructor.
        """
        self._set_keys(vocabulary_keys.key_tensor(vocabulary, self.id_dtype))

    def map_ids(self, ids: tf.Tensor) -> tf.Tensor:
        """Maps checked ids to rows.

        Args:
            ids: Dense tensor of dtype `id_dtype`, any shape.

        Returns:
            int64 tensor of rows, the same shape.
        """
        rows = self.lookup_table.lookup(ids)
        if self.num_oov_buckets == 1:
            return rows
        return tf.where(rows < 0, self.oov_rows(ids), rows)

    def oov_rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows that ids would have if they were not in the vocabulary.

        Args:
            ids: Dense tensor of dtype `id_dtype`, any shape.

        Returns:
            int64 tensor of rows, the same shape, from 1 to
            `num_oov_buckets`.

        Example:
        >>> mapping = VocabularyMapping([30, 10, 20])
        >>> mapping.oov_rows(tf.constant([10, 99], tf.int64)).numpy().tolist()
        [1, 1]
        """
        return hashing.hash_buckets(ids, self.num_oov_buckets, self.seed) + 1

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, without the vocabulary."""
        return super().get_config() | {
            "vocabulary": None,
            "num_oov_buckets": self.num_oov_buckets,
            "seed": self.seed,
            "id_dtype": self.id_dtype,
            "num_ids": self.num_ids,
            "fingerprint": self.fingerprint,
        }

    def save_assets(self, dir_path: str) -> None:
        """Writes the vocabulary; Keras calls it when it saves `.keras`.

        Args:
            dir_path: An existing folder.
        """
        path = pathlib.Path(dir_path) / _ASSET_NAME
        path.write_bytes(self._loaded_table().serialize())

    def load_assets(self, dir_path: str | None) -> None:
        """Reads the vocabulary; Keras calls it when it loads `.keras`.

        Args:
            dir_path: The folder `save_assets` wrote to. None for a mapping
                that several layers shared: Keras saves it once, and may load
                it as several, which find the first by its fingerprint.
        """
        path = pathlib.Path(dir_path or "") / _ASSET_NAME
        if dir_path is None or not path.exists():
            return
        keys = tf.io.parse_tensor(path.read_bytes(), self.id_dtype)
        self._set_keys(keys)
        self._check_fingerprint()

    @contextmanager
    def exporting(self) -> Iterator[list[Any]]:
        """Yields the lookup table and, as a file, its vocabulary.

        A SavedModel written inside the `with` holds the vocabulary as an
        asset; without it the vocabulary would be a constant in the graph.

        Yields:
            Objects that the saved `tf.Module` must have as an attribute.

        Example:
        >>> with VocabularyMapping([5]).exporting() as trackables:
        ...     len(trackables)
        2
        """
        with self._loaded_table().exporting() as trackables:
            yield trackables

    @contextmanager
    def mapping_by(
        self, keys: tf.Tensor, last_row: int | None = None
    ) -> Iterator[None]:
        """Maps by another vocabulary; an export's, with fewer ids.

        `exporting` inside the `with` writes that vocabulary.

        Args:
            keys: Ids in row order, of dtype `id_dtype`, shape (n,).
            last_row: Ids whose row would come after it share it; None for a
                row of its own for each.

        Yields:
            Nothing; what is traced inside maps by `keys`.

        Example:
        >>> mapping = VocabularyMapping([30, 10, 20])
        >>> ids = tf.constant([10, 20, 30], tf.int64)
        >>> with mapping.mapping_by(tf.constant([20, 10, 30], tf.int64), 3):
        ...     mapping(ids).numpy().tolist()
        [3, 2, 3]
        >>> mapping(ids).numpy().tolist()
        [3, 4, 2]
        """
        before = self._loaded_table()
        self._table = vocabulary_table.VocabularyTable(
            keys, self.num_oov_buckets, last_row
        )
        try:
            yield
        finally:
            self._table = before

    def _set_keys(self, keys: tf.Tensor) -> None:
        if keys.dtype.name != self.id_dtype or len(keys) != self.num_ids:
            raise ValueError(
                f"The vocabulary of {self.name!r} must have {self.num_ids} "
                f"ids of dtype {self.id_dtype}. Received: {len(keys)} ids of "
                f"dtype {keys.dtype.name}"
            )
        self._table = vocabulary_table.VocabularyTable(
            keys, self.num_oov_buckets
        )

    def _check_fingerprint(self) -> None:
        if self._fingerprint not in (None, self.fingerprint):
            raise ValueError(
                f"The vocabulary of {self.name!r} must be the one that "
                "`fingerprint` was taken of. Received: one with the "
                f"fingerprint {self.fingerprint}, not {self._fingerprint}"
            )

    def _loaded_table(self) -> vocabulary_table.VocabularyTable:
        if self._table is None:
            self._table = vocabulary_table.find_table(self._fingerprint)
        if self._table is None:
            raise ValueError(
                f"The vocabulary of {self.name!r} was not loaded; "
                "`get_config` does not hold it. Load the `.keras` file the "
                "layer was saved in, or call `set_vocabulary`."
            )
        return self._table

"""The lookup table of a vocabulary: in memory, in files, in a SavedModel."""

import functools
import hashlib
import pathlib
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfplugin import schema

#: One serialised tensor is one protocol buffer, which ends at 2 GiB.
_MAX_BYTES = 2**31 - 2**16

#: The tables in use whose fingerprint somebody asked for.
_TABLES: "weakref.WeakValueDictionary[str, VocabularyTable]" = (
    weakref.WeakValueDictionary()
)


class VocabularyTable:
    """Maps the missing id to row 0 and the ids of a vocabulary to theirs.

    Args:
        keys: int64 or string, shape (n,), unique, without the missing id.
        num_oov_buckets: Rows between row 0 and that of `keys[0]`.
        last_row: Keys whose row would come after it share it; None for a row
            of its own for each.

    Example:
    >>> table = VocabularyTable(tf.constant(["b", "a"]), num_oov_buckets=1)
    >>> table.lookup_table.lookup(tf.constant(["", "a", "x"])).numpy().tolist()
    [0, 3, 1]
    """

    def __init__(
        self,
        keys: tf.Tensor,
        num_oov_buckets: int,
        last_row: int | None = None,
    ) -> None:
        self.keys = keys
        self.num_oov_buckets = num_oov_buckets
        self.last_row = last_row
        is_text = keys.dtype == tf.string
        missing = schema.MISSING_STRING if is_text else schema.MISSING_INT64
        # Tables belong to the eager context even if a layer is made while a
        # graph is being traced.
        with tf.init_scope():
            self._initializer = LookupInitializer(
                keys,
                tf.constant(missing, keys.dtype),
                1 + num_oov_buckets,
                last_row,
            )
            default = 1 if num_oov_buckets == 1 else -1
            self.lookup_table = tf.lookup.StaticHashTable(
                self._initializer, default
            )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Says keys, order and OOV rows; 64 hexadecimal digits.

        Once it was asked for, `find_table` finds this table by it.
        """
        head = f"{self.keys.dtype.name} {self.num_oov_buckets} "
        if self.last_row is not None:
            head += f"{self.last_row} "
        digest = hashlib.sha256(head.encode())
        if self.keys.dtype == tf.string:
            digest.update(self.serialize())
        else:
            digest.update(self.keys.numpy().data)
        _TABLES[digest.hexdigest()] = self
        return digest.hexdigest()

    def serialize(self) -> bytes:
        """Returns the keys as one serialised tensor, any byte exact.

        Returns:
            What `tf.io.parse_tensor` reads.

        Raises:
            ValueError: It would be 2 GiB or more.
        """
        size = 8 * len(self.keys)
        if self.keys.dtype == tf.string:
            lengths = tf.cast(tf.strings.length(self.keys), tf.int64)
            size = int(tf.reduce_sum(lengths + 5))
        if size > _MAX_BYTES:
            raise ValueError(
                "A vocabulary must be below 2 GiB to be saved. Received: "
                f"{len(self.keys)} ids of {size} bytes. Keep fewer ids, or "
                "use HashMapping."
            )
        return tf.io.serialize_tensor(self.keys).numpy()

    @contextmanager
    def exporting(self) -> Iterator[list[Any]]:
        """Yields the lookup table and its keys as an asset.

        Yields:
            Trackable objects; none inside another `with` on the same table.
        """
        if self._initializer.asset is not None:
            yield []
            return
        with tempfile.TemporaryDirectory() as folder:
            name = f"vocabulary_{self.fingerprint[:16]}.tensor"
            path = pathlib.Path(folder) / name
            path.write_bytes(self.serialize())
            self._initializer.asset = tf.saved_model.Asset(str(path))
            try:
                yield [self.lookup_table, self._initializer.asset]
            finally:
                self._initializer.asset = None


def find_table(fingerprint: str | None) -> VocabularyTable | None:
    """Returns the table of this process that has a fingerprint.

    Args:
        fingerprint: Of a `VocabularyTable`.

    Returns:
        The table, or None if none in use has it.

    Example:
    >>> table = VocabularyTable(tf.constant([8, 9], tf.int64), 1)
    >>> find_table(table.fingerprint) is table
    True
    """
    return None if fingerprint is None else _TABLES.get(fingerprint)


class LookupInitializer(tf.lookup.KeyValueTensorInitializer):
    r"""Fills a lookup table from a vocabulary: keys in row order.

    While `asset` is set, a SavedModel that is being written reads the keys
    from that file when it is loaded, instead of holding them as a constant.
    The file is one serialised tensor, so that any byte may be in a key;
    `tf.lookup.TextFileInitializer` splits at newlines, strips `\r`, refuses
    empty lines and shares tables by file name.

    Args:
        keys: int64 or string, shape (n,), unique, without the missing id.
        missing: Scalar of the same dtype: the id of row 0.
        first_row: The row of `keys[0]`.
        last_row: Keys whose row would come after it share it; None for a row
            of its own for each.

    Example:
    >>> initializer = LookupInitializer(
    ...     tf.constant(["a"]), tf.constant(""), first_row=2
    ... )
    >>> table = tf.lookup.StaticHashTable(initializer, default_value=1)
    >>> table.lookup(tf.constant(["", "a", "x"])).numpy().tolist()
    [0, 2, 1]
    """

    def __init__(
        self,
        keys: tf.Tensor,
        missing: tf.Tensor,
        first_row: int,
        last_row: int | None = None,
    ) -> None:
        # The base is told the dtypes only; `initialize` below adds the keys.
        super().__init__(missing[tf.newaxis], tf.zeros((1,), tf.int64))
        self.keys = keys
        self.missing = missing
        self.first_row = first_row
        self.last_row = last_row
        self.asset: tf.saved_model.Asset | None = None

    def initialize(self, table: tf.lookup.StaticHashTable) -> tf.Operation:
        """Fills the table; TensorFlow calls it at creation and at loading.

        Args:
            table: The table to fill.

        Returns:
            The operation that fills it.
        """
        keys = self.keys
        # Eagerly the keys are at hand; in a graph a SavedModel is being
        # traced, for which the asset is.
        if self.asset is not None and not tf.executing_eagerly():
            content = tf.io.read_file(self.asset.asset_path)
            keys = tf.io.parse_tensor(content, keys.dtype)
        num_keys = tf.size(keys, out_type=tf.int64)
        rows = tf.range(self.first_row, self.first_row + num_keys)
        if self.last_row is not None:
            rows = tf.minimum(rows, tf.constant(self.last_row, tf.int64))
        return tf.raw_ops.InitializeTableV2(
            table_handle=table.resource_handle,
            keys=tf.concat([self.missing[tf.newaxis], keys], axis=0),
            values=tf.concat([tf.zeros((1,), tf.int64), rows], axis=0),
        )

"""Raw ids to rows by a hash: no vocabulary, a fixed number of rows."""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.layers import hashing
from tfplugin.layers import id_mapping


@keras.saving.register_keras_serializable(package="tfplugin")
class HashMapping(id_mapping.IdMapping):
    """Maps every raw id to one of `num_buckets` rows by a seeded hash.

    Ids may share a row. Row 0 is the missing id's and nobody else's; ids have
    rows 1 to `num_buckets`: row = 1 + hash(id, seed) mod num_buckets. Two
    mappings with different seeds collide independently (double hashing).

    Args:
        num_buckets: Rows for ids, at least 1.
        id_dtype: `"int64"` or `"string"`.
        seed: From 0 to 2**63 - 1.
        **kwargs: Of `keras.layers.Layer`, such as `name`.

    Call arguments:
        ids: Raw ids, see `IdMapping`.

    Returns:
        int64 rows of the same shape, ragged if `ids` is.

    Example:
    >>> mapping = HashMapping(num_buckets=1000, id_dtype="string")
    >>> mapping(tf.constant(["shoe", "", "shoe"])).numpy().tolist()
    [573, 0, 573]
    """

    def __init__(
        self,
        num_buckets: int,
        id_dtype: str = "int64",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if num_buckets < 1:
            raise ValueError(
                "`num_buckets` must be at least 1. "
                f"Received: num_buckets={num_buckets}"
            )
        if not 0 <= seed < 2**63:
            raise ValueError(
                "`seed` must be at least 0 and below 2**63. "
                f"Received: seed={seed}"
            )
        super().__init__(
            id_dtype=id_dtype,
            vocabulary_size=num_buckets + 1,
            num_special_rows=1,
            **kwargs,
        )
        self.num_buckets = num_buckets
        self.seed = seed

    def map_ids(self, ids: tf.Tensor) -> tf.Tensor:
        """Maps checked ids to rows.

        Args:
            ids: Dense tensor of dtype `id_dtype`, any shape.

        Returns:
            int64 tensor of rows, the same shape.
        """
        rows = hashing.hash_buckets(ids, self.num_buckets, self.seed) + 1
        missing = tf.constant(self.missing_id, ids.dtype)
        return tf.where(ids == missing, tf.zeros_like(rows), rows)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "num_buckets": self.num_buckets,
            "id_dtype": self.id_dtype,
            "seed": self.seed,
        }

"""Raw ids to rows by some bits of a hash: one block of a binary code."""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.layers import hashing
from tfplugin.layers import id_mapping

#: Bits of a hash that may be used: row numbers are int64.
_MAX_BITS = 62


@keras.saving.register_keras_serializable(package="tfplugin")
class CodeBlockMapping(id_mapping.IdMapping):
    """Maps every raw id to one of 2^num_bits rows by a block of its code.

    The code of an id is its seeded hash; a block is `num_bits` neighbouring
    bits of it. Several blocks of one code, each with a small table of its own,
    tell 2^(all their bits) ids apart with few rows: see `ComposedEmbedding`.
    Row 0 is the missing id's and nobody else's:

        row = 1 + (hash(id, seed) >> first_bit) mod 2^num_bits

    Args:
        num_bits: Bits of the block; with `first_bit` at most 62.
        first_bit: Its lowest bit's place in the code, from 0.
        id_dtype: `"int64"` or `"string"`.
        seed: Of the hash, from 0 to 2**63 - 1; the same for all blocks of a
            code.
        **kwargs: Of `keras.layers.Layer`, such as `name`.

    Call arguments:
        ids: Raw ids, see `IdMapping`.

    Returns:
        int64 rows of the same shape, ragged if `ids` is.

    Example:
    >>> low = CodeBlockMapping(num_bits=4)
    >>> high = CodeBlockMapping(num_bits=4, first_bit=4)
    >>> ids = tf.constant([7, 8], tf.int64)
    >>> (low.vocabulary_size, low(ids).numpy().tolist())
    (17, [15, 8])
    >>> code = (low(ids) - 1) + 16 * (high(ids) - 1)
    >>> hashing.hash_buckets(ids, 256).numpy().tolist() == code.numpy().tolist()
    True

    Reference: Yan et al., "Binary Code based Hash Embedding for Web-scale
    Applications", CIKM 2021 (blocks of successive bits).
    """

    def __init__(
        self,
        num_bits: int,
        first_bit: int = 0,
        id_dtype: str = "int64",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if num_bits < 1 or first_bit < 0 or num_bits + first_bit > _MAX_BITS:
            raise ValueError(
                "`num_bits` must be at least 1 and `first_bit` at least 0, "
                f"together at most {_MAX_BITS}. "
                f"Received: num_bits={num_bits}, first_bit={first_bit}"
            )
        if not 0 <= seed < 2**63:
            raise ValueError(
                "`seed` must be at least 0 and below 2**63. "
                f"Received: seed={seed}"
            )
        super().__init__(
            id_dtype=id_dtype,
            vocabulary_size=2**num_bits + 1,
            num_special_rows=1,
            **kwargs,
        )
        self.num_bits = num_bits
        self.first_bit = first_bit
        self.seed = seed

    def map_ids(self, ids: tf.Tensor) -> tf.Tensor:
        """Maps checked ids to rows.

        Args:
            ids: Dense tensor of dtype `id_dtype`, any shape.

        Returns:
            int64 tensor of rows, the same shape.
        """
        used = 2 ** (self.first_bit + self.num_bits)
        code = hashing.hash_buckets(ids, used, self.seed)
        shift = tf.constant(self.first_bit, tf.int64)
        rows = tf.bitwise.right_shift(code, shift) + 1
        missing = tf.constant(self.missing_id, ids.dtype)
        return tf.where(ids == missing, tf.zeros_like(rows), rows)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "num_bits": self.num_bits,
            "first_bit": self.first_bit,
            "id_dtype": self.id_dtype,
            "seed": self.seed,
        }

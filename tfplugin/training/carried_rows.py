"""Which row of an older table a row of a newer one continues."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfplugin import layers

#: Rows copied at a time: some megabytes, whatever the table.
BLOCK_ROWS = 65_536
#: What two mappings to the same rows may differ in.
_UNIMPORTANT = ("name", "trainable", "dtype")


@dataclasses.dataclass
class CarriedRows:
    """Pairs the rows of two tables by raw id.

    A vocabulary's ids are looked up in the other; ids that had no row of their
    own are new. Any other mapping must be the same in both, whose rows then
    are pairs one by one. The rows of the missing id are a pair, and so are
    those of unknown ids where both tables have equally many.

    Args:
        old: The older table's layer.
        new: The newer one's.

    Attributes:
        kept: Ids, or rows of a hash, that were paired by `blocks` so far.

    Example:
    >>> old, new = (
    ...     layers.Embedding(
    ...         id_mapping=layers.VocabularyMapping(ids), embedding_dim=1
    ...     )
    ...     for ids in ([7, 8, 9], [5, 9, 7])
    ... )
    >>> pairs = CarriedRows(old, new)
    >>> [[p.numpy().tolist() for p in block] for block in pairs.blocks()]
    [[[0, 1], [0, 1]], [[3, 4], [4, 2]]]
    >>> pairs.kept, pairs.report()
    (2, {'kept': 2, 'new': 1, 'dropped': 1, 'unit': 'ids'})
    """

    old: layers.Embedding
    new: layers.Embedding
    kept: int = 0

    def reason(self) -> str | None:
        """Why no row can be paired; None where rows can."""
        old, new = self.old.id_mapping, self.new.id_mapping
        if old is None or new is None:
            return "which ids its rows stand for is not known"
        if old.id_dtype != new.id_dtype:
            return f"its ids were {old.id_dtype} and are {new.id_dtype}"
        if type(old) is not type(new):
            return f"its mapping was {describe(old)} and is {describe(new)}"
        if isinstance(new, layers.VocabularyMapping):
            return None
        if _config(old) != _config(new):
            return f"its mapping was {describe(old)} and is {describe(new)}"
        return None

    def lost_special_rows(self) -> bool:
        """Whether rows of unknown ids have no counterpart."""
        old, new = self.old.id_mapping, self.new.id_mapping
        return _unknown_rows(old) != _unknown_rows(new)

    def blocks(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Pairs of rows, block by block.

        Yields:
            Rows of the newer table and those of the older that they
            continue, int64, equally long.
        """
        self.kept = 0
        new = self.new.id_mapping
        if not isinstance(new, layers.VocabularyMapping):
            self.kept = self.new.vocabulary_size - self.new.num_special_rows
            for start in range(0, self.new.vocabulary_size, BLOCK_ROWS):
                stop = min(start + BLOCK_ROWS, self.new.vocabulary_size)
                rows = tf.range(start, stop, dtype=tf.int64)
                yield rows, rows
            return
        special = 1 if self.lost_special_rows() else new.num_special_rows
        rows = tf.range(special, dtype=tf.int64)
        yield rows, rows
        old: Any = self.old.id_mapping
        for start in range(0, new.num_ids, BLOCK_ROWS):
            ids = new.vocabulary_slice(start, start + BLOCK_ROWS)
            old_rows = old.map_ids(ids)
            known = old_rows >= old.num_special_rows
            places = tf.reshape(tf.where(known), [-1])
            self.kept += len(places)
            first = new.num_special_rows + start
            yield places + first, tf.gather(old_rows, places)

    def report(self) -> dict[str, Any]:
        """How many ids were kept, are new and were dropped, after `blocks`.

        Of two vocabularies the `unit` is ids, else rows, without the special
        ones: which ids share a row of a hash is not known.
        """
        both = (self.old.id_mapping, self.new.id_mapping)
        ids = all(isinstance(one, layers.VocabularyMapping) for one in both)
        old, new = num_own_rows(self.old), num_own_rows(self.new)
        return {
            "kept": self.kept,
            "new": new - self.kept,
            "dropped": old - self.kept,
            "unit": "ids" if ids else "rows",
        }


def num_own_rows(layer: layers.Embedding) -> int:
    """Rows of a table that are of ids, not special."""
    return layer.vocabulary_size - layer.num_special_rows


def _unknown_rows(mapping: Any) -> tuple[int, int] | None:
    if not isinstance(mapping, layers.VocabularyMapping):
        return None
    # A seed only matters where it chooses among several rows.
    many = mapping.num_oov_buckets > 1
    return mapping.num_oov_buckets, mapping.seed if many else 0


def _config(mapping: layers.IdMapping) -> dict[str, Any]:
    config = mapping.get_config()
    return {k: v for k, v in config.items() if k not in _UNIMPORTANT}


def describe(mapping: layers.IdMapping | None) -> str:
    """A mapping in some words, as `HashMapping(num_buckets=5, seed=0)`."""
    if mapping is None:
        return "not known"
    if isinstance(mapping, layers.VocabularyMapping):
        return "a vocabulary"
    settings = ", ".join(f"{k}={v}" for k, v in _config(mapping).items())
    return f"{type(mapping).__name__}({settings})"

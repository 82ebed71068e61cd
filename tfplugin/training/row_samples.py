"""What an epoch does to the rows of tables, by how often ids were seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfplugin import data
from tfplugin import layers
from tfplugin import metrics

#: Rows looked at, of each bucket of each table.
SAMPLE_ROWS = 2048


class RowSample:
    """Rows of one table, at most 2,048 of each bucket of training counts.

    The count of a row is that of all ids that share it; rows of the missing
    id and of unknown ids are left out.

    Args:
        layer: Its table is sampled; built, with an id mapping.
        frequencies: Counts of the table's raw ids over training rows.
        seed: The same seed samples the same rows, in a resumed training too.

    Example:
    >>> layer = layers.Embedding(
    ...     embedding_dim=2, id_mapping=layers.VocabularyMapping([5, 6])
    ... )
    >>> layer.build()
    >>> counts = data.IdFrequencies.from_counts([5, 6], [1, 3])
    >>> sample = RowSample(layer, counts, seed=0)
    >>> sample.begin()
    >>> change = np.array([[0, 0], [0, 0], [3, 0], [0, 0]], np.float32)
    >>> _ = layer.embeddings.assign_add(change)
    >>> [(b["bucket"], round(b["touched"], 1)) for b in sample.end()]
    [('1', 1.0), ('2-4', 0.0)]
    """

    def __init__(
        self,
        layer: layers.Embedding,
        frequencies: data.IdFrequencies,
        *,
        seed: int | Sequence[int],
    ) -> None:
        self._layer = layer
        mapping = layer.id_mapping
        if mapping is None:
            raise ValueError(
                "`layer` must have an id mapping. "
                f"Received: layer={layer.name!r}."
            )
        counts = mapping.row_counts(frequencies.ids, frequencies.counts)
        buckets = metrics.bucket_of(counts)
        buckets[: mapping.num_special_rows] = 0
        rng = np.random.default_rng(seed)
        self._sizes = np.bincount(buckets, minlength=len(metrics.BUCKETS))
        chosen = []
        for bucket in range(1, len(metrics.BUCKETS)):
            rows = np.flatnonzero(buckets == bucket)
            if len(rows) > SAMPLE_ROWS:
                rows = np.sort(rng.choice(rows, SAMPLE_ROWS, replace=False))
            chosen.append(rows)
        self._rows = np.concatenate(chosen)
        self._buckets = buckets[self._rows]
        self._before = np.zeros((0, 0))

    def begin(self) -> None:
        """Remembers the rows as they are, which is after any reset."""
        self._before = self._vectors()

    def end(self) -> list[dict[str, Any]]:
        """Compares the rows with those of `begin`.

        Returns:
            One dict a bucket that has rows: `bucket`, `rows` of the table in
            it, `sampled`, and of the sample `norm` and `update`, the means of
            ||w|| now and of ||w - w before||, and `touched`, the share of rows
            that changed.
        """
        after = self._vectors()
        change = after - self._before
        norms = np.linalg.norm(after, axis=1)
        updates = np.linalg.norm(change, axis=1)
        touched = (change != 0).any(axis=1)
        found = []
        for bucket in np.flatnonzero(np.bincount(self._buckets)):
            mine = self._buckets == bucket
            found.append(
                {
                    "bucket": metrics.BUCKETS[bucket],
                    "rows": int(self._sizes[bucket]),
                    "sampled": int(mine.sum()),
                    "norm": float(norms[mine].mean()),
                    "update": float(updates[mine].mean()),
                    "touched": float(touched[mine].mean()),
                }
            )
        return found

    def _vectors(self) -> np.ndarray:
        """The rows as float64 `(sampled, dim)`, read from the table alone."""
        vectors = tf.gather(self._layer.embeddings.value, self._rows)
        return tf.cast(vectors, tf.float32).numpy().astype(np.float64)

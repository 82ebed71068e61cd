"""An embedding table that is read, trained and reset by the row."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfplugin.layers import bags
from tfplugin.layers import id_mapping as id_mappings
from tfplugin.layers import kernel_lookup
from tfplugin.layers import table_rows

_Gather = Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable(package="tfplugin")
class Embedding(keras.layers.Layer):
    """Turns ids into trained vectors; gradients are `tf.IndexedSlices`.

    Unlike `keras.layers.Embedding` a step reads and updates only the rows of
    the batch, at any dtype policy; a table is created and reset in chunks.

    With a `combiner` the layer reduces bags of ids to one vector each:

        sum = Σ w v,   mean = Σ w v / Σ w,   sqrtn = Σ w v / √(Σ w²)

    where w is 1 without `weights`, and a zero denominator gives zeros. An
    empty bag is the vector of row 0, the missing row, if there is an
    `id_mapping`, and zeros if not. Every id of a bag counts, the missing id
    too: lists of different lengths should come ragged rather than padded.

    Args:
        vocabulary_size: Rows of the table; taken from `id_mapping` if given.
        embedding_dim: Length of a row.
        id_mapping: Maps raw ids to rows; None if ids are rows already.
        combiner: `"sum"`, `"mean"`, `"sqrtn"` or None.
        embeddings_initializer: RandomNormal, RandomUniform, TruncatedNormal,
            Zeros or Constant. `num_special_rows` rows start at zero whatever
            it says. Default: RandomNormal(stddev=0.01).
        seed: Of the initial rows, at least 0; drawn if None.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        ids: Rows (int32, int64) or raw ids. Without combiner dense of any
            shape. With combiner bags: dense (batch_size, length), ragged
            (batch_size, None), or (batch_size,) for one id a bag.
        weights: With combiner only: floats, shape and raggedness of `ids`.

    Returns:
        Vectors in the compute dtype: shape `ids.shape + (embedding_dim,)`
        without combiner, otherwise (batch_size, embedding_dim).

    Raises:
        ValueError: Shapes and arguments do not fit.
        TypeError: `ids` are of another dtype, or `id_mapping` is several.
        tf.errors.InvalidArgumentError: A row is not in the table.

    Example:
    >>> from tfplugin import layers
    >>> layer = layers.Embedding(
    ...     id_mapping=layers.VocabularyMapping(["shoe", "hat"]),
    ...     embedding_dim=2,
    ...     combiner="mean",
    ...     embeddings_initializer=keras.initializers.Constant(0.5),
    ... )
    >>> layer(tf.ragged.constant([["shoe", "hat"], []])).numpy()
    array([[0.5, 0.5],
           [0. , 0. ]], dtype=float32)
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        embedding_dim: int = 16,
        *,
        id_mapping: id_mappings.IdMapping | None = None,
        combiner: str | None = None,
        embeddings_initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Keras would cast weights of a bag to the compute dtype on entry.
        super().__init__(autocast=False, **kwargs)
        self.supports_jit = False
        if embeddings_initializer is None:
            embeddings_initializer = keras.initializers.RandomNormal(
                stddev=0.01
            )
        self.vocabulary_size = _table_size(vocabulary_size, id_mapping)
        self.embedding_dim = embedding_dim
        self.id_mapping = id_mapping
        self.combiner = combiner
        self.embeddings_initializer = keras.initializers.get(
            embeddings_initializer
        )
        # An initializer's seed is Keras's public way to draw one that obeys
        # `keras.utils.set_random_seed`.
        drawn = keras.initializers.RandomNormal(seed=seed).seed
        self.seed = int(drawn)
        self._starts_at_zero = False
        self._pretrained_rows: Any = None
        self._stand_in: _Gather | None = None
        self._check_arguments()

    @property
    def num_special_rows(self) -> int:
        """How many of the first rows are not ids: missing and OOV rows."""
        return self.id_mapping.num_special_rows if self.id_mapping else 0

    @property
    def table_name(self) -> str:
        """The table's name, which is the layer's."""
        return self.name

    def build(self, ids_shape: Any = None) -> None:
        """Creates the table; shapes of the inputs do not matter.

        Args:
            ids_shape: Not used.
        """
        # Zeros now and rows after, in place: an initializer that returns the
        # rows would need the memory of two tables. While a model is traced
        # symbolically, Keras puts the creation off, and the initializer must
        # give the rows after all.
        self._starts_at_zero = True
        with tf.init_scope():
            self.embeddings = self.add_weight(
                name="embeddings",
                shape=(self.vocabulary_size, self.embedding_dim),
                initializer=self._initial_rows,
                autocast=False,
            )
            if isinstance(self.embeddings.value, tf.Variable):
                self.reset_embeddings(self.seed)
        self._starts_at_zero = False
        self.built = True

    def reset_embeddings(self, seed: int) -> None:
        """Draws the whole table anew, in place and in chunks.

        Rows that `load_embeddings` filled get their vectors back.

        Args:
            seed: At least 0; the same seed gives the same rows. `self.seed`
                gives the rows the table started with.

        Example:
        >>> layer = Embedding(10, 2, seed=1)
        >>> layer.build()
        >>> layer.reset_embeddings(seed=2)
        """
        table_rows.fill_rows(
            self.embeddings.value,
            self.embeddings_initializer,
            seed,
            self.num_special_rows,
        )
        if self._pretrained_rows is not None:
            self._pretrained_rows.fill(self.embeddings.value)

    def set_pretrained_rows(self, rows: Any) -> None:
        """Says what `reset_embeddings` brings rows back to.

        `load_embeddings` calls it.

        Args:
            rows: An object with a method `fill(table)`, or None.
        """
        self._pretrained_rows = rows

    def set_stand_in(self, gather: _Gather | None) -> None:
        """Says where rows are read outside of training, as in an export.

        Args:
            gather: From rows, any shape, to vectors; None for the table.

        Example:
        >>> layer = Embedding(10, 2, seed=1)
        >>> layer.set_stand_in(lambda rows: tf.ones([*rows.shape, 2]))
        >>> layer(tf.constant([3])).numpy().tolist()
        [[1.0, 1.0]]
        """
        self._stand_in = gather

    def call(
        self, ids: Any, weights: Any = None, training: bool | None = None
    ) -> tf.Tensor:
        """Looks ids up and reduces bags; see the class."""
        rows = self.map_ids(ids, weights)
        is_bags = self.combiner is not None
        if is_bags:
            bags.check_bags(rows, weights, self.name)
        if is_bags and (rows.shape.rank != 1 or weights is not None):
            vectors = self._reduce(rows, weights, training)
        else:
            vectors = self._lookup(rows, training)
        return tf.cast(vectors, self.compute_dtype)

    def map_ids(self, ids: Any, weights: Any = None) -> Any:
        """Checks what is looked up, and maps ids to rows.

        Args:
            ids: See the class.
            weights: See the class.

        Returns:
            int32 or int64 rows, of the shape and raggedness of `ids`.
        """
        self._check_call(ids, weights)
        return ids if self.id_mapping is None else self.id_mapping(ids)

    def compute_output_spec(
        self, ids: Any, weights: Any = None, training: bool | None = None
    ) -> keras.KerasTensor:
        """Says shape and dtype of the vectors without looking anything up."""
        self._check_call(ids, weights)
        if self.id_mapping is not None:
            self.id_mapping.compute_output_spec(ids)
        shape = ids.shape if self.combiner is None else ids.shape[:1]
        return keras.KerasTensor(
            (*shape, self.embedding_dim), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "id_mapping": self.id_mapping and serialize(self.id_mapping),
            "combiner": self.combiner,
            "embeddings_initializer": serialize(self.embeddings_initializer),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Embedding":
        """Creates the layer from what `get_config` returned.

        Args:
            config: Of `get_config`.

        Returns:
            A layer with a new table.
        """
        config = dict(config)
        if isinstance(config["id_mapping"], dict):
            config["id_mapping"] = keras.saving.deserialize_keras_object(
                config["id_mapping"]
            )
        return cls(**config)

    def _reduce(self, rows: Any, weights: Any, training: Any) -> tf.Tensor:
        """Reduces bags in the table's own dtype."""
        combiner = str(self.combiner)
        fill_empty = self.id_mapping is not None
        table = self.embeddings.value
        # An optimizer that counts occurrences needs a slice for each.
        distinct = not getattr(self.embeddings, "counts_occurrences", False)
        library = kernel_lookup.operators(table, training)
        if training:
            # For an optimizer that is built too late to ask in this step.
            self.embeddings.sums_occurrences = distinct and (
                library is not None or weights is None
            )
        if library is not None and distinct:
            ragged = bags.as_ragged(rows)
            flat_weights = None
            if weights is not None:
                flat_weights = tf.cast(
                    bags.flatten_weights(bags.as_ragged(weights), ragged),
                    tf.float32,
                )
            return kernel_lookup.reduce_bags(
                library,
                table,
                ragged,
                flat_weights,
                combiner=combiner,
                empty_row=0 if fill_empty else None,
                table_name=self.name,
            )
        if training and distinct and weights is None:
            return bags.reduce_distinct(
                self._gather,
                bags.as_ragged(rows),
                combiner,
                fill_empty=fill_empty,
            )
        flat = bags.flatten_bags(rows, weights, fill_empty=fill_empty)
        vectors = self._lookup(flat.rows, training)
        return bags.reduce_bags(vectors, flat, combiner)

    def _lookup(self, rows: tf.Tensor, training: Any) -> tf.Tensor:
        """Gathers rows in the table's own dtype."""
        library = kernel_lookup.operators(self.embeddings.value, training)
        if library is not None:
            return kernel_lookup.gather(
                library, self.embeddings.value, rows, self.name
            )
        in_place = self._stand_in is None or training
        return self._gather(rows, None if in_place else self._stand_in)

    def _gather(
        self, rows: tf.Tensor, stand_in: _Gather | None = None
    ) -> tf.Tensor:
        if self.id_mapping is None:
            with tf.control_dependencies([self._assert_in_table(rows)]):
                rows = tf.identity(rows)
        if stand_in is not None:
            return stand_in(rows)
        # `keras.ops.take` would read the whole table, and its gradient with
        # it; gathering from the tf.Variable reads the rows.
        return tf.gather(self.embeddings.value, rows)

    def _assert_in_table(self, rows: tf.Tensor) -> Any:
        lowest, highest = tf.reduce_min(rows), tf.reduce_max(rows)
        size = self.vocabulary_size
        # Of no ids at all the minimum is the greatest integer, the maximum
        # the smallest: both conditions hold.
        return tf.debugging.Assert(
            (lowest >= 0) & (highest < tf.cast(size, rows.dtype)),
            [
                # Unquoted: TensorFlow escapes quotes in graphs.
                f"Every id of table {self.name} must be a row from 0 to "
                f"{size - 1}. Received: smallest and greatest id",
                lowest,
                highest,
            ],
        )

    def _initial_rows(
        self, shape: tuple[int, ...], dtype: str | None = None
    ) -> tf.Tensor:
        if self._starts_at_zero or not tf.executing_eagerly():
            return tf.zeros(shape, dtype)
        rows = table_rows.draw_rows(
            (self.vocabulary_size, self.embedding_dim),
            self.embeddings_initializer,
            self.seed,
            self.num_special_rows,
        )
        return tf.cast(rows, self.variable_dtype)

    def _check_call(self, ids: Any, weights: Any) -> None:
        dtype = tf.as_dtype(ids.dtype)
        if self.id_mapping is None and dtype not in (tf.int32, tf.int64):
            raise TypeError(
                f"Without `id_mapping` the ids of table {self.name!r} must be "
                f"int32 or int64 rows. Received: ids.dtype={dtype.name}"
            )
        ragged = isinstance(ids, tf.RaggedTensor) or getattr(
            ids, "ragged", False
        )
        if self.combiner is None and (ragged or weights is not None):
            raise ValueError(
                f"Table {self.name!r} needs a `combiner` for ragged ids and "
                f"for weights. Received: combiner=None, ids={ids}, "
                f"weights={weights}"
            )

    def _check_arguments(self) -> None:
        if self.embedding_dim < 1:
            raise ValueError(
                "`embedding_dim` must be at least 1. "
                f"Received: embedding_dim={self.embedding_dim}"
            )
        if self.combiner is not None and self.combiner not in bags.COMBINERS:
            raise ValueError(
                f"`combiner` must be one of {bags.COMBINERS} or None. "
                f"Received: combiner={self.combiner!r}"
            )
        table_rows.draw_function(self.embeddings_initializer)


def _table_size(
    vocabulary_size: int | None, id_mapping: id_mappings.IdMapping | None
) -> int:
    if isinstance(id_mapping, tuple):
        raise TypeError(
            "`id_mapping` must be one mapping. Received: a tuple of "
            f"{len(id_mapping)}. Use `ComposedEmbedding`, which has a table "
            "for each."
        )
    if id_mapping is not None:
        mapped = id_mapping.vocabulary_size
        if vocabulary_size is not None and vocabulary_size != mapped:
            raise ValueError(
                "`vocabulary_size` must be None or that of `id_mapping`, "
                f"{mapped}. Received: vocabulary_size={vocabulary_size}"
            )
        return mapped
    if vocabulary_size is None or vocabulary_size < 1:
        raise ValueError(
            "`vocabulary_size` must be at least 1 if there is no "
            f"`id_mapping`. Received: vocabulary_size={vocabulary_size}"
        )
    return vocabulary_size

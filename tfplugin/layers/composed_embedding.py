"""A vector of an id from the rows of several tables."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfplugin.layers import embedding
from tfplugin.layers import hashing
from tfplugin.layers import id_mapping

COMPOSITIONS = ("add", "concatenate")


@keras.saving.register_keras_serializable(package="tfplugin")
class ComposedEmbedding(keras.layers.Layer):
    """Turns an id into a vector composed of a row of each of several tables.

    Ids that share a row of one table hardly ever share those of all: with two
    hashes to B rows each, n ids collide as if there were B² rows. The tables
    are the layers `parts`, each an `Embedding` of its own, named NAME_0,
    NAME_1 and so on.

    Args:
        embedding_dim: Length of the composed vector; `"concatenate"` needs a
            multiple of the number of mappings.
        id_mappings: At least two, each a table; ids of one dtype.
        compose: `"add"` or `"concatenate"`.
        combiner: See `Embedding`.
        embeddings_initializer: Of every table; see `Embedding`.
        seed: Of the initial rows of all tables, which differ; drawn if None.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        ids: Raw ids; see `Embedding`.
        weights: See `Embedding`.

    Returns:
        Vectors as of an `Embedding`. The missing id and, with a combiner,
        an empty bag are row 0 of every table.

    Raises:
        ValueError: Shapes and arguments do not fit.
        TypeError: `ids` are of another dtype.

    Example:
    >>> from tfplugin import layers
    >>> layer = layers.ComposedEmbedding(
    ...     embedding_dim=4,
    ...     id_mappings=[
    ...         layers.HashMapping(1000, seed=seed) for seed in (0, 1)
    ...     ],
    ...     compose="concatenate",
    ... )
    >>> layer(tf.constant([7, 8], tf.int64)).shape
    TensorShape([2, 4])
    >>> [tuple(part.embeddings.shape) for part in layer.parts]
    [(1001, 2), (1001, 2)]

    Reference: Svenstrup et al., "Hash Embeddings for Efficient Word
    Representations", NIPS 2017 (several hashes); Yan et al., "Binary Code
    based Hash Embedding", CIKM 2021 (blocks of a code).
    """

    def __init__(
        self,
        embedding_dim: int,
        id_mappings: Sequence[id_mapping.IdMapping],
        compose: str = "add",
        *,
        combiner: str | None = None,
        embeddings_initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Keras would cast weights of a bag to the compute dtype on entry.
        super().__init__(autocast=False, **kwargs)
        self.supports_jit = False
        self.embedding_dim = embedding_dim
        self.compose = compose
        self.combiner = combiner
        self._num_parts = len(id_mappings)
        _check_arguments(embedding_dim, id_mappings, compose)
        # An initializer's seed is Keras's public way to draw one that obeys
        # `keras.utils.set_random_seed`.
        self.seed = int(keras.initializers.RandomNormal(seed=seed).seed)
        part_dim = embedding_dim
        if compose == "concatenate":
            part_dim //= len(id_mappings)
        for k, mapping in enumerate(id_mappings):
            # An attribute each: tf.train.Checkpoint silently omits layers
            # that a Keras layer holds in a list.
            part = embedding.Embedding(
                embedding_dim=part_dim,
                id_mapping=mapping,
                combiner=combiner,
                embeddings_initializer=embeddings_initializer,
                seed=_part_seed(self.seed, k),
                name=f"{self.name}_{k}",
                dtype=self.dtype_policy,
            )
            setattr(self, f"part_{k}", part)

    @property
    def parts(self) -> tuple[embedding.Embedding, ...]:
        """The tables, one for each mapping."""
        return tuple(getattr(self, f"part_{k}") for k in range(self._num_parts))

    def build(self, ids_shape: Any = None) -> None:
        """Creates the tables; shapes of the inputs do not matter.

        Args:
            ids_shape: Not used.
        """
        for part in self.parts:
            if not part.built:
                part.build()
        self.built = True

    def call(
        self, ids: Any, weights: Any = None, training: bool | None = None
    ) -> tf.Tensor:
        """Looks ids up in every table; see the class."""
        vectors = [part(ids, weights, training=training) for part in self.parts]
        if self.compose == "add":
            return tf.add_n(vectors)
        return tf.concat(vectors, axis=-1)

    def compute_output_spec(
        self, ids: Any, weights: Any = None, training: bool | None = None
    ) -> keras.KerasTensor:
        """Says shape and dtype of the vectors without looking anything up."""
        specs = [part.compute_output_spec(ids, weights) for part in self.parts]
        return keras.KerasTensor(
            (*specs[0].shape[:-1], self.embedding_dim), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        first = self.parts[0]
        return super().get_config() | {
            "embedding_dim": self.embedding_dim,
            "id_mappings": [serialize(part.id_mapping) for part in self.parts],
            "compose": self.compose,
            "combiner": self.combiner,
            "embeddings_initializer": serialize(first.embeddings_initializer),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ComposedEmbedding":
        """Creates the layer from what `get_config` returned.

        Args:
            config: Of `get_config`.

        Returns:
            A layer with new tables.
        """
        config = dict(config)
        config["id_mappings"] = [
            keras.saving.deserialize_keras_object(mapping)
            if isinstance(mapping, dict)
            else mapping
            for mapping in config["id_mappings"]
        ]
        return cls(**config)


def _part_seed(seed: int, part: int) -> int:
    """Keeps a part's rows from being those of a table seeded one higher."""
    mixed = hashing.splitmix64(hashing.splitmix64(seed) + part)
    return mixed % 2**31


def _check_arguments(
    embedding_dim: int,
    id_mappings: Sequence[id_mapping.IdMapping],
    compose: str,
) -> None:
    if compose not in COMPOSITIONS:
        raise ValueError(
            f"`compose` must be one of {COMPOSITIONS}. "
            f"Received: compose={compose!r}"
        )
    dtypes = sorted({mapping.id_dtype for mapping in id_mappings})
    if len(id_mappings) < 2 or len(dtypes) > 1:
        raise ValueError(
            "`id_mappings` must be two or more, of ids of one dtype. "
            f"Received: {len(id_mappings)} mappings of {dtypes}. For one, "
            "use `Embedding`."
        )
    if compose == "concatenate" and embedding_dim % len(id_mappings):
        raise ValueError(
            "`embedding_dim` must be a multiple of the number of "
            "`id_mappings` whose rows are concatenated. Received: "
            f"embedding_dim={embedding_dim}, {len(id_mappings)} mappings. "
            "Use a multiple, or compose='add'."
        )

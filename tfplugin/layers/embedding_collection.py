"""Several features, several tables, one look-up a table."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfplugin.layers import bags
from tfplugin.layers import composed_embedding
from tfplugin.layers import embedding
from tfplugin.layers import kernel_lookup
from tfplugin.layers import table_config

Table = embedding.Embedding | composed_embedding.ComposedEmbedding


@keras.saving.register_keras_serializable(package="tfplugin")
class EmbeddingCollection(keras.layers.Layer):
    """Looks up all features of a model; features may share tables.

    Each table is read once a step, with the ids of all its features, so that
    it has one gradient. Its layer is `collection.tables[table_name]`.

    Args:
        features: Names unique; features that share one `TableConfig` object
            share its table.
        concatenate: Whether vectors come as one tensor, in the order of
            `features`, rather than a dict. Training is faster so: with the
            C++ operators all tables are read by one, if every feature has one
            id an example.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: Dict from every feature's name to its ids: (batch_size,) or
            (batch_size, 1) for one id, ragged (batch_size, None) or dense
            (batch_size, length) for a bag; see `Embedding`.
        weights: None, or a dict from some features' names to weights of the
            shape and raggedness of their ids.

    Returns:
        Dict from feature name to vectors, (batch_size, embedding_dim) in the
        compute dtype; with `concatenate` one tensor (batch_size, sum of all
        features' embedding_dim).

    Raises:
        ValueError: A name is missing or unknown, or shapes do not fit.

    Example:
    >>> from tfplugin import layers
    >>> table = layers.TableConfig("item", 4, vocabulary_size=10)
    >>> collection = layers.EmbeddingCollection([
    ...     layers.FeatureConfig("shown", table),
    ...     layers.FeatureConfig("cart", table),
    ... ])
    >>> vectors = collection({
    ...     "shown": tf.constant([1, 2]),
    ...     "cart": tf.ragged.constant([[3, 4], []]),
    ... })
    >>> vectors["cart"].shape
    TensorShape([2, 4])
    """

    def __init__(
        self,
        features: Sequence[table_config.FeatureConfig],
        concatenate: bool = False,
        **kwargs: Any,
    ) -> None:
        # Keras would cast weights of bags to the compute dtype on entry.
        super().__init__(autocast=False, **kwargs)
        self.supports_jit = False
        self.features = tuple(features)
        self.concatenate = concatenate
        configs = _tables_by_name(self.features)
        self._table_names = tuple(configs)
        for k, (name, config) in enumerate(configs.items()):
            # An attribute each: tf.train.Checkpoint silently omits layers
            # that a Keras layer holds in a dict or list.
            setattr(self, f"table_{k}", _layer(config, name, self.dtype_policy))

    @property
    def tables(self) -> dict[str, Table]:
        """The layer of each table, by the table's name.

        A `ComposedEmbedding` where the table has several mappings, otherwise
        an `Embedding`.
        """
        return {
            name: getattr(self, f"table_{k}")
            for k, name in enumerate(self._table_names)
        }

    def build(self, inputs_shape: Any = None) -> None:
        """Creates the tables; shapes of the inputs do not matter.

        Args:
            inputs_shape: Not used.
        """
        for table in self.tables.values():
            if not table.built:
                table.build()
        self.built = True

    def call(
        self,
        inputs: Mapping[str, Any],
        weights: Mapping[str, Any] | None = None,
        training: bool | None = None,
    ) -> Any:
        """Looks all features up; see the class."""
        weights = weights or {}
        self._check_names(inputs, weights)
        if self.concatenate and not weights:
            vectors = self._look_up_side_by_side(inputs, training)
            if vectors is not None:
                return tf.cast(vectors, self.compute_dtype)
        outputs: dict[str, tf.Tensor] = {}
        for table_name, table in self.tables.items():
            names = self._features_of(table_name)
            ids = [_as_int64(inputs[name]) for name in names]
            given = [weights.get(name) for name in names]
            vectors = _lookup_together(table, ids, given)
            outputs |= dict(zip(names, vectors, strict=True))
        ordered = {
            feature.name: outputs[feature.name] for feature in self.features
        }
        if self.concatenate:
            return tf.concat(list(ordered.values()), axis=1)
        return ordered

    def compute_output_spec(
        self,
        inputs: Mapping[str, Any],
        weights: Mapping[str, Any] | None = None,
        training: bool | None = None,
    ) -> Any:
        """Says shapes and dtypes without looking anything up."""
        weights = weights or {}
        self._check_names(inputs, weights)
        specs = {
            feature.name: self.tables[feature.table.name].compute_output_spec(
                inputs[feature.name], weights.get(feature.name)
            )
            for feature in self.features
        }
        if not self.concatenate:
            return specs
        width = sum(spec.shape[1] for spec in specs.values())
        batch_size = next(iter(specs.values())).shape[0]
        return keras.KerasTensor((batch_size, width), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns tables and features; features name their table."""
        configs = _tables_by_name(self.features)
        # Seeds as drawn, so that a layer made from the configuration starts
        # with the same rows.
        seeds = {name: table.seed for name, table in self.tables.items()}
        return super().get_config() | {
            "tables": [
                config.get_config() | {"seed": seeds[name]}
                for name, config in configs.items()
            ],
            "features": [
                {"name": feature.name, "table": feature.table.name}
                for feature in self.features
            ],
            "concatenate": self.concatenate,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "EmbeddingCollection":
        """Creates the layer from what `get_config` returned.

        Args:
            config: Of `get_config`.

        Returns:
            A layer whose features share tables as before.
        """
        config = dict(config)
        tables = {
            fields["name"]: table_config.TableConfig.from_config(fields)
            for fields in config.pop("tables")
        }
        features = [
            table_config.FeatureConfig(fields["name"], tables[fields["table"]])
            for fields in config.pop("features")
        ]
        return cls(features, **config)

    def _look_up_side_by_side(
        self, inputs: Mapping[str, Any], training: Any
    ) -> tf.Tensor | None:
        """Reads all tables by one operator, where that is possible."""
        tables = [self.tables[f.table.name] for f in self.features]
        if not all(isinstance(t, embedding.Embedding) for t in tables):
            return None
        ids = [_one_id_a_bag(inputs[f.name], None) for f in self.features]
        if any(
            isinstance(i, tf.RaggedTensor) or i.shape.rank != 1 for i in ids
        ):
            return None
        variables = [table.embeddings.value for table in tables]
        libraries = [kernel_lookup.operators(v, training) for v in variables]
        if any(library is None for library in libraries):
            return None
        rows = [
            tf.cast(table.map_ids(i), tf.int64)
            for table, i in zip(tables, ids, strict=True)
        ]
        names = [table.table_name for table in tables]
        return kernel_lookup.gather_side_by_side(
            libraries[0], variables, rows, names
        )

    def _features_of(self, table_name: str) -> list[str]:
        return [f.name for f in self.features if f.table.name == table_name]

    def _check_names(
        self, inputs: Mapping[str, Any], weights: Mapping[str, Any]
    ) -> None:
        expected = {feature.name for feature in self.features}
        missing = sorted(expected - set(inputs))
        unknown = sorted(set(inputs) - expected)
        if missing or unknown:
            raise ValueError(
                f"`inputs` of {self.name!r} must name its features and no "
                f"others. Received: missing={missing}, unknown={unknown}"
            )
        unknown = sorted(set(weights) - expected)
        if unknown:
            raise ValueError(
                f"`weights` of {self.name!r} must name features of it. "
                f"Received: unknown={unknown}"
            )


def _tables_by_name(
    features: Sequence[table_config.FeatureConfig],
) -> dict[str, table_config.TableConfig]:
    if not features:
        raise ValueError(
            "`features` must have at least one feature. Received: features=[]"
        )
    tables: dict[str, table_config.TableConfig] = {}
    names = set()
    for feature in features:
        if feature.name in names:
            raise ValueError(
                "`features` must have unique names. "
                f"Received: {feature.name!r} twice"
            )
        names.add(feature.name)
        if tables.setdefault(feature.table.name, feature.table) is not (
            feature.table
        ):
            raise ValueError(
                "Tables must have unique names; features share a table by "
                "sharing one TableConfig object. Received: two tables named "
                f"{feature.table.name!r}"
            )
    return tables


def _layer(
    config: table_config.TableConfig,
    name: str,
    dtype_policy: keras.DTypePolicy,
) -> Table:
    shared: dict[str, Any] = {
        "embedding_dim": config.embedding_dim,
        "combiner": config.combiner,
        "embeddings_initializer": config.embeddings_initializer,
        "seed": config.seed,
        "name": name,
        "dtype": dtype_policy,
    }
    if isinstance(config.id_mapping, tuple):
        if config.vocabulary_size is not None:
            raise ValueError(
                "`vocabulary_size` must be None where `id_mapping` is a "
                f"tuple. Received: vocabulary_size={config.vocabulary_size}, "
                f"of table {name!r}"
            )
        return composed_embedding.ComposedEmbedding(
            id_mappings=config.id_mapping, compose=config.compose, **shared
        )
    return embedding.Embedding(
        vocabulary_size=config.vocabulary_size,
        id_mapping=config.id_mapping,
        **shared,
    )


def _as_int64(ids: Any) -> Any:
    """Makes int64 of int32, so that features of a table can be joined."""
    return tf.cast(ids, tf.int64) if ids.dtype == tf.int32 else ids


def _lookup_together(
    table: Table, ids: list[Any], weights: list[Any]
) -> list[tf.Tensor]:
    """Looks up the features of a table at once: one gather, one gradient."""
    if len(ids) == 1:
        return [table(_one_id_a_bag(ids[0], weights[0]), weights[0])]
    sizes = [_num_bags(feature_ids) for feature_ids in ids]
    weighted = any(w is not None for w in weights)
    ids = [_one_id_a_bag(i, w) for i, w in zip(ids, weights, strict=True)]
    if weighted or any(i.shape.rank != 1 for i in ids):
        ids = [_as_bags(feature_ids) for feature_ids in ids]
    joined_weights = None
    if weighted:
        joined_weights = tf.concat(
            [
                tf.ones_like(i, tf.float32)
                if w is None
                else tf.cast(_as_bags(w), tf.float32)
                for i, w in zip(ids, weights, strict=True)
            ],
            axis=0,
        )
    vectors = table(tf.concat(ids, axis=0), joined_weights)
    return tf.split(vectors, sizes)


def _one_id_a_bag(ids: Any, weights: Any) -> Any:
    """Drops the axis of (batch_size, 1), which needs no reduction."""
    if isinstance(ids, tf.RaggedTensor) or weights is not None:
        return ids
    return tf.squeeze(ids, 1) if ids.shape[1:] == (1,) else ids


def _as_bags(tensor: Any) -> tf.RaggedTensor:
    """Makes bags whose splits have one dtype, so that they can be joined."""
    return bags.as_ragged(tensor).with_row_splits_dtype(tf.int64)


def _num_bags(ids: Any) -> tf.Tensor:
    if isinstance(ids, tf.RaggedTensor):
        return ids.nrows(tf.int64)
    return tf.shape(ids, tf.int64)[0]

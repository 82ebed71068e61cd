"""What a function that builds a model is handed."""

import dataclasses
from collections.abc import Mapping

import keras

from tfplugin import layers
from tfplugin import schema as schema_lib


@dataclasses.dataclass(frozen=True)
class ModelContext:
    """A dataset's columns and id mappings, ready to build a model from.

    Args:
        schema: The dataset's columns by role.
        statistics: What preprocessing found in its training rows.
        id_mappings: Table to the layer that maps its raw ids to rows, or to
            a tuple of them where an id has a row of each of several tables
            (`mapping: double_hash` and `binary_code`); see
            `layers.ComposedEmbedding`.

    Example:
    A function that the key `model.build` of a configuration names:

    >>> def build(context: ModelContext) -> keras.Model:
    ...     inputs = context.inputs()
    ...     vector = layers.Embedding(
    ...         embedding_dim=8, id_mapping=context.id_mappings["user"]
    ...     )(inputs["user"])
    ...     logits = {
    ...         label: keras.layers.Dense(1, name=label)(vector)
    ...         for label in context.schema.labels
    ...     }
    ...     return keras.Model(inputs, logits)
    """

    schema: schema_lib.Schema
    statistics: schema_lib.Statistics
    id_mappings: Mapping[str, layers.IdMapping | tuple[layers.IdMapping, ...]]

    def inputs(self) -> dict[str, keras.KerasTensor]:
        """A Keras input for each feature, by name.

        Returns:
            Raw ids of shape `(batch_size,)`, int64 or string; ragged
            `(batch_size, None)` for list features; float32 `(batch_size,)`
            for dense ones.
        """
        inputs = {}
        for name, feature in self.schema.id_features.items():
            if feature.is_list:
                inputs[name] = keras.Input(
                    (None,), dtype=feature.dtype, ragged=True, name=name
                )
            else:
                inputs[name] = keras.Input((), dtype=feature.dtype, name=name)
        for name in self.schema.dense_features:
            inputs[name] = keras.Input((), dtype="float32", name=name)
        return inputs

    def table_of(self, id_mapping: layers.IdMapping | None) -> str | None:
        """The table whose ids a mapping of `id_mappings` maps.

        Args:
            id_mapping: That of a layer.

        Returns:
            The table's name; None for a mapping from elsewhere, or none.
        """
        for table, mappings in self.id_mappings.items():
            if not isinstance(mappings, tuple):
                mappings = (mappings,)
            if any(mapping is id_mapping for mapping in mappings):
                return table
        return None

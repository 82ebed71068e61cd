"""The embedding tables of a model, by the name that users know."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfplugin import layer_tree
from tfplugin import layers
from tfplugin import schema as schema_lib

TableLayer = layers.Embedding | layers.ComposedEmbedding
#: `training` names the id mappings of table T `T_rows`, or `T_rows_0` and on.
_MAPPING_SUFFIX = "_rows"


@dataclasses.dataclass(frozen=True)
class Table:
    """One table of a model, perhaps composed of several.

    Args:
        name: The dataset's, where it is one of the dataset's.
        layer: What looks ids up in it.
        dataset_table: The dataset's table whose ids it takes, which another
            layer may be named after; None if that is not known.
    """

    name: str
    layer: TableLayer
    dataset_table: str | None = None

    @property
    def parts(self) -> tuple[layers.Embedding, ...]:
        """The tables it is composed of; one for most."""
        if isinstance(self.layer, layers.ComposedEmbedding):
            return self.layer.parts
        return (self.layer,)

    @property
    def id_dtype(self) -> str:
        """Of the ids it takes: those of its mapping, or int64 rows."""
        mapping = self.parts[0].id_mapping
        return "int64" if mapping is None else mapping.id_dtype

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.vocabulary_size for part in self.parts)

    def vectors(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks one id a row up, as outside of training.

        Args:
            ids: `id_dtype`, `(batch_size,)`.

        Returns:
            float32 `(batch_size, embedding_dim)`.
        """
        vectors = tf.cast(self.layer(ids, training=False), tf.float32)
        return tf.ensure_shape(vectors, [None, self.layer.embedding_dim])


def find(model: keras.Model, schema: schema_lib.Schema) -> list[Table]:
    """The tables of a model, each once, names unique.

    A layer is known as a table of the dataset by its own name or by that of
    its id mapping, which `models.ModelContext` hands out as TABLE_rows; other
    layers keep their name, with a number if it is taken.

    Args:
        model: Built, nested to any depth.
        schema: The columns; a table may be that of a training-only feature.

    Example:
    >>> user = schema_lib.IdFeature(dtype="int64", table="user")
    >>> schema = schema_lib.Schema(id_features={"user": user}, labels=("buy",))
    >>> ids = keras.Input((), dtype="int64")
    >>> mapping = layers.HashMapping(10, name="user_rows")
    >>> vectors = layers.Embedding(embedding_dim=4, id_mapping=mapping)(ids)
    >>> [(t.name, t.rows) for t in find(keras.Model(ids, vectors), schema)]
    [('user', 11)]
    """
    known = set(schema.table_features())
    found = list(_table_layers(model))
    named = {layer.name for layer in found} & known
    tables: list[Table] = []
    taken: set[str] = set()
    for layer in found:
        # A layer that bears the dataset's name comes before one that is
        # known by its mapping alone, such as one of first-order weights.
        candidates = {layer.name, _name_of_mapping(layer)} & known
        table = max(
            candidates, key=lambda name: name == layer.name, default=None
        )
        name = layer.name
        if table is not None and table not in named | taken:
            name = table
        name = _unique(name, taken)
        taken.add(name)
        tables.append(Table(name, layer, table))
    return tables


def _table_layers(model: keras.Model) -> Iterator[TableLayer]:
    walked = list(layer_tree.walk(model))
    inside = {
        id(part)
        for layer in walked
        if isinstance(layer, layers.ComposedEmbedding)
        for part in layer.parts
    }
    for layer in walked:
        if isinstance(layer, TableLayer) and id(layer) not in inside:
            yield layer


def _name_of_mapping(layer: TableLayer) -> str:
    if isinstance(layer, layers.ComposedEmbedding):
        mapping = layer.parts[0].id_mapping
        suffix = f"{_MAPPING_SUFFIX}_0"
    else:
        mapping, suffix = layer.id_mapping, _MAPPING_SUFFIX
    return mapping.name.removesuffix(suffix) if mapping is not None else ""


def _unique(name: str, taken: Iterable[str]) -> str:
    taken = set(taken)
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate

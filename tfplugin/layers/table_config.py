"""What a table is, and which features read it."""

import dataclasses
from typing import Any

import keras

from tfplugin.layers import bags
from tfplugin.layers import composed_embedding
from tfplugin.layers import id_mapping as id_mappings


@keras.saving.register_keras_serializable(package="tfplugin")
@dataclasses.dataclass(frozen=True, eq=False)
class TableConfig:
    """Describes one embedding table.

    Features that share one object share one table; two objects are two
    tables, whatever they say.

    Args:
        name: The table's name, unique in a collection.
        embedding_dim: Length of a row.
        id_mapping: Maps raw ids to rows; None if ids are rows already. A
            tuple of mappings makes a `ComposedEmbedding`, with a table each.
        vocabulary_size: Rows of the table, if there is no `id_mapping`.
        combiner: `"sum"`, `"mean"` or `"sqrtn"`.
        embeddings_initializer: See `Embedding`.
        seed: Of the initial rows; drawn if None.
        compose: How the rows of several mappings become one vector: `"add"`
            or `"concatenate"`.

    Raises:
        ValueError: The name is empty, or the combiner or `compose` unknown.

    Example:
    >>> table = TableConfig("item", 16, vocabulary_size=1000)
    >>> features = [FeatureConfig("shown", table), FeatureConfig("cart", table)]
    """

    name: str
    embedding_dim: int
    id_mapping: (
        id_mappings.IdMapping | tuple[id_mappings.IdMapping, ...] | None
    ) = None
    vocabulary_size: int | None = None
    combiner: str = "mean"
    embeddings_initializer: Any = None
    seed: int | None = None
    compose: str = "add"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(
                f"`name` must not be empty. Received: name={self.name!r}"
            )
        if self.combiner not in bags.COMBINERS:
            raise ValueError(
                f"`combiner` must be one of {bags.COMBINERS}. "
                f"Received: combiner={self.combiner!r}"
            )
        if self.compose not in composed_embedding.COMPOSITIONS:
            raise ValueError(
                "`compose` must be one of "
                f"{composed_embedding.COMPOSITIONS}. "
                f"Received: compose={self.compose!r}"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the fields, with objects serialised."""
        serialize = keras.saving.serialize_keras_object
        names = [field.name for field in dataclasses.fields(self)]
        fields = {name: getattr(self, name) for name in names}
        for key in ("id_mapping", "embeddings_initializer"):
            fields[key] = serialize(fields[key])
        return fields

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TableConfig":
        """Creates the object from what `get_config` returned.

        Args:
            config: Of `get_config`.

        Returns:
            A new object, hence another table.
        """
        config = dict(config)
        for key in ("id_mapping", "embeddings_initializer"):
            if isinstance(config[key], dict):
                config[key] = keras.saving.deserialize_keras_object(config[key])
        if isinstance(config["id_mapping"], list | tuple):
            # JSON made a list of the tuple.
            config["id_mapping"] = tuple(
                keras.saving.deserialize_keras_object(mapping)
                if isinstance(mapping, dict)
                else mapping
                for mapping in config["id_mapping"]
            )
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfplugin")
@dataclasses.dataclass(frozen=True, eq=False)
class FeatureConfig:
    """Says which table a feature reads.

    Args:
        name: The feature's name, unique in a collection: the key of its ids.
        table: Its table.

    Raises:
        ValueError: The name is empty.

    Example:
    >>> feature = FeatureConfig("shown", TableConfig("item", 8,
    ...                                              vocabulary_size=10))
    >>> feature.table.name
    'item'
    """

    name: str
    table: TableConfig

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(
                f"`name` must not be empty. Received: name={self.name!r}"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the fields, with the table serialised."""
        table = keras.saving.serialize_keras_object(self.table)
        return {"name": self.name, "table": table}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FeatureConfig":
        """Creates the object from what `get_config` returned.

        Args:
            config: Of `get_config`.

        Returns:
            A new object with a table of its own.
        """
        table = config["table"]
        if isinstance(table, dict):
            table = keras.saving.deserialize_keras_object(table)
        return cls(config["name"], table)

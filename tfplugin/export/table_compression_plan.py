"""How each embedding table of a model is to be written."""

import dataclasses
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import keras

from tfplugin import layer_tree
from tfplugin import layers
from tfplugin.errors import InputError
from tfplugin.export import table_compression_dtypes as dtypes
from tfplugin.export import table_compression_pruning as pruning

#: In a plan, stands for the tables it does not name.
DEFAULT = "default"


@dataclasses.dataclass(frozen=True)
class TableCompression:
    """How one table is written.

    Args:
        dtype: Of its numbers; `float32` for that in which it was trained.
        min_count: Rows read less often in training are pruned; 0 for none.
        rare_rows: Who answers for a pruned row: `oov`, the row of unknown
            ids, or `shared`, one row that is their mean weighted by count.
            Tables without rows of unknown ids (hashes, codes) have the
            latter in either case.
        drop_unused: Whether rows that were never read are pruned as well.

    Raises:
        ValueError: A value is none of these.

    Example:
    >>> TableCompression(dtype="int8").changes
    True
    """

    dtype: dtypes.Dtype = "float32"
    min_count: float = 0
    rare_rows: pruning.RareRows = "oov"
    drop_unused: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in dtypes.DTYPES:
            raise ValueError(
                f"`dtype` must be one of {dtypes.DTYPES}. "
                f"Received: dtype={self.dtype!r}"
            )
        if not self.min_count >= 0:
            raise ValueError(
                "`min_count` must be at least 0. "
                f"Received: min_count={self.min_count}"
            )
        if self.rare_rows not in ("oov", "shared"):
            raise ValueError(
                "`rare_rows` must be `oov` or `shared`. "
                f"Received: rare_rows={self.rare_rows!r}"
            )

    @property
    def prunes(self) -> bool:
        """Whether rows may go, for which counts are needed."""
        return self.min_count > 0 or self.drop_unused

    @property
    def changes(self) -> bool:
        """Whether the table is written otherwise than trained."""
        return self.prunes or self.dtype != "float32"


class PlannedTable(NamedTuple):
    """A table beside how it is written.

    Attributes:
        name: What a plan calls it: the layer's name, or that of the
            `ComposedEmbedding` that it is a part of.
        layer: The layer that holds it.
        how: How it is written.
    """

    name: str
    layer: layers.Embedding
    how: TableCompression

    @property
    def dtype(self) -> str:
        """Of its numbers as written."""
        as_trained = self.how.dtype == "float32"
        return self.trained_dtype if as_trained else self.how.dtype

    @property
    def trained_dtype(self) -> str:
        """Of its numbers as trained."""
        return self.layer.embeddings.value.dtype.name


def planned_tables(
    model: keras.layers.Layer, plan: Mapping[str, TableCompression]
) -> list[PlannedTable]:
    """Returns the tables of a model with what a plan says of each.

    Args:
        model: Built.
        plan: Name of an `Embedding` or `ComposedEmbedding` to how its tables
            are written; `default` for those not named, otherwise as trained.

    Returns:
        Each table once, in the order in which they are found.

    Raises:
        InputError: The plan names a table that there is not.

    Example:
    >>> layer = layers.Embedding(4, 2, name="item")
    >>> tables = planned_tables(layer, {"default": TableCompression("int8")})
    >>> [(table.name, table.how.dtype) for table in tables]
    [('item', 'int8')]
    """
    names: dict[int, str] = {}
    found: list[layers.Embedding] = []
    for layer in layer_tree.walk(model):
        if isinstance(layer, layers.ComposedEmbedding):
            # A composed layer comes before its parts.
            names |= {id(part): str(layer.name) for part in layer.parts}
        elif isinstance(layer, layers.Embedding):
            found.append(layer)
    tables = [
        (names.get(id(layer), layer.table_name), layer) for layer in found
    ]
    unknown = sorted(set(plan) - {name for name, _ in tables} - {DEFAULT})
    if unknown:
        raise InputError(
            "Tables that are compressed must be tables of the model, "
            f"{sorted({name for name, _ in tables})}. Received: {unknown}."
        )
    default = plan.get(DEFAULT, TableCompression())
    return [
        PlannedTable(name, layer, plan.get(name, default))
        for name, layer in tables
    ]


def mappings_outside_of_tables(model: keras.layers.Layer) -> set[int]:
    """Finds the id mappings that not only tables look ids up in.

    Args:
        model: A Keras model or layer.

    Returns:
        The `id` of each; their rows mean something to somebody else.
    """
    found: set[int] = set()
    for layer in layer_tree.walk(model):
        if not isinstance(layer, layers.Embedding):
            _collect_mappings(layer_tree.attributes(layer), found)
    return found


def _collect_mappings(item: Any, found: set[int]) -> None:
    if isinstance(item, layers.IdMapping):
        found.add(id(item))
    elif isinstance(item, dict):
        for value in item.values():
            _collect_mappings(value, found)
    elif isinstance(item, list | tuple):
        for value in item:
            _collect_mappings(value, found)

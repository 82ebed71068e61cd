"""Which tables a remedy acts on: by name, by size, by how rare ids are."""

from collections.abc import Collection
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

import pydantic

from tfplugin.errors import InputError
from tfplugin.remedies import base

if TYPE_CHECKING:
    import keras


class TableChoice(base.Remedy):
    """A remedy on tables that may be chosen; not a remedy by itself.

    A table is chosen if it meets every condition that is given.

    Args:
        tables: Names of tables of ids; all where absent.
        min_rows: Only tables with at least so many rows.
        min_rare_share: Only tables with at least this share of their training
            occurrences (not of their ids) from ids that occur fewer than
            `rare_count` times, between 0 and 1.
        rare_count: Occurrences in the training rows from which an id is not
            rare, at least 2.
    """

    tables: Annotated[tuple[str, ...], pydantic.Field(min_length=1)] | None = (
        None
    )
    min_rows: Annotated[int, pydantic.Field(ge=1)] | None = None
    min_rare_share: Annotated[float, pydantic.Field(ge=0, le=1)] | None = None
    rare_count: Annotated[int, pydantic.Field(ge=2)] = 10

    def check(
        self,
        tables: Collection[str],
        objectives: Collection[str],
        epochs: int | None = None,
    ) -> None:
        """Refuses names that are no table's.

        Raises:
            ValueError: A name is unknown.
        """
        base.require_known("tables", self.tables, tables, "table")

    def chosen(self, training: base.Training) -> "list[keras.Layer] | None":
        """The embedding layers of the chosen tables.

        Args:
            training: Its tables are chosen from.

        Returns:
            None if nothing is chosen from: all tables of the model.

        Raises:
            InputError: A name is unknown, or no table meets the conditions.
        """
        if (self.tables, self.min_rows, self.min_rare_share) == (None,) * 3:
            return None
        try:
            self.check(training.tables, ())
        except ValueError as error:
            raise InputError(f"training.remedies: {error}.") from error
        # Measured once a table, and only as far as asked.
        measured = {
            name: self._measure(training, name)
            for name in self.tables or training.tables
        }
        names = [name for name, one in measured.items() if self._meets(one)]
        if not names:
            raise InputError(
                "training.remedies: a table must meet `min_rows` and "
                f"`min_rare_share`. Received: {self._wanted()} for "
                f"{_listed(measured)}. Lower them, or leave the remedy out."
            )
        return [layer for name in names for layer in training.tables[name]]

    def _wanted(self) -> str:
        given = {
            "min_rows": self.min_rows,
            "min_rare_share": self.min_rare_share,
        }
        return ", ".join(
            f"{key}={value}"
            for key, value in given.items()
            if value is not None
        )

    def _meets(self, measured: dict[str, Any]) -> bool:
        return (
            self.min_rows is None or measured["rows"] >= self.min_rows
        ) and (
            self.min_rare_share is None
            or measured["rare_share"] >= self.min_rare_share
        )

    def _measure(self, training: base.Training, table: str) -> dict[str, Any]:
        measured: dict[str, Any] = {}
        if self.min_rows is not None:
            measured["rows"] = max(
                int(layer.embeddings.shape[0])
                for layer in training.tables[table]
            )
        if self.min_rare_share is not None:
            measured["rare_share"] = round(
                rare_share(
                    training.id_frequencies(table).counts, self.rare_count
                ),
                6,
            )
        return measured


def _listed(measured: dict[str, dict[str, Any]]) -> str:
    """As in `user (rows 98, rare share 0.3), city (rows 6, ...)`."""
    tables = []
    for name, facts in measured.items():
        said = [f"{key.replace('_', ' ')} {facts[key]}" for key in facts]
        tables.append(f"{name} ({', '.join(said)})")
    return ", ".join(tables)


def rare_share(counts: Any, rare_count: float) -> float:
    """The share of occurrences that are of ids which occur rarely.

    Args:
        counts: Occurrences of each id, `(ids,)`.
        rare_count: Ids that occur less often are rare.

    Returns:
        Between 0 and 1; 0 if there are no occurrences.

    Example:
    >>> import numpy as np
    >>> rare_share(np.array([1, 2, 5]), 3)
    0.375
    """
    total = float(counts.sum())
    return float(counts[counts < rare_count].sum()) / total if total else 0.0

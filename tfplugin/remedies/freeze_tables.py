"""Tables trained in the first epochs only."""

from collections.abc import Collection
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Annotated
from typing import ClassVar

import pydantic

from tfplugin.remedies import base
from tfplugin.remedies import table_choice

if TYPE_CHECKING:
    import keras


class FreezeTables(table_choice.TableChoice):
    """Trains tables in the first epochs, then only the dense layers.

    See `tfplugin.callbacks.FreezeTables`.

    Args:
        after_epochs: How many epochs tables are trained.

    Example:
    >>> FreezeTables(after_epochs=2).after_epochs
    2
    """

    conflicts: ClassVar[Mapping[str, str]] = {
        "embedding_reset": "a table drawn anew after it was frozen would stay "
        "random",
        "table_sets": "a set whose turn comes after the freeze would stay "
        "random",
    }

    after_epochs: Annotated[int, pydantic.Field(ge=1)] = 1

    def excludes(self, name: str, other: base.Remedy) -> str | None:
        """A reset and a freeze go together on different tables."""
        reason = super().excludes(name, other)
        if reason is None or not isinstance(other, table_choice.TableChoice):
            return reason
        if self.tables is None or other.tables is None:
            return f"{reason}; give each its own `tables`"
        both = sorted({*self.tables} & {*other.tables})
        return f"{reason}, here {', '.join(both)}" if both else None

    def check(
        self,
        tables: Collection[str],
        objectives: Collection[str],
        epochs: int | None = None,
    ) -> None:
        """Refuses unknown names, and a number beyond the epochs.

        Raises:
            ValueError: A name is unknown, or nothing would ever happen.
        """
        super().check(tables, objectives, epochs)
        if epochs is not None and self.after_epochs >= max(epochs, 2):
            raise ValueError(
                f"`after_epochs` must be below training.epochs={epochs}, or "
                "nothing is ever frozen; received after_epochs="
                f"{self.after_epochs}. Lower it, or raise training.epochs"
            )

    def callbacks(
        self, training: base.Training
    ) -> "list[keras.callbacks.Callback]":
        """One callback that freezes the tables."""
        from tfplugin import callbacks

        return [
            callbacks.FreezeTables(
                self.after_epochs, layers=self.chosen(training)
            )
        ]

"""Tables trained in the first epochs only."""

from typing import TYPE_CHECKING
from typing import Annotated

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

    after_epochs: Annotated[int, pydantic.Field(ge=1)] = 1

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

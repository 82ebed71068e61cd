"""Tables drawn anew before each further epoch (MEDA)."""

from typing import TYPE_CHECKING
from typing import Annotated

import pydantic

from tfplugin.remedies import base
from tfplugin.remedies import table_choice

if TYPE_CHECKING:
    import keras


class EmbeddingReset(table_choice.TableChoice):
    """Redraws tables before every epoch after the first (MEDA).

    arXiv 2305.19531; see `tfplugin.callbacks.EmbeddingReset`.

    Args:
        start_epoch: First epoch, from 1, before which tables are redrawn; at
            least 2.

    Example:
    >>> EmbeddingReset(tables=("user",)).start_epoch
    2
    """

    start_epoch: Annotated[int, pydantic.Field(ge=2)] = 2

    def callbacks(
        self, training: base.Training
    ) -> "list[keras.callbacks.Callback]":
        """One callback that resets the tables."""
        from tfplugin import callbacks

        return [
            callbacks.EmbeddingReset(
                seed=training.seed,
                layers=self.chosen(training),
                start_epoch=self.start_epoch - 1,
            )
        ]

"""Tables drawn anew before each further epoch (MEDA)."""

from collections.abc import Collection
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
        if epochs is not None and self.start_epoch > max(epochs, 2):
            raise ValueError(
                "`start_epoch` must be at most "
                f"training.epochs={epochs}, or nothing is ever drawn anew; "
                f"received start_epoch={self.start_epoch}. Lower it, or raise "
                "training.epochs"
            )

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

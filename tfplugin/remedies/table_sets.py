"""A set of tables for each pass over a chunk of data (continual MEDA)."""

from collections.abc import Collection
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Annotated
from typing import ClassVar

import pydantic

from tfplugin.errors import InputError
from tfplugin.remedies import base
from tfplugin.remedies import table_choice

if TYPE_CHECKING:
    import keras


class TableSets(table_choice.TableChoice):
    """Gives each pass over a chunk its own set of tables (continual MEDA).

    arXiv 2407.01607; see `tfplugin.callbacks.TableSets`. The set trained last
    is evaluated and exported.

    Args:
        sets: How many sets, at least 2.
        passes_per_chunk: Epochs over a chunk before the next one, at least
            `sets`. Where absent, `training.epochs` if chunks are trained in
            order, else `sets`.

    Example:
    >>> TableSets(sets=3).passes_per_chunk is None
    True
    """

    conflicts: ClassVar[Mapping[str, str]] = {
        "embedding_reset": "each set of tables is drawn when its first pass "
        "comes, and a reset would forget it again"
    }

    sets: Annotated[int, pydantic.Field(ge=2)] = 2
    passes_per_chunk: Annotated[int, pydantic.Field(ge=2)] | None = None

    @pydantic.model_validator(mode="after")
    def _check_passes(self) -> "TableSets":
        if (self.passes_per_chunk or self.sets) < self.sets:
            raise ValueError(
                "`passes_per_chunk` must be at least `sets`, or a set is "
                f"never trained; received {self.passes_per_chunk} for "
                f"{self.sets} sets"
            )
        return self

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
        if epochs is not None and self.sets > max(epochs, 2):
            raise ValueError(
                f"`sets` must be at most training.epochs={epochs}, or the "
                f"last ones are never trained; received sets={self.sets}. "
                "Lower it, or raise training.epochs"
            )

    def callbacks(
        self, training: base.Training
    ) -> "list[keras.callbacks.Callback]":
        """One callback that changes the sets.

        Raises:
            InputError: Chunks are trained in order, in other passes.
        """
        from tfplugin import callbacks

        passes = self.passes_per_chunk or training.passes_per_chunk
        if training.passes_per_chunk not in (None, passes) or (
            passes and passes < self.sets
        ):
            raise InputError(
                "training.remedies.table_sets: where chunks are trained in "
                "order, `passes_per_chunk` must be training.epochs, and at "
                f"least `sets`. Received: passes_per_chunk={passes}, "
                f"training.epochs={training.passes_per_chunk}, "
                f"sets={self.sets}. Leave `passes_per_chunk` out, and set "
                f"training.epochs to {self.sets} or more."
            )
        sets = callbacks.TableSets(
            self.sets,
            passes,
            seed=training.seed,
            layers=self.chosen(training),
        )
        sets.build(training.model)
        return [sets]

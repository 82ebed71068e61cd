"""Objectives that stop one by one, as their validation falls."""

from collections.abc import Collection
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Literal

import pydantic

from tfplugin.remedies import base

if TYPE_CHECKING:
    import keras


class ObjectiveEarlyStopping(base.Remedy):
    """Stops each objective by itself once its validation falls.

    Its loss is switched off and its tower keeps its values; the training ends
    once all have stopped. See `tfplugin.callbacks.ObjectiveEarlyStopping`.

    Args:
        objectives: Labels that may stop; all where absent. Training goes on
            to its last epoch while one may not.
        metric: `auc`, `pr_auc` or `normalized_entropy`, on validation.
        patience: Epochs without improvement after which an objective stops.
        min_delta: By how much more than this a value must better the best.
        restore_best: Whether a tower stops at its values of its best epoch,
            rather than at its last.

    Example:
    >>> ObjectiveEarlyStopping(patience=2).metric
    'auc'
    """

    objectives: (
        Annotated[tuple[str, ...], pydantic.Field(min_length=1)] | None
    ) = None
    metric: Literal["auc", "pr_auc", "normalized_entropy"] = "auc"
    patience: Annotated[int, pydantic.Field(ge=1)] = 1
    min_delta: Annotated[float, pydantic.Field(ge=0)] = 0.0
    restore_best: bool = False

    def check(
        self,
        tables: Collection[str],
        objectives: Collection[str],
        epochs: int | None = None,
    ) -> None:
        """Refuses names that are no label's.

        Raises:
            ValueError: A name is unknown.
        """
        base.require_known("objectives", self.objectives, objectives, "label")

    def losses(
        self, training: base.Training, losses: "base.Losses"
    ) -> "base.Losses":
        """The losses of objectives that may stop, each behind a gate."""
        from tfplugin import callbacks

        may_stop = self._objectives(training)
        return {
            name: callbacks.GatedLoss(loss) if name in may_stop else loss
            for name, loss in losses.items()
        }

    def callbacks(
        self, training: base.Training
    ) -> "list[keras.callbacks.Callback]":
        """One callback that closes the gates."""
        from tfplugin import callbacks

        names = self._objectives(training)
        stopping = callbacks.ObjectiveEarlyStopping(
            names,
            metric=self.metric,
            mode="min" if self.metric == "normalized_entropy" else "max",
            patience=self.patience,
            min_delta=self.min_delta,
            restore_best=self.restore_best,
        )
        stopping.build(training.model)
        return [stopping]

    def _objectives(self, training: base.Training) -> tuple[str, ...]:
        return self.objectives or tuple(training.schema.labels)

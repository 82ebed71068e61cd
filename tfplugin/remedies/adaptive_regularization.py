"""Rows that were absent for long forget what they learned (AR)."""

from collections.abc import Mapping
from typing import Annotated
from typing import Any
from typing import ClassVar

import pydantic

from tfplugin.remedies import base


class AdaptiveRegularization(base.Remedy):
    """Decays a row by the steps in which no batch had it.

    In each step that touches a row, before its update, `w *= max(1 - lambda,
    kept)` with `lambda = min(1, strength * absent / steps_per_epoch)`, where
    `absent` counts the steps since the row's last: with strength 1, a row
    absent for a whole epoch is forgotten but for `kept`, and one that every
    batch has is left alone. Being given by epoch, a strength means the same
    for any size of batch. arXiv 2511.06374; see
    `tfplugin.optimizers.row_options`. Costs one number a row.

    Args:
        strength: Share of a row forgotten in an epoch of absence, above 0.
        kept: Least share of a row that is left, in [0, 1].

    Example:
    >>> remedy = AdaptiveRegularization(strength=0.5)
    >>> remedy.row_options(steps_per_epoch=200)
    {'adaptive_decay': 0.0025, 'adaptive_decay_kept': 0.0}
    """

    table_conflicts: ClassVar[Mapping[str, str]] = {
        "compound_weight_decay": "a row would be decayed twice for the same "
        "absence"
    }

    strength: Annotated[float, pydantic.Field(gt=0)] = 1.0
    kept: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0

    def row_options(self, steps_per_epoch: int) -> dict[str, Any]:
        """Arguments for the tables' optimizer, by `RowOptions`' names.

        Args:
            steps_per_epoch: Batches an epoch.
        """
        return {
            "adaptive_decay": self.strength / steps_per_epoch,
            "adaptive_decay_kept": self.kept,
        }

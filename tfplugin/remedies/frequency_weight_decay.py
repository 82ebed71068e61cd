"""Rows decayed by their frequency, rare ones the most (DIN)."""

from typing import Annotated
from typing import Any
from typing import ClassVar

import pydantic

from tfplugin.remedies import base


class FrequencyWeightDecay(base.Remedy):
    """Decays a touched row by `rate_i * strength / F_i` of itself.

    `rate_i` is the row's rate in this step, `F_i` how often it occurs in the
    training data, at least 1. In an epoch a row loses about `rate_i * strength`
    of itself at most, however often it occurs; plain weight decay would take
    the most of frequent rows. What is counted is what `training.tables.counts`
    says, occurrences by default. DIN, arXiv 1706.06978; see
    `tfplugin.optimizers.row_options`. Costs one number a row where the rate of
    rows reads no counts.

    Args:
        strength: The decay of a row that occurs once, before its rate.

    Example:
    >>> FrequencyWeightDecay(strength=0.5).row_options(steps_per_epoch=200)
    {'frequency_decay': 0.5}
    """

    reads_counts: ClassVar[bool] = True

    strength: Annotated[float, pydantic.Field(gt=0)] = 1.0

    def row_options(self, steps_per_epoch: int) -> dict[str, Any]:
        """Arguments for the tables' optimizer, by `RowOptions`' names.

        Args:
            steps_per_epoch: Batches an epoch.
        """
        return {"frequency_decay": self.strength}

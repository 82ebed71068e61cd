"""Gradients of rows clipped by the rows' own norms (CowClip)."""

from collections.abc import Mapping
from typing import Annotated
from typing import Any
from typing import ClassVar

import pydantic

from tfplugin.remedies import base


class CowClip(base.Remedy):
    """Scales down the gradient of a row that is large beside the row itself.

    To the norm `ratio * n * max(|w|, ratio * sqrt(D) * bound)` for a row of
    length D that occurs `n` times in the batch. Goes with no other clipping of
    `training.tables`. arXiv 2204.06240; see `tfplugin.optimizers.row_options`.

    Args:
        ratio: Greatest norm of an occurrence's gradient, in norms of the row.
        bound: Keeps rows that are nearly 0 able to learn, above 0.

    Example:
    >>> CowClip().row_options(steps_per_epoch=200)
    {'cow_clip_ratio': 1.0, 'cow_clip_bound': 1e-05}
    """

    table_conflicts: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("clip_value", "clip_row_norm", "clip_global_norm"),
        "gradients are clipped in one way at a time",
    )

    ratio: Annotated[float, pydantic.Field(gt=0)] = 1.0
    bound: Annotated[float, pydantic.Field(gt=0)] = 1e-5

    def row_options(self, steps_per_epoch: int) -> dict[str, Any]:
        """Arguments for the tables' optimizer, by `RowOptions`' names.

        Args:
            steps_per_epoch: Batches an epoch.
        """
        return {"cow_clip_ratio": self.ratio, "cow_clip_bound": self.bound}

"""What `tfplugin recommend` may spend, and what it looks for."""

from typing import Annotated

import pydantic

from tfplugin.config.records import Section
from tfplugin.config.sizes import Seconds

_Rows = Annotated[int, pydantic.Field(ge=100)]


class RecommendConfig(Section):
    """Limits of `tfplugin recommend`.

    How much it tries follows from how fast this machine trains, but for the
    two keys `rows` and `recipes`: with both, the same is tried everywhere, and
    `time_limit` is not looked at.

    `time_limit` is looked at for the first time once rows are read and the
    first recipe is trained for two epochs, from which its speed follows. It
    takes so much at least, whatever the limit.

    Args:
        time_limit: Seconds the pilot trainings may take, or as `10m`; reading
            rows and two epochs of the first recipe are never cut short.
        min_epochs: Least epochs of what is proposed.
        max_epochs: Most epochs of what is proposed.
        max_rows: Training rows of the pilot's sample, at most.
        rows: Training rows of the sample; chosen by the time if left out.
        recipes: Recipes that are compared; chosen by the time if left out.
        seed: Seed of the sample and of the pilot's trainings.
    """

    time_limit: Annotated[Seconds, pydantic.Field(gt=0)] = 600
    min_epochs: Annotated[int, pydantic.Field(ge=1)] = 4
    max_epochs: Annotated[int, pydantic.Field(ge=1)] = 4
    max_rows: _Rows = 2_000_000
    rows: _Rows | None = None
    recipes: Annotated[int, pydantic.Field(ge=2)] | None = None
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0

    @pydantic.model_validator(mode="after")
    def _check(self) -> "RecommendConfig":
        if self.max_epochs < self.min_epochs:
            raise ValueError(
                "`max_epochs` must not be below `min_epochs`; received "
                f"{self.max_epochs} and {self.min_epochs}"
            )
        return self

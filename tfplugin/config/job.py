"""How preprocessing runs, and how logs are added later."""

from typing import Annotated
from typing import Literal

import pydantic

from tfplugin.config.records import Section
from tfplugin.config.sizes import Bytes


class JobConfig(Section):
    """How the preprocessing job runs.

    Args:
        memory: What one worker may hold for counts, joins and buffers, as
            `1GiB`; beside it comes what Python and its libraries take. Less
            means more and smaller pieces on disk, never a failure.
    """

    memory: Annotated[Bytes, pydantic.Field(ge=1 << 24)] = 1 << 30


class AppendConfig(Section):
    """What `tfplugin preprocess --append` does with an added log.

    Args:
        split: Where its rows go: `as_configured` (hash of columns, or the
            moments that cut the first log), or all of them `train`,
            `validation` or `test`.
        half_life_days: Days after which a count weighs half; None for
            counts that do not decay. Days are those of `event_time`, from
            the last row of what the dataset holds, in whichever split, to
            the last row of the added log.
    """

    split: Literal["as_configured", "train", "validation", "test"] = (
        "as_configured"
    )
    half_life_days: Annotated[float, pydantic.Field(gt=0)] | None = None

"""What records of JSON files that training wrote have in common."""

import math
from typing import Annotated

import pydantic


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


#: A metric; None where it is undefined (a split without positives).
Value = Annotated[float | None, pydantic.AfterValidator(_finite_or_none)]


class Record(pydantic.BaseModel):
    """A frozen JSON record; keys that no reader here needs are left out."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

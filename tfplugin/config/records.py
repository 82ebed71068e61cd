"""The base of every section of a configuration."""

import pydantic


class Section(pydantic.BaseModel):
    """A frozen section of the YAML file that refuses unknown keys."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False
    )

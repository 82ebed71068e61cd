"""The part of the Compose Specification that compose.yaml uses, strictly.

Its JSON schema is in no maintained package of PyPI; names, types and units here
are those of https://github.com/compose-spec/compose-spec (2025).
"""

from typing import Annotated
from typing import Literal

import pydantic

Duration = Annotated[
    str, pydantic.Field(pattern=r"^(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$")
]
Bytes = Annotated[str, pydantic.Field(pattern=r"^\d+(b|k|kb|m|mb|g|gb)$")]
#: On loopback, with a fixed port on either side.
Port = Annotated[str, pydantic.Field(pattern=r"^127\.0\.0\.1:\d+:\d+$")]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Bind(_Part):
    """How a folder of the machine is mounted."""

    create_host_path: bool = True


class Volume(_Part):
    """A mount, in its long form."""

    type: Literal["bind"]
    source: str
    target: str
    read_only: bool = False
    bind: Bind = Bind()


class Limits(_Part):
    """What a container may use."""

    cpus: Annotated[str, pydantic.Field(pattern=r"^\d+(\.\d+)?$")]
    memory: Bytes


class Resources(_Part):
    """Limits alone."""

    limits: Limits


class Deploy(_Part):
    """Resources alone."""

    resources: Resources


class HealthCheck(_Part):
    """A command without a shell."""

    test: list[str]
    interval: Duration
    timeout: Duration
    retries: int
    start_period: Duration
    start_interval: Duration


class Service(_Part):
    """A container."""

    image: Annotated[str, pydantic.Field(pattern=r"^\S+:[\w.-]+$")]
    entrypoint: list[str]
    init: bool
    command: list[str]
    ports: list[Port]
    volumes: list[Volume]
    user: Annotated[str, pydantic.Field(pattern=r"^\d+:\d+$")]
    read_only: bool
    tmpfs: list[str]
    cap_drop: list[str]
    security_opt: list[str]
    deploy: Deploy
    healthcheck: HealthCheck
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    stop_grace_period: Duration


class Compose(_Part):
    """A file."""

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    services: dict[str, Service]

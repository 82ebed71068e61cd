"""Sizes and durations as a user writes them."""

import re
from typing import Annotated

import pydantic

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$")
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_bytes(value: object) -> int:
    """Bytes, from a number or a text such as `2GiB`.

    Args:
        value: A whole number, or a number and B, kB, MB, GB, TB, KiB, MiB,
            GiB or TiB.

    Raises:
        ValueError: It is neither, or not positive.

    Example:
    >>> parse_bytes("1.5 GiB"), parse_bytes("20 MB"), parse_bytes(512)
    (1610612736, 20000000, 512)
    """
    return _parse(value, _BYTES, "a size", "2GiB, 500MB or a number of bytes")


def parse_seconds(value: object) -> int:
    """Seconds, from a number or a text such as `7d`.

    Args:
        value: A whole number, or a number and s, m, h, d or w.

    Raises:
        ValueError: It is neither, or not positive.

    Example:
    >>> parse_seconds("12h"), parse_seconds("7d"), parse_seconds(90)
    (43200, 604800, 90)
    """
    return _parse(value, _SECONDS, "a duration", "30m, 12h, 7d or seconds")


def _parse(value: object, units: dict[str, int], kind: str, forms: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.match(value) if isinstance(value, str) else None
    if found and found[2].lower() in units:
        number = round(float(found[1]) * units[found[2].lower()])
        if number > 0:
            return number
    raise ValueError(f"{kind} must be positive, as {forms}; received {value!r}")


#: Bytes in a configuration.
Bytes = Annotated[int, pydantic.BeforeValidator(parse_bytes)]
#: Seconds in a configuration.
Seconds = Annotated[int, pydantic.BeforeValidator(parse_seconds)]

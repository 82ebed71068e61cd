"""Single values of JSON, as TensorFlow Serving reads them."""

import base64
import binascii
from typing import Any

_BASE64_KEY = "b64"


def is_object(value: Any) -> bool:
    """Whether a JSON value is an object, and not bytes as base64.

    Args:
        value: What `json` made of it.

    Example:
    >>> is_object({"age": 18}), is_object({"b64": "YQ=="})
    (True, False)
    """
    return isinstance(value, dict) and not _is_base64(value)


def to_bytes(value: Any) -> bytes:
    """Reads a string, which is text or `{"b64": ...}`.

    Args:
        value: What `json` made of it.

    Raises:
        ValueError: If it is neither, or half of a character.

    Example:
    >>> to_bytes("a"), to_bytes({"b64": "Yg=="})
    (b'a', b'b')
    """
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("a string holds half of a character.") from error
    if not _is_base64(value):
        raise ValueError(
            f"JSON {json_type(value)} is not of expected type: string"
        )
    encoded = value[_BASE64_KEY]
    try:
        # As in TensorFlow Serving, the padding may be left out.
        return base64.b64decode(
            encoded + "=" * (-len(encoded) % 4), validate=True
        )
    except (ValueError, binascii.Error) as error:
        raise ValueError("unable to base64 decode.") from error


def json_type(value: Any) -> str:
    """Says in JSON's words what a value is; strings are not quoted.

    Args:
        value: What `json` made of it.

    Example:
    >>> json_type(None), json_type("secret"), json_type(3)
    ('null', 'string', 'number 3')
    """
    if value is None:
        return "null"
    names = {bool: "boolean", str: "string", list: "list", dict: "object"}
    return names.get(type(value), f"number {value}")


def _is_base64(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {_BASE64_KEY}
        and isinstance(value[_BASE64_KEY], str)
    )

"""Checks the ids of a vocabulary and makes them a tensor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfplugin import schema


def key_tensor(
    vocabulary: Sequence[Any] | np.ndarray, id_dtype: str | None = None
) -> tf.Tensor:
    """Returns the ids of a vocabulary as a tensor, in their order.

    Args:
        vocabulary: Unique int64, or str and bytes; a str is its UTF-8 bytes.
        id_dtype: `"int64"` or `"string"`; None says what the first id is,
            int64 if there is none.

    Returns:
        int64 or string tensor of shape (n,).

    Raises:
        ValueError: An id is of another dtype, comes twice or is the missing
            id; or there is more than one dimension.

    Example:
    >>> key_tensor(["b", b"a"]).numpy().tolist()
    [b'b', b'a']
    """
    if isinstance(vocabulary, np.ndarray) and vocabulary.ndim != 1:
        raise ValueError(
            "`vocabulary` must be one-dimensional. "
            f"Received: vocabulary.shape={vocabulary.shape}"
        )
    if id_dtype is None:
        is_text = len(vocabulary) and isinstance(vocabulary[0], str | bytes)
        id_dtype = "string" if is_text else "int64"
    with tf.init_scope():
        if id_dtype == "string":
            keys = _text_keys(vocabulary)
            # From a list: NumPy's bytes dtype would lose trailing NULs.
            return tf.constant(keys, tf.string, shape=(len(keys),))
        return tf.constant(_integer_keys(vocabulary))


def _text_keys(vocabulary: Sequence[Any] | np.ndarray) -> list[bytes]:
    keys = [k.encode() if isinstance(k, str) else k for k in vocabulary]
    for key in keys:
        if not isinstance(key, bytes):
            _refuse_dtype(key, "string")
    if len(set(keys)) != len(keys):
        ordered = sorted(keys)
        pairs = zip(ordered, ordered[1:], strict=False)
        _refuse_id(next(key for key, following in pairs if key == following))
    if schema.MISSING_STRING.encode() in keys:
        _refuse_id(schema.MISSING_STRING.encode())
    return keys


def _integer_keys(vocabulary: Sequence[Any] | np.ndarray) -> np.ndarray:
    array = np.asarray(vocabulary)
    if array.size == 0:
        return np.zeros((0,), np.int64)
    if not np.can_cast(array.dtype, np.int64) or array.dtype == np.bool_:
        _refuse_dtype(vocabulary[0], "int64", array.dtype.name)
    keys = array.astype(np.int64)
    ordered = np.sort(keys)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if twice.size:
        _refuse_id(int(ordered[twice[0]]))
    if ordered[0] == schema.MISSING_INT64:
        _refuse_id(schema.MISSING_INT64)
    return keys


def _refuse_dtype(key: Any, id_dtype: str, found: str | None = None) -> None:
    raise ValueError(
        f"`vocabulary` must hold ids of dtype {id_dtype}. "
        f"Received: {key!r} of {found or type(key).__name__}"
    )


def _refuse_id(key: Any) -> None:
    raise ValueError(
        "`vocabulary` must hold each id once, and not the missing id "
        f"({schema.MISSING_INT64} or ''), which has a row of its own. "
        f"Received: {key!r}"
    )

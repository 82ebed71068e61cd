"""A short name of a model's weights."""

import zlib

import keras
import numpy as np

_MOST_BYTES = 1 << 20


def model_fingerprint(model: keras.Model) -> str:
    """Eight hexadecimal digits that change with the weights.

    Of the weights of at most 1 MiB, by a CRC-32 of all their bytes in turn;
    large tables are left out, since a training that moves them moves the
    others too.

    Args:
        model: Built.

    Example:
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> before = model_fingerprint(model)
    >>> model.set_weights([weight + 1 for weight in model.get_weights()])
    >>> before == model_fingerprint(model)
    False
    """
    checksum = 0
    for variable in model.variables:
        value = variable.value
        if value.dtype.size * int(np.prod(value.shape)) <= _MOST_BYTES:
            checksum = zlib.crc32(value.numpy().tobytes(), checksum)
    return f"{checksum:08x}"

"""Named arrays and a JSON header as bytes, with a version and a checksum."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfplugin.errors import InputError

_MAGIC = b"tfplugin"
#: Magic, version, CRC-32C of what follows, its bytes once decompressed, and
#: the header's.
_PREFIX = struct.Struct("<8sIIQQ")
_VERSION = 1
_DTYPES = ("|u1", "<i8", "<u8", "<f4", "<f8")

Arrays = Mapping[str, npt.NDArray[Any]]


def pack(header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The bytes of a header and of arrays; equal ones for equal content.

    Args:
        header: What JSON can hold.
        arrays: Of rank 1, of uint8, int64, uint64, float32 or float64.

    Example:
    >>> data = pack({"rows": 3}, {"counts": np.arange(3)})
    >>> header, arrays = unpack(data, "counts.bin")
    >>> header, arrays["counts"].tolist()
    ({'rows': 3}, [0, 1, 2])
    """
    layout = [
        (name, array.dtype.newbyteorder("<").str, len(array))
        for name, array in arrays.items()
    ]
    text = json.dumps({"header": header, "layout": layout}).encode()
    body = b"".join(
        [
            text,
            *(
                np.ascontiguousarray(array, kind).tobytes()
                for array, (_, kind, _) in zip(
                    arrays.values(), layout, strict=True
                )
            ),
        ]
    )
    packed = _codec().compress(body, asbytes=True)
    crc = google_crc32c.value(packed)
    sizes = (len(body), len(text))
    return _PREFIX.pack(_MAGIC, _VERSION, crc, *sizes) + packed


def unpack(
    data: bytes, source: str
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The header and the arrays, which cannot be written to.

    Args:
        data: Of `pack`.
        source: Where they are from, for messages.

    Raises:
        InputError: The bytes are not those that `pack` made, or of a version
            that is not known here.
    """
    if len(data) < _PREFIX.size:
        raise _damaged(source, f"{len(data)} bytes")
    magic, version, crc, whole, size = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise _damaged(source, f"a file that begins with {magic!r}")
    if version != _VERSION:
        raise _damaged(source, f"version {version} instead of {_VERSION}")
    packed = data[_PREFIX.size :]
    if google_crc32c.value(packed) != crc:
        raise _damaged(source, "bytes whose checksum does not fit")
    body = _codec().decompress(packed, whole, asbytes=True)
    text = json.loads(body[:size])
    arrays, place = {}, size
    for name, kind, length in text["layout"]:
        if kind not in _DTYPES:
            raise _damaged(source, f"an array of type {kind}")
        arrays[name] = np.frombuffer(body, kind, length, place)
        place += arrays[name].nbytes
    return text["header"], arrays


def _codec() -> pa.Codec:
    # Counters are mostly small: they shrink to a fifth, in milliseconds.
    return pa.Codec("zstd", compression_level=1)


def _damaged(source: str, received: str) -> InputError:
    return InputError(
        "Sketches must be whole and as `tfplugin preprocess` writes them. "
        f"Received: {source}, {received}. Run `tfplugin preprocess "
        "--overwrite`."
    )

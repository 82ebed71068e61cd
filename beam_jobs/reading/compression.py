"""Compressed files, recognised by their first bytes."""

import re
from typing import Literal
from typing import TypeAlias

import pyarrow as pa

from beam_jobs.reading.log_files import LogFile
from tfplugin.errors import InputError

#: As Arrow calls them.
Compression: TypeAlias = Literal["gzip", "bz2", "zstd"]

#: Bytes that `detect` looks at, at most.
MAGIC_BYTES = 10

_MAGIC: dict[Compression, re.Pattern[bytes]] = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    # The second half: the mark of a block, or of the end.
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)"),
    # A frame, or one that decoders skip, as parallel encoders write first.
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}
_SUFFIXES: dict[str, Compression] = {
    ".gz": "gzip",
    ".bz2": "bz2",
    ".zst": "zstd",
}


def detect(first_bytes: bytes) -> Compression | None:
    r"""What a file is compressed with; None for a plain one.

    Args:
        first_bytes: At least `MAGIC_BYTES`, or the whole file.

    Example:
    >>> import bz2
    >>> detect(bz2.compress(b"a,b")), detect(b"BZh1,b\n1,2\n")
    ('bz2', None)
    """
    for name, magic in _MAGIC.items():
        if magic.match(first_bytes):
            return name
    return None


def check_suffix(file: LogFile, found: Compression | None) -> None:
    """Refuses a plain file whose name says that it is compressed.

    Raises:
        InputError: It is not what its name says: an error page, perhaps.
    """
    for suffix, wanted in _SUFFIXES.items():
        if file.path.endswith(suffix) and found != wanted:
            raise InputError(
                f"A {suffix} file must hold {wanted}. Received: {file.path}, "
                "which does not. Rename it or compress it."
            )


class Reader:
    """Bytes of a file from its beginning, decompressed.

    Args:
        file: The file.
        stream: Its bytes as stored, at their beginning.
        compression: What they are compressed with; None for nothing. Files
            of several members or frames are read to their end.
    """

    def __init__(
        self,
        file: LogFile,
        stream: pa.NativeFile,
        compression: Compression | None,
    ) -> None:
        self._file = file
        self._compression = compression
        self._stream = stream
        if compression is not None:
            self._stream = pa.CompressedInputStream(stream, compression)

    def read(self, size: int) -> bytes:
        """The next bytes: `size` of them, or fewer at the end.

        Raises:
            InputError: The compressed file is cut off or damaged.
        """
        try:
            return bytes(self._stream.read(size))
        except OSError as error:
            # One with a number is of the disk, and not of the decoder.
            if self._compression is None or error.errno is not None:
                raise
            raise InputError(
                f"A compressed file must be whole. Received: "
                f"{self._file.path}, {self._compression} that is cut off or "
                f"damaged ({error}). Fetch it again."
            ) from error

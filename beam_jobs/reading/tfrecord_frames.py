"""Bytes of TFRecord files → records, whose checksums are right."""

import functools
import struct
from collections.abc import Iterator

from beam_jobs import batches
from beam_jobs.reading import compression
from beam_jobs.reading import log_files
from beam_jobs.reading.log_files import LogFile
from beam_jobs.writing import tfrecords
from tfplugin.errors import InputError

_CHUNK_BYTES = 1 << 24
_HEADER_BYTES, _CHECKSUM_BYTES = 12, 4


def read(
    file: LogFile, chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[list[bytes]]:
    """Reads the records of a file, some at a time.

    Args:
        file: A TFRecord file, plain or compressed.
        chunk_bytes: Bytes to read at once.

    Raises:
        InputError: The file is cut off, damaged, changed, or no TFRecord.
    """
    with log_files.opened(file) as stream:
        first = bytes(stream.read(_HEADER_BYTES))
        # A record's length may look like the mark of a compressed file.
        found = None if _is_header(first) else compression.detect(first)
        compression.check_suffix(file, found)
        stream.seek(0)
        reader = compression.Reader(file, stream, found)
        rest, number, size = b"", 0, 0
        while chunk := reader.read(chunk_bytes):
            size += len(chunk)
            records, place = _split(file, rest + chunk, number)
            rest = (rest + chunk)[place:]
            number += len(records)
            for begin in range(0, len(records), batches.MAX_ROWS):
                yield records[begin : begin + batches.MAX_ROWS]
        if found is None and size < file.size:
            raise log_files.changed(file, f"ends at {size}")
        if rest:
            raise _damaged(file, number, "it is cut off")


def _split(file: LogFile, data: bytes, number: int) -> tuple[list[bytes], int]:
    """Whole records at the beginning of `data`, and the byte after them."""
    records: list[bytes] = []
    place, stop = 0, len(data)
    while place + _HEADER_BYTES <= stop:
        begin = place + _HEADER_BYTES
        header = data[place:begin]
        if not _is_header(header):
            reason = "its length does not match its checksum"
            raise _damaged(file, number + len(records), reason)
        (length,) = struct.unpack_from("<Q", header)
        end = begin + length
        if end + _CHECKSUM_BYTES > stop:
            break
        record = data[begin:end]
        (checksum,) = struct.unpack_from("<I", data, end)
        if checksum != tfrecords.masked_crc32c(record):
            reason = "it does not match its checksum"
            raise _damaged(file, number + len(records), reason)
        records.append(record)
        place = end + _CHECKSUM_BYTES
    return records, place


@functools.lru_cache(maxsize=1 << 16)
def _is_header(header: bytes) -> bool:
    """Whether a record's length has the checksum that follows it."""
    if len(header) < _HEADER_BYTES:
        return False
    (checksum,) = struct.unpack_from("<I", header, 8)
    return bool(checksum == tfrecords.masked_crc32c(header[:8]))


def _damaged(file: LogFile, number: int, reason: str) -> InputError:
    return InputError(
        f"A file of the log must be whole TFRecords. Received: {file.path}, "
        f"record {number}: {reason}. Fetch it again, or check "
        "`source.format`."
    )

"""Files of lines: byte ranges of plain ones, or whole compressed ones."""

import dataclasses
import io
from collections.abc import Callable
from collections.abc import Iterator

import pyarrow as pa

from beam_jobs.reading import compression
from beam_jobs.reading import csv_lines
from beam_jobs.reading import log_files
from beam_jobs.reading.log_files import Block
from beam_jobs.reading.log_files import LogFile
from tfplugin.errors import InputError

#: Bytes of a block of a plain file, and of a piece that is parsed at once.
BLOCK_BYTES = 1 << 24
#: Bytes of the beginning of a file that names and types are found in.
HEAD_BYTES = 1 << 20

_BOM = b"\xef\xbb\xbf"
#: Rows of all heads together that types are inferred from, about.
_HEAD_ROWS = 100_000
_MIN_HEAD_ROWS = 1000

FindLines = Callable[[bytes], csv_lines.Lines]


@dataclasses.dataclass(frozen=True)
class Start:
    """Where the rows of a file begin.

    Args:
        byte: The first one after a mark or a header, decompressed.
        compression: What the file is compressed with, or None.
    """

    byte: int
    compression: compression.Compression | None


@dataclasses.dataclass(frozen=True)
class Head:
    """The beginning of a file.

    Args:
        text: Up to `HEAD_BYTES`, decompressed, without a byte-order mark.
        start: Where `text` begins in the file.
        whole: Whether the file ends with it.
    """

    text: bytes
    start: Start
    whole: bool


def read_head(file: LogFile) -> Head:
    """Reads the beginning of a file.

    Raises:
        InputError: The file is empty, or no whole compressed file.
    """
    with log_files.opened(file) as stream:
        found = compression.detect(stream.read(compression.MAGIC_BYTES))
        compression.check_suffix(file, found)
        stream.seek(0)
        reader = compression.Reader(file, stream, found)
        text = reader.read(HEAD_BYTES)
        whole = not reader.read(1)
    mark = len(_BOM) if text.startswith(_BOM) else 0
    if not text[mark:].strip():
        raise InputError(
            f"A file of the log must hold rows. Received: {file.path}, which "
            "is empty. Remove or replace it."
        )
    return Head(text[mark:], Start(mark, found), whole)


def head_rows(files: int) -> int:
    """Rows of the head of each of so many files to infer types from."""
    return max(_MIN_HEAD_ROWS, _HEAD_ROWS // files)


def blocks(file: LogFile, start: Start, *, splittable: bool) -> list[Block]:
    """Parts of a file to read, the same whatever the engine.

    Args:
        file: The file.
        start: Where its rows begin.
        splittable: Whether every line break ends a row.
    """
    if start.compression is not None or not splittable:
        return [Block(file, start.byte)]
    return [
        Block(file, first, min(first + BLOCK_BYTES, file.size))
        for first in range(start.byte, file.size, BLOCK_BYTES)
    ]


def read(
    block: Block, start: Start, find_lines: FindLines
) -> Iterator[tuple[int, bytes]]:
    """Pieces of whole lines of a block, and where each begins.

    Args:
        block: One of `blocks`.
        start: Where the rows of its file begin.
        find_lines: Finds the lines of a piece of text.

    Raises:
        InputError: The file is cut off, damaged, or no longer what it was.
    """
    if block.stop is None:
        return _read_whole(block.file, start, find_lines)
    return _read_range(block.file, start.byte, block.start, block.stop)


def _read_range(
    file: LogFile, data_start: int, start: int, stop: int
) -> Iterator[tuple[int, bytes]]:
    """The lines that begin in [start, stop)."""
    with log_files.opened(file) as stream:
        if start > data_start:
            # A line begins at `start` if the byte before ends one.
            stream.seek(start - 1)
            start += len(_until_newline(stream)) - 1
        else:
            stream.seek(start)
        if start >= stop:
            return
        text = bytes(stream.read(stop - start))
        if len(text) < stop - start:
            raise log_files.changed(file, f"ends at {start + len(text)}")
        if not text.endswith(b"\n"):
            text += _until_newline(stream)
    yield start, text


def _until_newline(stream: pa.NativeFile) -> bytes:
    """Bytes up to and with the next line break, or to the end."""
    found = b""
    while chunk := bytes(stream.read(1 << 16)):
        end = chunk.find(b"\n")
        if end >= 0:
            stream.seek(end + 1 - len(chunk), io.SEEK_CUR)
            return found + chunk[: end + 1]
        found += chunk
    return found


def _read_whole(
    file: LogFile, start: Start, find_lines: FindLines
) -> Iterator[tuple[int, bytes]]:
    """Pieces of a file that is read from its beginning."""
    with log_files.opened(file) as stream:
        reader = compression.Reader(file, stream, start.compression)
        offset = len(reader.read(start.byte))
        rest = b""
        while chunk := reader.read(BLOCK_BYTES):
            rest += chunk
            lines = find_lines(rest)
            cut = len(rest) if lines.complete else int(lines.starts[-1])
            if cut:
                yield offset, rest[:cut]
                offset, rest = offset + cut, rest[cut:]
        if start.compression is None and offset + len(rest) < file.size:
            raise log_files.changed(file, f"ends at {offset + len(rest)}")
        if rest:
            yield offset, rest

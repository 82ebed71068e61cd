"""Globs → files, sorted and checked."""

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import BinaryIO

import google_crc32c
from apache_beam.io import filesystem
from apache_beam.io import filesystems

from tfplugin.errors import InputError

_GLOB = frozenset("*?[")
_CHUNK = 1 << 22


@dataclasses.dataclass(frozen=True)
class LogFile:
    """One file of the log.

    Args:
        index: Its number among the sorted files.
        path: Path or URL.
        size: Bytes as stored.
    """

    index: int
    path: str
    size: int


def expand(patterns: Sequence[str], key: str) -> tuple[LogFile, ...]:
    """Finds the files that paths and globs name.

    Args:
        patterns: Paths or globs, of any file system that Beam knows.
        key: The key of the configuration, for messages.

    Returns:
        The files, sorted by path.

    Raises:
        InputError: A path does not exist, a glob matches nothing, a file is
            empty, or one is named twice.
    """
    sizes: dict[str, int] = {}
    for pattern in patterns:
        for path, size in _match(pattern, key):
            if path in sizes:
                raise InputError(
                    f"`{key}` must name each file once. Received: {path} "
                    "twice. Remove one of the paths or globs."
                )
            if not size:
                raise InputError(
                    f"`{key}` must name files that hold rows. Received: "
                    f"{path}, which is empty. Remove or replace it."
                )
            sizes[path] = size
    return tuple(
        LogFile(index, path, sizes[path])
        for index, path in enumerate(sorted(sizes))
    )


def _match(pattern: str, key: str) -> list[tuple[str, int]]:
    try:
        with warnings.catch_warnings():
            # Beam hands `[[]`, a bracket that is no glob, to `re` as it is.
            warnings.filterwarnings("ignore", "Possible nested set")
            (result,) = filesystems.FileSystems.match([pattern])
    except (filesystem.BeamIOError, ValueError) as error:
        raise InputError(
            f"`{key}` must be readable. Received: {pattern} "
            f"({' '.join(str(error).split())})."
        ) from error
    found = [(m.path, m.size_in_bytes) for m in result.metadata_list]
    for path, _ in found:
        # Other file systems than the local one know no folders.
        if os.path.isdir(path):
            raise InputError(
                f"`{key}` must name files. Received: {path}, which is a "
                "folder. Name what is in it, as in folder/*.csv."
            )
    if found:
        return found
    if _GLOB & set(pattern):
        raise InputError(
            f"`{key}` must match at least one file. Received: {pattern}, "
            "which matches none. Check the glob."
        )
    raise InputError(
        f"`{key}` must name files that exist. Received: {pattern}, which "
        "does not exist. Check the path."
    )


def wanted_columns(
    files: Sequence[LogFile],
    names: Sequence[Sequence[str]],
    columns: Sequence[str] | None,
) -> list[str]:
    """The columns to read, which every file must have.

    Args:
        files: The files.
        names: The column names of each.
        columns: Columns that are asked for; None for all of the first file's.
            Those that the first file lacks are left out.

    Raises:
        InputError: A file lacks a column that the first has.
    """
    asked = names[0] if columns is None else columns
    wanted = [name for name in dict.fromkeys(asked) if name in names[0]]
    for file, found in zip(files, names, strict=True):
        for name in wanted:
            if name not in found:
                raise InputError(
                    "Files of a log must have the same columns. Received: "
                    f"{file.path}, which lacks the column `{name}` of "
                    f"{files[0].path}. Add the column or remove the file."
                )
    return wanted


def open_stored(path: str) -> BinaryIO:
    """Opens a file's bytes as stored, without decompression."""
    return filesystems.FileSystems.open(
        path,
        mime_type="application/octet-stream",
        compression_type=filesystem.CompressionTypes.UNCOMPRESSED,
    )


def checksum(path: str) -> int:
    """CRC-32C of a file's bytes as stored."""
    crc = 0
    with open_stored(path) as stream:
        while chunk := stream.read(_CHUNK):
            crc = google_crc32c.extend(crc, chunk)
    return crc

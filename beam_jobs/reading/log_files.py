"""Globs → files, sorted and checked, and opened again by workers."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator
from collections.abc import Sequence

import pyarrow as pa
from apache_beam.io import filesystem
from apache_beam.io import filesystems

from beam_jobs import storage
from tfplugin.errors import InputError

_GLOB = frozenset("*?[")
#: Scheme of a URL to the extra of apache-beam that reads it.
_EXTRAS = {"gs": "gcp", "s3": "aws", "hdfs": "hadoop", "azfs": "azure"}


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


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of one file that is read at once.

    Args:
        file: The file.
        start: First byte, or number of the row group.
        stop: Byte after the last, or number of the next row group; None for
            the end of the file.
    """

    file: LogFile
    start: int
    stop: int | None = None


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
            f"({' '.join(str(error).split())}).{_advice(pattern)}"
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


def _advice(pattern: str) -> str:
    """What a file system of this scheme needs, if we know."""
    scheme, separator, _ = pattern.partition("://")
    extra = _EXTRAS.get(scheme)
    if not separator or extra is None:
        return ""
    return (
        f" {scheme}:// needs apache-beam[{extra}], credentials, and Beam's "
        "options after `--` where it takes any."
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


@contextlib.contextmanager
def opened(file: LogFile) -> Iterator[pa.NativeFile]:
    """Opens a file's bytes as stored; they can be sought in.

    Raises:
        InputError: The file is gone, unreadable, or has another size than
            when it was found.
    """
    try:
        with warnings.catch_warnings():
            # Beam warns of the suffix of a stream it must not decompress.
            warnings.simplefilter("ignore")
            stream = _open(file.path)
        size = stream.size()
    except (FileNotFoundError, PermissionError) as error:
        raise changed(file, "cannot be read any more") from error
    except filesystem.BeamIOError as error:
        raise changed(file, "cannot be read any more") from error
    with stream:
        if size != file.size:
            raise changed(file, f"has {size} bytes")
        yield stream


def changed(file: LogFile, now: str) -> InputError:
    """The refusal of a file that is not what it was.

    Args:
        file: The file, as it was found.
        now: What it is or does now.
    """
    return InputError(
        "A file of the log must stay as it is while it is read. Received: "
        f"{file.path}, which had {file.size} bytes and now {now}. Keep the "
        "files until the job has ended, and run it again."
    )


def _open(path: str) -> pa.NativeFile:
    if storage.local_path(path) is not None:
        # Arrow reads local files itself, without a Python call a read.
        return pa.OSFile(path)
    return pa.PythonFile(storage.open_file(path), mode="r")

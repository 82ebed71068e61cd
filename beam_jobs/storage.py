"""Files of a job, through Beam's FileSystems: a folder may be a URL.

Paths are strings: a local path, or a URL such as `gs://bucket/folder` of any
file system that Beam knows. Loads neither TensorFlow nor Keras.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import BinaryIO

import google_crc32c
from apache_beam.io import filesystem
from apache_beam.io import filesystems
from apache_beam.options import pipeline_options

from tfplugin import artifacts

_CHUNK_BYTES = 1 << 22
_BYTES = "application/octet-stream"
_PLAIN = filesystem.CompressionTypes.UNCOMPRESSED


@dataclasses.dataclass(frozen=True)
class DatasetPaths:
    """Names of `artifacts.DatasetFolder`, where a job writes.

    Args:
        root: The dataset's folder, a local path or a URL.

    Example:
    >>> DatasetPaths("gs://bucket/dataset").split("train")
    'gs://bucket/dataset/train'
    """

    root: str

    @property
    def rejected(self) -> str:
        """Folder of refused rows."""
        return self._inside(self._names.rejected)

    @property
    def sketches(self) -> str:
        """Folder of sketches."""
        return self._inside(self._names.sketches)

    @property
    def temporary(self) -> str:
        """Where a job keeps what it removes at its end."""
        return join(self.root, ".temporary")

    def split(self, name: str) -> str:
        """Folder of a split's TFRecords."""
        return self._inside(self._names.split(name))

    def id_frequencies(self, table: str) -> str:
        """Folder of a table's Parquet files."""
        return self._inside(self._names.id_frequencies(table))

    @property
    def _names(self) -> artifacts.DatasetFolder:
        return artifacts.DatasetFolder(pathlib.Path())

    def _inside(self, path: pathlib.Path) -> str:
        return join(self.root, path.as_posix())


def configure(arguments: Sequence[str]) -> None:
    """Hands Beam's options to its file systems, in the calling process.

    Beam itself does so where a pipeline is made, but files are looked at
    before. Some file systems cannot be used without their options.

    Args:
        arguments: Beam's own options, such as `--hdfs_host=...`.
    """
    options = pipeline_options.PipelineOptions(list(arguments))
    filesystems.FileSystems.set_options(options)


def join(folder: str, *names: str) -> str:
    """A path inside a folder."""
    path: str = filesystems.FileSystems.join(folder, *names)
    return path


def local_path(path: str) -> pathlib.Path | None:
    """The path as a local one; None for a URL."""
    return None if "://" in path else pathlib.Path(path)


@contextlib.contextmanager
def create(path: str) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file when the block ends.

    They are written under a temporary name beside it and renamed, so that
    nobody sees half a file; if the block raises, nothing is left. What stood
    there before is replaced.

    Args:
        path: The file; its folder is made if need be.
    """
    folder, name = filesystems.FileSystems.split(path)
    make_folder(folder)
    temporary = join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    try:
        with filesystems.FileSystems.create(temporary, _BYTES, _PLAIN) as file:
            yield file
    except BaseException:
        remove(temporary)
        raise
    rename(temporary, path)


def open_file(path: str) -> Any:
    """A binary stream of a file's bytes as stored; it can be sought in."""
    local = local_path(path)
    if local is not None:
        return local.open("rb")
    return filesystems.FileSystems.open(path, _BYTES, _PLAIN)


def read_bytes(path: str) -> bytes:
    """All bytes of a file."""
    with open_file(path) as stream:
        return bytes(stream.read())


def copy(old: str, new: str) -> None:
    """Copies a file, also from one file system to another."""
    with open_file(old) as source, create(new) as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)


def size(path: str) -> int:
    """Bytes of a file."""
    (found,) = filesystems.FileSystems.match([path])
    return int(found.metadata_list[0].size_in_bytes)


def checksum(path: str) -> int:
    """CRC-32C of a file's bytes as stored."""
    crc = 0
    with open_file(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            crc = google_crc32c.extend(crc, chunk)
    return crc


def exists(path: str) -> bool:
    """Whether there is such a file."""
    return bool(filesystems.FileSystems.exists(path))


def make_folder(path: str) -> None:
    """Makes a folder, where the file system knows folders."""
    local = local_path(path)
    if local is not None:
        local.mkdir(parents=True, exist_ok=True)


def rename(old: str, new: str) -> None:
    """Renames a file; what has the new name already is replaced."""
    local = local_path(old)
    if local is not None:
        local.replace(new)
        return
    if exists(new):
        filesystems.FileSystems.delete([new])
    filesystems.FileSystems.rename([old], [new])


def remove(path: str) -> None:
    """Removes a file, or a folder and what is in it, if it is there."""
    local = local_path(path)
    if local is not None:
        artifacts.remove(local)
        return
    found = list_files(path)
    if exists(path) and path not in found:
        found.append(path)
    if found:
        filesystems.FileSystems.delete(found)


def list_files(folder: str) -> list[str]:
    """Paths of all files in a folder and in the folders below it, sorted."""
    local = local_path(folder)
    if local is not None:
        return sorted(str(p) for p in local.rglob("*") if p.is_file())
    pattern = join(folder, "**")
    (found,) = filesystems.FileSystems.match([pattern])
    return sorted(item.path for item in found.metadata_list)

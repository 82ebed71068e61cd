"""A file system in memory, as object stores are: `shelf://NAME/PATH`.

Importing this module is what makes Beam know it. It has no folders, a file
appears when its stream is closed, and a rename is a copy and a removal. What
it holds is seen by this process only: for Beam's in-memory runner, and with
`clear()` between tests.
"""

import io
import threading
import time
from collections.abc import Iterator
from typing import Any
from typing import BinaryIO

from apache_beam.io import filesystem

PREFIX = "shelf://"

_LOCK = threading.Lock()
_FILES: dict[str, tuple[bytes, float]] = {}


def clear() -> None:
    """Removes all files."""
    with _LOCK:
        _FILES.clear()


def put(path: str, content: bytes) -> str:
    """Writes a file and returns its path."""
    with _LOCK:
        _FILES[_checked(path)] = (bytes(content), time.time())
    return path


def get(path: str) -> bytes:
    """The bytes of a file."""
    with _LOCK:
        try:
            return _FILES[_checked(path)][0]
        except KeyError:
            raise FileNotFoundError(path) from None


def paths() -> list[str]:
    """All files, sorted."""
    with _LOCK:
        return sorted(_FILES)


def _checked(path: str) -> str:
    if not path.startswith(PREFIX):
        raise ValueError(f"A path must begin with {PREFIX}. Received: {path}.")
    return path


class _Upload(io.BytesIO):
    """Becomes a file when it is closed."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            put(self._path, self.getvalue())
        super().close()


class ShelfFileSystem(filesystem.FileSystem):
    """What Beam calls for paths that begin with `shelf://`."""

    @classmethod
    def scheme(cls) -> str:
        return "shelf"

    def join(self, basepath: str, *names: str) -> str:
        return "/".join([basepath.rstrip("/"), *(n.strip("/") for n in names)])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = _checked(path).rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        """There are no folders."""

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[filesystem.FileMetadata]:
        for path in paths():
            if path.startswith(dir_or_prefix):
                yield self.metadata(path)

    def create(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = filesystem.CompressionTypes.AUTO,
    ) -> BinaryIO:
        return self._compressed(_Upload(_checked(path)), path, compression_type)

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = filesystem.CompressionTypes.AUTO,
    ) -> BinaryIO:
        return self._compressed(io.BytesIO(get(path)), path, compression_type)

    def _compressed(
        self, stream: io.BytesIO, path: str, compression_type: str
    ) -> BinaryIO:
        kinds = filesystem.CompressionTypes
        if compression_type == kinds.AUTO:
            compression_type = kinds.detect_compression_type(path)
        if compression_type == kinds.UNCOMPRESSED:
            return stream
        opened: Any = filesystem.CompressedFile(stream, compression_type)
        return opened

    def copy(self, sources: list[str], destinations: list[str]) -> None:
        for old, new in zip(sources, destinations, strict=True):
            for path in paths():
                if path == old or path.startswith(old + "/"):
                    put(new + path.removeprefix(old), get(path))

    def rename(self, sources: list[str], destinations: list[str]) -> None:
        self.copy(sources, destinations)
        self.delete(sources)

    def exists(self, path: str) -> bool:
        return path in paths()

    def size(self, path: str) -> int:
        return len(get(path))

    def last_updated(self, path: str) -> float:
        return self.metadata(path).last_updated_in_seconds

    def checksum(self, path: str) -> str:
        return str(self.size(path))

    def metadata(self, path: str) -> filesystem.FileMetadata:
        with _LOCK:
            content, moment = _FILES[_checked(path)]
        return filesystem.FileMetadata(path, len(content), moment)

    def delete(self, paths: list[str]) -> None:
        with _LOCK:
            for path in paths:
                for found in list(_FILES):
                    if found == path or found.startswith(path + "/"):
                        del _FILES[found]

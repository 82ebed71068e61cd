"""A base path: the folder of versions that a server watches."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from serving import publishing_files
from serving import publishing_lock
from serving import saved_model_file
from serving import versions

#: Of what is being copied or removed; servers look at numbers alone.
STAGING_PREFIX = ".publishing-"
#: Where `rollback` puts versions.
RETIRED = ".retired"


class BasePath:
    """Versions that appear and vanish whole.

    On a local path a version is copied and removed under a name that is no
    number, and renamed. Where a folder cannot be renamed at once, on object
    stores, `saved_model.pb` is written last and removed first.

    Args:
        path: Local, or of a scheme that TensorFlow knows.

    Example:
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "model").mkdir()
    >>> _ = (folder / "model" / "saved_model.pb").write_bytes(b"graph")
    >>> base = BasePath(f"{folder}/base")
    >>> with base.changing() as lock:
    ...     base.add(f"{folder}/model", 7, lock)
    5
    >>> base.versions()
    {7: '7'}
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._remote = publishing_files.is_remote(path)

    def place(self, version: int) -> str:
        """The folder of a version to come."""
        return f"{self.path}/{version}"

    def versions(self, folder: str = "") -> dict[int, str]:
        """Finished versions by number, lowest first, and their folders' names.

        Args:
            folder: Below the base path; `RETIRED` or the base path itself.
        """
        return {
            number: name
            for number, name in self.numbers(folder).items()
            if tf.io.gfile.exists(
                f"{self._within(folder)}/{name}/{saved_model_file.NAME}"
            )
        }

    def numbers(self, folder: str = "") -> dict[int, str]:
        """As `versions`, with whatever else is named by a number."""
        try:
            entries = tf.io.gfile.listdir(self._within(folder))
        except tf.errors.NotFoundError:
            return {}
        names = [entry.rstrip("/") for entry in entries]
        found = {
            number: name
            for name in names
            if (number := versions.number_of(name)) is not None
        }
        return dict(sorted(found.items()))

    @contextlib.contextmanager
    def changing(self) -> Iterator[publishing_lock.Lock]:
        """Creates the base path, locks it and removes a cut one's left-overs.

        Raises:
            errors.InputError: Another publisher is at work.
        """
        tf.io.gfile.makedirs(self.path)
        with publishing_lock.hold(self.path) as lock:
            for entry in tf.io.gfile.listdir(self.path):
                if entry.startswith(STAGING_PREFIX):
                    publishing_files.remove(f"{self.path}/{entry.rstrip('/')}")
            yield lock

    def add(
        self,
        source: str,
        version: int,
        lock: publishing_lock.Lock,
        seen: publishing_files.Snapshot | None = None,
    ) -> int:
        """Copies a version in. What fails leaves nothing behind.

        Args:
            source: Its folder.
            version: A number that is not taken.
            lock: Of `changing`.
            seen: What its folder must hold still; see `publishing_files.copy`.

        Returns:
            Its bytes.
        """
        place = self.place(version)
        staging = place if self._remote else self._staging(version)
        lock.touch(version)
        try:
            copied = publishing_files.copy(source, staging, lock.proceed, seen)
            if not self._remote:
                os.rename(staging, place)
        except publishing_lock.TakenOverError:
            raise  # what lies there may be the other's by now
        except BaseException:
            publishing_files.remove(staging)
            raise
        return copied

    def retire(self, version: int, lock: publishing_lock.Lock) -> None:
        """Moves a version to where no server looks."""
        name = self.versions()[version]
        retired = f"{self.path}/{RETIRED}/{version}"
        publishing_files.remove(retired)
        tf.io.gfile.makedirs(f"{self.path}/{RETIRED}")
        if self._remote:
            publishing_files.copy(f"{self.path}/{name}", retired, lock.proceed)
            self.remove(version, lock)
        else:
            os.rename(f"{self.path}/{name}", retired)

    def remove(
        self, version: int, lock: publishing_lock.Lock, folder: str = ""
    ) -> None:
        """Removes a version of the base path or of a folder below it."""
        place = f"{self._within(folder)}/{self.numbers(folder)[version]}"
        lock.touch(version)
        if not self._remote:
            staging = self._staging(version)
            os.rename(place, staging)
            place = staging
        publishing_files.remove(place)

    def _within(self, folder: str) -> str:
        return f"{self.path}/{folder}" if folder else self.path

    def _staging(self, version: int) -> str:
        return f"{self.path}/{STAGING_PREFIX}{version}"

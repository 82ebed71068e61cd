"""One publisher at a time in a base path."""

import contextlib
import errno
import fcntl
import json
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from serving import publishing_files
from serving import saved_model_file
from tfplugin import errors

#: What the operating system locks on local paths.
LOCK_FILE = ".publishing.lock"
#: Begins the names of files by which remote publishers know of each other.
MARK_PREFIX = ".publisher-"
#: After so many seconds without a sign a remote publisher counts as dead.
ABANDONED_SECONDS = 900.0

_RULE = "One publisher at a time may write to a base path."
_RENEW_SECONDS = 60.0


class TakenOverError(errors.InputError):
    """Another publisher believes that this one is dead."""


class Lock:
    """Held while a base path changes; on remote ones also a sign of life.

    Args:
        base: The base path.

    Example:
    >>> import tempfile
    >>> with hold(tempfile.mkdtemp()) as lock:
    ...     lock.proceed()
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._remote = publishing_files.is_remote(base)
        self._owner = uuid.uuid4().hex
        self._mark = ""
        self._touched: list[int] = []
        self._renewed = 0.0

    def touch(self, version: int) -> None:
        """Notes which version would be left half-finished by a cut.

        Raises:
            TakenOverError: Another publisher has taken over.
        """
        self._touched.append(version)
        if self._remote:
            self._renew()

    def proceed(self) -> None:
        """Shows, now and then, that the publisher is alive.

        Raises:
            TakenOverError: Another one has taken over.
        """
        if self._remote and time.time() - self._renewed > _RENEW_SECONDS:
            self._renew()

    def take(self) -> None:
        """Marks a remote base path, and cleans up after dead publishers.

        Raises:
            errors.InputError: A live one is at work.
        """
        # Whoever comes second in this sees the first; both may give way.
        self._write()
        others = {
            name: _read(f"{self._base}/{name}")
            for name in tf.io.gfile.listdir(self._base)
            if name.startswith(MARK_PREFIX) and self._owner not in name
        }
        for other in others.values():
            if time.time() - other["time"] < ABANDONED_SECONDS:
                self.release()
                raise errors.InputError(
                    f"{_RULE} Received: {self._base}, in which one of host "
                    f"{other['host']} is at work. Wait for it; it counts as "
                    f"dead {ABANDONED_SECONDS:.0f} s after its last sign."
                )
        for name, other in others.items():
            for version in other["versions"]:
                half = f"{self._base}/{version}"
                mark = f"{half}/{saved_model_file.NAME}"
                if not tf.io.gfile.exists(mark):
                    publishing_files.remove(half)
            # Last, or what it left would be forgotten by another cut.
            tf.io.gfile.remove(f"{self._base}/{name}")

    def release(self) -> None:
        """Removes the mark, if it is there."""
        if tf.io.gfile.exists(self._mark):
            tf.io.gfile.remove(self._mark)

    def _renew(self) -> None:
        before = self._mark
        if not tf.io.gfile.exists(before):
            raise TakenOverError(
                f"{_RULE} Received: {self._base}, which another one has taken "
                "over. Publish again."
            )
        self._write()
        tf.io.gfile.remove(before)

    def _write(self) -> None:
        # A new name each time: what is being replaced cannot be read.
        self._renewed = time.time()
        token = uuid.uuid4().hex
        self._mark = f"{self._base}/{MARK_PREFIX}{self._owner}-{token}"
        record = {
            "host": socket.gethostname(),
            "time": self._renewed,
            "versions": self._touched,
        }
        with tf.io.gfile.GFile(self._mark, "w") as file:
            file.write(json.dumps(record))


@contextlib.contextmanager
def hold(base: str) -> Iterator[Lock]:
    """Keeps other publishers out of a base path that exists.

    On a local path the operating system lifts the lock when the process ends,
    however it ends. Object stores have no locks: there each publisher writes
    a file and then looks for those of others; a dead one's is removed once it
    is older than `ABANDONED_SECONDS`.

    Args:
        base: The base path.

    Raises:
        errors.InputError: Another publisher is at work.
    """
    lock = Lock(base)
    if publishing_files.is_remote(base):
        lock.take()
        try:
            yield lock
        finally:
            lock.release()
        return
    with open(f"{base}/{LOCK_FILE}", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.InputError(
                f"{_RULE} Received: {base}, in which another one is at work. "
                "Wait for it."
            ) from error
        except OSError as error:
            # Some network file systems have no locks.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield lock


def _read(path: str) -> dict[str, Any]:
    try:
        with tf.io.gfile.GFile(path, "r") as file:
            found = json.loads(file.read())
    except (tf.errors.NotFoundError, ValueError):
        # Gone by now, or cut off while it was written.
        found = None
    keys = {"host", "time", "versions"}
    if isinstance(found, dict) and keys <= found.keys():
        return found
    return {"host": "unknown", "time": 0.0, "versions": []}

"""Folders of files, copied and checked, here or on a remote file system."""

import os
import stat
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager

import google_crc32c
import tensorflow as tf

from serving import saved_model_file
from tfplugin import errors

_CHUNK_BYTES = 16 << 20

#: Files of a folder, and numbers that change whenever one is replaced.
Snapshot = Mapping[str, tuple[int, ...]]


def is_remote(path: str) -> bool:
    """Whether a path is on a file system that may rename no folder at once.

    Example:
    >>> is_remote("gs://bucket/models"), is_remote("/models")
    (True, False)
    """
    return "://" in path


def clean(path: str | os.PathLike[str]) -> str:
    """A path as text, without a slash at its end and the scheme `file`.

    Example:
    >>> clean("file:///models/ads/")
    '/models/ads'
    """
    text = os.fspath(path).removeprefix("file://")
    return text.rstrip("/") or "/"


@contextmanager
def refusals(rule: str, path: str) -> Iterator[None]:
    """Turns what a file system refuses into one line for the user.

    Args:
        rule: What had to be possible.
        path: Where.

    Raises:
        errors.InputError: The file system refused something.

    Example:
    >>> with refusals("A file must be readable.", "/absent"):
    ...     open("/absent/file")
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A file must be readable. Received: /absent: \
No such file or directory. Mend that, then try again.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        else:
            lines = str(error.message).splitlines()
            reason = lines[0] if lines else type(error).__name__
        raise errors.InputError(
            f"{rule} Received: {path}: {reason.rstrip('.')}. Mend that, then "
            "try again."
        ) from error


def list_files(folder: str) -> list[str]:
    """Files of a folder and those below, relative, `saved_model.pb` last.

    Args:
        folder: Local, or of a scheme that TensorFlow knows.

    Raises:
        errors.InputError: It holds anything but folders and plain files: a
            link could lead out of it.

    Example:
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("saved_model.pb", "variables/index"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     _ = (folder / name).write_text("")
    >>> list_files(str(folder))
    ['variables/index', 'saved_model.pb']
    """
    found = []
    for parent, folders, files in tf.io.gfile.walk(folder):
        for name in (*folders, *files):
            _refuse_special(f"{parent.rstrip('/')}/{name.rstrip('/')}")
        within = parent.rstrip("/")[len(folder) :].lstrip("/")
        found += [f"{within}/{name}".lstrip("/") for name in files]
    return sorted(found, key=lambda name: (name == saved_model_file.NAME, name))


def _refuse_special(path: str) -> None:
    if is_remote(path):
        return
    mode = os.lstat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise errors.InputError(
            "A model's folder must hold plain files and folders only. "
            f"Received: {path}, a link or a device. Export the model again, "
            "or copy it with its links followed."
        )


def snapshot(folder: str) -> Snapshot:
    """Notes the files of a folder, to tell later whether one has changed.

    Args:
        folder: Local, or of a scheme that TensorFlow knows.

    Returns:
        Names as of `list_files`, to size and time of the last change; for
        local files also the inode, which no file that replaces one has.

    Raises:
        errors.InputError: See `list_files`.

    Example:
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "saved_model.pb").write_bytes(b"graph")
    >>> seen = snapshot(str(folder))
    >>> _ = (folder / "saved_model.pb").write_bytes(b"another")
    >>> snapshot(str(folder)) == seen
    False
    """
    return {name: _stamp(f"{folder}/{name}") for name in list_files(folder)}


def _stamp(path: str) -> tuple[int, ...]:
    if is_remote(path):
        remote = tf.io.gfile.stat(path)
        return int(remote.length), int(remote.mtime_nsec)
    local = os.stat(path)
    return local.st_size, local.st_mtime_ns, local.st_ino


def refuse_changed(folder: str, seen: Snapshot) -> None:
    """Refuses a folder in which something has changed.

    Args:
        folder: As for `snapshot`.
        seen: What it was then.

    Raises:
        errors.InputError: A file was added, removed or replaced.

    Example:
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> refuse_changed(folder, snapshot(folder))
    """
    try:
        unchanged = snapshot(folder) == seen
    except (FileNotFoundError, tf.errors.NotFoundError):
        unchanged = False  # it goes while it is looked at
    if not unchanged:
        raise errors.InputError(
            "A model must stay as it is while it is published. Received: "
            f"{folder}, which was changed or exported anew meanwhile. Nothing "
            "was published; publish it again once it is complete."
        )


def copy(
    source: str,
    target: str,
    proceed: Callable[[], None] = lambda: None,
    seen: Snapshot | None = None,
) -> int:
    """Copies a folder and reads every byte back, `saved_model.pb` last.

    Args:
        source: An existing folder.
        target: An absent one.
        proceed: Called at least every few megabytes; ends the copy by raising.
        seen: What `source` must hold from its `snapshot` to the end of the
            copy; None for what it holds now.

    Returns:
        Bytes of its files.

    Raises:
        errors.InputError: What was read back is not what was written, a file
            of `source` was changed meanwhile, or see `list_files`.

    Example:
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "1").mkdir()
    >>> _ = (folder / "1" / "saved_model.pb").write_bytes(b"graph")
    >>> copy(f"{folder}/1", f"{folder}/2")
    5
    >>> (folder / "2" / "saved_model.pb").read_bytes()
    b'graph'
    """
    if seen is None:
        seen = snapshot(source)
    total = 0
    folders = {target}
    try:
        for name in seen:
            if name == saved_model_file.NAME:
                # Where nothing is renamed, servers see a model from here on.
                refuse_changed(source, seen)
            path = f"{target}/{name}"
            folders.add(path.rpartition("/")[0])
            total += _copy_checked(f"{source}/{name}", path, proceed)
    except (OSError, tf.errors.OpError):
        refuse_changed(source, seen)
        raise
    refuse_changed(source, seen)
    if not is_remote(target):
        for folder in folders:
            _flush(folder)
    return total


def _copy_checked(source: str, target: str, proceed: Callable[[], None]) -> int:
    tf.io.gfile.makedirs(target.rpartition("/")[0])
    written = _copy_file(source, target, proceed)
    read = checksum(target, proceed)
    if written != read:
        raise errors.InputError(
            "A copy must hold what it is a copy of. Received: "
            f"{target} of {read[0]} bytes and checksum {read[1]:08x} for "
            f"{written[0]} and {written[1]:08x}. The disk is faulty, or "
            "something else writes there."
        )
    return written[0]


def _copy_file(
    source: str, target: str, proceed: Callable[[], None]
) -> tuple[int, int]:
    size, checksum = 0, 0
    with tf.io.gfile.GFile(source, "rb") as reader:
        with tf.io.gfile.GFile(target, "wb") as writer:
            writer.write(b"")  # creates it, even if nothing follows
            while chunk := reader.read(_CHUNK_BYTES):
                writer.write(chunk)
                size += len(chunk)
                checksum = google_crc32c.extend(checksum, chunk)
                proceed()
    if not is_remote(target):
        _flush(target)
    return size, checksum


def checksum(
    path: str, proceed: Callable[[], None] = lambda: None
) -> tuple[int, int]:
    """Bytes of a file and their CRC-32C.

    Args:
        path: The file; any path that TensorFlow reads.
        proceed: See `copy`.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     checksum(file.name)
    (0, 0)
    """
    size, found = 0, 0
    with tf.io.gfile.GFile(path, "rb") as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            size += len(chunk)
            found = google_crc32c.extend(found, chunk)
            proceed()
    return size, found


def _flush(path: str) -> None:
    # Else a rename could outlive, at a power cut, the bytes it makes visible.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(folder: str) -> None:
    """Removes a folder if it is there, first what says it is complete.

    Example:
    >>> remove("/absent")
    """
    mark = f"{folder}/{saved_model_file.NAME}"
    if tf.io.gfile.exists(mark):
        tf.io.gfile.remove(mark)
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)

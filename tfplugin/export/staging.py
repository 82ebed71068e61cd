"""A folder that appears whole or not at all."""

import errno
import os
import pathlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from tfplugin.errors import InputError

#: What is refused to those who write alone.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
#: What may be refused to those who read too, such as a dataset's shard.
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


@contextmanager
def staged(path: pathlib.Path, *, overwrite: bool) -> Iterator[pathlib.Path]:
    """Yields a folder beside `path` that becomes `path` at the end.

    Whatever fails inside leaves `path` as it was and nothing beside it.

    Args:
        path: What appears.
        overwrite: Whether it takes the place of what is there.

    Yields:
        An absent folder's path, whose parent exists.

    Raises:
        InputError: `path` exists and `overwrite` is False, or the disk refuses
            what is written: it is full, or may not be written to.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "1"
    >>> with staged(path, overwrite=False) as folder:
    ...     folder.mkdir()
    ...     path.exists()
    False
    >>> path.exists()
    True
    """
    temporary = path.with_name(f".{path.name}.tmp")
    former = path.with_name(f".{path.name}.former")
    with _refusals(path):
        _restore(former, path)
        if path.exists() and not overwrite:
            raise InputError(
                f"An exported version is never changed. Received: {path}, "
                "which exists. Name another --version or pass --overwrite."
            )
        try:
            remove(temporary)
            temporary.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if path.exists():
                path.rename(former)
            try:
                temporary.replace(path)
            finally:
                _restore(former, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove(path: pathlib.Path) -> None:
    """Removes a file or folder if it is there.

    Args:
        path: The file or folder.

    Example:
    >>> remove(pathlib.Path("absent"))
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _restore(former: pathlib.Path, path: pathlib.Path) -> None:
    """Ends a replacement, also one that was cut off."""
    if not former.exists():
        return
    if path.exists():
        shutil.rmtree(former)
    else:
        former.rename(path)


@contextmanager
def _refusals(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        # TensorFlow says what failed in the system's words, and no more.
        said = str(error)
        numbers: tuple[int, ...] = _NO_ROOM
        if str(path.parent) in said:
            numbers += _NO_ACCESS
        for words in map(os.strerror, numbers):
            if words in said:
                raise _refusal(path, words) from error
        raise


def _refusal(path: pathlib.Path, reason: str) -> InputError:
    return InputError(
        "A model's folder must be on a disk that takes it. Received: "
        f"{path.parent}: {reason}. Nothing was exported. Make room, or export "
        "elsewhere."
    )

"""Which versions of a model a folder holds, and which of them to serve."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import tensorflow as tf
from tensorflow_serving.config import file_system_storage_path_source_pb2

from serving import saved_model_file
from tfplugin import errors

_SourceConfig = (
    file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig
)


@dataclass(frozen=True)
class Listing:
    """What lies in the folder of a model.

    Args:
        versions: The folder of each finished version by its number.
        skipped: Why a folder with a number for a name is no version, by the
            folder.

    Example:
    >>> Listing({3: "models/ctr/3"}).versions
    {3: 'models/ctr/3'}
    """

    versions: dict[int, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def number_of(name: str) -> int | None:
    """The version a folder's name stands for; None if for none.

    Example:
    >>> number_of("13"), number_of("0013"), number_of(".13")
    (13, 13, None)
    """
    if not (name.isascii() and name.isdecimal()):
        return None
    number = int(name)
    # Any other number has no place in a request's int64.
    return number if number <= tf.int64.max else None


def list_versions(base_path: str | os.PathLike[str]) -> Listing:
    """Lists the versions of a model, finished or not.

    A version is a folder named by a whole number below 2^63 that holds a
    `saved_model.pb`; since that file is written last, a folder without it is
    a copy that is still running.

    Args:
        base_path: The folder of a model's versions, on any file system
            TensorFlow knows.

    Returns:
        The versions; none if the folder is empty.

    Raises:
        tf.errors.OpError: If the folder is absent or cannot be read.

    Example:
    >>> import tempfile
    >>> base = tempfile.mkdtemp()
    >>> os.makedirs(os.path.join(base, "13", "variables"))
    >>> list(list_versions(base).skipped.values())
    ['it holds no saved_model.pb (yet)']
    """
    base_path = os.fspath(base_path).rstrip("/") or "/"
    listing = Listing()
    for entry in sorted(tf.io.gfile.listdir(base_path)):
        # Remote file systems list folders with a slash at the end.
        name = entry.rstrip("/")
        number = number_of(name)
        if number is None:
            continue
        path = f"{base_path}/{name}"
        if tf.io.gfile.exists(f"{path}/{saved_model_file.NAME}"):
            listing.versions[number] = path
        else:
            listing.skipped[path] = _why_skipped(path)
    return listing


def find_versions(base_path: str | os.PathLike[str]) -> dict[int, str]:
    """Lists the finished versions of a model, of which there must be one.

    Args:
        base_path: The folder of a model's versions.

    Returns:
        The folder of each version by its number; at least one.

    Raises:
        errors.InputError: If there is none, or the folder cannot be read.

    Example:
    >>> import tempfile
    >>> base = tempfile.mkdtemp()
    >>> os.mkdir(os.path.join(base, "12"))
    >>> open(os.path.join(base, "12", "saved_model.pb"), "w").close()
    >>> [number for number in find_versions(base)]
    [12]
    """
    base_path = os.fspath(base_path)
    if not tf.io.gfile.isdir(base_path):
        raise errors.InputError(
            f"The model folder does not exist. Received: {base_path!r}. "
            "Export a model to <folder>/<version> first."
        )
    try:
        versions = list_versions(base_path).versions
    except tf.errors.OpError as error:
        raise errors.InputError(
            "The model folder must be readable. "
            f"Received: {base_path!r} ({type(error).__name__})."
        ) from error
    if not versions:
        if tf.io.gfile.exists(f"{base_path}/{saved_model_file.NAME}"):
            fix = "This is a version itself: give the folder above it."
        else:
            fix = "Export a model to <folder>/<version> first."
        raise errors.InputError(
            "The model folder must hold <version>/saved_model.pb, where "
            f"<version> is a whole number. Received: {base_path!r}. {fix}"
        )
    return versions


def choose(numbers: Iterable[int], policy: Any) -> list[int]:
    """Chooses the versions a policy asks for, newest first.

    Args:
        numbers: The versions there are, in any order.
        policy: A `ServableVersionPolicy`: `latest` (the default, of 1
            version), `all` or `specific`.

    Returns:
        The numbers to serve; fewer than asked for if there are fewer.

    Example:
    >>> policy = _SourceConfig.ServableVersionPolicy()
    >>> policy.latest.num_versions = 2
    >>> choose([7, 12, 3], policy)
    [12, 7]
    >>> policy.specific.versions.extend([3, 4])
    >>> choose([7, 12, 3], policy)
    [3]
    """
    ordered = sorted(set(numbers), reverse=True)
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return ordered
    if kind == "specific":
        wanted = set(policy.specific.versions)
        return [number for number in ordered if number in wanted]
    # 0 is what the protocol buffer says when nothing is set.
    return ordered[: max(1, policy.latest.num_versions)]


def fingerprint(path: str) -> tuple[int, int]:
    """Returns what changes when a version's folder is written anew.

    Args:
        path: The folder of a version.

    Returns:
        Length and time of `saved_model.pb`; zeros if it cannot be read.

    Example:
    >>> fingerprint("/absent")
    (0, 0)
    """
    try:
        stat = tf.io.gfile.stat(f"{path}/{saved_model_file.NAME}")
    except tf.errors.OpError:
        return 0, 0
    return stat.length, stat.mtime_nsec


def _why_skipped(path: str) -> str:
    try:
        tf.io.gfile.listdir(path)
    except tf.errors.OpError as error:
        return f"it cannot be read ({type(error).__name__})"
    return f"it holds no {saved_model_file.NAME} (yet)"

"""Where a job's workers write, when they do not see the work folder."""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator

from apache_beam.io import filesystem

from beam_jobs import storage
from tfplugin import artifacts
from tfplugin.errors import InputError

_LOGGER = logging.getLogger(__name__)
_REMOVALS = 20
_REMOVAL_SECONDS = 0.1


@contextlib.contextmanager
def workspace(
    folder: artifacts.DatasetFolder, staging: str | None
) -> Iterator[storage.DatasetPaths]:
    """Where workers write; what is temporary there goes at the end.

    Args:
        folder: The dataset's folder.
        staging: A folder or URL to write to instead, in a folder of its own
            of which all is removed.

    Raises:
        InputError: There can be no such folder, or no file system takes the
            URL.
    """
    try:
        if staging is None:
            paths = storage.DatasetPaths(_absolute(str(folder.path)))
            removed = paths.temporary
        else:
            name = f"tfplugin-{uuid.uuid4().hex}"
            removed = storage.join(_absolute(staging), name)
            paths = storage.DatasetPaths(removed)
        storage.make_folder(paths.temporary)
        storage.exists(paths.temporary)
    except (OSError, ValueError, filesystem.BeamIOError) as error:
        raise InputError(
            "Workers must be able to write to their folder. Received: "
            f"{staging or folder.path} ({' '.join(str(error).split())}). Name "
            "another one by --staging."
        ) from error
    try:
        yield paths
    except BaseException:
        _remove_until_gone(removed)
        raise
    storage.remove(removed)


def _remove_until_gone(path: str) -> None:
    """Removes what threads of an interrupted pipeline may write once more."""
    for _ in range(_REMOVALS):
        # A thread may fill the folder while it is removed.
        with contextlib.suppress(OSError):
            storage.remove(path)
        time.sleep(_REMOVAL_SECONDS)
        if not storage.exists(path):
            return
    storage.remove(path)


def _absolute(path: str) -> str:
    """A local path as workers need it, who may run in another folder."""
    local = storage.local_path(path)
    return path if local is None else str(local.absolute())


def is_elsewhere(
    paths: storage.DatasetPaths, folder: artifacts.DatasetFolder
) -> bool:
    """Whether workers write to another place than the dataset's folder."""
    return paths.root != _absolute(str(folder.path))


def fetch(paths: storage.DatasetPaths, folder: artifacts.DatasetFolder) -> None:
    """Copies what workers wrote elsewhere into the dataset's folder."""
    if not is_elsewhere(paths, folder):
        return
    _LOGGER.info("Fetching the dataset from %s.", paths.root)
    # File systems may list a path in other words than it was asked for in;
    # the folder's own name is in no other place of it.
    name = paths.root.rpartition("/")[2] + "/"
    temporary = paths.temporary.rpartition("/")[2] + "/"
    for path in storage.list_files(paths.root):
        inside = path.partition(name)[2]
        if not inside.startswith(temporary):
            storage.copy(path, str(folder.path / inside))

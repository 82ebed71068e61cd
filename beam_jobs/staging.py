"""Where a job's workers write, when they do not see the work folder."""

import contextlib
import logging
import uuid
from collections.abc import Iterator

from beam_jobs import storage
from tfplugin import artifacts

_LOGGER = logging.getLogger(__name__)


@contextlib.contextmanager
def workspace(
    folder: artifacts.DatasetFolder, staging: str | None
) -> Iterator[storage.DatasetPaths]:
    """Where workers write; what is temporary there goes at the end.

    Args:
        folder: The dataset's folder.
        staging: A folder or URL to write to instead, in a folder of its own
            of which all is removed.
    """
    if staging is None:
        paths = storage.DatasetPaths(str(folder.path))
        removed = paths.temporary
    else:
        removed = storage.join(staging, f"tfplugin-{uuid.uuid4().hex}")
        paths = storage.DatasetPaths(removed)
    storage.make_folder(paths.temporary)
    try:
        yield paths
    finally:
        storage.remove(removed)


def fetch(paths: storage.DatasetPaths, folder: artifacts.DatasetFolder) -> None:
    """Copies what workers wrote elsewhere into the dataset's folder."""
    if paths.root == str(folder.path):
        return
    _LOGGER.info("Fetching the dataset from %s.", paths.root)
    for path in storage.list_files(paths.root):
        inside = path.removeprefix(paths.root).lstrip("/")
        if not path.startswith(paths.temporary):
            storage.copy(path, str(folder.path / inside))

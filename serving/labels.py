"""The labels of a model's versions."""

from collections.abc import Collection
from collections.abc import Mapping

import tensorflow as tf
from tensorflow_serving.config import model_server_config_pb2

from serving import versions as versions_lib


class Labels:
    """Which labels stand for which versions, now and as soon as it can be.

    All labels of a model are assigned at once, when each stands for an
    available version; until then, or for good if that cannot be, those of
    before stay, and the versions they stand for.

    Example:
    >>> labels = Labels()
    >>> labels.ask_for({"stable": 3, "canary": 4})
    >>> labels.assign(available=[3])
    >>> labels.assigned
    {}
    >>> labels.give_up(available=[3])
    {'canary': 4}
    """

    def __init__(self) -> None:
        self.assigned: dict[str, int] = {}
        self._asked: dict[str, int] | None = None
        self._are_old = False

    def ask_for(self, labels: Mapping[str, int]) -> None:
        """Notes what is to be assigned.

        Args:
            labels: The version each label is to stand for.
        """
        self._asked = dict(labels)
        self._are_old = True

    def assign(self, available: Collection[int]) -> None:
        """Assigns what was asked for, if it can be.

        Args:
            available: The versions that answer.
        """
        if self._asked is not None and not self._missing(available):
            self.assigned, self._asked = self._asked, None
            self._are_old = False

    def give_up(self, available: Collection[int]) -> dict[str, int]:
        """Forgets what was asked for and not assigned.

        Args:
            available: The versions that answer.

        Returns:
            What of it stands for versions that do not answer.
        """
        missing = self._missing(available)
        self._asked = None
        return missing

    def kept(self) -> set[int]:
        """Returns the versions that labels stand for which are to change."""
        return set(self.assigned.values()) if self._are_old else set()

    def _missing(self, available: Collection[int]) -> dict[str, int]:
        return {
            label: number
            for label, number in (self._asked or {}).items()
            if number not in available
        }


def hopeless(
    config: model_server_config_pb2.ModelConfig,
) -> dict[str, int]:
    """Finds labels that no load can make right.

    Args:
        config: A model's part of a configuration.

    Returns:
        The labels that stand for a version which the folder lacks or the
        policy leaves out; none if the folder cannot be read.

    Example:
    >>> hopeless(model_server_config_pb2.ModelConfig(
    ...     base_path="/absent", version_labels={"stable": 3}))
    {}
    """
    if not config.version_labels:
        return {}
    try:
        listing = versions_lib.list_versions(config.base_path)
    except (tf.errors.OpError, UnicodeDecodeError):
        # As it cannot be looked at, what is loaded stays.
        return {}
    numbers = versions_lib.choose(listing.versions, config.model_version_policy)
    return {
        label: number
        for label, number in config.version_labels.items()
        if numbers and number not in numbers
    }

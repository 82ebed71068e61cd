"""Keys of earlier releases, read as those that took their place."""

from typing import Any

from tfplugin.errors import InputError


def translate(raw: dict[str, Any]) -> None:
    """Replaces keys of earlier releases, in place.

    `training.embedding_reset: true` (or false), which older work folders hold,
    is read as `training.remedies.embedding_reset`.

    Args:
        raw: A configuration as its file has it, not checked yet.

    Raises:
        InputError: A key is given in both forms, or neither true nor false.

    Example:
    >>> raw = {"training": {"epochs": 3, "embedding_reset": True}}
    >>> translate(raw)
    >>> raw
    {'training': {'epochs': 3, 'remedies': {'embedding_reset': True}}}
    """
    training = raw.get("training")
    if not isinstance(training, dict) or "embedding_reset" not in training:
        return
    former = training.pop("embedding_reset")
    remedies = training.get("remedies")
    remedies = {} if remedies is None else remedies
    if not isinstance(remedies, dict):
        return  # refused for what it is
    if "embedding_reset" in remedies:
        raise InputError(
            "training.embedding_reset is the former name of "
            "training.remedies.embedding_reset. Received: both. Leave "
            "training.embedding_reset out."
        )
    if not isinstance(former, bool):
        raise InputError(
            "training.embedding_reset takes true or false. Received: "
            f"{former!r}. Write training.remedies.embedding_reset, which "
            "takes keys and values too."
        )
    training["remedies"] = {**remedies, "embedding_reset": former}

"""Batches of a split with what says which rows belong together."""

import copy
from typing import Any

import tensorflow as tf

from tfplugin import schema as schema_lib
from tfplugin.data import dataset as dataset_lib
from tfplugin.errors import InputError


def keyed_batches(
    dataset: dataset_lib.Dataset, split: str, batch_size: int
) -> tf.data.Dataset:
    """Batches to evaluate by group and by request.

    Args:
        dataset: Opened, perhaps narrowed to a model's columns.
        split: `validation` or `test`.
        batch_size: Examples a batch; the last one has fewer.

    Returns:
        A dataset of (features, labels, sample weights, keys): the first three
        as `Dataset.validation` gives them, in its order; keys a dict with
        `group_key` and `request_id`, of those that the dataset has, of shape
        `(batch_size,)`, int64 or string, missing ones as in
        `parsing.parse_features`.

    Raises:
        InputError: `split` is another one.

    Example:
    >>> keyed_batches(None, "train", 32)
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: `split` must be `validation` or `test`. ...
    """
    if split not in ("validation", "test"):
        raise InputError(
            "`split` must be `validation` or `test`. "
            f"Received: split={split!r}."
        )
    dtypes = {
        schema_lib.GROUP_FEATURE: dataset.schema.group,
        schema_lib.REQUEST_ID_FEATURE: dataset.schema.request_id,
    }
    # A key is stored as any scalar id, so it is parsed as one.
    keys = {
        name: schema_lib.IdFeature(dtype=dtype, table=name)
        for name, dtype in dtypes.items()
        if dtype is not None
    }
    widened = copy.copy(dataset)
    widened.schema = dataset.schema.model_copy(
        update={"id_features": {**dataset.schema.id_features, **keys}}
    )
    read = {"validation": widened.validation, "test": widened.test}[split]

    def part(
        features: dict[str, Any], labels: Any, weights: Any
    ) -> tuple[Any, ...]:
        own = {k: v for k, v in features.items() if k not in keys}
        return own, labels, weights, {name: features[name] for name in keys}

    return read(batch_size).map(part)

"""Raw columns of a request ↔ features of a model."""

import re
from collections.abc import Collection
from collections.abc import Mapping

import tensorflow as tf

from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.export import predicting

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def specs(schema: schema_lib.Schema) -> dict[str, tf.TensorSpec]:
    """The inputs of `serving_default`, by name.

    Training-only features have none.

    Args:
        schema: The model's columns.

    Raises:
        InputError: All features are training-only, or see `check_names`.

    Example:
    >>> tags = schema_lib.IdFeature(dtype="string", table="t", is_list=True)
    >>> schema = schema_lib.Schema(id_features={"tags": tags}, labels=("a",))
    >>> list(specs(schema))
    ['tags', 'tags_length']
    """
    inputs: dict[str, tf.TensorSpec] = {}
    for name, feature in schema.id_features.items():
        if feature.training_only:
            continue
        shape = [None, None] if feature.is_list else [None]
        inputs[name] = tf.TensorSpec(shape, feature.dtype, name)
        if feature.is_list:
            length = name + schema_lib.LENGTHS_SUFFIX
            inputs[length] = tf.TensorSpec([None], tf.int64, length)
    for name, dense in schema.dense_features.items():
        if not dense.training_only:
            inputs[name] = tf.TensorSpec([None], tf.float32, name)
    if not inputs:
        raise InputError(
            "A model must take a feature that is known at serving. Received: "
            f"a model of {sorted(schema.id_features)}, all training-only."
        )
    check_names(inputs, "Features")
    return inputs


def check_names(names: Collection[str], what: str) -> None:
    """Refuses inputs that a signature cannot have or would call otherwise.

    Args:
        names: All inputs of a signature.
        what: Where they come from, for messages.

    Raises:
        InputError: A name holds more than letters, digits and underscores,
            begins with another sign than a letter, is `self`, or differs from
            another one in capital letters alone.

    Example:
    >>> check_names(["price", "Price"], "Features")
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: Features must differ in more than capital ...
    """
    by_lower: dict[str, str] = {}
    for name in sorted(names):
        # TensorFlow would rename the former and cannot call the latter.
        if not _NAME.fullmatch(name) or name == "self":
            raise InputError(
                f"{what} must be named by letters, digits and underscores, a "
                "letter first, and not `self`, as inputs of a signature are. "
                f"Received: {name!r}. Rename it."
            )
        other = by_lower.setdefault(name.lower(), name)
        if other != name:
            raise InputError(
                f"{what} must differ in more than capital letters, as inputs "
                f"of a signature do. Received: {other}, {name}. Rename one."
            )


def to_features(
    raw: Mapping[str, tf.Tensor], schema: schema_lib.Schema
) -> predicting.Features:
    """Features as a model takes them, lists ragged.

    Args:
        raw: Tensors by the names of `specs`.
        schema: The model's columns.

    Raises:
        tf.errors.InvalidArgumentError: A length lies outside of its list's
            width, or columns differ in their numbers of rows.

    Example:
    >>> tags = schema_lib.IdFeature(dtype="string", table="t", is_list=True)
    >>> schema = schema_lib.Schema(id_features={"tags": tags}, labels=("a",))
    >>> raw = {
    ...     "tags": tf.constant([["x", "y"], ["z", ""]]),
    ...     "tags_length": tf.constant([2, 1], tf.int64),
    ... }
    >>> to_features(raw, schema)["tags"].to_list()
    [[b'x', b'y'], [b'z']]
    """
    features: predicting.Features = dict(of_one_batch(raw))
    for name, feature in schema.id_features.items():
        if feature.is_list and not feature.training_only:
            lengths = features.pop(name + schema_lib.LENGTHS_SUFFIX)
            features[name] = _ragged(name, features[name], lengths)
    return features


def from_features(
    features: Mapping[str, tf.Tensor | tf.RaggedTensor],
    schema: schema_lib.Schema,
) -> dict[str, tf.Tensor]:
    """A request's raw columns of parsed features.

    Args:
        features: As `data.parse_features` gives them; what `specs` does not
            name is left out.
        schema: The model's columns.

    Returns:
        Tensors by the names of `specs`; lists as wide as the longest, at
        least 1, filled with missing ids.

    Example:
    >>> tags = schema_lib.IdFeature(dtype="string", table="t", is_list=True)
    >>> schema = schema_lib.Schema(id_features={"tags": tags}, labels=("a",))
    >>> raw = from_features({"tags": tf.ragged.constant([["x"], []])}, schema)
    >>> raw["tags"].shape, raw["tags_length"].numpy().tolist()
    (TensorShape([2, 1]), [1, 0])
    """
    raw: dict[str, tf.Tensor] = {}
    for name in specs(schema):
        if name not in features:
            continue
        column = features[name]
        feature = schema.id_features.get(name)
        if feature is None or not feature.is_list:
            raw[name] = column
            continue
        lengths = tf.cast(column.row_lengths(), tf.int64)
        width = tf.reduce_max(tf.concat([lengths, [1]], 0))
        missing = tf.constant(predicting.MISSING[feature.dtype], column.dtype)
        raw[name] = column.to_tensor(missing, [None, width])
        raw[name + schema_lib.LENGTHS_SUFFIX] = lengths
    return raw


def of_one_batch(raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The same tensors, once their numbers of rows have been compared.

    TensorFlow would otherwise repeat a column of one row for all the others.

    Args:
        raw: Name to tensor `(batch_size, ...)`.

    Raises:
        tf.errors.InvalidArgumentError: The columns' sizes differ.

    Example:
    >>> list(of_one_batch({"user": tf.constant([1, 2])}))
    ['user']
    """
    rows = tf.stack([tf.shape(column)[0] for column in raw.values()])
    check = tf.debugging.Assert(
        tf.reduce_all(rows == rows[0]),
        [f"Inputs must have as many rows each. {', '.join(raw)} have", rows],
        summarize=len(raw),
    )
    with tf.control_dependencies([] if check is None else [check]):
        return {name: tf.identity(column) for name, column in raw.items()}


def _ragged(
    name: str, values: tf.Tensor, lengths: tf.Tensor
) -> tf.RaggedTensor:
    """A list feature from its fixed-width tensor and its lengths."""
    width = tf.shape(values, tf.int64)[1]
    legal = tf.reduce_all((lengths >= 0) & (lengths <= width))
    check = tf.debugging.Assert(
        legal,
        [
            f"{name}{schema_lib.LENGTHS_SUFFIX} must lie between 0 and the "
            f"width of {name}. Received lengths and width:",
            lengths,
            width,
        ],
    )
    # Without the check, lengths over the width would be cut in silence.
    with tf.control_dependencies([] if check is None else [check]):
        return tf.RaggedTensor.from_tensor(values, tf.identity(lengths))

"""The only parser of a dataset's tf.train.Examples.

Training reads with it and exported models parse with it, so that no
difference between the two can arise.
"""

from collections.abc import Mapping

import tensorflow as tf

from tfplugin import schema as schema_lib

_DTYPES = {"int64": tf.int64, "string": tf.string}
_MISSING = {
    "int64": schema_lib.MISSING_INT64,
    "string": schema_lib.MISSING_STRING,
}


def parse_features(
    serialized: tf.Tensor, schema: schema_lib.Schema
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Parses the features of a batch of Examples.

    Args:
        serialized: string, shape `(batch_size,)`; may be empty.
        schema: The dataset's schema.

    Returns:
        Name to ids of shape `(batch_size,)`, int64 or string, missing ones
        `schema.MISSING_INT64` or `schema.MISSING_STRING`; to a RaggedTensor
        `(batch_size, None)` for list features; and to float32
        `(batch_size,)` for dense ones, missing ones NaN.

    Raises:
        tf.errors.InvalidArgumentError: An Example is malformed or a feature
            has another type than the schema says.

    Example:
    >>> schema = schema_lib.Schema(
    ...     id_features={
    ...         "city": schema_lib.IdFeature(dtype="string", table="city"),
    ...         "tags": schema_lib.IdFeature(
    ...             dtype="int64", table="tags", is_list=True
    ...         ),
    ...     },
    ...     dense_features={"price": schema_lib.DenseFeature()},
    ...     labels=("click",),
    ... )
    >>> empty = tf.train.Example().SerializeToString()
    >>> parsed = parse_features(tf.constant([empty]), schema)
    >>> [parsed[name].numpy().tolist() for name in ("city", "tags", "price")]
    [[b''], [[]], [nan]]
    """
    return tf.io.parse_example(serialized, feature_spec(schema))


def parse_training(
    serialized: tf.Tensor, schema: schema_lib.Schema
) -> tuple[
    dict[str, tf.Tensor | tf.RaggedTensor],
    dict[str, tf.Tensor],
    dict[str, tf.Tensor],
]:
    """Parses a batch of Examples into what `keras.Model.fit` takes.

    Args:
        serialized: string, shape `(batch_size,)`.
        schema: The dataset's schema.

    Returns:
        Features as `parse_features` gives them; objective to labels, float32
        `(batch_size, 1)`, 0 where not observed; objective to sample weights,
        float32 `(batch_size,)`: the example's weight, 0 where the label was
        not observed.

    Example:
    >>> user = schema_lib.IdFeature(dtype="int64", table="user")
    >>> schema = schema_lib.Schema(id_features={"user": user}, labels=("buy",))
    >>> example = tf.train.Example()
    >>> example.features.feature["user"].int64_list.value.append(7)
    >>> records = tf.constant([example.SerializeToString()])
    >>> features, labels, weights = parse_training(records, schema)
    >>> features["user"].numpy().tolist(), weights["buy"].numpy().tolist()
    ([7], [0.0])
    """
    spec = feature_spec(schema)
    scalar = tf.io.FixedLenFeature
    for label in schema.labels:
        spec[label] = scalar([1], tf.float32, [schema_lib.MISSING_LABEL])
    if schema.weight:
        spec[schema_lib.WEIGHT_FEATURE] = scalar([], tf.float32)
    return _by_role(tf.io.parse_example(serialized, spec), schema)


def parse_packed(
    serialized: tf.Tensor, schema: schema_lib.Schema
) -> tuple[
    dict[str, tf.Tensor | tf.RaggedTensor],
    dict[str, tf.Tensor],
    dict[str, tf.Tensor],
]:
    """Parses packed records, of many rows each, into the batch of all rows.

    Args:
        serialized: string, shape `(num_records,)`; may be empty.
        schema: The dataset's schema.

    Returns:
        What `parse_training` gives for the rows, record after record.

    Raises:
        tf.errors.InvalidArgumentError: A record is malformed, a feature has
            another type than the schema says, or its columns differ in
            their numbers of rows.

    Example:
    >>> user = schema_lib.IdFeature(dtype="int64", table="user")
    >>> schema = schema_lib.Schema(id_features={"user": user}, labels=("buy",))
    >>> example = tf.train.Example()
    >>> example.features.feature["user"].int64_list.value.extend([7, 8])
    >>> example.features.feature["buy"].float_list.value.extend([1.0, -1.0])
    >>> records = tf.constant([example.SerializeToString()])
    >>> features, labels, weights = parse_packed(records, schema)
    >>> features["user"].numpy().tolist(), weights["buy"].numpy().tolist()
    ([7, 8], [1.0, 0.0])
    """
    parsed = {
        name: column.flat_values
        for name, column in tf.io.parse_example(
            serialized, _packed_spec(schema)
        ).items()
    }
    lists = [name for name, one in schema.id_features.items() if one.is_list]
    rows = [tf.size(parsed[name]) for name in parsed if name not in lists]
    # Malformed bytes would otherwise shift a column against the others. The
    # check runs wherever this does: TensorFlow prunes no assertion.
    tf.debugging.assert_equal(
        rows,
        rows[:1] * len(rows),
        "Columns of a packed record must have as many rows. Received: rows of "
        f"{', '.join(name for name in parsed if name not in lists)}",
    )
    for name in lists:
        lengths = parsed.pop(name + schema_lib.LENGTHS_SUFFIX)
        # Validates that the lengths are those of all values.
        parsed[name] = tf.RaggedTensor.from_row_lengths(parsed[name], lengths)
    for label in schema.labels:
        parsed[label] = parsed[label][:, tf.newaxis]
    return _by_role(parsed, schema)


def _packed_spec(
    schema: schema_lib.Schema,
) -> dict[str, tf.io.RaggedFeature]:
    """Scalar columns and lengths first, which have a value a row."""
    dtypes = dict.fromkeys((*schema.labels, *schema.dense_features), tf.float32)
    if schema.weight:
        dtypes[schema_lib.WEIGHT_FEATURE] = tf.float32
    lists = {}
    for name, feature in schema.id_features.items():
        if feature.is_list:
            dtypes[name + schema_lib.LENGTHS_SUFFIX] = tf.int64
            lists[name] = _DTYPES[feature.dtype]
        else:
            dtypes[name] = _DTYPES[feature.dtype]
    return {
        name: tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
        for name, dtype in {**dtypes, **lists}.items()
    }


def _by_role(
    parsed: Mapping[str, tf.Tensor | tf.RaggedTensor], schema: schema_lib.Schema
) -> tuple[
    dict[str, tf.Tensor | tf.RaggedTensor],
    dict[str, tf.Tensor],
    dict[str, tf.Tensor],
]:
    features = {
        name: parsed[name]
        for name in (*schema.id_features, *schema.dense_features)
    }
    return features, *_labels_and_weights(parsed, schema)


def _labels_and_weights(
    parsed: Mapping[str, tf.Tensor], schema: schema_lib.Schema
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    labels, weights = {}, {}
    for name in schema.labels:
        observed = tf.not_equal(parsed[name], schema_lib.MISSING_LABEL)
        labels[name] = tf.where(observed, parsed[name], 0.0)
        weights[name] = tf.cast(observed[:, 0], tf.float32)
        if schema.weight:
            weights[name] *= parsed[schema_lib.WEIGHT_FEATURE]
    return labels, weights


def feature_spec(
    schema: schema_lib.Schema,
) -> dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]:
    """The spec that `tf.io.parse_example` takes for the schema's features.

    Args:
        schema: The dataset's schema; labels and roles are left out.

    Example:
    >>> user = schema_lib.IdFeature(dtype="int64", table="user")
    >>> schema = schema_lib.Schema(id_features={"user": user}, labels=("buy",))
    >>> feature_spec(schema)["user"].default_value
    -9223372036854775808
    """
    spec: dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature] = {}
    for name, feature in schema.id_features.items():
        dtype = _DTYPES[feature.dtype]
        if feature.is_list:
            # row_splits as int64, the dtype that Keras's ragged inputs have.
            spec[name] = tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
        else:
            missing = _MISSING[feature.dtype]
            spec[name] = tf.io.FixedLenFeature([], dtype, missing)
    for name in schema.dense_features:
        spec[name] = tf.io.FixedLenFeature([], tf.float32, float("nan"))
    return spec

"""Rows of a dataset, drawn so that what is hard to serve is among them."""

import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfplugin import schema as schema_lib

#: A request is evidence, not a benchmark: no more rows are looked at.
MAX_ROWS_READ = 200_000
_UNKNOWN: dict[str, int | bytes] = {
    "int64": 2**62 + 1,
    "string": b"no such id",
}
_MISSING: dict[str, int | bytes] = {
    "int64": schema_lib.MISSING_INT64,
    "string": schema_lib.MISSING_STRING.encode(),
}

Row = Mapping[str, Any]
Rows = Sequence[Row]
Features = Mapping[str, tf.Tensor | tf.RaggedTensor]


def draw(
    batches: Iterable[Features],
    schema: schema_lib.Schema,
    count: int,
    seed: int,
) -> list[Row]:
    """Draws rows evenly, and some for what they lack or hold.

    At most half of the rows are taken for a missing value, an empty list or
    the longest list of a feature; with four rows or more the last two are a
    row of unknown ids and one in which everything is missing. All others are
    drawn with equal chances from the first `MAX_ROWS_READ` rows.

    Args:
        batches: Features as `data.parse_features` gives them.
        schema: The features that are served; others are left out.
        count: The number of rows; fewer if there are fewer.
        seed: Of the draw.

    Returns:
        Each row a dict from feature to an int, bytes or float, None where it
        is missing, or a list of ids.

    Example:
    >>> city = schema_lib.IdFeature(dtype="string", table="city")
    >>> schema = schema_lib.Schema(id_features={"city": city}, labels=("buy",))
    >>> batch = {"city": tf.constant(["Bern", "", "Genf", "Biel"])}
    >>> for row in draw([batch], schema, 4, seed=1):
    ...     print(row)
    {'city': None}
    {'city': b'Genf'}
    {'city': b'no such id'}
    {'city': None}
    """
    random = np.random.default_rng(seed)
    drawn: dict[int, tuple[float, Row]] = {}
    notable: dict[tuple[str, str], tuple[int, int, Row]] = {}
    start = 0
    for batch in batches:
        columns = _columns(batch, schema)
        rows = _num_rows(columns)
        keys = random.random(rows)
        for index in _best(keys, drawn, count):
            drawn[start + index] = (keys[index], _row(columns, index))
        _keep_smallest(drawn, count)
        for what, index, size in _notable(columns, schema):
            if what not in notable or notable[what][1] < size:
                notable[what] = (start + index, size, _row(columns, index))
        start += rows
        if start >= MAX_ROWS_READ:
            break
    return _join(drawn, notable, schema, count)


def features(rows: Rows, schema: schema_lib.Schema) -> dict[str, Any]:
    """Rows as the model takes them; training-only features as at serving.

    Args:
        rows: What `draw` returns.
        schema: All features that the model takes.

    Returns:
        Name to a tensor, or a RaggedTensor for a list feature.
    """
    made: dict[str, Any] = {}
    for name, feature in schema.id_features.items():
        dtype = tf.dtypes.as_dtype(feature.dtype)
        if feature.is_list:
            lists = [[] if feature.training_only else row[name] for row in rows]
            made[name] = tf.RaggedTensor.from_row_lengths(
                tf.constant([id_ for ids in lists for id_ in ids], dtype),
                tf.constant([len(ids) for ids in lists], tf.int64),
            )
        elif feature.training_only:
            constant = feature.serving_value
            if constant is None:
                missing = _MISSING[feature.dtype]
                made[name] = tf.constant([missing] * len(rows), dtype)
            else:
                made[name] = tf.constant([constant] * len(rows), dtype)
        else:
            made[name] = tf.constant(_scalars(rows, name, feature))
    for name, dense in schema.dense_features.items():
        number = dense.serving_value if dense.training_only else None
        fill = float("nan") if number is None else number
        values = [None if dense.training_only else row[name] for row in rows]
        made[name] = tf.constant(
            [fill if one is None else one for one in values], tf.float32
        )
    return made


def raw(rows: Rows, schema: schema_lib.Schema) -> dict[str, np.ndarray]:
    """Rows as the signature `serving_default` takes them.

    Args:
        rows: What `draw` returns.
        schema: The features that the model takes.

    Returns:
        Name to int64, float32 or an array of bytes, `(num_rows,)`; a list is
        padded to `(num_rows, width)` with NAME_length beside it.
    """
    made: dict[str, np.ndarray] = {}
    for name, feature in schema.id_features.items():
        if feature.training_only:
            continue
        if not feature.is_list:
            made[name] = _scalars(rows, name, feature)
            continue
        lengths = np.array([len(row[name]) for row in rows], np.int64)
        width = max(1, lengths.max(initial=0))
        dtype = np.int64 if feature.dtype == "int64" else object
        padded = np.full(
            (len(rows), width), 0 if dtype is np.int64 else b"", dtype
        )
        for index, row in enumerate(rows):
            padded[index, : lengths[index]] = row[name]
        made[name] = padded
        made[name + schema_lib.LENGTHS_SUFFIX] = lengths
    for name, dense in schema.dense_features.items():
        if not dense.training_only:
            made[name] = np.array(
                [np.nan if row[name] is None else row[name] for row in rows],
                np.float32,
            )
    return made


def example(row: Row) -> bytes:
    """One row as a serialized tf.train.Example, what is missing left out.

    Args:
        row: As `draw` returns it.

    Example:
    >>> parsed = tf.train.Example.FromString(example({"a": 1, "b": None}))
    >>> sorted(parsed.features.feature)
    ['a']
    """
    feature = {}
    for name, value in sorted(row.items()):
        values = value if isinstance(value, list) else [value]
        if not values or value is None:
            continue
        if isinstance(values[0], bytes):
            kind = {"bytes_list": tf.train.BytesList(value=values)}
        elif isinstance(values[0], float):
            kind = {"float_list": tf.train.FloatList(value=values)}
        else:
            kind = {"int64_list": tf.train.Int64List(value=values)}
        feature[name] = tf.train.Feature(**kind)
    return tf.train.Example(
        features=tf.train.Features(feature=feature)
    ).SerializeToString(deterministic=True)


def _scalars(
    rows: Rows, name: str, feature: schema_lib.IdFeature
) -> np.ndarray:
    missing = _MISSING[feature.dtype]
    values = [missing if row[name] is None else row[name] for row in rows]
    return np.array(values, np.int64 if feature.dtype == "int64" else object)


def _columns(batch: Features, schema: schema_lib.Schema) -> dict[str, Any]:
    """Served columns as NumPy arrays; a list as its values and splits."""
    columns: dict[str, Any] = {}
    for name, feature in schema.id_features.items():
        if feature.training_only:
            continue
        column = batch[name]
        if feature.is_list:
            columns[name] = (column.values.numpy(), column.row_splits.numpy())
        else:
            columns[name] = column.numpy()
    for name, dense in schema.dense_features.items():
        if not dense.training_only:
            columns[name] = batch[name].numpy()
    return columns


def _num_rows(columns: Mapping[str, Any]) -> int:
    first = next(iter(columns.values()), ())
    return len(first[1]) - 1 if isinstance(first, tuple) else len(first)


def _row(columns: Mapping[str, Any], index: int) -> Row:
    row: dict[str, Any] = {}
    for name, column in columns.items():
        if isinstance(column, tuple):
            values, splits = column
            row[name] = values[splits[index] : splits[index + 1]].tolist()
            continue
        value = column[index].item() if column.dtype.kind in "if" else None
        value = column[index] if column.dtype.kind == "O" else value
        row[name] = None if _is_missing(value) else value
    return row


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value in _MISSING.values()


def _best(
    keys: np.ndarray, drawn: Mapping[int, tuple[float, Row]], count: int
) -> list[int]:
    """Rows of a batch that may be among the `count` smallest keys of all."""
    bound = np.inf
    if len(drawn) >= count:
        bound = max(key for key, _ in drawn.values())
    order = np.argsort(keys, kind="stable")[:count]
    return [int(index) for index in order if keys[index] < bound]


def _keep_smallest(drawn: dict[int, tuple[float, Row]], count: int) -> None:
    kept = sorted(drawn, key=lambda position: drawn[position][0])
    for position in kept[count:]:
        del drawn[position]


def _notable(
    columns: Mapping[str, Any], schema: schema_lib.Schema
) -> Iterable[tuple[tuple[str, str], int, int]]:
    """What, the row of a batch, and by what size one outdoes another."""
    for name, column in columns.items():
        if isinstance(column, tuple):
            lengths = np.diff(column[1])
            if (lengths == 0).any():
                yield ("empty", name), int(lengths.argmin()), 0
            if len(lengths):
                longest = int(lengths.argmax())
                yield ("longest", name), longest, int(lengths[longest])
        elif name in schema.dense_features:
            if np.isnan(column).any():
                yield ("missing", name), int(np.isnan(column).argmax()), 0
        else:
            absent = column == _MISSING[schema.id_features[name].dtype]
            if absent.any():
                yield ("missing", name), int(absent.argmax()), 0


def _join(
    drawn: Mapping[int, tuple[float, Row]],
    notable: Mapping[tuple[str, str], tuple[int, int, Row]],
    schema: schema_lib.Schema,
    count: int,
) -> list[Row]:
    made_up: list[Row] = []
    if count >= 4 or not drawn:
        made_up = [_unknown(schema), _nothing(schema)][:count]
    room = count - len(made_up)
    chosen: dict[int, Row] = {}
    for position, _, row in notable.values():
        if len(chosen) < room // 2 or position in chosen:
            chosen[position] = row
    for position in sorted(drawn, key=lambda one: drawn[one][0]):
        if len(chosen) < room:
            chosen[position] = drawn[position][1]
    return [*chosen.values(), *made_up]


def _unknown(schema: schema_lib.Schema) -> Row:
    row: dict[str, Any] = {}
    for name, feature in schema.id_features.items():
        if not feature.training_only:
            unknown = _UNKNOWN[feature.dtype]
            row[name] = [unknown] * 2 if feature.is_list else unknown
    for name, dense in schema.dense_features.items():
        if not dense.training_only:
            row[name] = 0.0
    return row


def _nothing(schema: schema_lib.Schema) -> Row:
    row: dict[str, Any] = {
        name: [] if feature.is_list else None
        for name, feature in schema.id_features.items()
        if not feature.training_only
    }
    for name, dense in schema.dense_features.items():
        if not dense.training_only:
            row[name] = None
    return row

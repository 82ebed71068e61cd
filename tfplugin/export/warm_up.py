"""Requests that a server replays before a version takes traffic."""

import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from tensorflow_serving.apis import input_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfplugin import schema as schema_lib

#: Where TF Serving looks, inside a version's folder.
REQUESTS = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
#: With more, TF Serving does not load the version.
MAX_RECORDS = 1000

_GOLDEN = pathlib.PurePath("assets.extra", "golden_requests")
_RAW = "serving_default"
_EMBEDDINGS = "embeddings_"
_CLASSIFY = tf.saved_model.CLASSIFY_METHOD_NAME
_REGRESS = tf.saved_model.REGRESS_METHOD_NAME
_SYNTHETIC_ROWS = 8
_SYNTHETIC_WIDTH = 4

Rows = dict[str, np.ndarray]


def write(
    folder: pathlib.Path,
    schema: schema_lib.Schema,
    rows: Mapping[str, np.ndarray] | None = None,
    *,
    batch_sizes: Sequence[int] = (1, 16, 64),
    name: str = "model",
) -> pathlib.Path | None:
    """Writes `assets.extra/tf_serving_warmup_requests` of a version.

    One PredictionLog for each signature and batch size, the first size of all
    signatures first; from the 1,001st on they are left out, since TF Serving
    takes no more. Predict, Classify and Regress signatures get logs of their
    kind. Rows are repeated where there are fewer than a batch has.

    Args:
        folder: A SavedModel, complete but for this file.
        schema: Of its model: which feature's ids are a table's.
        rows: Inputs of `serving_default`, by name, of equal first dimension
            and at least one row. None for those of the golden requests, or,
            without them, for made-up rows.
        batch_sizes: Rows of a request; nothing is written if there is none.
        name: The model's, in the requests. A server warms up the model that
            the file lies in, whatever it says.

    Returns:
        The file; None if there is none.

    Raises:
        ValueError: A batch size is below 1, or there is no row.

    Example:
    >>> import tempfile
    >>> class Model(tf.Module):
    ...     @tf.function(input_signature=[{
    ...         "item": tf.TensorSpec([None], tf.int64, "item"),
    ...     }])
    ...     def answer(self, raw):
    ...         return {"click": tf.cast(raw["item"], tf.float32)}
    >>> folder, model = pathlib.Path(tempfile.mkdtemp()), Model()
    >>> tf.saved_model.save(model, str(folder), model.answer)
    >>> schema = schema_lib.Schema(
    ...     id_features={
    ...         "item": schema_lib.IdFeature(dtype="int64", table="item")
    ...     },
    ...     labels=("click",),
    ... )
    >>> path = write(folder, schema, batch_sizes=[1, 2])
    >>> len(list(tf.data.TFRecordDataset(str(path))))
    2

    Reference: TensorFlow Serving, saved_model_warmup_util.cc.
    """
    if any(size < 1 for size in batch_sizes):
        raise ValueError(
            "Every batch must have a row or more. "
            f"Received: batch_sizes={list(batch_sizes)}."
        )
    if not batch_sizes:
        return None
    signatures = _signatures(folder)
    if rows is None:
        rows = _golden_rows(folder) or _made_up(signatures[_RAW].inputs)
    rows = _checked(rows)
    path = folder / REQUESTS
    path.parent.mkdir(exist_ok=True)
    made = (
        _log(key, signatures[key], _batch(rows, size), schema, name)
        for size in batch_sizes
        for key in sorted(signatures)
    )
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _, log in zip(range(MAX_RECORDS), made, strict=False):
            writer.write(log.SerializeToString())
    return path


def _checked(rows: Mapping[str, np.ndarray]) -> Rows:
    """Arrays of numbers or of bytes, with as many rows each."""
    counts = {name: len(values) for name, values in rows.items()}
    if len(set(counts.values())) != 1 or not min(counts.values(), default=0):
        raise ValueError(
            "`rows` must have a row or more, as many for each input. "
            f"Received: rows of {counts}."
        )
    return {
        name: np.char.encode(values, "utf-8").astype(object)
        if values.dtype.kind == "U"
        else values
        for name, values in rows.items()
    }


def _signatures(folder: pathlib.Path) -> dict[str, Any]:
    """SignatureDefs by name, of a graph that is not loaded for it."""
    # Registered once TensorFlow is imported; the class has no public name.
    described = descriptor_pool.Default().FindMessageTypeByName(
        "tensorflow.SavedModel"
    )
    saved = message_factory.GetMessageClass(described)()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    # Of SavedModels that load it, the initialiser is no signature to call.
    return {
        key: definition
        for key, definition in saved.meta_graphs[0].signature_def.items()
        if not key.startswith("__saved_model_")
    }


def _golden_rows(folder: pathlib.Path) -> Rows | None:
    """Raw rows of the golden requests, with lists of one common width."""
    path = folder / _GOLDEN
    if not path.is_file():
        return None
    found: dict[str, list[np.ndarray]] = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        if request.model_spec.signature_name == _RAW:
            for name, proto in request.inputs.items():
                found.setdefault(name, []).append(tf.make_ndarray(proto))
    return {name: _stack(parts) for name, parts in found.items()} or None


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    if parts[0].ndim < 2:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    filler: Any = b"" if parts[0].dtype == object else 0
    return np.concatenate(
        [
            np.pad(
                part,
                ((0, 0), (0, width - part.shape[1])),
                constant_values=filler,
            )
            for part in parts
        ]
    )


def _made_up(inputs: Mapping[str, Any]) -> Rows:
    return {
        name: _values(name, info, inputs, _SYNTHETIC_ROWS)
        for name, info in inputs.items()
    }


def _values(
    name: str, info: Any, inputs: Mapping[str, Any], count: int
) -> np.ndarray:
    """Made-up values of one input; with lists of 0 to all its places."""
    sizes = [dim.size for dim in info.tensor_shape.dim[1:]]
    shape = [
        count,
        *(size if size >= 0 else _SYNTHETIC_WIDTH for size in sizes),
    ]
    dtype = tf.as_dtype(info.dtype)
    suffix = schema_lib.LENGTHS_SUFFIX
    if name.endswith(suffix) and name.removesuffix(suffix) in inputs:
        return np.arange(count) % (_SYNTHETIC_WIDTH + 1)
    numbers = np.arange(1, np.prod(shape) + 1).reshape(shape)
    if dtype == tf.string:
        words = [b"warm-up %d" % number for number in numbers.ravel()]
        return np.array(words, object).reshape(shape)
    if dtype.is_floating:
        return np.ones(shape, dtype.as_numpy_dtype)
    return numbers.astype(dtype.as_numpy_dtype)


def _batch(rows: Mapping[str, np.ndarray], size: int) -> Rows:
    return {
        name: values[np.arange(size) % len(values)]
        for name, values in rows.items()
    }


def _log(
    key: str,
    definition: Any,
    rows: Rows,
    schema: schema_lib.Schema,
    name: str,
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    method = definition.method_name
    if method in (_CLASSIFY, _REGRESS):
        kind = log.classify_log if method == _CLASSIFY else log.regress_log
        kind.request.input.CopyFrom(
            input_pb2.Input(
                example_list=input_pb2.ExampleList(examples=_examples(rows))
            )
        )
    else:
        kind = log.predict_log
        for input_name, values in _inputs(key, definition, rows, schema):
            dtype = tf.as_dtype(definition.inputs[input_name].dtype)
            kind.request.inputs[input_name].CopyFrom(
                tf.make_tensor_proto(values, dtype)
            )
    kind.request.model_spec.name = name
    kind.request.model_spec.signature_name = key
    return log


def _inputs(
    key: str, definition: Any, rows: Rows, schema: schema_lib.Schema
) -> Iterator[tuple[str, np.ndarray]]:
    count = len(next(iter(rows.values())))
    for name, info in definition.inputs.items():
        if name in rows:
            yield name, rows[name]
        elif key == "examples":
            serialized = [one.SerializeToString() for one in _examples(rows)]
            yield name, np.array(serialized, object)
        else:
            values = _values(name, info, definition.inputs, count)
            if key.startswith(_EMBEDDINGS):
                table = key.removeprefix(_EMBEDDINGS)
                values = _ids_of(table, rows, schema, values)
            yield name, values


def _ids_of(
    table: str, rows: Rows, schema: schema_lib.Schema, made_up: np.ndarray
) -> np.ndarray:
    """Ids of a table's first feature that is asked for, as many as made up."""
    for feature in schema.table_features().get(table, []):
        if feature in rows:
            ids = rows[feature]
            if ids.ndim > 1:
                lengths = rows[feature + schema_lib.LENGTHS_SUFFIX]
                ids = ids[np.arange(ids.shape[1]) < lengths[:, None]]
            return np.resize(ids, made_up.shape) if ids.size else made_up
    return made_up


def _examples(rows: Rows) -> list[tf.train.Example]:
    suffix = schema_lib.LENGTHS_SUFFIX
    found = []
    for index in range(len(next(iter(rows.values())))):
        example = tf.train.Example()
        for name, values in rows.items():
            if name.endswith(suffix) and name.removesuffix(suffix) in rows:
                continue
            value = values[index]
            if values.ndim > 1:
                value = value[: rows[name + suffix][index]]
            _put(example, name, np.atleast_1d(value))
        found.append(example)
    return found


def _put(example: tf.train.Example, name: str, values: np.ndarray) -> None:
    """Values of one row; missing ones are left out, as in a dataset."""
    if values.dtype.kind == "f":
        present = values[~np.isnan(values)]
    elif values.dtype.kind == "i":
        present = values[values != schema_lib.MISSING_INT64]
    else:
        present = values[values != b""]
    # A feature that is there must have values, or a scalar does not parse.
    if not present.size:
        return
    feature = example.features.feature[name]
    if values.dtype.kind == "f":
        feature.float_list.value.extend(present)
    elif values.dtype.kind == "i":
        feature.int64_list.value.extend(present)
    else:
        feature.bytes_list.value.extend(present)

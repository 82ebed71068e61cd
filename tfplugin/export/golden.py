"""Requests that travel with a model, and what training answers to them."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfplugin import data as data_lib
from tfplugin import schema as schema_lib
from tfplugin.data import model_columns
from tfplugin.export import golden_rows
from tfplugin.export.golden_rows import Rows

#: Below `assets.extra`: the requests, and how near an answer must come.
REQUESTS = "golden_requests"
RECORD = "golden_requests.json"
#: What another order of additions may change.
TOLERANCE = 1e-5
_READ_ROWS = 4096

Logits = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class GoldenRequests:
    """Rows of the test split and the probabilities of the model in Python.

    `draw` makes it. The probabilities are those of the Keras model and its
    calibration, not of a SavedModel, so that they say whether both agree.

    Args:
        rows: The rows, see `golden_rows.draw`.
        raw: What `serving_default` takes, `num_rows` rows of each input; a
            list feature is padded and has its lengths beside it.
        examples: The same rows as serialized tf.train.Examples.
        probabilities: Objective to float32 of shape `(num_rows,)`.
    """

    rows: Rows
    raw: Mapping[str, np.ndarray]
    examples: tuple[bytes, ...]
    probabilities: Mapping[str, np.ndarray]

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.examples)

    def logs(self, name: str = "model") -> list[Any]:
        """A `PredictionLog` with request and response for each signature.

        Args:
            name: The model's name in the requests.
        """
        made = [
            _predict_log(name, "serving_default", self.raw, self.probabilities),
            _predict_log(
                name,
                "examples",
                {"examples": np.array(self.examples, object)},
                self.probabilities,
            ),
        ]
        for objective, values in self.probabilities.items():
            made.append(_classify_log(name, objective, self.examples, values))
            made.append(_regress_log(name, objective, self.examples, values))
        return made


def draw(
    dataset: data_lib.Dataset,
    model: keras.Model,
    count: int,
    *,
    calibrate: Callable[[Logits], Logits] | None = None,
    seed: int = 0,
) -> GoldenRequests:
    """Draws rows of the test split and predicts them.

    Among the rows are those that are easily got wrong: missing values, empty
    lists, the longest list of each feature, and, made from rows that were
    drawn, ids that nobody has seen and a row in which all is missing.

    Args:
        dataset: The model's dataset.
        model: As `save` takes it, neither inside of `layers.exporting` nor
            compressed.
        count: How many rows, at least 1; all there are if the split has
            fewer.
        calibrate: From logits to calibrated logits by objective, for example
            a `CalibratedLogits`; None for as they are.
        seed: Of the draw.

    Raises:
        ValueError: `count` is below 1.
        InputError: The model does not fit the dataset.
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: count={count}")
    schema = model_columns.select_for_model(dataset.schema, model)
    batches = (features for features, *_ in dataset.test(_READ_ROWS))
    return of_rows(
        golden_rows.draw(batches, schema, count, seed),
        model,
        schema,
        calibrate=calibrate,
    )


def of_rows(
    rows: Rows,
    model: keras.Model,
    schema: schema_lib.Schema,
    *,
    calibrate: Callable[[Logits], Logits] | None = None,
) -> GoldenRequests:
    """Predicts given rows; `draw` does so with rows of the test split.

    Args:
        rows: Each a dict from feature to value: an int, bytes or float, None
            where it is missing, a list of ids for a list feature.
        model: As for `draw`.
        schema: The schema of the features that the model takes.
        calibrate: As for `draw`.

    Example:
    >>> city = schema_lib.IdFeature(dtype="string", table="city")
    >>> schema = schema_lib.Schema(
    ...     id_features={"city": city},
    ...     dense_features={"price": schema_lib.DenseFeature()},
    ...     labels=("click",),
    ... )
    >>> price = keras.Input((), name="price")
    >>> city = keras.Input((), name="city", dtype="string")
    >>> logit = keras.ops.reshape(price, (-1, 1))
    >>> model = keras.Model({"price": price, "city": city}, {"click": logit})
    >>> golden = of_rows([{"city": b"Bern", "price": 0.0}], model, schema)
    >>> golden.probabilities["click"].tolist(), golden.raw["city"].tolist()
    ([0.5], [b'Bern'])
    """
    logits = model(golden_rows.features(rows, schema), training=False)
    if calibrate is not None:
        logits = calibrate(logits)
    return GoldenRequests(
        rows=tuple(rows),
        raw=golden_rows.raw(rows, schema),
        examples=tuple(golden_rows.example(row) for row in rows),
        probabilities={
            objective: _sigmoid(np.asarray(logits[objective], np.float64))
            for objective in schema.labels
        },
    )


def write(
    folder: str | pathlib.Path,
    requests: GoldenRequests,
    *,
    tolerance: float = TOLERANCE,
    name: str = "model",
) -> pathlib.Path:
    """Writes `assets.extra/golden_requests` into a version's folder.

    A TFRecord of TensorFlow Serving's `PredictionLog`s with responses: one
    each for `serving_default`, `examples` and, by objective,
    `classify_OBJECTIVE` and `regress_OBJECTIVE`. Beside it lies
    `golden_requests.json` with the tolerance, which `tfplugin validate` reads.

    Args:
        folder: A version's folder.
        requests: What `draw` has made.
        tolerance: How far an answer's probability may be from training's.
        name: The model's name in the requests.

    Returns:
        The file of the requests.

    Raises:
        ValueError: `tolerance` is not a positive number.

    Example:
    >>> import tempfile
    >>> requests = GoldenRequests(
    ...     rows=({"age": 7},),
    ...     raw={"age": np.array([7])},
    ...     examples=(b"",),
    ...     probabilities={"click": np.array([0.5], np.float32)},
    ... )
    >>> path = write(tempfile.mkdtemp(), requests)
    >>> "/".join(path.parts[-2:])
    'assets.extra/golden_requests'
    >>> len(list(tf.data.TFRecordDataset(str(path))))
    4
    """
    if not 0 < tolerance < float("inf"):
        raise ValueError(
            "`tolerance` must be a positive number. Received: "
            f"tolerance={tolerance}"
        )
    extra = pathlib.Path(folder) / "assets.extra"
    extra.mkdir(parents=True, exist_ok=True)
    path = extra / REQUESTS
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in requests.logs(name):
            writer.write(log.SerializeToString(deterministic=True))
    record = {
        "version": 1,
        "rows": requests.num_rows,
        "tolerance": float(tolerance),
    }
    (extra / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return path


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # exp of a positive number alone could overflow.
    small = np.exp(-np.abs(logits))
    probability = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return probability.reshape(-1).astype(np.float32)


def _predict_log(
    name: str,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
) -> Any:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    response = log.predict_log.response
    _fill_spec(request.model_spec, name, signature)
    _fill_spec(response.model_spec, name, signature)
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    for key, value in outputs.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return log


def _classify_log(
    name: str, objective: str, examples: Iterable[bytes], values: np.ndarray
) -> Any:
    log = prediction_log_pb2.PredictionLog()
    request = log.classify_log.request
    response = log.classify_log.response
    _fill_spec(request.model_spec, name, f"classify_{objective}")
    _fill_spec(response.model_spec, name, f"classify_{objective}")
    _fill_examples(request.input, examples)
    for value in values.tolist():
        classifications = response.result.classifications.add()
        classifications.classes.add(label="0", score=1.0 - value)
        classifications.classes.add(label="1", score=value)
    return log


def _regress_log(
    name: str, objective: str, examples: Iterable[bytes], values: np.ndarray
) -> Any:
    log = prediction_log_pb2.PredictionLog()
    request = log.regress_log.request
    response = log.regress_log.response
    _fill_spec(request.model_spec, name, f"regress_{objective}")
    _fill_spec(response.model_spec, name, f"regress_{objective}")
    _fill_examples(request.input, examples)
    for value in values.tolist():
        response.result.regressions.add(value=value)
    return log


def _fill_spec(spec: Any, name: str, signature: str) -> None:
    spec.name = name
    spec.signature_name = signature


def _fill_examples(request_input: Any, examples: Iterable[bytes]) -> None:
    request_input.example_list.SetInParent()
    for example in examples:
        request_input.example_list.examples.add().ParseFromString(example)

"""The signatures of an exported model, as functions over one prediction."""

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

import keras
import tensorflow as tf

from tfplugin import schema as schema_lib
from tfplugin.data import parsing
from tfplugin.errors import InputError
from tfplugin.export import formulas
from tfplugin.export import predicting
from tfplugin.export import raw_inputs
from tfplugin.export import tables as tables_lib

Function: TypeAlias = tf.types.experimental.PolymorphicFunction

#: The only input of Classify and Regress, serialized Examples.
EXAMPLES_INPUT = "inputs"
CLASSIFY = "classify_"
REGRESS = "regress_"
EMBEDDINGS = "embeddings_"
SCORES = "scores"
_METHODS = {
    CLASSIFY: tf.compat.v1.saved_model.signature_constants.CLASSIFY_METHOD_NAME,
    REGRESS: tf.compat.v1.saved_model.signature_constants.REGRESS_METHOD_NAME,
}
#: Decorates what takes the input that Classify and Regress ask for.
_of_examples = tf.function(
    input_signature=[tf.TensorSpec([None], tf.string, EXAMPLES_INPUT)],
    autograph=False,
)


@dataclasses.dataclass(frozen=True)
class Signatures:
    """Functions by signature, and what each answers to.

    Args:
        functions: Signature to function.
        methods: TensorFlow Serving's method name of those that are not
            called by Predict.
        scores: The formulas of `scores`, if it is one of them.
    """

    functions: dict[str, Function]
    methods: dict[str, str]
    scores: dict[str, formulas.Formula]

    def write_methods(self, folder: str) -> None:
        """Corrects the method names of a SavedModel, all of them `predict`.

        Args:
            folder: The SavedModel's.
        """
        updater = (
            tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(
                folder
            )
        )
        for name, method in self.methods.items():
            updater.replace_method_name(
                signature_key=name, method_name=method, tags=["serve"]
            )
        updater.save()


def build(
    predict: predicting.Predict,
    model: keras.Model,
    schema: schema_lib.Schema,
    scores: Mapping[str, str] | None = None,
) -> Signatures:
    """All signatures of a model; see `save`.

    Args:
        predict: Of the model.
        model: Its tables answer `embeddings_TABLE`.
        schema: Its columns.
        scores: Name to formula; without one there is no `scores`.

    Raises:
        InputError: No feature is known at serving, or a formula is none.
    """
    parsed = {
        name: formulas.parse(name, text)
        for name, text in (scores or {}).items()
    }
    by_name = _raw_signature(predict, schema)
    by_example = _examples_signature(predict, schema)
    functions = {"serving_default": by_name, "examples": by_example}
    methods = {}
    for objective in schema.labels:
        for prefix, make in ((CLASSIFY, _classify), (REGRESS, _regress)):
            functions[prefix + objective] = make(by_example, objective)
            methods[prefix + objective] = _METHODS[prefix]
    for table in tables_lib.find(model, schema):
        functions[EMBEDDINGS + table.name] = _embeddings_signature(table)
    if parsed:
        functions[SCORES] = _scores_signature(by_name, parsed, schema)
    return Signatures(functions, methods, parsed)


def _raw_signature(
    predict: predicting.Predict, schema: schema_lib.Schema
) -> Function:
    @tf.function(input_signature=[raw_inputs.specs(schema)], autograph=False)
    def serve_raw(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = raw_inputs.to_features(raw, schema)
        return predict(features, tf.shape(next(iter(raw.values())))[0])

    return serve_raw


def _examples_signature(
    predict: predicting.Predict, schema: schema_lib.Schema
) -> Function:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        features = parsing.parse_features(examples, schema)
        return predict(features, tf.shape(examples)[0])

    return serve_examples


def _classify(by_example: Function, objective: str) -> Function:
    @_of_examples
    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        probability = by_example(inputs)[objective]
        classes = tf.constant([[b"0", b"1"]])
        return {
            "classes": tf.tile(classes, [tf.size(inputs), 1]),
            "scores": tf.stack([1.0 - probability, probability], axis=1),
        }

    return classify


def _regress(by_example: Function, objective: str) -> Function:
    @_of_examples
    def regress(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": by_example(inputs)[objective]}

    return regress


def _embeddings_signature(table: tables_lib.Table) -> Function:
    @tf.function(
        input_signature=[tf.TensorSpec([None], table.id_dtype, "ids")],
        autograph=False,
    )
    def embeddings(ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embeddings": table.vectors(ids)}

    return embeddings


def _scores_signature(
    by_name: Function,
    parsed: Mapping[str, formulas.Formula],
    schema: schema_lib.Schema,
) -> Function:
    features = raw_inputs.specs(schema)
    inputs = dict(features)
    for formula in parsed.values():
        for name in _further_inputs(formula, schema, features):
            inputs[name] = tf.TensorSpec([None], tf.float32, name)
    raw_inputs.check_names(inputs, "Features and further names of formulas")

    @tf.function(input_signature=[inputs], autograph=False)
    def score(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        raw = raw_inputs.of_one_batch(raw)
        values = by_name({name: raw[name] for name in features})
        values = {**raw, **values}
        return {
            name: tf.ensure_shape(formula(values), [None])
            for name, formula in parsed.items()
        }

    return score


def _further_inputs(
    formula: formulas.Formula,
    schema: schema_lib.Schema,
    features: Mapping[str, tf.TensorSpec],
) -> list[str]:
    """Names that are neither objectives nor numbers a model takes already."""
    if not set(formula.names) & set(schema.labels):
        raise InputError(
            f"A formula must name an objective, {', '.join(schema.labels)}. "
            f"Received: formula `{formula.name}`, `{formula.text}`."
        )
    for name in formula.names:
        spec = features.get(name)
        if name not in schema.labels and spec and spec.dtype != tf.float32:
            raise InputError(
                "A formula may name objectives, dense features and further "
                f"inputs. Received: formula `{formula.name}`, "
                f"`{formula.text}`: `{name}` is a feature of ids. Give the "
                "further input another name."
            )
    return [name for name in formula.names if name not in schema.labels]

"""Configuration → a compiled model."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import metrics
from tfplugin import models
from tfplugin import optimizers
from tfplugin import remedies
from tfplugin.errors import InputError
from tfplugin.training import model_building

_REST_RULES = {
    "adam": keras.optimizers.Adam,
    "adagrad": keras.optimizers.Adagrad,
    "sgd": keras.optimizers.SGD,
}
_TABLE_RULES: dict[str, type[optimizers.SparseOptimizer]] = {
    "sgd": optimizers.SparseSGD,
    "adagrad": optimizers.SparseAdagrad,
    "rowwise_adagrad": optimizers.RowwiseAdagrad,
    "lazy_adam": optimizers.LazyAdam,
    "partial_rowwise_adam": optimizers.PartialRowwiseAdam,
    "ftrl": optimizers.SparseFtrl,
}
_LAWS: dict[str, type[optimizers.RowRate]] = {
    "constant": optimizers.ConstantRate,
    "log_frequency": optimizers.LogFrequency,
    "power_frequency": optimizers.PowerFrequency,
    "saturating_frequency": optimizers.SaturatingFrequency,
    "inverse_frequency": optimizers.InverseFrequency,
    "tail_decrease": optimizers.TailDecrease,
}


def compile_model(
    model: keras.Model,
    config: config_lib.ExperimentConfig,
    context: models.ModelContext,
    dataset: data.Dataset,
    facts: remedies.Training,
    *,
    measured: bool = True,
    base_rates: Mapping[str, float] | None = None,
    steps_per_execution: int = 1,
) -> None:
    """Gives a model its losses, metrics and optimizers, and fills row counts.

    Args:
        model: From features to a dict of logits.
        config: The experiment.
        context: What the model was built from.
        dataset: Where the counts come from.
        facts: What the configured remedies are told.
        measured: Whether it gets metrics.
        base_rates: Objective to its rate of positives in the whole log; that
            of the training rows when None.
        steps_per_execution: Steps that Keras runs at a time.

    Raises:
        InputError: A label has no positives or no negatives to learn from,
            or a rate by frequency has no counts for a table.
    """
    optimizer = _optimizer(model, config, facts)
    judged = dataset.schema.labels if measured else ()
    rates = {name: base_rate(dataset, name) for name in judged}
    # The mean over the rows in which the label was observed: over all rows,
    # an objective would count less the more of it is masked.
    losses: dict[str, keras.losses.Loss] = {
        objective: keras.losses.BinaryCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )
        for objective in dataset.schema.labels
    }
    for remedy in config.training.remedies.values():
        losses = remedy.losses(facts, losses)
    model.compile(
        optimizer,
        loss=losses,
        loss_weights={
            objective: config.training.loss_weights.get(objective, 1.0)
            for objective in dataset.schema.labels
        },
        # Not `metrics`: Keras ignores sample weights there, and with them
        # labels that were not observed.
        weighted_metrics={
            name: metrics.objective_metrics((base_rates or rates)[name])
            for name in judged
        },
        steps_per_execution=steps_per_execution,
        jit_compile=False,
    )
    optimizer.build(model.trainable_variables)
    settings = config.training.tables
    if (
        isinstance(optimizer, optimizers.SplitOptimizer)
        and isinstance(optimizer.tables, optimizers.SparseOptimizer)
        and optimizer.tables.reads_row_counts
    ):
        if settings.counts.from_dataset:
            _set_row_counts(model, context, dataset, settings.counts.weights)
        else:
            _mark_special_rows(model)


def trainable_tables(model: keras.Model) -> list[keras.Variable]:
    """The tables of a model that are trained, as objects."""
    trained = {id(variable) for variable in model.trainable_variables}
    tables = optimizers.find_tables(model)
    return [table for table in tables if id(table) in trained]


def _optimizer(
    model: keras.Model,
    config: config_lib.ExperimentConfig,
    facts: remedies.Training,
) -> keras.optimizers.Optimizer:
    settings = config.training
    rest = _REST_RULES[settings.rest.rule](settings.rest.learning_rate)
    if not trainable_tables(model):
        return rest
    row_options: dict[str, Any] = {}
    for remedy in settings.remedies.values():
        row_options |= remedy.row_options(facts.steps_per_epoch)
    tables = tables_optimizer(settings.tables, row_options)
    overrides = {
        layer.table_name: tables_optimizer(
            settings.tables.model_copy(
                update={"learning_rate": settings.tables.learning_rate * factor}
            ),
            row_options,
        )
        for table, table_layers in facts.tables.items()
        if (factor := config.table(table).learning_rate_factor) != 1.0
        for layer in table_layers
    }
    return optimizers.split(
        model, tables=tables, rest=rest, overrides=overrides
    )


def tables_optimizer(
    settings: config_lib.TablesOptimizerConfig,
    row_options: Mapping[str, Any] | None = None,
) -> optimizers.SparseOptimizer:
    """Makes the tables' optimizer that a configuration describes.

    Args:
        settings: `training.tables`.
        row_options: Arguments that remedies add; none by default.

    Raises:
        InputError: Constants that do not go together.

    Example:
    >>> made = tables_optimizer(
    ...     config_lib.TablesOptimizerConfig(
    ...         rule="lazy_adam", beta_2=0.99, row_rate="power_frequency"
    ...     )
    ... )
    >>> type(made).__name__, type(made.row_rate).__name__
    ('LazyAdam', 'PowerFrequency')
    """
    try:
        return _TABLE_RULES[settings.rule](
            learning_rate=settings.learning_rate,
            row_rate=_row_rate(settings.row_rate),
            online_counts=_online_counts(settings.counts),
            **settings.constants(),
            **settings.options(),
            **(row_options or {}),
        )
    except ValueError as error:
        # The configuration checks one constant at a time and the classes know
        # which go together; what a user wrote is refused either way.
        raise InputError(f"training.tables: {error}") from error


def _row_rate(
    settings: config_lib.RowRateConfig,
) -> optimizers.RowRate | None:
    constants = settings.constants()
    if settings.law == "constant" and not constants:
        return None
    return _LAWS[settings.law](**constants)


def _online_counts(
    settings: config_lib.CountsConfig,
) -> optimizers.OnlineCounts | None:
    if not settings.grow_online:
        return None
    return optimizers.OnlineCounts(settings.unit, settings.half_life)


def base_rate(dataset: data.Dataset, objective: str) -> float:
    """The rate of positives of an objective among its training rows.

    Args:
        dataset: Opened.
        objective: One of its labels.

    Raises:
        InputError: It has no positives, or no negatives.
    """
    label = dataset.statistics.labels[objective]
    if not 0 < label.positives < label.observed:
        raise InputError(
            "A label must be 0 in some training rows and 1 in others. "
            f"Received: {objective}, with {label.positives} positives in "
            f"{label.observed} observed training rows. Leave it out, or "
            "split the log otherwise."
        )
    return label.positive_rate


def _mark_special_rows(model: keras.Model) -> None:
    """Tells which rows are not ids, where counts grow from zero."""
    trained = {id(variable) for variable in trainable_tables(model)}
    for layer in model_building.embedding_layers(model):
        if id(layer.embeddings) in trained:
            model.optimizer.set_row_counts(
                layer.embeddings,
                np.zeros(layer.vocabulary_size, np.float32),
                num_special_rows=layer.num_special_rows,
            )


def _set_row_counts(
    model: keras.Model,
    context: models.ModelContext,
    dataset: data.Dataset,
    weights: Mapping[str, float],
) -> None:
    """Hands every table's raw-id counts, mapped to rows, to its optimizer."""
    by_variable = {
        id(layer.embeddings): layer.id_mapping
        for layer in model_building.embedding_layers(model)
    }
    for variable in trainable_tables(model):
        mapping = by_variable.get(id(variable))
        table = context.table_of(mapping)
        if mapping is None or table is None:
            raise InputError(
                "What goes by frequency needs counts, so every table must be a "
                "tfplugin Embedding with an id mapping of the ModelContext. "
                f"Received: {variable.path}. Pass "
                "`id_mapping=context.id_mappings[...]`, or set "
                "training.tables.row_rate=constant or "
                "training.tables.counts.source=online."
            )
        frequencies = dataset.id_frequencies(table)
        model.optimizer.set_row_counts(
            variable,
            mapping.row_counts(frequencies.ids, frequencies.evidence(weights)),
            num_special_rows=mapping.num_special_rows,
        )

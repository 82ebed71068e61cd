"""Configuration and dataset → a Keras model."""

import importlib
from collections.abc import Callable

import keras

from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import layer_tree
from tfplugin import layers
from tfplugin import models
from tfplugin import remedies
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.training import chunks
from tfplugin.training import model_kinds


def model_context(
    config: config_lib.ExperimentConfig, dataset: data.Dataset
) -> models.ModelContext:
    """The dataset's columns with the id mapping of each table."""
    return models.ModelContext(
        schema=dataset.schema,
        statistics=dataset.statistics,
        id_mappings={
            table: _id_mappings(table, config.table(table), dataset)
            for table in dataset.schema.table_features()
        },
    )


def _id_mappings(
    name: str, table: config_lib.TableConfig, dataset: data.Dataset
) -> layers.IdMapping | tuple[layers.IdMapping, ...]:
    dtype = dataset.schema.table_dtype(name)
    if table.mapping == "double_hash":
        return tuple(
            layers.HashMapping(
                table.num_buckets or 1,
                id_dtype=dtype,
                seed=seed,
                name=f"{name}_rows_{seed}",
            )
            for seed in range(table.num_parts)
        )
    if table.mapping == "binary_code":
        bits = table.code_bits
        return tuple(
            layers.CodeBlockMapping(
                num_bits,
                first_bit=sum(bits[:block]),
                id_dtype=dtype,
                name=f"{name}_rows_{block}",
            )
            for block, num_bits in enumerate(bits)
        )
    if table.num_buckets is not None:
        return layers.HashMapping(
            table.num_buckets, id_dtype=dtype, name=f"{name}_rows"
        )
    frequencies = dataset.id_frequencies(name).with_min_count(table.min_count)
    if table.coverage is not None:
        frequencies = frequencies.with_coverage(table.coverage)
    if table.top_n is not None:
        frequencies = frequencies.top(table.top_n)
    return layers.VocabularyMapping(
        frequencies.ids,
        num_oov_buckets=table.num_oov_buckets,
        id_dtype=dtype,
        name=f"{name}_rows",
    )


def build_model(
    config: config_lib.ExperimentConfig, context: models.ModelContext
) -> keras.Model:
    """The configured model, or the user's own.

    Raises:
        InputError: There is no model of `model.kind`, or it takes no such
            options; `model.build` cannot be imported, or what it returns
            takes other inputs than features of the dataset or has other
            outputs than the labels.
    """
    if config.model.build:
        model = _import_builder(config.model.build)(context)
        _check_columns(model, context)
        return model
    function, options = model_kinds.resolve(config.model)
    embeddings = _embeddings(config, context)
    dense_features = {
        name: _dense_feature(name, settings, context.statistics.dense[name])
        for name, settings in config.features.items()
        if isinstance(settings, config_lib.DenseFeatureConfig)
    }
    try:
        return function(
            context.inputs(),
            embeddings=embeddings,
            dense_features=dense_features,
            objectives=context.schema.labels,
            name=config.name,
            **options,
        )
    except ValueError as error:
        # Functions know which of their options fit which columns.
        raise InputError(f"model.kind={config.model.kind}: {error}") from error


def _embeddings(
    config: config_lib.ExperimentConfig, context: models.ModelContext
) -> layers.EmbeddingCollection:
    table_configs = {}
    for index, (table, id_mapping) in enumerate(context.id_mappings.items()):
        settings = config.table(table)
        table_configs[table] = layers.TableConfig(
            name=table,
            embedding_dim=settings.embedding_dim or config.model.embedding_dim,
            id_mapping=id_mapping,
            combiner=settings.combiner,
            embeddings_initializer=keras.initializers.RandomNormal(
                stddev=config.model.embeddings_stddev
            ),
            seed=config.training.seed * 1009 + index,
            compose=settings.compose or "add",
        )
    return layers.EmbeddingCollection(
        [
            layers.FeatureConfig(name, table_configs[feature.table])
            for name, feature in context.schema.id_features.items()
        ],
        name="embeddings",
    )


def embedding_layers(model: keras.Model) -> list[layers.Embedding]:
    """The embedding layers of a model, one for each table, however deep."""
    by_table = {
        id(layer.embeddings): layer
        for layer in layer_tree.walk(model)
        if isinstance(layer, layers.Embedding)
    }
    return list(by_table.values())


def describe_training(
    model: keras.Model,
    config: config_lib.ExperimentConfig,
    context: models.ModelContext,
    dataset: data.Dataset,
) -> remedies.Training:
    """What remedies are told of a training.

    Args:
        model: Built.
        config: The experiment.
        context: What the model was built from.
        dataset: Narrowed to the model's columns.
    """
    tables: dict[str, list[keras.Layer]] = {}
    for layer in embedding_layers(model):
        name = context.table_of(layer.id_mapping)
        if name is not None:
            tables.setdefault(name, []).append(layer)
    settings = config.training
    return remedies.Training(
        model=model,
        schema=dataset.schema,
        statistics=dataset.statistics,
        tables=tables,
        id_frequencies=dataset.id_frequencies,
        steps_per_epoch=chunks.mean_steps(settings, dataset),
        seed=settings.seed,
        passes_per_chunk=(
            settings.epochs if settings.chunks == "in_order" else None
        ),
    )


def _dense_feature(
    name: str,
    settings: config_lib.DenseFeatureConfig,
    statistics: schema_lib.DenseStatistics,
) -> keras.layers.Layer:
    transforms = settings.transforms
    boundaries: list[float] = []
    if "quantile_buckets" in transforms:
        last = len(statistics.quantiles) - 1
        ranks = range(1, settings.num_buckets)
        # Equal quantiles, of a value that many rows have, are one boundary.
        boundaries = sorted(
            {
                statistics.quantiles[round(rank * last / settings.num_buckets)]
                for rank in ranks
            }
        )
    return layers.DenseFeature(
        transforms,
        mean=statistics.mean,
        standard_deviation=statistics.standard_deviation,
        log_mean=statistics.log1p_mean,
        log_standard_deviation=statistics.log1p_standard_deviation,
        boundaries=boundaries,
        name=f"{name}_columns",
    )


def _import_builder(
    path: str,
) -> Callable[[models.ModelContext], keras.Model]:
    module_name, _, function_name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the user's own module lacks is not a wrong name here.
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise InputError(
            "model.build must name an importable module. Received: "
            f"{path}; there is no module {error.name!r}. Install it or put "
            "its folder on PYTHONPATH."
        ) from error
    builder = getattr(module, function_name, None)
    if not callable(builder):
        raise InputError(
            "model.build must name a function of its module. Received: "
            f"{path}; {module_name} has no function {function_name!r}."
        )
    return builder


def _check_columns(model: keras.Model, context: models.ModelContext) -> None:
    try:
        used = data.select_for_model(context.schema, model)
    except InputError as error:
        raise InputError(f"model.build: {error}") from error
    if used.labels != context.schema.labels:
        raise InputError(
            "model.build must return a model with a logit of each label, "
            f"{list(context.schema.labels)}. Received: {list(used.labels)}."
        )

"""Selected columns → the columns of examples, and each row's split."""

import dataclasses
import difflib
import functools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_jobs import conversions
from beam_jobs import row_hash
from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s
from beam_jobs.batches import LogBatch
from beam_jobs.batches import Rejected
from beam_jobs.roles import role_values
from beam_jobs.roles import splits
from tfplugin import config
from tfplugin import schema
from tfplugin.errors import InputError

Convert = Callable[..., role_values.Converted]


@dataclasses.dataclass(frozen=True)
class ExampleBatch:
    """Rows as examples hold them.

    Args:
        file: Index of their file.
        positions: int64 `(rows,)`, as in `LogBatch`.
        occurrences: int64 `(rows,)`, as in `LogBatch`.
        rows: Features, labels and roles by their names in the schema.
        splits: uint8 `(rows,)`: 0 train, 1 validation, 2 test.
    """

    file: int
    positions: Int64s
    occurrences: Int64s
    rows: pa.RecordBatch
    splits: splits.Splits

    def train(self) -> "ExampleBatch":
        """The training rows."""
        return self.take(self.splits == splits.TRAIN)

    def take(self, keep: Bools) -> "ExampleBatch":
        """The rows where `keep` is True."""
        return ExampleBatch(
            self.file,
            self.positions[keep],
            self.occurrences[keep],
            self.rows.filter(pa.array(keep)),
            self.splits[keep],
        )


@dataclasses.dataclass(frozen=True)
class _Role:
    """What one column, or a label and its mask, is for.

    Args:
        name: Its name in examples.
        key: Its key in the configuration, for messages.
        columns: Its columns in the log.
        convert: Function of these columns.
    """

    name: str
    key: str
    columns: tuple[str, ...]
    convert: Convert

    def keys(self) -> list[str]:
        """The key of each column; a second one is a label's mask."""
        return [self.key, f"{self.key}.mask"][: len(self.columns)]


class Columns:
    """Converts batches as the configuration says.

    Args:
        experiment: The configuration.
        log_schema: Columns after the select.
        cut_offs: First seconds of validation and test, by time.
        only_split: The split that all rows go to; None to split them.

    Raises:
        InputError: A column is absent, or its type can never do.
    """

    def __init__(
        self,
        experiment: config.ExperimentConfig,
        log_schema: pa.Schema,
        cut_offs: tuple[int, int] | None = None,
        only_split: str | None = None,
    ) -> None:
        self._split = experiment.split
        self._only_split = only_split
        self._cut_offs = cut_offs
        self._roles = list(roles(experiment))
        check_present(experiment, log_schema.names)
        empty = pa.RecordBatch.from_pylist([], log_schema)
        for role in self._roles:
            _convert(role, empty)
        _check_hashable(experiment.split, empty)
        self.schema = _schema(experiment, log_schema)

    def convert(self, batch: LogBatch) -> tuple[ExampleBatch, list[Rejected]]:
        """Converts a batch.

        Args:
            batch: Rows after the select.

        Returns:
            The rows that fit, and the others with their reasons.
        """
        rows = batch.rows
        keep = np.ones(rows.num_rows, np.bool_)
        reasons: list[tuple[int, str]] = []
        arrays = {}
        for role in self._roles:
            converted = _convert(role, rows)
            reasons += _reasons(role, converted, rows, keep)
            keep &= ~converted.bad
            arrays[role.name] = converted.values
        split = self._splits(rows, arrays)
        examples = pa.RecordBatch.from_pydict(arrays)
        rejected = batch.reject(sorted(reasons))
        if not rejected:
            return _examples(batch, examples, split), []
        examples = examples.filter(pa.array(keep))
        return _examples(batch.take(keep), examples, split[keep]), rejected

    def _splits(
        self, rows: pa.RecordBatch, arrays: dict[str, pa.Array]
    ) -> splits.Splits:
        if self._only_split is not None:
            split = schema.SPLITS.index(self._only_split)
            return np.full(rows.num_rows, split, np.uint8)
        if self._split.by == "hash":
            columns = [rows.column(name) for name in self._split.columns]
            hashes = row_hash.hash_columns(columns, self._split.seed)
            return splits.by_hash(
                hashes,
                validation=self._split.validation,
                test=self._split.test,
            )
        if self._cut_offs is None:
            raise ValueError(
                "`cut_offs` must be given for a split by time. Received: None."
            )
        seconds = arrays[schema.EVENT_TIME_FEATURE].fill_null(0).to_numpy()
        return splits.by_time(seconds, self._cut_offs)


def roles(experiment: config.ExperimentConfig) -> Iterator[_Role]:
    """The roles that a configuration gives to columns."""
    for name, feature in experiment.features.items():
        column = (feature.column or name,)
        key = f"features.{name}"
        if isinstance(feature, config.DenseFeatureConfig):
            yield _Role(name, key, column, role_values.dense)
        elif feature.type == "id":
            yield _Role(
                name,
                key,
                column,
                functools.partial(role_values.ids, dtype=feature.dtype),
            )
        else:
            convert = functools.partial(
                role_values.id_lists, dtype=feature.dtype
            )
            yield _Role(name, key, column, convert)
    for name, label in experiment.labels.items():
        found = (label.column or name, *([label.mask] if label.mask else []))
        yield _Role(name, f"labels.{name}", found, role_values.labels)
    if experiment.weight is not None:
        columns = (experiment.weight,)
        yield _Role(
            schema.WEIGHT_FEATURE, "weight", columns, role_values.weights
        )
    if experiment.group is not None:
        columns = (experiment.group,)
        yield _Role(schema.GROUP_FEATURE, "group", columns, role_values.keys)
    if experiment.request_id is not None:
        columns = (experiment.request_id,)
        yield _Role(
            schema.REQUEST_ID_FEATURE, "request_id", columns, role_values.keys
        )
    if experiment.event_time is not None:
        columns = (experiment.event_time,)
        yield _Role(
            schema.EVENT_TIME_FEATURE,
            "event_time",
            columns,
            functools.partial(
                role_values.seconds, required=needs_time(experiment)
            ),
        )


def needs_time(experiment: config.ExperimentConfig) -> bool:
    """Whether every row must have its moment."""
    return experiment.split.by == "time" or experiment.dataset.order == "time"


def log_columns(experiment: config.ExperimentConfig) -> list[str]:
    """Columns of the log (after the select) that the configuration uses."""
    names = [name for role in roles(experiment) for name in role.columns]
    return list(dict.fromkeys([*names, *experiment.split.columns]))


def column_types(
    experiment: config.ExperimentConfig,
) -> dict[str, pa.DataType]:
    """Types of log columns that roles settle; others are inferred."""
    types: dict[str, pa.DataType] = {}
    selected = experiment.source.select is not None
    csv = experiment.source.format == "csv"
    if selected and not csv:
        return types
    for name, feature in experiment.features.items():
        column = feature.column or name
        if isinstance(feature, config.IdFeatureConfig):
            kind = pa.string() if feature.dtype == "string" else pa.int64()
            if feature.type == "id_list" and not csv:
                kind = pa.list_(kind)
            if feature.dtype == "string" or not selected:
                types[column] = kind
        elif not selected:
            types[column] = pa.float64()
    if selected:
        # What else has a role is made by the select, of columns of any type.
        return types
    for name, label in experiment.labels.items():
        # Any way of writing a truth value or a moment is read later.
        types.setdefault(label.column or name, pa.string())
        if label.mask:
            types.setdefault(label.mask, pa.string())
    if experiment.event_time is not None:
        types.setdefault(experiment.event_time, pa.string())
    if experiment.weight is not None:
        types.setdefault(experiment.weight, pa.float64())
    return types


def _convert(role: _Role, rows: pa.RecordBatch) -> role_values.Converted:
    columns = [rows.column(name) for name in role.columns]
    try:
        return role.convert(*columns)
    except role_values.WrongType as error:
        types = ", ".join(
            f"`{name}` of type {column.type}"
            for name, column in zip(role.columns, columns, strict=True)
        )
        raise InputError(
            f"`{role.key}` needs {error}. Received: column {types}. Name "
            "another column, or convert it in `source.select`."
        ) from error


def _reasons(
    role: _Role,
    converted: role_values.Converted,
    rows: pa.RecordBatch,
    keep: Bools,
) -> list[tuple[int, str]]:
    """Row and reason of rows that this role is the first to refuse."""
    bad = np.flatnonzero(converted.bad & keep)
    received = [
        [f"{name}={value!r}" for value in values]
        for name in role.columns
        for values in [rows.column(name).take(pa.array(bad)).to_pylist()]
    ]
    return [
        (row, f"{role.key} must be {converted.rule}; got {', '.join(values)}")
        for row, *values in zip(bad.tolist(), *received, strict=True)
    ]


def check_present(
    experiment: config.ExperimentConfig, names: Sequence[str]
) -> None:
    """Refuses a configuration that names columns the log lacks.

    Args:
        experiment: The configuration.
        names: All columns of the log, after the select.

    Raises:
        InputError: Names the key, the column and the nearest there is.
    """
    pairs = [
        (key, name)
        for role in roles(experiment)
        for key, name in zip(role.keys(), role.columns, strict=True)
    ]
    pairs += [("split.columns", name) for name in experiment.split.columns]
    for key, name in pairs:
        if name in names:
            continue
        near = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise InputError(
            f"`{key}` must name a column of the log. Received: `{name}`."
            f"{hint} Columns: {', '.join(names)}."
        )


def _check_hashable(split: config.SplitConfig, empty: pa.RecordBatch) -> None:
    for name in split.columns:
        column = empty.column(name)
        try:
            row_hash.hash_values(column)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise InputError(
                "`split.columns` must name columns of single values. "
                f"Received: `{name}` of type {column.type}. Name another."
            ) from error


def _schema(
    experiment: config.ExperimentConfig, log_schema: pa.Schema
) -> schema.Schema:
    def dtype(column: str | None) -> schema.IdDtype | None:
        if column is None:
            return None
        kind = conversions.plain_type(log_schema.field(column).type)
        return role_values.key_dtype(kind)

    ids, dense = {}, {}
    for name, feature in experiment.features.items():
        if isinstance(feature, config.DenseFeatureConfig):
            dense[name] = schema.DenseFeature(
                training_only=feature.training_only,
                serving_value=feature.serving_value,
            )
        else:
            ids[name] = schema.IdFeature(
                dtype=feature.dtype,
                is_list=feature.type == "id_list",
                table=feature.table or name,
                training_only=feature.training_only,
                serving_value=feature.serving_value,
            )
    return schema.Schema(
        id_features=ids,
        dense_features=dense,
        labels=tuple(experiment.labels),
        weight=experiment.weight is not None,
        group=dtype(experiment.group),
        event_time=experiment.event_time is not None,
        request_id=dtype(experiment.request_id),
        order=experiment.dataset.order,
        format=experiment.dataset.format,
        rows_per_record=(
            experiment.dataset.rows_per_record
            if experiment.dataset.format == "packed"
            else None
        ),
        negatives=_sampling(experiment.dataset.negatives),
    )


def _sampling(
    negatives: config.NegativesConfig | None,
) -> schema.NegativeSampling | None:
    if negatives is None:
        return None
    return schema.NegativeSampling(
        labels=negatives.labels,
        rate=negatives.rate,
        splits=negatives.splits,
    )


def _examples(
    batch: LogBatch, rows: pa.RecordBatch, split: splits.Splits
) -> ExampleBatch:
    return ExampleBatch(
        batch.file, batch.positions, batch.occurrences, rows, split
    )

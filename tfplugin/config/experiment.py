"""The whole configuration: one YAML file."""

import re
from collections.abc import Iterable
from typing import Annotated

import pydantic

from tfplugin import schema
from tfplugin.config import columns
from tfplugin.config.dataset import DatasetConfig
from tfplugin.config.drift import DriftConfig
from tfplugin.config.export import ExportConfig
from tfplugin.config.job import AppendConfig
from tfplugin.config.job import JobConfig
from tfplugin.config.recommend import RecommendConfig
from tfplugin.config.records import Section
from tfplugin.config.source import SourceConfig
from tfplugin.config.tables_optimizer import OCCURRENCES
from tfplugin.config.training import ModelConfig
from tfplugin.config.training import TrainingConfig

#: What a feature, label or table may be called: it names inputs of a
#: SavedModel, variables and folders.
_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")


class ExperimentConfig(Section):
    """One experiment, from the raw log to the served model.

    Args:
        name: The experiment's name, and the served model's.
        source: The raw log.
        features: Name to a column of ids or numbers.
        labels: Objectives.
        weight: Column of example weights.
        group: Column by which metrics may be grouped (a user).
        event_time: Column of the moment: seconds since 1970, or a timestamp.
        request_id: Column that tells requests apart.
        split: Train, validation, test.
        dataset: How examples are written.
        tables: Table to its mapping; tables not named take the defaults.
        model: The network.
        training: How it is trained.
        append: What `preprocess --append` does with a later log.
        job: How preprocessing runs.
        drift: How far apart two datasets may be.
        recommend: What `tfplugin recommend` may spend.
        export: What `tfplugin export` writes.
    """

    name: str
    source: SourceConfig
    features: Annotated[
        dict[str, columns.FeatureConfig], pydantic.Field(min_length=1)
    ]
    labels: Annotated[
        dict[str, columns.LabelConfig], pydantic.Field(min_length=1)
    ]
    weight: str | None = None
    group: str | None = None
    event_time: str | None = None
    request_id: str | None = None
    split: columns.SplitConfig
    dataset: DatasetConfig = DatasetConfig()
    tables: dict[str, columns.TableConfig] = {}
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    append: AppendConfig = AppendConfig()
    job: JobConfig = JobConfig()
    drift: DriftConfig = DriftConfig()
    recommend: RecommendConfig = RecommendConfig()
    export: ExportConfig = ExportConfig()

    @pydantic.field_validator("labels", mode="before")
    @classmethod
    def _labels_without_options(cls, value: object) -> object:
        if isinstance(value, list):
            return {name: {} for name in value}
        if isinstance(value, dict):
            return {name: label or {} for name, label in value.items()}
        return value

    @pydantic.model_validator(mode="after")
    def _check(self) -> "ExperimentConfig":
        self._check_names()
        self._check_tables()
        self._check_dimensions()
        needs_time = self.split.by == "time" or self.dataset.order == "time"
        if needs_time and self.event_time is None:
            raise ValueError(
                "a split or an order by time needs `event_time`: name its "
                "column"
            )
        negatives = self.dataset.negatives
        for label in negatives.labels if negatives else ():
            if label not in self.labels:
                raise ValueError(
                    f"dataset.negatives.labels names `{label}`, which is no "
                    f"label; labels are {_listed(self.labels)}"
                )
        known = {*self.features, *self.labels, *self.id_tables()}
        for column in self.drift.columns:
            if column not in known:
                raise ValueError(
                    f"drift.columns names `{column}`, which is no feature, "
                    f"table or label; these are {_listed(known)}"
                )
        for objective in self.training.loss_weights:
            if objective not in self.labels:
                raise ValueError(
                    f"training.loss_weights names `{objective}`, which is no "
                    f"label; labels are {_listed(self.labels)}"
                )
        best = self.training.export_best
        if best is not None and best not in self.labels:
            raise ValueError(
                f"training.export_best names `{best}`, which is no label; "
                f"labels are {_listed(self.labels)}"
            )
        self._check_remedies()
        self.export.check(self.id_tables(), self.labels)
        for counted in self.training.tables.counts.weights:
            if counted != OCCURRENCES and counted not in self.labels:
                raise ValueError(
                    f"training.tables.counts.weights names `{counted}`, which "
                    f"is neither `{OCCURRENCES}` nor a label; labels are "
                    f"{_listed(self.labels)}"
                )
        return self

    def _check_remedies(self) -> None:
        settings = self.training
        # In order, the epochs are those of all chunks of the dataset.
        known = settings.chunks != "in_order"
        epochs = settings.epochs if known else None
        for name, remedy in settings.remedies.items():
            try:
                remedy.check(self.id_tables(), self.labels, epochs)
            except ValueError as error:
                raise ValueError(
                    f"training.remedies.{name}: {error}"
                ) from error
            for key, reason in remedy.table_conflicts.items():
                if getattr(settings.tables, key):
                    raise ValueError(
                        f"`training.remedies.{name}` and `training.tables."
                        f"{key}` do not go together: {reason}. Leave one out"
                    )

    def _check_names(self) -> None:
        tables = self.id_tables()
        for name in (self.name, *self.features, *self.labels, *tables):
            if not _NAME.match(name):
                raise ValueError(
                    "names must be letters, digits and underscores, starting "
                    f"with a letter; received `{name}`"
                )
        by_lower: dict[str, str] = {}
        for name in self.features:
            other = by_lower.setdefault(name.lower(), name)
            if name == "self" or other != name:
                raise ValueError(
                    f"the feature `{name}` cannot be an input of a served "
                    "model, whose names differ in more than capital letters "
                    "and are not `self`; rename it"
                )
        taken = set(schema.RESERVED_FEATURES)
        taken |= {
            name + schema.LENGTHS_SUFFIX
            for name, feature in self.features.items()
            if feature.type == "id_list"
        }
        for name in (*self.features, *self.labels):
            if name in taken:
                raise ValueError(
                    f"the name `{name}` is used twice or reserved; rename it"
                )
            taken.add(name)

    def _check_tables(self) -> None:
        used = self.id_tables()
        if not used:
            raise ValueError(
                "features must hold at least one of type `id` or `id_list`"
            )
        for table in self.tables:
            if table not in used:
                raise ValueError(
                    f"tables.{table} is a table that no feature uses; tables "
                    f"in use are {_listed(used)}"
                )
        for table, features in used.items():
            dtypes = {self.features[name].dtype for name in features}  # type: ignore[union-attr]
            if len(dtypes) > 1:
                raise ValueError(
                    f"features {_listed(features)} share table `{table}` but "
                    f"differ in dtype: {_listed(dtypes)}"
                )

    def _check_dimensions(self) -> None:
        for name in self.id_tables():
            table = self.table(name)
            dim = table.embedding_dim or self.model.embedding_dim
            if table.compose == "concatenate" and dim % table.num_parts:
                raise ValueError(
                    f"tables.{name} concatenates {table.num_parts} rows, so "
                    "its `embedding_dim` must be a multiple of that; received "
                    f"{dim}"
                )

    def id_tables(self) -> dict[str, list[str]]:
        """Table to the names of the id features that index it."""
        tables: dict[str, list[str]] = {}
        for name, feature in self.features.items():
            if isinstance(feature, columns.IdFeatureConfig):
                tables.setdefault(feature.table or name, []).append(name)
        return tables

    def table(self, name: str) -> columns.TableConfig:
        """A table's mapping, the defaults if the file does not name it."""
        return self.tables.get(name, columns.TableConfig())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

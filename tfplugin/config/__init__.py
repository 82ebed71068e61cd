"""One YAML file a user can read aloud, checked as it is read."""

from tfplugin.config.columns import DenseFeatureConfig
from tfplugin.config.columns import FeatureConfig
from tfplugin.config.columns import IdFeatureConfig
from tfplugin.config.columns import LabelConfig
from tfplugin.config.columns import SplitConfig
from tfplugin.config.columns import TableConfig
from tfplugin.config.dataset import DatasetConfig
from tfplugin.config.dataset import NegativesConfig
from tfplugin.config.drift import DriftConfig
from tfplugin.config.drift import DriftThresholds
from tfplugin.config.experiment import ExperimentConfig
from tfplugin.config.export import ExportBounds
from tfplugin.config.export import ExportConfig
from tfplugin.config.export import ExportTableConfig
from tfplugin.config.job import AppendConfig
from tfplugin.config.job import JobConfig
from tfplugin.config.joins import EventsJoin
from tfplugin.config.joins import JoinConfig
from tfplugin.config.joins import LookupJoin
from tfplugin.config.loading import dump
from tfplugin.config.loading import load
from tfplugin.config.loading import with_changes
from tfplugin.config.log_format import CsvOptions
from tfplugin.config.log_format import JsonLinesOptions
from tfplugin.config.log_format import LogFiles
from tfplugin.config.recommend import RecommendConfig
from tfplugin.config.source import SideTable
from tfplugin.config.source import SourceConfig
from tfplugin.config.tables_optimizer import CountsConfig
from tfplugin.config.tables_optimizer import RowRateConfig
from tfplugin.config.tables_optimizer import TablesOptimizerConfig
from tfplugin.config.training import ModelConfig
from tfplugin.config.training import RestOptimizerConfig
from tfplugin.config.training import TrainingConfig

__all__ = [
    "AppendConfig",
    "CountsConfig",
    "CsvOptions",
    "DatasetConfig",
    "DenseFeatureConfig",
    "DriftConfig",
    "DriftThresholds",
    "EventsJoin",
    "ExperimentConfig",
    "ExportBounds",
    "ExportConfig",
    "ExportTableConfig",
    "FeatureConfig",
    "IdFeatureConfig",
    "JobConfig",
    "JoinConfig",
    "JsonLinesOptions",
    "LabelConfig",
    "LogFiles",
    "LookupJoin",
    "ModelConfig",
    "NegativesConfig",
    "RecommendConfig",
    "RestOptimizerConfig",
    "RowRateConfig",
    "SideTable",
    "SourceConfig",
    "SplitConfig",
    "TableConfig",
    "TablesOptimizerConfig",
    "TrainingConfig",
    "dump",
    "load",
    "with_changes",
]

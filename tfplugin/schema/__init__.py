"""Records of a dataset: names and roles of columns, and what was found.

Loads neither TensorFlow nor Beam.
"""

from tfplugin.schema.columns import EVENT_TIME_FEATURE
from tfplugin.schema.columns import GROUP_FEATURE
from tfplugin.schema.columns import LENGTHS_SUFFIX
from tfplugin.schema.columns import MISSING_INT64
from tfplugin.schema.columns import MISSING_LABEL
from tfplugin.schema.columns import MISSING_STRING
from tfplugin.schema.columns import REQUEST_ID_FEATURE
from tfplugin.schema.columns import RESERVED_FEATURES
from tfplugin.schema.columns import SPLITS
from tfplugin.schema.columns import WEIGHT_FEATURE
from tfplugin.schema.columns import DenseFeature
from tfplugin.schema.columns import IdDtype
from tfplugin.schema.columns import IdFeature
from tfplugin.schema.columns import NegativeSampling
from tfplugin.schema.columns import Schema
from tfplugin.schema.records import Record
from tfplugin.schema.records import read_record
from tfplugin.schema.records import write_record
from tfplugin.schema.sketches import ColumnSketch
from tfplugin.schema.sketches import HeavyHitter
from tfplugin.schema.statistics import Addition
from tfplugin.schema.statistics import DenseStatistics
from tfplugin.schema.statistics import JoinStatistics
from tfplugin.schema.statistics import LabelStatistics
from tfplugin.schema.statistics import Shard
from tfplugin.schema.statistics import SourceFile
from tfplugin.schema.statistics import Statistics
from tfplugin.schema.statistics import TableStatistics

__all__ = [
    "Addition",
    "ColumnSketch",
    "DenseFeature",
    "DenseStatistics",
    "EVENT_TIME_FEATURE",
    "GROUP_FEATURE",
    "HeavyHitter",
    "IdDtype",
    "IdFeature",
    "JoinStatistics",
    "LENGTHS_SUFFIX",
    "LabelStatistics",
    "MISSING_INT64",
    "MISSING_LABEL",
    "MISSING_STRING",
    "NegativeSampling",
    "REQUEST_ID_FEATURE",
    "RESERVED_FEATURES",
    "Record",
    "SPLITS",
    "Schema",
    "Shard",
    "SourceFile",
    "Statistics",
    "TableStatistics",
    "WEIGHT_FEATURE",
    "read_record",
    "write_record",
]

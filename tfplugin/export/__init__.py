"""SavedModels that stock TF Serving runs."""

from tfplugin.export.golden import GoldenRequests
from tfplugin.export.saved_model import next_version
from tfplugin.export.saved_model import save
from tfplugin.export.size_report import BoundExceededError
from tfplugin.export.size_report import Bounds
from tfplugin.export.smaller_tables import SmallerTables
from tfplugin.export.table_compression import TableCompression

__all__ = [
    "BoundExceededError",
    "Bounds",
    "GoldenRequests",
    "SmallerTables",
    "TableCompression",
    "next_version",
    "save",
]

"""SavedModels that stock TF Serving runs."""

from tfplugin.export.saved_model import next_version
from tfplugin.export.saved_model import save

__all__ = ["next_version", "save"]

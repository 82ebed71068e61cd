"""One HTML page about an experiment: its data, its model, its epochs.

Loads neither TensorFlow nor Beam.
"""

from tfplugin.report.page import write

__all__ = ["write"]

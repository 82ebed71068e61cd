"""Keras 3 plugin for models with very large embedding tables.

Importing this package loads neither TensorFlow nor Beam; import the room you
need, for example `from tfplugin import layers`.
"""

__version__ = "0.1.0"

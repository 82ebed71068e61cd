"""What to decide before training: sizes of tables, drift of data.

Loads TensorFlow only where something is mapped or built.
"""

from tfplugin.planning.collisions import Collisions
from tfplugin.planning.collisions import expected_shared
from tfplugin.planning.records import Plan
from tfplugin.planning.records import TablePlan
from tfplugin.planning.tables import plan

__all__ = [
    "Collisions",
    "Plan",
    "TablePlan",
    "expected_shared",
    "plan",
]

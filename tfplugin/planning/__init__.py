"""What to decide before training: sizes of tables, recipes, drift of data.

Loads TensorFlow only where something is mapped or built.
"""

from tfplugin.planning.collisions import Collisions
from tfplugin.planning.collisions import expected_shared
from tfplugin.planning.recommend_records import Recommendation
from tfplugin.planning.recommend_search import recommend
from tfplugin.planning.records import Plan
from tfplugin.planning.records import TablePlan
from tfplugin.planning.tables import plan

__all__ = [
    "Collisions",
    "Plan",
    "Recommendation",
    "TablePlan",
    "expected_shared",
    "plan",
    "recommend",
]

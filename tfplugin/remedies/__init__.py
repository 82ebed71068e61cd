"""Remedies against overfitting over many epochs, each one module.

A new remedy is one module here and its test. The module's name is its key in
`training.remedies`; it has one subclass of `Remedy`, a pydantic model: its
fields are the section's keys, its docstring's first line and Args their
documentation (`scripts/config_reference.py`). It overrides the hooks it needs:

* `check`: names of tables and labels in it, and numbers beyond the epochs, when
  a configuration is read
* `row_options`: arguments of the tables' optimizer
* `losses`: the losses to compile with
* `callbacks`: what happens between epochs; what such a callback must carry
  over a resume it keeps in variables in its dict `trackables`
* `conflicts`, `table_conflicts`: which other remedies and which keys of
  `training.tables` it cannot be combined with, and why

A remedy on some tables only is a subclass of `table_choice.TableChoice`. What
a module here needs of TensorFlow or Keras it imports inside of its methods,
since a configuration is read without them.
"""

from tfplugin.remedies.base import Remedy
from tfplugin.remedies.base import Training
from tfplugin.remedies.registry import check_together
from tfplugin.remedies.registry import known
from tfplugin.remedies.registry import parse

__all__ = ["Remedy", "Training", "check_together", "known", "parse"]

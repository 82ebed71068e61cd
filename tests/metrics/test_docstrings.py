import doctest
import importlib
import pkgutil

import pytest

from tfplugin import metrics

# Bases hold no example of their own: AUC's and Calibration's show them.
BASES = {"score_histogram", "weighted_sums"}
MODULES = [m.name for m in pkgutil.iter_modules(metrics.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(f"tfplugin.metrics.{name}")
    result = doctest.testmod(module)
    assert result.attempted or name in BASES
    assert not result.failed

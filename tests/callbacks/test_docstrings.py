import doctest
import importlib
import pkgutil

import pytest

from tfplugin import callbacks

MODULES = [m.name for m in pkgutil.iter_modules(callbacks.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(f"tfplugin.callbacks.{name}")
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed

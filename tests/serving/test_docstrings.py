import doctest
import importlib
import pkgutil

import pytest

import serving

MODULES = [module.name for module in pkgutil.iter_modules(serving.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"serving.{name}")
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed

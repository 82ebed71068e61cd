"""Doctests of our modules, and which public names have an example."""

import doctest
import importlib
import inspect

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def find(module_name):
    """The doctests of a module that hold an example."""
    module = importlib.import_module(module_name)
    found = doctest.DocTestFinder(exclude_empty=True).find(module)
    return [test for test in found if test.examples]


def run(test):
    """Runs one; returns what failed, as doctest prints it, or ''."""
    said = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    runner.run(test, out=said.append)
    return "".join(said) if runner.failures else ""


def has_example(item):
    """Whether a docstring, or one of a class's own methods', shows code."""
    docstrings = [item.__doc__]
    if inspect.isclass(item):
        docstrings += [
            getattr(member, "__func__", member).__doc__
            for member in vars(item).values()
            if inspect.isroutine(getattr(member, "__func__", member))
        ]
    return any(">>> " in (text or "") for text in docstrings)

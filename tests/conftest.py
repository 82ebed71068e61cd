"""What every test process does first, and in which order tests run."""

import gc
import pathlib

# TensorFlow's graphs are many objects that live long: to look through them for
# cycles as often as Python does by default takes a tenth of all time.
gc.set_threshold(50_000, 20, 20)

# Folders whose files take longest: begun late, one would be waited for.
_LONG = ("engines", "end_to_end", "training", "benchmarks", "legacy_keras")
_TESTS = pathlib.Path(__file__).parent


def _rank(item):
    folder = item.path.relative_to(_TESTS).parts[0]
    return _LONG.index(folder) if folder in _LONG else len(_LONG)


def pytest_collection_modifyitems(items):
    # Files stay together and in order.
    items.sort(key=_rank)

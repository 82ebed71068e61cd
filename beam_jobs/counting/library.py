"""Finds and loads the C++ library that setup.py built, if it could."""

import contextlib
import ctypes
import functools
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

#: `0` switches the library off, as it does the kernels of training.
ENVIRONMENT_VARIABLE = "TFPLUGIN_KERNELS"
#: The file's name; setup.py writes the same.
BINARY = "libcounting.so"

# Of counting.cc: the functions this Python code knows how to call.
_INTERFACE = 1

_PATH = pathlib.Path(__file__).with_name(BINARY)
_ADVICE = (
    "With a C++17 compiler (g++), `pip install --no-build-isolation "
    "--force-reinstall --no-deps` of tfplugin builds it."
)


class Status(NamedTuple):
    """Whether the C++ library counts ids, and why.

    Args:
        in_use: Whether it does.
        reason: One sentence.
        path: The binary, or None.

    Example:
    >>> isinstance(status().reason, str)
    True
    """

    in_use: bool
    reason: str
    path: str | None


class _Switch:
    """Of the process: Beam's workers are threads of their own."""

    fallbacks = 0


_switch = _Switch()


def library() -> ctypes.CDLL | None:
    """The C++ library, or None: count by Arrow.

    Loaded by the first call, which logs one line if that fails.

    Example:
    >>> with fallback():
    ...     print(library())
    None
    """
    return None if _switch.fallbacks else _load()[0]


def status() -> Status:
    """Whether the library is in use, and why.

    Example:
    >>> found = status()
    >>> found.in_use == (found.path is not None)
    True
    """
    return _load()[1]


@contextlib.contextmanager
def fallback() -> Iterator[None]:
    """Inside of it, in all threads, ids are counted by Arrow; for tests.

    Example:
    >>> with fallback():
    ...     library() is None
    True
    """
    _switch.fallbacks += 1
    try:
        yield
    finally:
        _switch.fallbacks -= 1


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, Status]:
    if os.environ.get(ENVIRONMENT_VARIABLE) == "0":
        reason = f"{ENVIRONMENT_VARIABLE}=0 switches it off."
        return None, Status(False, reason, None)
    if not _PATH.exists():
        return _without("It was not built when tfplugin was installed.")
    try:
        found = ctypes.CDLL(str(_PATH))
    except OSError as error:
        words = str(error).splitlines()[0]
        return _without(f"{BINARY} does not load: {words}.")
    if getattr(found, "tfplugin_counting_interface", int)() != _INTERFACE:
        return _without(f"{BINARY} was built from other sources of tfplugin.")
    return found, Status(True, f"{BINARY} is loaded.", str(_PATH))


def _without(reason: str) -> tuple[None, Status]:
    reason = f"{reason} {_ADVICE}"
    logging.getLogger("tfplugin").warning(
        "tfplugin counts ids by Arrow, without its C++ library: %s", reason
    )
    return None, Status(False, reason, None)

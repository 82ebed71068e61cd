"""Finds and loads the C++ operators that setup.py built, if it could."""

import contextlib
import contextvars
import ctypes
import logging
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import tensorflow as tf

#: `0` switches the operators off; `baseline` or `avx2` keeps them from using
#: more of the processor.
ENVIRONMENT_VARIABLE = "TFPLUGIN_KERNELS"

# Of row_update.cc: the operators this Python code knows how to call.
_INTERFACE = 2

_FOLDER = pathlib.Path(__file__).parent
_ADVICE = (
    "With a C++17 compiler (g++) and TensorFlow installed, `pip install "
    "--no-build-isolation --force-reinstall --no-deps` of tfplugin builds them."
)


class Status(NamedTuple):
    """Whether the C++ operators are in use, and why.

    Args:
        in_use: Whether training takes them.
        reason: One sentence.
        instruction_set: `"AVX-512"`, `"AVX2"` or `"baseline"`; None if they
            are not loaded.
        path: The binary, or None.
        tensorflow: The installed TensorFlow's version.

    Example:
    >>> from tfplugin import kernels
    >>> found = kernels.status()
    >>> found.in_use == (found.instruction_set is not None)
    True
    """

    in_use: bool
    reason: str
    instruction_set: str | None
    path: str | None
    tensorflow: str


class _Loader:
    """Loads once, whichever thread asks first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Status] | None = None

    def load(self) -> tuple[Any, Status]:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load()
            return self._loaded


_loader = _Loader()
_fallback = contextvars.ContextVar("tfplugin_kernels_fallback", default=False)


def library() -> Any | None:
    """Returns the module of the C++ operators.

    Loaded by the first call, which logs one line if that fails. Whoever asks
    while a function is traced decides for all calls of the trace.

    Returns:
        What `tf.load_op_library` returned, or None: take TensorFlow's
        operators.

    Example:
    >>> from tfplugin import kernels
    >>> with kernels.fallback():
    ...     print(kernels.library())
    None
    """
    if _fallback.get():
        return None
    return _loader.load()[0]


def status() -> Status:
    """Returns whether the operators are in use, and why.

    Example:
    >>> from tfplugin import kernels
    >>> isinstance(kernels.status().reason, str)
    True
    """
    return _loader.load()[1]


@contextlib.contextmanager
def fallback() -> Iterator[None]:
    """Inside of it, in this thread, TensorFlow's operators are taken.

    For comparisons; a function traced before keeps what it was traced with.

    Example:
    >>> from tfplugin import kernels
    >>> with kernels.fallback():
    ...     kernels.library() is None
    True
    """
    token = _fallback.set(True)
    try:
        yield
    finally:
        _fallback.reset(token)


def binary_name(tensorflow_version: str) -> str:
    """Returns the file name of a binary; setup.py writes the same.

    Operators fit one version of TensorFlow, so its number is in the name.

    Args:
        tensorflow_version: Such as `"2.21.0"`.

    Example:
    >>> binary_name("2.21.0")
    'operators_tf2.21.0.so'
    """
    return f"operators_tf{tensorflow_version}.so"


def _load() -> tuple[Any, Status]:
    if os.environ.get(ENVIRONMENT_VARIABLE) == "0":
        return None, _absent(f"{ENVIRONMENT_VARIABLE}=0 switches them off.")
    path = _FOLDER / binary_name(tf.__version__)
    if not path.exists():
        others = sorted(_FOLDER.glob(binary_name("*")))
        reason = "They were not built when tfplugin was installed."
        if others:
            reason = (
                f"They were built as {others[0].name}, which does not fit "
                f"TensorFlow {tf.__version__}."
            )
        return _without(f"{reason} {_ADVICE}")
    try:
        operators = tf.load_op_library(str(path))
    except (tf.errors.OpError, OSError) as error:
        # The binary's own words, which may be many lines of symbols.
        words = str(error).splitlines()[0]
        return _without(f"{path.name} does not load: {words}. {_ADVICE}")
    binary = ctypes.CDLL(str(path))
    if getattr(binary, "tfplugin_interface", lambda: None)() != _INTERFACE:
        return _without(
            f"{path.name} was built from other sources of tfplugin. {_ADVICE}"
        )
    binary.tfplugin_instruction_set.restype = ctypes.c_char_p
    name = binary.tfplugin_instruction_set().decode("ascii")
    return operators, Status(
        True,
        f"{path.name} is loaded and uses {name}.",
        name,
        str(path),
        tf.__version__,
    )


def _absent(reason: str) -> Status:
    return Status(False, reason, None, None, tf.__version__)


def _without(reason: str) -> tuple[None, Status]:
    logging.getLogger("tfplugin").warning(
        "tfplugin trains on TensorFlow's operators, without its C++ kernels: "
        "%s",
        reason,
    )
    return None, _absent(reason)

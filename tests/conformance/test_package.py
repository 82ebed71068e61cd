"""The wheel, installed away from the checkout."""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.support import source_imports

_SOURCES = (
    *source_imports.PACKAGES,
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "setup.py",
)

#: Runs where the wheel was installed; prints what it finds.
_PROGRAM = """
import importlib, importlib.metadata, importlib.resources, json, sys
modules = sys.argv[2:]
metadata = importlib.metadata.distribution("tfplugin")
(script,) = metadata.entry_points.select(group="console_scripts")
print(json.dumps({
    "files": [importlib.import_module(name).__file__ for name in modules],
    "version": metadata.version,
    "own_version": importlib.import_module("tfplugin").__version__,
    "script": [script.name, script.load().__module__],
    "python": metadata.metadata["Requires-Python"],
    "license": metadata.metadata["License"],
    "extras": metadata.metadata.get_all("Provides-Extra"),
    "requires": metadata.requires,
    "style": importlib.resources.files("tfplugin.report")
        .joinpath("style.css").read_text("utf-8"),
}))
"""


def _pip(*arguments, **environment):
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *("--quiet", *arguments, "--no-deps", "--no-index"),
        ],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )


def _ignore(folder, names):
    return [n for n in names if n == "__pycache__" or n.endswith(".so")]


def _build(tmp_path_factory, **environment):
    # A copy: a build leaves files beside the sources.
    copy = tmp_path_factory.mktemp("sources")
    for name in _SOURCES:
        source = source_imports.CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=_ignore)
        else:
            shutil.copy(source, copy / name)
    folder = tmp_path_factory.mktemp("wheel")
    _pip(
        *("wheel", "--no-build-isolation", "--wheel-dir", str(folder)),
        str(copy),
        **environment,
    )
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return _build(tmp_path_factory)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("installed")
    _pip("install", "--target", str(target), str(wheel))
    return target


def _run(installed, folder, *words):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def found(installed, tmp_path_factory):
    modules = [m for m in source_imports.paths() if "__main__" not in m]
    said = _run(
        installed,
        tmp_path_factory.mktemp("elsewhere"),
        *("-c", _PROGRAM, "--", *modules),
    )
    return json.loads(said.splitlines()[-1])


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    ours = {n for n in names if ".dist-info/" not in n}
    expected = {
        str(path.relative_to(source_imports.CHECKOUT))
        for path in source_imports.paths().values()
    }
    expected.add("tfplugin/report/style.css")
    expected.add("serving/stock_operators.txt")
    deployment = source_imports.CHECKOUT / "serving/deployment"
    expected |= {
        str(path.relative_to(source_imports.CHECKOUT))
        for pattern in ("*.config", "*.txt", "*.yaml")
        for path in deployment.rglob(pattern)
    }
    if shutil.which("g++"):
        version = importlib.metadata.version("tensorflow")
        expected.add(f"tfplugin/kernels/operators_tf{version}.so")
        expected.add("beam_jobs/counting/libcounting.so")
    assert ours == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_working_compiler_the_wheel_has_no_kernels(
    tmp_path_factory, compiler
):
    path = _build(tmp_path_factory, CXX=compiler)
    names = zipfile.ZipFile(path).namelist()
    assert "tfplugin/kernels/loading.py" in names
    assert not any(name.endswith(".so") for name in names)


def test_every_module_is_imported_from_there(installed, found):
    for path in found["files"]:
        assert pathlib.Path(path).is_relative_to(installed)


def test_metadata(found):
    assert found["version"] == found["own_version"]
    assert found["script"] == ["tfplugin", "tfplugin.cli.commands"]
    assert found["python"] == ">=3.11"
    assert found["license"] == "Apache-2.0"
    assert {"legacy-keras", "test"} <= set(found["extras"])
    assert "keras-rs>=0.4" in found["requires"]
    assert "tensorflow<2.22,>=2.21" in found["requires"]


def test_the_page_has_its_style(found):
    assert "{" in found["style"]


def test_the_command_runs_there(installed, tmp_path):
    shown = _run(installed, tmp_path, "-m", "tfplugin", "--help")
    for command in ("preprocess", "train", "evaluate", "export", "serve"):
        assert command in shown

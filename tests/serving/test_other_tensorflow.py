"""A shipped model under TensorFlow 2.19.1, without any package of ours."""

import subprocess
import sys

import pytest
import tensorflow as tf

from serving import operators
from serving import validation
from tests.support import other_tensorflow
from tests.support import shipped
from tests.support import source_imports


@pytest.fixture(scope="module")
def python():
    return other_tensorflow.interpreter()


def test_a_shipped_model_passes(python, tmp_path_factory):
    model = shipped.once(tmp_path_factory)
    report = validation.validate(model, python=python)
    assert report.problems == ()
    assert report.tensorflow == other_tensorflow.VERSION != tf.version.VERSION


def test_the_list_of_stock_operators_is_that_of_its_library(python):
    script = source_imports.CHECKOUT / "scripts" / "stock_operators.py"
    written = subprocess.run(
        [python, script], check=True, capture_output=True, text=True
    ).stdout
    file = source_imports.CHECKOUT / "serving" / "stock_operators.txt"
    assert written == file.read_text("utf-8")
    assert f"TensorFlow {other_tensorflow.VERSION} " in written
    names = operators.stock()
    assert {"MatMul", "LookupTableFindV2", "ParseExampleV2"} <= names
    assert not names & {"PyFunc", "EagerPyFunc", "TfpluginGather", ""}


def test_nothing_of_ours_is_there(python):
    assert python != sys.executable
    for name in ("tfplugin", "serving", "tensorflow_serving"):
        ended = subprocess.run(
            [python, "-I", "-c", f"import {name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "ModuleNotFoundError" in ended.stderr

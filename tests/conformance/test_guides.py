"""The README and the guides: code runs as printed, tables say what is so."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.support import datasets
from tfplugin import config
from tfplugin import optimizers
from tfplugin import schema as schema_lib

ROOT = pathlib.Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
ROWS = 1000


def _dataset(path, ids, lists, labels):
    schema = schema_lib.Schema(
        id_features={
            **{
                name: schema_lib.IdFeature(dtype="int64", table=name)
                for name in ids
            },
            **{
                name: schema_lib.IdFeature(
                    dtype="string", table=name, is_list=True
                )
                for name in lists
            },
        },
        labels=labels,
    )
    rows = [
        {
            **{name: k % 7 for name in ids},
            **{name: ["a", f"q{k % 3}"][: k % 3] for name in lists},
            **{name: float(k % (2 + i) == 0) for i, name in enumerate(labels)},
        }
        for k in range(60)
    ]
    datasets.write_dataset(path, schema, dict.fromkeys(schema_lib.SPLITS, rows))


def _blocks(path, language):
    return re.findall(
        rf"```{language}\n(.*?)```", path.read_text("utf-8"), re.S
    )


@pytest.mark.parametrize(
    ("page", "ids", "lists", "labels"),
    [
        (
            "README.md",
            ["household_id", "store_id"],
            [],
            ("discount", "coupon"),
        ),
        (
            "docs/guides/keras.md",
            ["product_id", "user_id"],
            ["queries"],
            ("click", "checkout"),
        ),
        ("docs/guides/optimizers.md", ["product_id"], [], ("click",)),
        (
            "docs/guides/epochs.md",
            ["user_id", "product_id"],
            [],
            ("click", "buy"),
        ),
    ],
)
def test_the_python_of_a_page_runs(tmp_path, page, ids, lists, labels):
    _dataset(tmp_path / "W" / "dataset", ids, lists, labels)
    code = "\n".join(_blocks(ROOT / page, "python"))
    exports = "export.save" in code
    assert exports or page.endswith("optimizers.md")
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}
    if "TFPLUGIN_KERNELS" in os.environ:
        environment["TFPLUGIN_KERNELS"] = os.environ["TFPLUGIN_KERNELS"]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    saved = tmp_path / "W" / "model" / "1" / "saved_model.pb"
    assert saved.exists() == exports


def test_no_guide_is_left_out():
    run_elsewhere = "<!-- run by tests/"
    # A block that defines a function for the command to import, no program.
    no_program = {"training.md"}
    with_python = {
        path.name
        for path in GUIDES.glob("*.md")
        if _blocks(path, "python") and run_elsewhere not in path.read_text()
    }
    assert with_python - no_program == {
        "epochs.md",
        "keras.md",
        "optimizers.md",
    }


@pytest.mark.parametrize("page", ["training.md", "optimizers.md"])
def test_the_optimizers_of_a_guide_are_configurations(page):
    found = [yaml.safe_load(block) for block in _blocks(GUIDES / page, "yaml")]
    settings = [
        block["training"]["tables"]
        for block in found
        if "tables" in block.get("training", {})
    ]
    assert settings
    for one in settings:
        config.TablesOptimizerConfig.model_validate(one)


def _table(head):
    """Rows of the table of the guide to optimizers with such a head."""
    text = (GUIDES / "optimizers.md").read_text("utf-8")
    start = text.index(head)
    rows = text[start : text.index("\n\n", start)].splitlines()[2:]
    return [
        [cell.strip() for cell in row.strip("|").split("|")] for row in rows
    ]


def _made(cell):
    return eval(cell.strip("`"), dict(vars(optimizers)))


def test_the_guide_gives_the_size_of_states():
    rows = _table("| rule | state, bytes a row")
    assert len(rows) == 9
    for rule, *cells in rows:
        for dim, cell in zip((16, 64), cells, strict=False):
            table = keras.Variable(np.zeros((ROWS, dim), "float32"))
            optimizer = _made(rule)
            optimizer.build([table])
            # Less the step, one number a table.
            assert optimizer.state_bytes(table) // ROWS == int(cell), rule


def test_the_guide_gives_the_factors_of_laws():
    head = "| law | factor |"
    text = (GUIDES / "optimizers.md").read_text("utf-8")
    line = text[text.index(head) :].splitlines()[0]
    counts = [
        float(cell.replace(",", "")) for cell in line.strip("| ").split("|")[2:]
    ]
    rows = _table(head)
    assert {type(_made(row[0])) for row in rows} == {
        optimizers.ConstantRate,
        *optimizers.RowRate.__subclasses__(),
    } - _own_laws()
    for law, _, *cells in rows:
        factors = _made(law).factors(tf.constant(counts), counts[-1])
        np.testing.assert_allclose(factors, np.float32(cells), atol=5e-4)


def _own_laws():
    """Laws that other tests of this process made."""
    return {
        law
        for law in optimizers.RowRate.__subclasses__()
        if not law.__module__.startswith("tfplugin.optimizers")
    }

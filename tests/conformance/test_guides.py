"""The Python of the README and of the guides runs as it is printed."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests.support import datasets
from tfplugin import schema as schema_lib

ROOT = pathlib.Path(__file__).parents[2]


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
    ],
)
def test_the_python_of_a_page_runs(tmp_path, page, ids, lists, labels):
    _dataset(tmp_path / "W" / "dataset", ids, lists, labels)
    text = (ROOT / page).read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    assert "export.save" in code
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "W" / "model" / "1" / "saved_model.pb").exists()

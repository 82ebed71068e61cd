"""The shipped configurations on a shard of the real logs they name."""

import glob
import json
import pathlib

import pytest

from tfplugin import cli
from tfplugin import config as config_lib

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("name", "objective", "least_auc"),
    [("taobao_conversion", "cart", 0.6), ("trivago", "click", 0.55)],
)
def test_one_shard_for_one_epoch(tmp_path, name, objective, least_auc):
    path = CONFIGS / f"{name}.yaml"
    shards = sorted(
        file
        for pattern in config_lib.load(path).source.files
        for file in glob.glob(pattern)
    )
    if not shards:
        pytest.skip("the raw log is not here")
    work = str(tmp_path / "W")
    given = ["--config", str(path), "--workdir", work]
    for key, value in (
        ("source.files", shards[0]),
        ("training.epochs", 1),
        ("dataset.num_shards", 2),
    ):
        given += ["--set", f"{key}={value}"]
    assert cli.main(["preprocess", *given]) == 0
    assert cli.main(["train", *given]) == 0
    assert cli.main(["export", "--workdir", work]) == 0
    history = json.loads((tmp_path / "W/history.json").read_text())
    found = history["test"]["objectives"][objective]
    assert found["auc"] > least_auc
    assert 0.5 < found["calibration"] < 2
    assert (tmp_path / "W/model/1/saved_model.pb").is_file()

"""`tfplugin recommend`, and `train` with `multi_epoch: auto`."""

import json

import pytest
import yaml

from tests.cli import shop
from tests.support import experiments
from tfplugin import config as config_lib

LIMITS = [
    word
    for setting in ("recipes=2", "rows=100", "min_epochs=1", "max_epochs=1")
    for word in ("--set", f"recommend.{setting}")
]
AUTO = ["--set", "training.multi_epoch=auto"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A configuration and a work folder with a dataset."""
    folder = tmp_path_factory.mktemp("recommend")
    _, work = experiments.make(folder)
    return folder / "small.yaml", work.path


@pytest.fixture(scope="module")
def automatic(prepared):
    """How training ended that chose its recipe."""
    config, work = prepared
    words = ["--config", config, "--workdir", work, *AUTO, *LIMITS]
    return words, shop.run("train", *words)


def test_auto_trains_what_it_recommends(prepared, automatic):
    config, work = prepared
    _, ended = automatic
    assert ended.status == 0, ended.err
    assert ended.err == ""
    assert "validation AUC" in ended.out
    made = json.loads((work / "recommendation.json").read_text("utf-8"))
    ran = yaml.safe_load((work / "config.yaml").read_text("utf-8"))
    assert ran["training"]["multi_epoch"] == "manual"
    changes = made["changes"] | {"training.multi_epoch": "manual"}
    assert config_lib.load(work / "config.yaml") == config_lib.with_changes(
        config_lib.load(config, LIMITS[1::2]), changes
    )
    part = yaml.safe_load((work / "recommendation.yaml").read_text("utf-8"))
    assert part["training"]["epochs"] == 1
    history = json.loads((work / "history.json").read_text("utf-8"))
    assert len(history["epochs"]) == made["epochs"] == 1


def test_a_resumed_auto_keeps_its_recipe(prepared, automatic):
    _, work = prepared
    words, _ = automatic
    before = (work / "recommendation.json").read_bytes()
    # All its epochs are done, so what is refused is that, not the recipe.
    ended = shop.run("train", *words, "--resume")
    shop.check_refused(ended, "--resume must have epochs left")
    assert (work / "recommendation.json").read_bytes() == before
    # Another recommendation since, and more epochs by hand.
    (work / "recommendation.json").write_text("{}")
    ended = shop.run("train", *words, "--resume", "--set", "training.epochs=2")
    assert ended.status == 0, ended.err
    history = json.loads((work / "history.json").read_text("utf-8"))
    assert len(history["epochs"]) == 2
    (work / "recommendation.json").write_bytes(before)
    elsewhere = ["--overwrite", "--warm-start", work.parent / "other"]
    ended = shop.run("train", *words, *elsewhere)
    shop.check_refused(ended, "begins warm")


def test_refusals_before_anything_is_trained(prepared, tmp_path):
    config, work = prepared
    where = ["--config", config, "--workdir", work]
    ended = shop.run("recommend", *where, "--set", "recommend.max_epochs=2")
    shop.check_refused(ended, "`max_epochs` must not be below `min_epochs`")
    shop.check_refused(
        shop.run(
            *("recommend", *where, *AUTO),
            *("--set", "training.remedies.embedding_reset=true"),
        ),
        "auto chooses the remedies",
    )
    shop.check_refused(
        shop.run("recommend", "--config", config, "--workdir", tmp_path),
        "COMPLETED",
    )

import json
import math

import keras
import pytest
import yaml

from tests.support import datasets
from tests.support import experiments
from tests.training import test_own_models
from tfplugin import artifacts
from tfplugin import planning
from tfplugin.errors import InputError

OVERRIDES = (
    "recommend.rows=400",
    "recommend.recipes=2",
    "recommend.min_epochs=2",
    "recommend.max_epochs=2",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommend")
    config, work = experiments.make(folder, *OVERRIDES)
    # Reading the test split would fail.
    for shard in work.dataset.split("test").iterdir():
        shard.write_bytes(b"\0" * shard.stat().st_size)
    heard = []
    found = planning.recommend(config, work, lambda *told: heard.append(told))
    return config, found, heard


def test_the_proposal_is_one_of_those_that_were_tried(made):
    config, found, heard = made
    tried = {one.name: one for one in found.tried}
    assert len(tried) == 2
    chosen = tried[found.recipe]
    assert found.epochs == chosen.best_epoch == 2
    assert found.changes["training.epochs"] == 2
    best = max(one.score for one in found.tried)
    assert chosen.score >= best - found.noise
    assert heard[0] == (found.tried[0].name, 1) or heard[0][1] == 1
    assert {len(one.epochs) for one in found.tried} == {2}
    assert set(chosen.epochs[0]) == {"click", "buy"}


def test_what_the_pilot_had_is_told(made):
    _, found, _ = made
    pilot = found.pilot
    assert pilot.time_limit is None
    assert 300 < pilot.rows["train"] < 500
    assert pilot.sampled_by == "row"
    assert len(pilot.not_tried) > 8
    assert any("of the training rows" in line for line in found.because)
    assert any("more recipes" in line for line in found.because)


def test_the_files_say_the_same(made):
    _, found, _ = made
    written = json.loads(json.dumps(found.to_json()))
    assert written["changes"] == found.changes
    part = yaml.safe_load(written["yaml"])
    assert part == found.sections()
    assert part["training"]["epochs"] == 2


def test_fixed_limits_give_the_same_again(made, tmp_path):
    _, found, _ = made
    config, work = experiments.make(tmp_path, *OVERRIDES)
    again = planning.recommend(config, work)
    assert again.changes == found.changes
    assert [(one.name, one.epochs) for one in again.tried] == [
        (one.name, one.epochs) for one in found.tried
    ]


def test_too_little_time_is_refused(tmp_path):
    config, work = experiments.make(tmp_path, "recommend.time_limit=1")
    with pytest.raises(InputError, match=r"recommend\.time_limit must be long"):
        planning.recommend(config, work)


def test_recipes_that_all_diverge_are_refused(tmp_path):
    config, work = experiments.make(
        tmp_path,
        *OVERRIDES,
        "training.rest.learning_rate=1e30",
    )
    with pytest.raises(
        InputError, match=r"all diverged.*not a number"
    ) as raised:
        planning.recommend(config, work)
    assert "training.rest.learning_rate=1e+30" in str(raised.value)


@pytest.mark.parametrize("label", ["click", "buy"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_objective_of_one_class_is_refused_first(tmp_path, label, value):
    config, work = experiments.make(tmp_path, *OVERRIDES)
    artifacts.remove(work.dataset.path)
    train = [{**row, label: value} for row in experiments.rows(300, 0)]
    datasets.write_dataset(
        work.dataset.path,
        experiments.SCHEMA,
        {"train": train, "validation": experiments.rows(100, 1), "test": []},
    )
    heard = []
    with pytest.raises(InputError, match=f"1 in others. Received: {label}"):
        planning.recommend(config, work, lambda *told: heard.append(told))
    assert not heard


def no_table(context):
    """Dense features alone."""
    return test_own_models.flat_logits(context)


def stock_tables(context):
    """Tables that no remedy can draw anew."""
    position = context.inputs()["position"]
    x = keras.layers.Embedding(9, 2)(position)
    return keras.Model(
        {"position": position},
        {k: keras.layers.Dense(1, name=k)(x) for k in ("click", "buy")},
    )


def test_a_model_without_a_table_is_refused(tmp_path):
    config, work = experiments.make(
        tmp_path, *OVERRIDES, f"model.build={__name__}:no_table"
    )
    with pytest.raises(InputError, match=r"a table that is trained"):
        planning.recommend(config, work)


def test_what_does_not_go_with_a_model_is_refused_with_its_reason(tmp_path):
    config, work = experiments.make(
        tmp_path,
        *OVERRIDES,
        "recommend.recipes=5",
        f"model.build={__name__}:stock_tables",
    )
    found = planning.recommend(config, work)
    reasons = "\n".join(found.pilot.refused.values())
    assert "needs counts" in reasons
    assert any("do not go with" in line for line in found.because)
    assert "can draw tables anew only" in reasons
    assert {one.complexity for one in found.tried} == {0}
    assert all(math.isfinite(one.score) for one in found.tried if one.score)

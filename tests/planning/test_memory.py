import keras
import numpy as np
import pytest

from tfplugin import config as config_lib
from tfplugin.planning import memory
from tfplugin.training import optimization

SETTINGS = (
    {"rule": "sgd"},
    {"rule": "sgd", "momentum": 0.9, "row_rate": "constant"},
    {"rule": "adagrad"},
    {"rule": "rowwise_adagrad", "row_rate": "constant"},
    {"rule": "lazy_adam", "replay_skipped_steps": True},
    {"rule": "partial_rowwise_adam", "counts": {"source": "online"}},
    {
        "rule": "ftrl",
        "counts": {"source": "both", "half_life": 100.0},
        "weight_decay": 0.1,
        "compound_weight_decay": True,
    },
)


@pytest.mark.parametrize("given", SETTINGS, ids=lambda given: given["rule"])
@pytest.mark.parametrize("rows", [1, 3, 57])
def test_bytes_are_those_of_a_built_optimizer(given, rows):
    settings = config_lib.TablesOptimizerConfig.model_validate(given)
    cost = memory.table_cost(settings, embedding_dim=12)
    table = keras.Variable(np.zeros((rows, 12), "float32"))
    optimizer = optimization.tables_optimizer(settings)
    optimizer.build([table])
    assert cost.state(rows) == optimizer.state_bytes(table)
    assert cost.table(rows) == table.numpy().nbytes
    assert cost.total(rows) == cost.table(rows) + cost.state(rows)


@pytest.mark.parametrize("given", SETTINGS, ids=lambda given: given["rule"])
def test_every_rule_is_compared_with_the_same_rate(given):
    settings = config_lib.TablesOptimizerConfig.model_validate(given)
    found = memory.rule_settings(settings)
    assert list(found) == [
        "sgd",
        "adagrad",
        "rowwise_adagrad",
        "lazy_adam",
        "partial_rowwise_adam",
        "ftrl",
    ]
    assert found[settings.rule] == settings
    for rule, made in found.items():
        assert made.rule == rule
        assert made.row_rate == settings.row_rate
        assert made.counts == settings.counts
        assert made.options() == settings.options()

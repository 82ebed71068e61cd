"""The learning rates of a `SplitOptimizer`'s two optimizers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import optimizer_cases
from tfplugin import optimizers


def compiled(tables=None, rest=None):
    model = optimizer_cases.model()
    split = optimizers.split(
        model,
        tables=tables or optimizers.SparseAdagrad(0.1),
        rest=rest or keras.optimizers.Adam(0.01),
    )
    model.compile(split, "mse")
    return model


def fit(model, **options):
    ids, targets = optimizer_cases.data()
    options = {"batch_size": 10, "shuffle": False, "verbose": 0, **options}
    return model.fit(ids, targets, **options)


def test_setting_the_rate_keeps_the_proportion():
    split = compiled().optimizer
    tables, rest = split.tables, split.rest
    split.learning_rate = 0.005
    assert float(split.learning_rate) == pytest.approx(0.005)
    assert float(tables.learning_rate) == pytest.approx(0.05)
    split.learning_rate = 0.0
    assert float(tables.learning_rate) == 0.0
    split.learning_rate = 0.02
    assert float(tables.learning_rate) == pytest.approx(0.2)
    tables.learning_rate = 0.3
    exact = float(tables.learning_rate)
    for _ in range(100):
        split.learning_rate = 0.02
    assert float(tables.learning_rate) == exact
    rest.learning_rate = 0.1
    split.learning_rate = 0.2
    assert float(tables.learning_rate) == pytest.approx(0.6)


def test_schedules_are_left_alone():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    split = compiled(tables=optimizers.SparseSGD(schedule)).optimizer
    split.learning_rate = 0.2
    assert float(split.tables.learning_rate) == 0.5
    assert float(split.rest.learning_rate) == pytest.approx(0.2)
    split = compiled(rest=keras.optimizers.SGD(schedule)).optimizer
    assert float(split.learning_rate) == 0.5
    with pytest.raises(TypeError, match="LearningRateSchedule"):
        split.learning_rate = 0.2
    assert float(split.tables.learning_rate) == pytest.approx(0.1)
    with pytest.raises(TypeError, match="takes a number"):
        split.learning_rate = schedule


def test_rate_callbacks_and_log_keys():
    model = compiled()
    history = fit(
        model,
        epochs=3,
        callbacks=[
            keras.callbacks.LearningRateScheduler(
                lambda epoch, rate: rate * 0.5 if epoch else rate
            ),
        ],
    ).history
    assert set(history) == {"loss", "learning_rate"}
    np.testing.assert_allclose(
        history["learning_rate"], [0.01, 0.005, 0.0025], rtol=1e-6
    )
    assert float(model.optimizer.tables.learning_rate) == pytest.approx(0.025)
    plateau = keras.callbacks.ReduceLROnPlateau(
        "loss", factor=0.1, patience=1, min_delta=1e9
    )
    history = fit(model, epochs=3, callbacks=[plateau]).history
    assert set(history) == {"loss", "learning_rate"}
    assert float(model.optimizer.learning_rate) < 0.0025 / 9
    assert float(model.optimizer.tables.learning_rate) < 0.025 / 9


@pytest.mark.parametrize("way", ["checkpoint", "keras", "config"])
def test_a_rate_of_zero_is_resumed_in_proportion(way, tmp_path):
    model = compiled()
    fit(model)
    model.optimizer.learning_rate = 0.0
    if way == "checkpoint":
        path = tf.train.Checkpoint(optimizer=model.optimizer).save(
            str(tmp_path / "checkpoint")
        )
        optimizer = compiled().optimizer
        tf.train.Checkpoint(optimizer=optimizer).restore(path)
    elif way == "keras":
        model.save(tmp_path / "model.keras")
        optimizer = keras.models.load_model(tmp_path / "model.keras").optimizer
    else:
        serialized = keras.optimizers.serialize(model.optimizer)
        optimizer = keras.optimizers.deserialize(serialized)
    assert float(optimizer.learning_rate) == 0.0
    assert float(optimizer.tables.learning_rate) == 0.0
    optimizer.learning_rate = 0.02
    assert float(optimizer.tables.learning_rate) == pytest.approx(0.2)


@pytest.mark.parametrize("ratio", [-1.0, float("nan"), float("inf")])
def test_wrong_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match="`rate_ratio`.*Received"):
        optimizers.SplitOptimizer(
            optimizers.SparseSGD(0.1),
            keras.optimizers.SGD(0.1),
            rate_ratio=ratio,
        )


def test_ratio_is_read_while_the_rate_is_zero_only():
    split = optimizers.SplitOptimizer(
        optimizers.SparseSGD(0.0), keras.optimizers.SGD(0.0), rate_ratio=4.0
    )
    split.learning_rate = 0.125
    assert float(split.tables.learning_rate) == 0.5
    split = optimizers.SplitOptimizer(
        optimizers.SparseSGD(0.5), keras.optimizers.SGD(0.25), rate_ratio=4.0
    )
    split.learning_rate = 0.125
    assert float(split.tables.learning_rate) == 0.25
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    split = optimizers.SplitOptimizer(
        optimizers.SparseSGD(schedule), keras.optimizers.SGD(0.25)
    )
    assert split.get_config()["rate_ratio"] is None

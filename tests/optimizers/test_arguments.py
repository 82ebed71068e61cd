import inspect

import keras
import pytest
import tensorflow as tf

from tfplugin import optimizers

CLASSES = [
    optimizers.SparseSGD,
    optimizers.SparseAdagrad,
    optimizers.RowwiseAdagrad,
    optimizers.LazyAdam,
]


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("weight_decay", 0.1, "every row"),
        ("use_ema", True, "every row"),
        ("gradient_accumulation_steps", 2, "every row"),
        ("clipnorm", 1.0, "before duplicate rows"),
        ("global_clipnorm", 1.0, "before duplicate rows"),
        ("clipvalue", 1.0, "before duplicate rows"),
        ("loss_scale_factor", 8.0, "bfloat16"),
    ],
)
@pytest.mark.parametrize("cls", CLASSES)
def test_options_that_sweep_are_refused_with_the_reason(
    cls, option, value, reason
):
    with pytest.raises(ValueError, match=reason) as error:
        cls(0.1, **{option: value})
    assert option in str(error.value)
    cls(0.1, **{option: None})


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="weight_decoy"):
        optimizers.SparseSGD(0.1, weight_decoy=0.1)
    with pytest.raises(TypeError, match="RowRate"):
        optimizers.SparseSGD(0.1, row_rate=lambda counts, maximum: counts)


@pytest.mark.parametrize(
    ("cls", "argument", "value"),
    [
        (optimizers.SparseSGD, "momentum", 1.0),
        (optimizers.SparseSGD, "momentum", -0.1),
        (optimizers.SparseAdagrad, "epsilon", -1.0),
        (optimizers.SparseAdagrad, "initial_accumulator_value", -1.0),
        (optimizers.RowwiseAdagrad, "epsilon", float("nan")),
        (optimizers.LazyAdam, "beta_1", 1.0),
        (optimizers.LazyAdam, "beta_2", -0.1),
        (optimizers.LazyAdam, "epsilon", -1.0),
    ],
)
def test_wrong_constants_are_refused(cls, argument, value):
    with pytest.raises(ValueError, match=argument):
        cls(0.1, **{argument: value})


def test_base_class_asks_for_a_rule():
    optimizer = optimizers.SparseOptimizer(0.1)
    with pytest.raises(NotImplementedError, match="state_specs"):
        optimizer.build([keras.Variable([[0.0]])])
    with pytest.raises(NotImplementedError, match="compute_update"):
        optimizer.compute_update(tf.ones(1), (), tf.constant(0.1), None)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_argument_survives_the_config(cls):
    own = {
        name: 0.125
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.annotation is float
    }
    arguments = {
        "learning_rate": 0.25,
        "row_rate": optimizers.LogFrequency(0.75),
        "name": "mine",
        **own,
    }
    parameters = inspect.signature(cls).parameters
    assert set(arguments) | {"base_options"} == set(parameters)
    optimizer = cls(**arguments)
    config = optimizer.get_config()
    assert set(config) == set(arguments)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is cls
    assert copy.get_config() == config
    for name, value in own.items():
        assert getattr(copy, name) == value != parameters[name].default
    assert copy.row_rate.special_rate == 0.75
    assert optimizer.get_config() == config


@pytest.mark.parametrize("cls", CLASSES)
def test_schedule_survives_the_config(cls):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    copy = cls.from_config(cls(schedule).get_config())
    assert float(copy.learning_rate) == 0.5
    assert copy.row_rate is None

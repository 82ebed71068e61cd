import inspect

import keras
import pytest

from tfplugin import optimizers

CLASSES = [
    optimizers.SparseSGD,
    optimizers.SparseAdagrad,
    optimizers.RowwiseAdagrad,
    optimizers.LazyAdam,
    optimizers.PartialRowwiseAdam,
    optimizers.SparseFtrl,
]

OPTIONS = {
    "online_counts": optimizers.OnlineCounts("batches", 50.0),
    "weight_decay": 0.125,
    "compound_weight_decay": True,
    # Adaptive decay goes with no compounding: test_remedy_options.py.
    "adaptive_decay_kept": 0.25,
    "cow_clip_bound": 0.125,
    "frequency_decay": 0.75,
}


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("use_ema", True, "every row"),
        ("gradient_accumulation_steps", 2, "every row"),
        ("clipnorm", 1.0, "clip_row_norm"),
        ("global_clipnorm", 1.0, "clip_global_norm"),
        ("clipvalue", 1.0, "clip_value"),
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
        (optimizers.LazyAdam, "bias_correction", "batch"),
        (optimizers.PartialRowwiseAdam, "beta_1", 1.0),
        (optimizers.PartialRowwiseAdam, "epsilon", -1.0),
        (optimizers.SparseFtrl, "learning_rate_power", 0.5),
        (optimizers.SparseFtrl, "l1", -0.5),
        (optimizers.SparseFtrl, "beta", float("nan")),
        (optimizers.SparseSGD, "weight_decay", -0.5),
        (optimizers.SparseSGD, "compound_weight_decay", True),
        (optimizers.SparseSGD, "clip_value", 0.0),
        (optimizers.SparseSGD, "clip_row_norm", -1.0),
        (optimizers.SparseSGD, "clip_global_norm", float("inf")),
    ],
)
def test_wrong_constants_are_refused(cls, argument, value):
    with pytest.raises(ValueError, match=argument):
        cls(0.1, **{argument: value})


def test_arguments_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="At most one"):
        optimizers.SparseSGD(0.1, clip_value=1.0, clip_global_norm=1.0)
    with pytest.raises(ValueError, match="bias_correction"):
        optimizers.LazyAdam(
            0.1, bias_correction="row", replay_skipped_steps=True
        )
    with pytest.raises(ValueError, match=r"beta_1\^2 < beta_2"):
        optimizers.LazyAdam(
            0.1, beta_1=0.9, beta_2=0.8, replay_skipped_steps=True
        )
    for rate in (None, optimizers.ConstantRate(0.5)):
        with pytest.raises(ValueError, match="reads counts"):
            optimizers.SparseSGD(
                0.1, row_rate=rate, online_counts=optimizers.OnlineCounts()
            )
    with pytest.raises(TypeError, match="OnlineCounts"):
        optimizers.SparseSGD(0.1, online_counts="batches")
    with pytest.raises(TypeError, match="must be a Rule"):
        optimizers.SparseOptimizer("sgd", 0.1)


def test_weight_decay_of_the_base_class_stays_off():
    optimizer = optimizers.SparseSGD(0.1, weight_decay=0.5)
    assert (
        keras.optimizers.Optimizer.get_config(optimizer)["weight_decay"] is None
    )
    assert optimizer.get_config()["weight_decay"] == 0.5


@pytest.mark.parametrize("clip", ["value", "row_norm", "global_norm"])
@pytest.mark.parametrize("cls", CLASSES)
def test_every_argument_survives_the_config(cls, clip):
    parameters = inspect.signature(cls).parameters
    own = {
        name: 0.125
        for name, parameter in parameters.items()
        if parameter.annotation is float
    }
    if cls is optimizers.SparseFtrl:
        own["learning_rate_power"] = -0.25
    if cls is optimizers.LazyAdam:
        own |= {"bias_correction": "row"}
        if clip == "value":
            own = {**own, "bias_correction": "global"}
            own |= {"replay_skipped_steps": True}
    arguments = {
        "learning_rate": 0.25,
        "row_rate": optimizers.LogFrequency(0.75),
        "name": "mine",
        **own,
        **OPTIONS,
        f"clip_{clip}": 0.5,
    }
    optimizer = cls(**arguments)
    config = optimizer.get_config()
    clips = {"clip_value", "clip_row_norm", "clip_global_norm"}
    clips |= {"cow_clip_ratio", "adaptive_decay"}
    is_adam = cls is optimizers.LazyAdam
    assert set(config) == set(arguments) | clips | (
        {"replay_skipped_steps"} if is_adam else set()
    )
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is cls
    assert copy.get_config() == config
    for name, value in own.items():
        assert getattr(copy.rule, name) == value
    assert copy.options == optimizer.options
    assert getattr(copy.options, f"clip_{clip}") == 0.5
    assert copy.row_rate.special_rate == 0.75
    assert copy.online_counts == OPTIONS["online_counts"]
    assert optimizer.get_config() == config


@pytest.mark.parametrize("cls", CLASSES)
def test_schedule_survives_the_config(cls):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    copy = cls.from_config(cls(schedule).get_config())
    assert float(copy.learning_rate) == 0.5
    assert copy.row_rate is None

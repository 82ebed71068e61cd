import json

import keras
import numpy as np
import pytest

from tfplugin import callbacks
from tfplugin import metrics


def _feed(monitor, training, validation, name="click", first=0):
    for offset, (train, value) in enumerate(
        zip(training, validation, strict=True)
    ):
        monitor.on_epoch_end(
            first + offset,
            {f"{name}_auc": train, f"val_{name}_auc": value, "loss": 1.0},
        )


def test_peak_and_start_of_overfitting():
    monitor = callbacks.ObjectiveMonitor(["click"])
    _feed(monitor, [0.7, 0.8, 0.9, 0.95], [0.6, 0.65, 0.63, 0.6])
    assert monitor.summary() == {
        "click": {
            "peak_epoch": 2,
            "peak_value": 0.65,
            "overfits_from": 3,
            "values": [0.6, 0.65, 0.63, 0.6],
            "epochs": [1, 2, 3, 4],
        }
    }


def test_tolerance_and_mode():
    monitor = callbacks.ObjectiveMonitor(
        ["click"], metric="auc", mode="min", tolerance=0.05
    )
    _feed(monitor, [0.9, 0.8, 0.7], [0.6, 0.64, 0.66])
    known = monitor.summary()["click"]
    assert (known["peak_epoch"], known["overfits_from"]) == (1, 3)


def test_state_goes_on_through_json():
    first = callbacks.ObjectiveMonitor(["click"])
    _feed(first, [0.7, np.float32(0.8)], [0.6, float("nan")])
    state = json.loads(json.dumps(first.get_state(), allow_nan=False))
    second = callbacks.ObjectiveMonitor(["click"])
    second.set_state(state)
    assert second.get_state() == first.get_state()
    for one in (first, second):
        _feed(one, [0.9], [0.5], first=2)
    assert second.summary() == first.summary()
    assert second.summary()["click"]["values"] == [0.6, None, 0.5]
    assert second.summary()["click"]["overfits_from"] == 3


def test_what_is_returned_is_a_copy():
    monitor = callbacks.ObjectiveMonitor(["click"])
    _feed(monitor, [0.7], [0.6])
    monitor.get_state()["validation"]["click"].append(1.0)
    monitor.summary()["click"]["values"].append(1.0)
    assert monitor.get_state()["validation"] == {"click": [0.6]}


def test_an_epoch_trained_again_replaces_it_and_later_ones():
    monitor = callbacks.ObjectiveMonitor(["click"])
    _feed(monitor, [0.7, 0.8, 0.9], [0.6, 0.7, 0.5])
    _feed(monitor, [0.85], [0.65], first=1)
    known = monitor.summary()["click"]
    assert known["values"] == [0.6, 0.65]
    assert known["epochs"] == [1, 2]
    assert known["overfits_from"] is None


def test_a_missing_key_names_those_that_are_there():
    monitor = callbacks.ObjectiveMonitor(["click", "buy"])
    with pytest.raises(ValueError, match="'val_click_auc'.*'click_auc'"):
        monitor.on_epoch_end(0, {"click_auc": 0.5, "loss": 1.0})
    with pytest.raises(ValueError, match="'click_auc'.*keys \\[\\]"):
        monitor.on_epoch_end(0)
    # Nothing of the refused epochs was kept.
    assert monitor.get_state()["epochs"] == []
    alone = callbacks.ObjectiveMonitor(["click"])
    with pytest.raises(ValueError, match="'click_auc' or 'auc'"):
        alone.on_epoch_end(0, {"loss": 1.0})


def test_several_objectives_never_read_the_short_key():
    monitor = callbacks.ObjectiveMonitor(["click", "buy"])
    with pytest.raises(ValueError, match="'click_auc'"):
        monitor.on_epoch_end(0, {"auc": 0.5, "val_auc": 0.5})


@pytest.mark.parametrize(
    "arguments",
    [
        {"objectives": []},
        {"objectives": ["a", "a"]},
        {"objectives": ["a"], "mode": "auto"},
        {"objectives": ["a"], "tolerance": -0.1},
        {"objectives": ["a"], "tolerance": float("nan")},
    ],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        callbacks.ObjectiveMonitor(**arguments)


def test_a_state_of_other_objectives_is_refused():
    state = callbacks.ObjectiveMonitor(["buy"]).get_state()
    with pytest.raises(ValueError, match=r"\['buy'\].*\['click'\]"):
        callbacks.ObjectiveMonitor(["click"]).set_state(state)


def test_verbose_prints_one_line_an_epoch(capsys):
    quiet = callbacks.ObjectiveMonitor(["click"])
    _feed(quiet, [0.7], [0.6])
    assert capsys.readouterr().out == ""
    monitor = callbacks.ObjectiveMonitor(["click"], verbose=1)
    _feed(monitor, [0.7, 0.8, 0.9], [0.6, 0.5, float("nan")])
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: auc click 0.6000 (peak at epoch 1)",
        "Epoch 2: auc click 0.5000 (peak at epoch 1, overfits from epoch 2)",
        "Epoch 3: auc click no value (peak at epoch 1, overfits from epoch 2)",
    ]


@pytest.mark.parametrize("objectives", [["click"], ["click", "buy"]])
def test_in_a_fit(objectives):
    features = keras.Input((2,))
    outputs = {
        name: keras.layers.Dense(1, name=f"{name}_logit")(features)
        for name in objectives
    }
    model = keras.Model(features, outputs)
    losses = {
        name: keras.losses.BinaryCrossentropy(from_logits=True)
        for name in objectives
    }
    measured = {name: metrics.objective_metrics(0.3) for name in objectives}
    model.compile("sgd", losses, weighted_metrics=measured)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 2))
    labels = {name: (rows[:, :1] > 0.5) * 1.0 for name in objectives}
    monitor = callbacks.ObjectiveMonitor(objectives)
    history = model.fit(
        rows,
        labels,
        validation_data=(rows, labels),
        epochs=3,
        verbose=0,
        callbacks=[monitor],
    ).history
    for name in objectives:
        key = "val_auc" if len(objectives) == 1 else f"val_{name}_auc"
        known = monitor.summary()[name]
        assert known["values"] == history[key]
        assert known["peak_value"] == max(history[key])

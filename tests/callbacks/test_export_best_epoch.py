import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.callbacks import small_models
from tests.support import experiments
from tfplugin import artifacts
from tfplugin import callbacks
from tfplugin import training
from tfplugin.training import best_epoch

KEY = "val_click_auc"


class Shelf:
    """What is exported, as a folder of versions would hold it."""

    def __init__(self):
        self.made, self.there = [], {}

    def export(self, epoch):
        self.made.append(epoch)
        self.there[len(self.made)] = epoch
        return len(self.made)

    def discard(self, version):
        self.there.pop(version, None)


def _callback(shelf, **arguments):
    made = callbacks.ExportBestEpoch(
        "click", shelf.export, shelf.discard, **arguments
    )
    made.on_train_begin()
    return made


def _run(callback, values, first=0):
    for epoch, value in enumerate(values, first):
        callback.on_epoch_end(epoch, {KEY: value})


@pytest.mark.parametrize(
    ("values", "arguments", "epochs"),
    [
        ([0.5, 0.6, 0.6, 0.7, 0.1], {}, [1, 2, 4]),
        ([0.5, 0.6, 0.6, 0.7, 0.1], {"mode": "min"}, [1, 5]),
        ([0.5, 0.53, 0.6], {"min_delta": 0.05}, [1, 3]),
        ([math.nan, 0.5, math.nan, 0.4], {}, [2]),
        ([-1.0, 0.0, math.inf], {}, [1, 2]),
        ([], {}, []),
    ],
)
def test_better_epochs_are_exported_and_one_remains(values, arguments, epochs):
    shelf = Shelf()
    callback = _callback(shelf, **arguments)
    _run(callback, values)
    assert shelf.made == epochs
    assert list(shelf.there.values()) == epochs[-1:]
    assert callback.best == (
        {
            "epoch": epochs[-1],
            "value": values[epochs[-1] - 1],
            "exported": len(epochs),
        }
        if epochs
        else None
    )


def test_without_discard_all_remain():
    shelf = Shelf()
    callback = callbacks.ExportBestEpoch("click", shelf.export)
    callback.on_train_begin()
    _run(callback, [0.5, 0.6])
    assert shelf.there == {1: 1, 2: 2}


@pytest.mark.parametrize("first", range(1, 6))
def test_a_resume_at_any_epoch_ends_the_same(tmp_path, first):
    values = [0.5, 0.7, 0.6, 0.8, 0.75, 0.9]
    shelf, state = Shelf(), tmp_path / "best.json"
    _run(_callback(shelf, state=state), values[: first + 1])
    # The checkpoint of the last epoch was cut off: it is trained again.
    again = _callback(shelf, state=state)
    _run(again, values[first:], first)
    assert again.best["epoch"] == 6
    assert list(shelf.there.values()) == [6]
    assert [p.name for p in tmp_path.iterdir()] == ["best.json"]


def test_what_was_cut_off_before_it_was_discarded_is_discarded(tmp_path):
    shelf, state = Shelf(), tmp_path / "best.json"

    def fail(version):
        raise OSError("cut")

    callback = callbacks.ExportBestEpoch(
        "click", shelf.export, fail, state=state
    )
    callback.on_train_begin()
    callback.on_epoch_end(0, {KEY: 0.5})
    with pytest.raises(OSError, match="cut"):
        callback.on_epoch_end(1, {KEY: 0.6})
    assert shelf.there == {1: 1, 2: 2}
    resumed = _callback(shelf, state=state)
    assert resumed.best["epoch"] == 2
    _run(resumed, [0.55, 0.7], 1)
    assert shelf.there == {4: 3}


def test_an_export_that_fails_leaves_the_best_before(tmp_path):
    shelf, state = Shelf(), tmp_path / "best.json"
    _run(_callback(shelf, state=state), [0.5])

    def fail(epoch):
        raise OSError("full")

    failing = callbacks.ExportBestEpoch(
        "click", fail, shelf.discard, state=state
    )
    failing.on_train_begin()
    with pytest.raises(OSError, match="full"):
        failing.on_epoch_end(1, {KEY: 0.6})
    assert shelf.there == {1: 1}
    resumed = _callback(shelf, state=state)
    assert resumed.best == {"epoch": 1, "value": 0.5, "exported": 1}
    _run(resumed, [0.6], 1)
    assert shelf.there == {2: 2}


def test_an_epoch_may_be_refused(tmp_path, caplog):
    shelf, state = Shelf(), tmp_path / "best.json"

    def export(epoch):
        if epoch in (1, 3):
            raise callbacks.EpochNotExportedError("Too far from training.")
        return shelf.export(epoch)

    callback = callbacks.ExportBestEpoch(
        "click", export, shelf.discard, state=state
    )
    callback.on_train_begin()
    _run(callback, [0.9, 0.5, 0.7, 0.6])
    # An epoch is held against those that were exported.
    assert shelf.made == [2, 4]
    assert callback.best == {"epoch": 4, "value": 0.6, "exported": 2}
    assert shelf.there == {2: 4}
    assert caplog.messages == [
        f"Epoch {epoch} is not exported. Too far from training."
        for epoch in (1, 3)
    ]


def test_a_bound_that_is_exceeded_does_not_end_the_training(tmp_path, caplog):
    config, work = experiments.make(
        tmp_path,
        "training.export_best=buy",
        "export.tables.default.dtype=int8",
        "export.bounds.probability=0",
    )
    (callback,) = best_epoch.exporters(training.assemble(config, work))
    callback.on_train_begin()
    callback.on_epoch_end(0, {"val_buy_auc": 0.5})
    assert callback.best is None
    assert list(work.model.iterdir()) == []
    (said,) = [m for m in caplog.messages if "not exported" in m]
    assert "export.bounds.probability" in said


def test_the_only_objective_of_a_keras_model():
    model = small_models.one_objective()
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanSquaredError("mse")])
    exported = []
    callback = callbacks.ExportBestEpoch(
        "logit",
        lambda epoch: exported.append(model.get_weights()),
        metric="mse",
        mode="min",
    )
    history = small_models.fit(
        model, [callback], 3, validation_data=small_models.rows(seed=1)
    )
    best = int(np.argmin(history.history["val_mse"]))
    assert callback.best["epoch"] == best + 1
    assert len(exported) >= 1


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"version": 2, "watched": ["click", "auc", "max"]}',
        '{"version": 1, "watched": ["buy", "auc", "max"], "bests": []}',
        '{"version": 1, "watched": ["click", "auc", "max"]}',
    ],
)
def test_a_state_of_something_else_is_refused(tmp_path, content):
    state = tmp_path / "best.json"
    state.write_text(content)
    with pytest.raises(ValueError, match="watched the same.*best.json"):
        _callback(Shelf(), state=state)


def test_wrong_arguments():
    shelf = Shelf()
    with pytest.raises(ValueError, match="min_delta=-1"):
        _callback(shelf, min_delta=-1)
    with pytest.raises(ValueError, match="mode='best'"):
        _callback(shelf, mode="best")
    with pytest.raises(ValueError, match="val_click_auc"):
        _callback(shelf).on_epoch_end(0, {"val_buy_auc": 0.5})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config, work = experiments.make(
        tmp_path_factory.mktemp("best"),
        "training.epochs=2",
        "training.export_best=buy",
        "training.calibration=platt",
        "export.golden_requests=0",
        "export.warm_up_batch_sizes=[]",
    )
    # Of a training that is begun anew: nothing would ever be better.
    left = callbacks.ExportBestEpoch(
        "buy", lambda epoch: 9, state=work.best_epoch
    )
    left.on_train_begin()
    left.on_epoch_end(0, {"val_buy_auc": 2.0})
    history = training.train(config, work)
    return config, work, history


def test_a_new_training_exports_its_best_epoch(trained):
    _, work, history = trained
    found = artifacts.read_json(work.best_epoch)["bests"][-1]
    aucs = [
        epoch["validation"]["objectives"]["buy"]["auc"]
        for epoch in history["epochs"]
    ]
    assert found["epoch"] == int(np.argmax(aucs)) + 1
    assert found["value"] == max(aucs)
    # No other version is left.
    assert [p.name for p in work.model.iterdir()] == [str(found["exported"])]
    loaded = tf.saved_model.load(str(work.model / str(found["exported"])))
    empty = loaded.signatures["examples"](examples=tf.constant([], tf.string))
    assert empty["buy"].shape == (0,)


def test_exporting_changes_no_bit_of_the_training(trained, tmp_path):
    _, work, _ = trained
    config, other = experiments.make(tmp_path, "training.epochs=2")
    training.train(config, other)
    one, two = (training.load(w).model.get_weights() for w in (work, other))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_objective_must_be_a_label(tmp_path):
    with pytest.raises(ValueError, match="export_best names `cart`"):
        experiments.make(tmp_path, "training.export_best=cart")

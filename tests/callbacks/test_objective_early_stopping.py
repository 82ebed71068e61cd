import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.callbacks import small_models
from tfplugin import callbacks
from tfplugin import layers
from tfplugin.callbacks import towers


class Scripted(keras.callbacks.Callback):
    """Puts given validation values into the logs of later callbacks."""

    def __init__(self, **values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        for name, values in self.values.items():
            logs[f"val_{name}_auc"] = values[epoch]


def _model(gated=("click", "buy"), seed=3, compiled=("click", "buy")):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((), dtype="int64", name="id")
    hidden = layers.Embedding(9, 4, seed=1, name="table")(ids)
    hidden = keras.layers.Dense(4, "tanh", name="shared")(hidden)
    outputs = {}
    for name in ("click", "buy"):
        tower = keras.layers.Dense(3, "tanh", name=f"{name}_tower")(hidden)
        outputs[name] = keras.layers.Dense(1, name=name)(tower)
    model = keras.Model({"id": ids}, outputs)
    losses = {}
    for name in compiled:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        losses[name] = callbacks.GatedLoss(loss) if name in gated else loss
    small_models.compile_split(model, losses)
    return model


def _data(count=48):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, (2, count, 1)).astype("f")
    return (
        {"id": rng.integers(0, 9, count)},
        {"click": labels[0], "buy": labels[1]},
    )


def _fit(model, more, epochs, **arguments):
    return small_models.fit(
        model, more, epochs, data=_data(), validation_data=_data(), **arguments
    )


def _of(state, *words):
    return [k for k in state if any(f"model/{word}" in k for word in words)]


def test_open_gates_change_no_bit():
    plain, gated = _model(gated=()), _model()
    _fit(plain, [], 2)
    scripted = Scripted(click=[0.5, 0.6], buy=[0.5, 0.6])
    stopping = callbacks.ObjectiveEarlyStopping(["click", "buy"])
    _fit(gated, [scripted, stopping], 2)
    small_models.assert_same(
        small_models.state(plain), small_models.state(gated)
    )
    assert stopping.stopped == {}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_stopped_tower_stays_and_the_rest_trains_without_it():
    model, seen = _model(), small_models.Snapshots()
    scripted = Scripted(click=[0.5, 0.6, 0.7, 0.8], buy=[0.5, 0.4, 0.9, 0.9])
    stopping = callbacks.ObjectiveEarlyStopping(["click", "buy"])
    _fit(model, [scripted, stopping, seen], 4)
    assert stopping.stopped == {"buy": 2}
    assert not stopping.all_stopped
    tower = _of(seen.ended[0], "buy")
    assert len(tower) == 4
    assert all((seen.ended[0][k] != seen.ended[1][k]).any() for k in tower)
    for epoch in (2, 3):
        small_models.assert_same(seen.ended[1], seen.ended[epoch], tower)
    # The reference has never heard of a second loss after the second epoch.
    reference = _model(gated=(), compiled=("click",))
    _restore(reference, seen.ended[1])
    features, labels = _data()
    small_models.fit(
        reference,
        [],
        4,
        initial_epoch=2,
        data=(features, {"click": labels["click"]}),
    )
    others = [k for k in seen.ended[3] if k not in tower and "model/" in k]
    small_models.assert_same(
        small_models.state(reference), seen.ended[3], others
    )


def _restore(model, state):
    """Gives a model weights and, of what it shares, optimizer state."""
    for variable in model.weights:
        variable.assign(state[f"model/{variable.path}"])
    named = list(small_models.state(model))[len(model.weights) :]
    for variable, key in zip(model.optimizer.variables, named, strict=True):
        variable.assign(state[key])


def test_while_a_gate_is_closed_validation_sees_the_tower_that_stopped():
    class AtValidation(keras.callbacks.Callback):
        seen = []

        def on_test_begin(self, logs=None):
            self.seen.append(self.model.get_layer("buy").kernel.numpy())

    model, watch = _model(), AtValidation()
    scripted = Scripted(click=[0.5, 0.6, 0.7], buy=[0.5, 0.4, 0.9])
    stopping = callbacks.ObjectiveEarlyStopping(["click", "buy"])
    _fit(model, [scripted, stopping, watch], 3)
    np.testing.assert_array_equal(watch.seen[1], watch.seen[2])
    assert (watch.seen[0] != watch.seen[1]).any()


def test_restore_best_patience_and_the_end_of_training():
    model, seen = _model(), small_models.Snapshots()
    scripted = Scripted(
        click=[0.5, 0.7, 0.7, 0.6, 0.9], buy=[0.8, math.nan, 0.7, 0.81, 0.9]
    )
    stopping = callbacks.ObjectiveEarlyStopping(
        ["click", "buy"], patience=2, min_delta=0.05, restore_best=True
    )
    history = _fit(model, [scripted, stopping, seen], 5)
    # NaN counts neither way, 0.81 is not better by more than 0.05.
    assert stopping.stopped == {"click": 4, "buy": 4}
    assert stopping.all_stopped
    assert len(history.history["loss"]) == 4
    last = seen.ended[3]
    for name, best in (("click", 1), ("buy", 0)):
        for key in _of(last, name):
            np.testing.assert_array_equal(last[key], seen.ended[best][key])


def test_less_may_be_better():
    stopping = callbacks.ObjectiveEarlyStopping(
        ["click"], metric="normalized_entropy", mode="min"
    )
    stopping.build(_model())
    for epoch, value in enumerate([0.9, 0.8, 0.85]):
        stopping.on_epoch_end(epoch, {"val_click_normalized_entropy": value})
    assert stopping.stopped == {"click": 3}
    assert not stopping.all_stopped  # `buy` is trained on


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    values = {"click": [0.5, 0.6, 0.5, 0.8], "buy": [0.5, 0.4, 0.9, 0.9]}

    def make(seed=3):
        model = _model(seed=seed)
        stopping = callbacks.ObjectiveEarlyStopping(
            ["click", "buy"], patience=1, restore_best=True
        )
        stopping.build(model)
        saved = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, **stopping.trackables
        )
        return model, stopping, saved

    whole, stopping, _ = make()
    _fit(whole, [Scripted(**values), stopping], 4)
    first, cut, saved = make()
    _fit(first, [Scripted(**values), cut], 2)
    path = saved.save(tmp_path / "state")
    resumed, again, saved = make(seed=9)
    saved.restore(path).assert_consumed()
    assert again.stopped == {"buy": 2}
    _fit(resumed, [Scripted(**values), again], 4, initial_epoch=2)
    assert again.stopped == stopping.stopped == {"buy": 2, "click": 3}
    small_models.assert_same(
        small_models.state(whole), small_models.state(resumed)
    )


def test_real_validation_is_read_from_the_logs():
    model = _model()
    model.compile(
        model.optimizer,
        model.loss,
        weighted_metrics={
            name: [keras.metrics.AUC(from_logits=True, name="auc")]
            for name in ("click", "buy")
        },
    )
    stopping = callbacks.ObjectiveEarlyStopping(["click", "buy"], min_delta=1.0)
    history = _fit(model, [stopping], 3)
    assert stopping.stopped == {"click": 2, "buy": 2}
    assert len(history.history["loss"]) == 2


def test_without_validation_the_missing_key_is_named():
    model = _model()
    stopping = callbacks.ObjectiveEarlyStopping(["click", "buy"])
    with pytest.raises(ValueError, match="val_click_auc"):
        small_models.fit(model, [stopping], 1, data=_data())


def test_a_loss_without_gate_and_wrong_arguments_are_refused():
    model = _model(gated=("click",))
    with pytest.raises(ValueError, match=r"GatedLoss.*'buy'"):
        callbacks.ObjectiveEarlyStopping(["click", "buy"]).build(model)
    with pytest.raises(ValueError, match="'view'; outputs are"):
        callbacks.ObjectiveEarlyStopping(["view"]).build(model)
    for wrong in (
        {"objectives": []},
        {"mode": "up"},
        {"patience": 0},
        {"min_delta": -1.0},
    ):
        with pytest.raises(ValueError, match="Received"):
            callbacks.ObjectiveEarlyStopping(**{"objectives": ["a"], **wrong})


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
def test_a_closed_gate_gives_exactly_zero_even_for_infinite_logits(graph):
    gated = callbacks.GatedLoss(
        keras.losses.BinaryCrossentropy(from_logits=True)
    )

    def gradient(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = gated(tf.ones((2, 1)), logits, tf.ones(2))
        found = tape.gradient(loss, logits)
        return loss, tf.zeros_like(logits) if found is None else found

    gradient = tf.function(gradient) if graph else gradient
    logits = tf.constant([[math.inf], [-math.inf]])
    gated.gate.assign(False)
    loss, found = gradient(logits)
    assert float(loss) == 0.0
    np.testing.assert_array_equal(found, np.zeros((2, 1)))
    gated.gate.assign(True)
    assert not np.isfinite(float(gradient(logits)[0]))


def test_a_saved_model_keeps_its_gated_losses(tmp_path):
    model = _model()
    model.loss["buy"].gate.assign(False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss["buy"], callbacks.GatedLoss)
    assert not bool(loaded.loss["buy"].gate.numpy())
    assert bool(loaded.loss["click"].gate.numpy())
    features, _ = _data()
    for name, found in loaded.predict(features, verbose=0).items():
        np.testing.assert_array_equal(
            found, model.predict(features, verbose=0)[name]
        )


def test_towers_of_a_chain_and_behind_a_correction():
    """As in ESMM: what `click` needs, `buy` needs too."""

    class Shift(keras.layers.Layer):
        def call(self, logits):
            return {name: one + 1.0 for name, one in logits.items()}

    inputs = keras.Input((2,))
    click = keras.layers.Dense(1, name="click_logit")(inputs)
    rate = keras.layers.Dense(1, name="rate")(inputs)
    nested = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    outputs = {"click": click, "buy": nested(rate) * keras.ops.sigmoid(click)}
    for model in (
        keras.Model(inputs, outputs),
        keras.Model(inputs, Shift()(outputs)),
    ):
        found = towers.find_towers(model, ["click", "buy"])
        assert found["click"] == []
        assert [v.path.split("/")[0] for v in found["buy"][:2]] == ["rate"] * 2
        assert len(found["buy"]) == 4


def test_a_subclassed_model_has_no_towers_but_gates():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs):
            return {"click": self.dense(inputs)}

    model = Own()
    model.compile(
        "sgd",
        {"click": callbacks.GatedLoss(keras.losses.MeanSquaredError())},
    )
    stopping = callbacks.ObjectiveEarlyStopping(["click"])
    scripted = Scripted(click=[0.5, 0.4, 0.3])
    features = np.ones((4, 2), "f")
    history = model.fit(
        features,
        {"click": np.ones((4, 1))},
        epochs=3,
        verbose=0,
        callbacks=[scripted, stopping],
    )
    assert len(history.history["loss"]) == 2

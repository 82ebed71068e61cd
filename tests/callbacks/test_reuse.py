"""One callback object, a model compiled anew, and another model."""

import keras
import pytest

from tests.callbacks import small_models
from tfplugin import callbacks


def _frozen(model, freeze, epoch=1):
    """Whether tables stay in an epoch, and nothing but tables."""
    before = small_models.state(model)
    small_models.fit(model, [freeze], epoch + 1, initial_epoch=epoch)
    after = small_models.state(model)
    dense = "model/hidden/kernel"
    assert (before[dense] != after[dense]).any()
    return all(
        (before[key] == after[key]).all()
        for key in small_models.table_keys(model)
    )


def test_tables_are_frozen_after_the_model_is_compiled_anew():
    model, freeze = small_models.one_objective(), callbacks.FreezeTables(1)
    small_models.fit(model, [freeze], 1)
    assert _frozen(model, freeze)
    small_models.compile_split(model, "mse")
    assert _frozen(model, freeze)
    # The same optimizer, but a step that is traced anew.
    model.compile(model.optimizer, "mae")
    assert _frozen(model, freeze)


def test_tables_of_another_model_are_frozen():
    freeze = callbacks.FreezeTables(1)
    first, second = small_models.one_objective(), small_models.one_objective()
    assert _frozen(first, freeze)
    small_models.fit(second, [], 1)  # has traced a step without a switch
    assert _frozen(second, freeze)
    assert _frozen(first, freeze, epoch=2)


def test_a_second_model_on_the_same_tables_and_optimizer_is_frozen():
    freeze = callbacks.FreezeTables(1)
    first = small_models.one_objective()
    second = keras.Model(first.inputs, first.outputs)
    second.compile(first.optimizer, "mse")
    small_models.fit(second, [], 1)
    assert _frozen(first, freeze)
    assert _frozen(second, freeze)


def test_two_callbacks_take_turns():
    model = small_models.one_objective()
    first, second = callbacks.FreezeTables(1), callbacks.FreezeTables(5)
    assert _frozen(model, first)
    assert not _frozen(model, second)
    assert _frozen(model, first)


def test_gate_updates_returns_the_switch_there_was():
    model = small_models.one_objective()
    table = model.get_layer("user_table").embeddings
    freeze = callbacks.FreezeTables(1)
    small_models.fit(model, [freeze], 1)
    gate = model.optimizer.gate_updates(table, None)
    assert gate.dtype == "bool"
    assert model.optimizer.gate_updates(table, None) is None


def test_table_sets_are_of_one_model_and_optimizer():
    model, sets = small_models.one_objective(), callbacks.TableSets(2)
    small_models.fit(model, [sets], 2)
    model.compile(model.optimizer, "mae")  # the sets aside still fit
    small_models.fit(model, [sets], 3, initial_epoch=2)
    assert sets.active_set == 0
    small_models.compile_split(model, "mse")
    message = "One TableSets object is for one model and one optimizer"
    with pytest.raises(ValueError, match=message):
        small_models.fit(model, [sets], 4, initial_epoch=3)
    with pytest.raises(ValueError, match=message):
        small_models.fit(small_models.one_objective(), [sets], 1)
    # Refused, it is still of the first.
    with pytest.raises(ValueError, match="Received: model="):
        sets.build(model)


def _gated(seed=7):
    model = small_models.one_objective(seed=seed)
    _compile_gated(model)
    return model


def _compile_gated(model):
    loss = callbacks.GatedLoss(keras.losses.MeanSquaredError())
    small_models.compile_split(
        model, loss, weighted_metrics=[keras.metrics.MeanSquaredError("error")]
    )


def _stopping():
    """Stops at the end of its second epoch."""
    return callbacks.ObjectiveEarlyStopping("logit", "error", min_delta=9.0)


def _stop(model, stopping, epochs, initial_epoch=0):
    return small_models.fit(
        model,
        [stopping],
        epochs,
        initial_epoch=initial_epoch,
        validation_data=small_models.rows(seed=1),
    )


def test_an_objective_that_has_stopped_stays_so_when_compiled_anew():
    model, stopping = _gated(), _stopping()
    _stop(model, stopping, 5)
    assert stopping.stopped == {"logit": 2}
    _compile_gated(model)
    before = small_models.state(model)
    _stop(model, stopping, 9, initial_epoch=2)
    after = small_models.state(model)
    assert int(model.optimizer.iterations.numpy()) == 3  # one more epoch
    weights = [key for key in before if key.startswith("model/")]
    small_models.assert_same(before, after, weights)


def test_gates_of_a_model_compiled_anew_are_closed_in_time():
    model, stopping = _gated(), _stopping()
    _stop(model, stopping, 1)
    _compile_gated(model)
    closed = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            closed.append(not model.loss.gate.numpy())

    small_models.fit(
        model,
        [stopping, Watch()],
        3,
        initial_epoch=1,
        validation_data=small_models.rows(seed=1),
    )
    assert closed == [True]


def test_another_model_is_refused_rather_than_never_stopped():
    stopping = _stopping()
    _stop(_gated(), stopping, 1)
    with pytest.raises(ValueError, match="One ObjectiveEarlyStopping object"):
        _stop(_gated(seed=8), stopping, 1)


def test_validation_measures_a_stopped_objective_and_gates_end_open():
    model, stopping = _gated(), _stopping()
    _stop(model, stopping, 2)
    losses = _stop(model, stopping, 3, initial_epoch=2).history
    assert losses["loss"] == [0.0]
    assert losses["val_loss"][0] > 0.0
    evaluated = model.evaluate(
        *small_models.rows(seed=1), batch_size=16, verbose=0, return_dict=True
    )
    assert losses["val_loss"][0] == pytest.approx(evaluated["loss"])
    assert model.loss.gate.numpy()


def test_evaluating_with_the_callback_leaves_the_gates():
    model, stopping = _gated(), _stopping()
    features, targets = small_models.rows()
    for is_open in (True, False):
        model.loss.gate.assign(is_open)
        found = model.evaluate(
            features, targets, verbose=0, callbacks=[stopping]
        )
        assert found[0] > 0.0
        assert bool(model.loss.gate.numpy()) == is_open

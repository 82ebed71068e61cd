"""Stops single objectives of a model once their validation falls."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin.callbacks import epoch_logs
from tfplugin.callbacks import gated_loss
from tfplugin.callbacks import towers as towers_lib


class ObjectiveEarlyStopping(keras.callbacks.Callback):
    """Stops each objective by itself once it no longer improves.

    Objectives overfit at different epochs, the sparser ones first. Once the
    validation metric of one has not improved for `patience` epochs, its loss is
    switched off (exactly zero gradients from the next epoch on, to shared
    layers and tables as well), and its tower, the weights that only its output
    depends on (see `towers.find_towers`), keeps its values. Others train on.
    When all have stopped, and the model has no others, training ends.

    An optimizer with momentum would still move a tower without gradients, and
    an AdamW shrink it. So a stopped tower is put back, bit for bit, before each
    validation and at the end of each epoch: what is validated, saved and
    exported is exactly the tower that stopped. In between nothing but the
    training metrics of a stopped objective can tell. What a stopped objective
    shares with others goes on changing, so its metrics may as well.

    The loss of every objective must be a `GatedLoss`; a closed gate leaves it
    out of Keras's `loss`, which then is what is still trained. Validation opens
    the gates for its time, so that `val_loss` is of all objectives always, and
    they are open after training. Validate in `fit`, every epoch. An epoch whose
    metric is NaN, as without positives, counts neither way.

    One object is for one model. Once that is compiled anew, what has stopped
    stays stopped.

    Args:
        objectives: Names of the objectives: the model's output names.
        metric: Name of the metric, as in the log key
            `val_<objective>_<metric>`; or `val_<metric>`, as Keras calls it
            for the only objective of a model.
        mode: "max" if greater is better (default), "min" if less is.
        patience: Epochs without improvement after which an objective stops, at
            least 1.
        min_delta: By how much more than this a value must better the best one
            to count, at least 0.
        restore_best: Whether a tower stops at its values of its best epoch.
            What it shares with others is not of that epoch.
        verbose: 1 prints a line for each objective that stops.

    Attributes:
        trackables: Variables to carry over a resume, by name; empty before
            `build`.

    Raises:
        ValueError: On construction, if an argument is out of its range; when
            training begins, if a loss is no `GatedLoss`, an objective no
            output, or the model another one than before; at the end of an
            epoch, if the logs lack a key.

    Example:
    >>> inputs = keras.Input((1,))
    >>> model = keras.Model(inputs, {
    ...     name: keras.layers.Dense(1, name=name)(inputs)
    ...     for name in ("click", "buy")
    ... })
    >>> model.compile("sgd", {
    ...     name: gated_loss.GatedLoss(keras.losses.MeanSquaredError())
    ...     for name in ("click", "buy")
    ... })
    >>> stopping = ObjectiveEarlyStopping(["click", "buy"])
    >>> stopping.build(model)
    >>> stopping.on_epoch_end(0, {"val_click_auc": 0.6, "val_buy_auc": 0.6})
    >>> stopping.on_epoch_end(1, {"val_click_auc": 0.7, "val_buy_auc": 0.5})
    >>> stopping.stopped
    {'buy': 2}
    """

    def __init__(
        self,
        objectives: Sequence[str],
        metric: str = "auc",
        mode: str = "max",
        patience: int = 1,
        min_delta: float = 0.0,
        restore_best: bool = False,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        self.objectives = epoch_logs.check_objectives(objectives, mode)
        if patience < 1:
            raise ValueError(
                "`patience` must be at least 1 epoch. "
                f"Received: patience={patience}."
            )
        if not min_delta >= 0.0:
            raise ValueError(
                "`min_delta` must be at least 0; `mode` says which way is "
                f"better. Received: min_delta={min_delta}."
            )
        self.metric = metric
        self.mode = mode
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.verbose = verbose
        self.trackables: dict[str, Any] = {}
        count = len(self.objectives)
        self._best = _variable(np.full(count, math.nan))
        self._waited = _variable(np.zeros(count, np.int64))
        self._stopped = _variable(np.zeros(count, np.int64))
        self._has_others = False
        self._built_for: keras.Model | None = None
        self._gates: list[tf.Variable] = []
        self._gates_before: list[bool] = []
        self._towers: list[list[tuple[keras.Variable, tf.Variable]]] = []

    @property
    def stopped(self) -> dict[str, int]:
        """Objectives that have stopped, each with its last epoch, from 1."""
        epochs = self._stopped.numpy().tolist()
        pairs = zip(self.objectives, epochs, strict=True)
        return {name: epoch for name, epoch in pairs if epoch}

    @property
    def all_stopped(self) -> bool:
        """Whether no objective of the model is trained any more."""
        finished = len(self.stopped) == len(self.objectives)
        return finished and not self._has_others

    def build(self, model: keras.Model) -> None:
        """Finds gates and towers; training does so if need be.

        Call it before a checkpoint of `trackables` is made or restored.

        Args:
            model: Built and compiled.

        Raises:
            ValueError: See the class.
        """
        first = self._built_for is None
        if not first and self._built_for is not model:
            raise ValueError(
                "One ObjectiveEarlyStopping object is for one model, whose "
                "towers it keeps. Received: another one than before, "
                f"model={model.name!r}. Make a new one for it."
            )
        found = towers_lib.find_towers(model, self.objectives) if first else {}
        # Each time: compiled anew, a model has other losses.
        self._gates = [self._gate(model, name) for name in self.objectives]
        self._has_others = isinstance(model.loss, dict) and bool(
            set(model.loss) - set(self.objectives)
        )
        if not first:
            return
        self._towers = [
            [(one, _variable(one.numpy())) for one in found[name]]
            for name in self.objectives
        ]
        self._built_for = model
        self.trackables = {
            "objective_early_stopping": [
                self._best,
                self._waited,
                self._stopped,
            ],
            "objective_early_stopping_towers": [
                kept for tower in self._towers for _, kept in tower
            ],
        }

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the gates of objectives that have not stopped, no others."""
        self.build(self.model)
        stopped = self.stopped
        for name, gate in zip(self.objectives, self._gates, strict=True):
            gate.assign(name not in stopped)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Opens all gates: what is evaluated now is all objectives."""
        for gate in self._gates:
            gate.assign(True)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the towers of stopped objectives back and opens all gates."""
        self.build(self.model)
        self._put_back()
        self._gates_before = [bool(gate.numpy()) for gate in self._gates]
        for gate in self._gates:
            gate.assign(True)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the gates again that were closed before the validation."""
        for gate, before in zip(self._gates, self._gates_before, strict=True):
            gate.assign(before)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Stops objectives, and the training once all have stopped.

        Args:
            epoch: Epoch from 0, as Keras counts.
            logs: Values by key, with those of the validation.

        Raises:
            ValueError: A key is missing.
        """
        for index, name in enumerate(self.objectives):
            if name not in self.stopped:
                value = epoch_logs.read(
                    logs or {},
                    epoch_logs.keys(
                        name, self.metric, "val_", len(self.objectives) == 1
                    ),
                )
                if value is not None:
                    self._judge(index, epoch, value)
        self._put_back()
        if self.all_stopped:
            self.model.stop_training = True

    def _judge(self, index: int, epoch: int, value: float) -> None:
        best = float(self._best[index].numpy())
        gain = value - best if self.mode == "max" else best - value
        if math.isnan(best) or gain > self.min_delta:
            _set(self._best, index, value)
            _set(self._waited, index, 0)
            if self.restore_best:
                self._keep(index)
            return
        waited = int(self._waited[index].numpy()) + 1
        _set(self._waited, index, waited)
        if waited < self.patience:
            return
        if not self.restore_best:
            self._keep(index)
        _set(self._stopped, index, epoch + 1)
        self._gates[index].assign(False)
        if self.verbose:
            print(
                f"Epoch {epoch + 1}: {self.objectives[index]} stops; "
                f"{self.metric} {value:.4f}, best {best:.4f}",
                flush=True,
            )

    def _keep(self, index: int) -> None:
        for variable, kept in self._towers[index]:
            kept.assign(variable.value)

    def _put_back(self) -> None:
        stopped = self.stopped
        for name, tower in zip(self.objectives, self._towers, strict=True):
            if name in stopped:
                for variable, kept in tower:
                    variable.assign(kept)

    def _gate(self, model: keras.Model, name: str) -> tf.Variable:
        losses = model.loss
        if not isinstance(losses, dict) and len(self.objectives) == 1:
            losses = {name: losses}
        loss = losses.get(name) if isinstance(losses, dict) else losses
        if not isinstance(loss, gated_loss.GatedLoss):
            raise ValueError(
                "ObjectiveEarlyStopping needs a GatedLoss for each objective. "
                f"Received: {loss!r} for {name!r}. Compile with "
                "`loss={objective: tfplugin.callbacks.GatedLoss(loss)}`."
            )
        return loss.gate


def _variable(value: Any) -> tf.Variable:
    return tf.Variable(value, trainable=False)


def _set(variable: tf.Variable, index: int, value: float) -> None:
    values = variable.numpy()
    values[index] = value
    variable.assign(values)

"""Watches each objective of a multi-task model across epochs."""

from collections.abc import Sequence
from typing import Any

import keras

from tfplugin.callbacks import epoch_logs
from tfplugin.callbacks import overfitting


class ObjectiveMonitor(keras.callbacks.Callback):
    """Remembers where each objective peaked and where it began to overfit.

    Objectives overfit at different epochs, the sparser ones first. After each
    epoch this reads `val_<objective>_<metric>` and `<objective>_<metric>` from
    the logs, or, since Keras drops the objective's name for a model with one
    output, `val_<metric>` and `<metric>` when there is one objective.

    The peak is the first epoch with the best validation value. The objective
    overfits from the first epoch after it at which validation is worse than at
    the peak by more than `tolerance` while training is better than at the peak;
    a later, better peak withdraws the verdict. Epochs count from 1 here. A NaN
    (a validation split without positives) is remembered as None, never a peak.

    It stops nothing and changes nothing. Training an epoch again, as a resumed
    or a new `fit` does, replaces what was known of it and of later ones.

    Args:
        objectives: Names of the objectives: the model's output names.
        metric: Name of the metric to watch.
        mode: "max" if greater is better (default), "min" if less is.
        tolerance: How much worse than the peak still counts as level, in the
            metric's own unit; at least 0.
        verbose: 1 prints one line an epoch, 0 (default) nothing.

    Raises:
        ValueError: On construction, if there is no objective, one is named
            twice, `mode` is neither "max" nor "min", or `tolerance` is
            negative; at the end of an epoch, if the logs lack a key.

    Example:
    >>> monitor = ObjectiveMonitor(["click"])
    >>> monitor.on_epoch_end(0, {"click_auc": 0.7, "val_click_auc": 0.65})
    >>> monitor.on_epoch_end(1, {"click_auc": 0.9, "val_click_auc": 0.6})
    >>> monitor.summary()["click"]["overfits_from"]
    2

    Reference: Zhang et al., "Towards understanding the overfitting phenomenon
    of deep click-through rate models", arXiv 2209.06053.
    """

    def __init__(
        self,
        objectives: Sequence[str],
        metric: str = "auc",
        mode: str = "max",
        tolerance: float = 0.0,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        self.objectives = epoch_logs.check_objectives(objectives, mode)
        if not tolerance >= 0.0:
            raise ValueError(
                "`tolerance` must be at least 0. "
                f"Received: tolerance={tolerance}."
            )
        self.metric = metric
        self.mode = mode
        self.tolerance = tolerance
        self.verbose = verbose
        self._epochs: list[int] = []
        self._training: dict[str, list[float | None]] = {}
        self._validation: dict[str, list[float | None]] = {}
        self._forget_from(0)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Reads the epoch's values from the logs.

        Args:
            epoch: Epoch from 0, as Keras counts.
            logs: Values by key, with those of the validation.

        Raises:
            ValueError: A key is missing.
        """
        logs = logs or {}
        values = {
            name: (
                self._value(logs, name, ""),
                self._value(logs, name, "val_"),
            )
            for name in self.objectives
        }
        self._forget_from(epoch + 1)
        self._epochs.append(epoch + 1)
        for name, (training, validation) in values.items():
            self._training[name].append(training)
            self._validation[name].append(validation)
        if self.verbose:
            print(self._line(), flush=True)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Returns what is known of each objective.

        Returns:
            By objective: `peak_epoch` (from 1) and `peak_value`, None while no
            epoch had a value; `overfits_from`, an epoch or None; `values`, the
            validation values of the epochs in `epochs`, None where NaN.

        Example:
        >>> ObjectiveMonitor(["click"]).summary()["click"]["peak_epoch"] is None
        True
        """
        return {
            name: {
                **overfitting.assess(
                    self._epochs,
                    self._training[name],
                    self._validation[name],
                    mode=self.mode,
                    tolerance=self.tolerance,
                ),
                "values": list(self._validation[name]),
                "epochs": list(self._epochs),
            }
            for name in self.objectives
        }

    def get_state(self) -> dict[str, Any]:
        """Returns all that was remembered, as strict JSON can hold it.

        Example:
        >>> ObjectiveMonitor(["click"]).get_state()
        {'epochs': [], 'training': {'click': []}, 'validation': {'click': []}}
        """
        return {
            "epochs": list(self._epochs),
            "training": {k: list(v) for k, v in self._training.items()},
            "validation": {k: list(v) for k, v in self._validation.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over what `get_state` of an earlier run returned.

        Args:
            state: Of `get_state`, also through JSON.

        Raises:
            ValueError: The state is of other objectives.

        Example:
        >>> monitor = ObjectiveMonitor(["click"])
        >>> monitor.set_state({
        ...     "epochs": [1], "training": {"click": [0.7]},
        ...     "validation": {"click": [0.6]},
        ... })
        >>> monitor.summary()["click"]["peak_value"]
        0.6
        """
        if set(state["validation"]) != set(self.objectives):
            raise ValueError(
                "`state` must be of the same objectives. Received: state of "
                f"{sorted(state['validation'])} for objectives="
                f"{self.objectives}."
            )
        self._epochs = list(state["epochs"])
        self._training = {
            k: list(state["training"][k]) for k in self.objectives
        }
        self._validation = {
            k: list(state["validation"][k]) for k in self.objectives
        }

    def _value(
        self, logs: dict[str, Any], name: str, prefix: str
    ) -> float | None:
        is_only_one = len(self.objectives) == 1
        return epoch_logs.read(
            logs, epoch_logs.keys(name, self.metric, prefix, is_only_one)
        )

    def _forget_from(self, epoch: int) -> None:
        """Drops what is known of `epoch`, from 1, and of later ones."""
        kept = sum(known < epoch for known in self._epochs)
        self._epochs = self._epochs[:kept]
        for values in (self._training, self._validation):
            for name in self.objectives:
                values[name] = values.get(name, [])[:kept]

    def _line(self) -> str:
        parts = []
        for name, known in self.summary().items():
            value = known["values"][-1]
            shown = "no value" if value is None else f"{value:.4f}"
            part = f"{name} {shown} (peak at epoch {known['peak_epoch']}"
            if known["overfits_from"] is not None:
                part += f", overfits from epoch {known['overfits_from']}"
            parts.append(part + ")")
        return f"Epoch {self._epochs[-1]}: {self.metric} " + "; ".join(parts)

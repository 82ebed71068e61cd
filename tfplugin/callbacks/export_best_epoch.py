"""Exports a model whenever an objective validates better than before."""

import json
import logging
import math
import pathlib
from collections.abc import Callable
from typing import Any

import keras

from tfplugin.callbacks import epoch_logs

_VERSION = 1
_logger = logging.getLogger("tfplugin")


class EpochNotExportedError(Exception):
    """Raised by what `ExportBestEpoch` calls, for an epoch it does not export.

    Example:
    >>> def refuse(epoch):
    ...     raise EpochNotExportedError("its tables do not fit the disk")
    >>> callback = ExportBestEpoch("click", refuse)
    >>> callback.on_train_begin()
    >>> callback.on_epoch_end(0, {"val_click_auc": 0.7})
    >>> callback.best
    """


class ExportBestEpoch(keras.callbacks.Callback):
    """Hands the best epoch's weights on while the model still has them.

    After each epoch whose `val_<objective>_<metric>` (or `val_<metric>`, as
    Keras calls it for the only objective of a model) betters the best one so
    far, this calls `export`, then `discard` for what earlier epochs exported:
    one version remains. What is a version, and where, these functions know.

    With `state` it goes on after an interruption: an epoch that is trained
    again, as a resume does with one whose checkpoint was cut off, is judged
    again, and what it had exported is replaced. For that, put this callback
    before the one that saves the checkpoint, and after all that change weights
    at the end of an epoch, as `ObjectiveEarlyStopping` does.

    What `export` raises ends the training, except for `EpochNotExportedError`:
    that is logged, and the best epoch before remains the best one. An epoch
    whose metric is NaN, as without positives, is no best.

    Args:
        objective: The objective to watch: one of the model's output names.
        export: Called with the number of epochs done, from 1. What it returns,
            any JSON value, is what `discard` gets.
        discard: Removes what an earlier epoch exported; called with the same
            value again after an interruption. None for keeping all.
        metric: Name of the metric to watch.
        mode: "max" if greater is better (default), "min" if less is.
        min_delta: By how much more than this a value must better the best one,
            at least 0.
        state: The file that is written after each export and read when
            training begins; None for beginning anew each time.

    Raises:
        ValueError: On construction, if an argument is out of its range; when
            training begins, if `state` is no such file or another objective's;
            at the end of an epoch, if the logs lack the key.

    Example:
    >>> exported = []
    >>> callback = ExportBestEpoch("click", exported.append)
    >>> callback.on_train_begin()
    >>> for epoch, auc in enumerate([0.7, 0.8, 0.75]):
    ...     callback.on_epoch_end(epoch, {"val_click_auc": auc})
    >>> exported, callback.best["epoch"]
    ([1, 2], 2)
    """

    def __init__(
        self,
        objective: str,
        export: Callable[[int], Any],
        discard: Callable[[Any], None] | None = None,
        metric: str = "auc",
        mode: str = "max",
        min_delta: float = 0.0,
        state: str | pathlib.Path | None = None,
    ) -> None:
        super().__init__()
        (self.objective,) = epoch_logs.check_objectives([objective], mode)
        if not min_delta >= 0.0:
            raise ValueError(
                "`min_delta` must be at least 0; `mode` says which way is "
                f"better. Received: min_delta={min_delta}."
            )
        self.export = export
        self.discard = discard
        self.metric = metric
        self.mode = mode
        self.min_delta = min_delta
        self.state = None if state is None else pathlib.Path(state)
        # Each better than those before; what the last but one and earlier
        # ones exported is discarded, or in `_discarding` until it is.
        self._bests: list[dict[str, Any]] = []
        self._discarding: list[Any] = []

    @property
    def best(self) -> dict[str, Any] | None:
        """`epoch` (from 1), `value` and what was `exported`; None if none."""
        return dict(self._bests[-1]) if self._bests else None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reads the state, if there is one.

        Raises:
            ValueError: It is of another objective, or damaged.
        """
        if self.state is None or not self.state.is_file():
            return
        try:
            found = json.loads(self.state.read_text("utf-8"))
            if (
                found["version"] != _VERSION
                or found["watched"] != self._watched
            ):
                raise ValueError("it is of another objective, metric or mode")
            bests, discarding = found["bests"], found["discarding"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                "`state` must be the file of a callback that watched the same. "
                f"Received: {self.state} ({error}). Remove it to begin anew."
            ) from error
        self._bests, self._discarding = bests, discarding

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Exports the epoch if it is the best so far.

        Args:
            epoch: Epoch from 0, as Keras counts.
            logs: Values by key, with those of the validation.

        Raises:
            ValueError: The key is missing.
        """
        value = epoch_logs.read(
            logs or {},
            epoch_logs.keys(self.objective, self.metric, "val_", True),
        )
        # Epochs from this one on are trained again.
        before = [one for one in self._bests if one["epoch"] <= epoch]
        if value is None or not self._is_better(value, before):
            return
        try:
            exported = self.export(epoch + 1)
        except EpochNotExportedError as error:
            _logger.warning("Epoch %d is not exported. %s", epoch + 1, error)
            return
        stale = [one["exported"] for one in self._bests]
        self._discarding += [one for one in stale if one is not None]
        self._bests = [
            *({**one, "exported": None} for one in before),
            {"epoch": epoch + 1, "value": value, "exported": exported},
        ]
        self._write()
        if self.discard is not None:
            for one in self._discarding:
                self.discard(one)
        self._discarding = []
        self._write()

    @property
    def _watched(self) -> list[str]:
        return [self.objective, self.metric, self.mode]

    def _is_better(self, value: float, before: list[dict[str, Any]]) -> bool:
        best = before[-1]["value"] if before else math.nan
        gain = value - best if self.mode == "max" else best - value
        return math.isnan(best) or gain > self.min_delta

    def _write(self) -> None:
        if self.state is None:
            return
        content = {
            "version": _VERSION,
            "watched": self._watched,
            "bests": self._bests,
            "discarding": self._discarding,
        }
        temporary = self.state.with_name(f"{self.state.name}.tmp")
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        temporary.replace(self.state)

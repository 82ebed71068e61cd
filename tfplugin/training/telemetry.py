"""What an epoch did, told by how much evidence there was for it."""

import math
import pathlib
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfplugin import data
from tfplugin import remedies
from tfplugin.training import evidence
from tfplugin.training import history as history_lib
from tfplugin.training import row_samples

#: Steps at most of which a window at either side of a boundary consists.
_WINDOW = 50

Logs = dict[str, float]


class Telemetry(keras.callbacks.Callback):
    """Measures each epoch by evidence; changes nothing of the training.

    After an epoch it reads the validation split once more (see
    `evidence.EvidencePass`), compares a sample of the tables' rows with those
    of the epoch's begin (`row_samples.RowSample`), and takes the rest from
    Keras's logs, which Keras reads after each step anyway. It belongs after
    callbacks that reset or change tables, and before the `Recorder`.

    What it finds is in `latest`, as `history.json` has it:

    * `seconds`: what telemetry itself took.
    * `training_loss`: `window`, a number W of steps, at most 50 and a quarter
      of the epoch; `first`, the mean loss of the epoch's first W steps;
      `last`, that of the W steps before its last one, which may be of fewer
      rows; `jump`, `first` minus the `last` of the epoch before. A model that
      memorises falls at the boundary: it knows the rows that come again.
    * `generalization_gap`: objective to `auc`, training minus validation, and
      `loss`, validation minus training: above 0 where training is better.
      Where training rows alone were sampled, these losses are of two scales.
    * `rows`: table to its buckets; see `RowSample.end`.
    * `validation`: see `EvidencePass.measure`.

    Args:
        dataset: Narrowed to the model's columns.
        facts: Of the training; its tables are sampled.
        base_rates: Objective to its positive rate in training rows.
        batch_size: Of evaluation; see `EvidencePass`.
        folder: For TensorBoard's events, and files while a pass lasts.
        earlier: Epochs of `history.json` that a resumed training continues.
    """

    def __init__(
        self,
        dataset: data.Dataset,
        facts: remedies.Training,
        *,
        base_rates: Mapping[str, float],
        batch_size: int,
        folder: pathlib.Path,
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.latest: dict[str, Any] | None = None
        self._base_rates = base_rates
        self._evidence = evidence.EvidencePass(
            facts.model,
            dataset,
            base_rates=base_rates,
            batch_size=batch_size,
            folder=folder,
        )
        self._writer = tf.summary.create_file_writer(str(folder))
        self._samples = {
            layer.table_name: row_samples.RowSample(
                layer, facts.id_frequencies(table), seed=[facts.seed, place]
            )
            for place, (table, layer) in enumerate(_tables(facts))
        }
        last = (earlier[-1].get("telemetry") or {}) if earlier else {}
        self._last_loss = last.get("training_loss", {}).get("last")
        self._losses: dict[int, float] = {}
        self._window = 1
        self._steps = 1

    def measure(self, split: str) -> dict[str, Any]:
        """Reads a split once; see `EvidencePass.measure`.

        Args:
            split: `validation` or `test`.

        Returns:
            `seconds` besides.
        """
        began = time.perf_counter()
        measured = self._evidence.measure(split)
        return {"seconds": time.perf_counter() - began, **measured}

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Remembers rows as the epoch finds them."""
        self._losses = {}
        self._steps = self.params["steps"] or 1
        self._window = max(1, min(_WINDOW, self._steps // 4))
        for sample in self._samples.values():
            sample.begin()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Keeps Keras's mean loss so far at the ends of the windows."""
        done = batch + 1
        if done in self._marks():
            self._losses[done] = float((logs or {})["loss"])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Measures the epoch.

        Raises:
            KeyError: A metric is missing in the logs.
        """
        logs = logs or {}
        began = time.perf_counter()
        rows = {name: sample.end() for name, sample in self._samples.items()}
        measured = self._evidence.measure("validation")
        self.latest = {
            "seconds": 0.0,
            "training_loss": self._training_loss(),
            "generalization_gap": self._gaps(logs),
            "rows": rows,
            "validation": measured,
        }
        # Keras numbers its own graphs by epochs from 0.
        with self._writer.as_default(step=epoch):
            for name, value in _scalars(self.latest):
                tf.summary.scalar(name, value)
        self._writer.flush()
        self.latest["seconds"] = time.perf_counter() - began

    def _marks(self) -> tuple[int, ...]:
        """Steps done at the ends of both windows."""
        last = max(self._steps - 1, 1)
        return self._window, max(last - self._window, 0), last

    def _training_loss(self) -> dict[str, Any]:
        first_end, last_begin, last_end = self._marks()
        losses = {0: 0.0, **self._losses}
        first = losses.get(first_end, math.nan)
        # Keras logs means since the epoch's begin; of whole steps, the sum
        # of a window is a difference of two such sums.
        last = (
            last_end * losses.get(last_end, math.nan)
            - last_begin * losses.get(last_begin, math.nan)
        ) / (last_end - last_begin)
        before, self._last_loss = self._last_loss, last
        return {
            "window": self._window,
            "first": first,
            "last": last,
            "jump": math.nan if before is None else first - before,
        }

    def _gaps(self, logs: Logs) -> dict[str, Any]:
        train = history_lib.split_logs(logs, self._base_rates)
        validation = history_lib.split_logs(logs, self._base_rates, "val_")
        gaps = {}
        for objective, trained in train["objectives"].items():
            held_out = validation["objectives"][objective]
            gaps[objective] = {
                "auc": trained["auc"] - held_out["auc"],
                "loss": held_out["loss"] - trained["loss"],
            }
        return gaps


def _tables(
    facts: remedies.Training,
) -> Iterator[tuple[str, Any]]:
    for table, found in facts.tables.items():
        for layer in found:
            yield table, layer


def _scalars(measured: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What TensorBoard is shown, by name; nothing that is undefined."""
    for name, value in _named(measured):
        if value is not None and math.isfinite(value):
            yield name, value


def _named(measured: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("first", "last", "jump"):
        yield f"training_loss/{key}", measured["training_loss"][key]
    for objective, gap in measured["generalization_gap"].items():
        for key, value in gap.items():
            yield f"generalization_gap/{objective}/{key}", value
    for table, buckets in measured["rows"].items():
        for row in buckets:
            for key in ("norm", "update"):
                yield f"rows_{key}/{table}/{row['bucket']}", row[key]
    for objective, found in measured["validation"]["objectives"].items():
        for table, buckets in found["tables"].items():
            for row in buckets:
                yield f"auc/{objective}/{table}/{row['bucket']}", row["auc"]
        for key in ("group", "request"):
            ranking = found[key] or {}
            yield f"{key}_auc/{objective}", ranking.get("auc")
        yield f"request_ndcg/{objective}", (found["request"] or {}).get("ndcg")

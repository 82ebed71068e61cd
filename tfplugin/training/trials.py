"""Short trainings of variations of one experiment, side by side."""

import dataclasses
import time
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin import artifacts
from tfplugin import callbacks
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import metrics
from tfplugin.errors import InputError
from tfplugin.training import chunks
from tfplugin.training import columns
from tfplugin.training import held_rows
from tfplugin.training import model_building
from tfplugin.training import optimization
from tfplugin.training import sampling
from tfplugin.training import scores

#: Rows predicted at a time.
_PREDICT_ROWS = 16_384
#: Steps that Keras runs before it comes back to Python.
_STEPS_PER_EXECUTION = 16


class Trials:
    """Trains variations of an experiment on rows that are parsed once.

    All rows are held in memory, parsed, so an epoch costs its steps alone. A
    trial measures AUC and loss exactly, from all predictions, and has no
    metrics in its steps. Its steps are those of `training.train`; its rows
    come in another order, so its weights are not the same bits.

    Args:
        config: The experiment that is varied.
        work: Its folder, with a finished dataset.
        splits: Which splits to hold and measure besides `train`, of which
            `training.chunks: last` holds the newest log's rows alone.
        max_rows: Training rows to hold, about; None for all. A sample is of
            whole groups where the `group` column is a feature's column, else
            of single rows, as are rows without a group; other splits are
            sampled by the same share, by the same groups. Row counts stay
            those of all training rows.
        sample_seed: Seed of the sample.

    Attributes:
        rows: Split to the number of its rows that are held.

    Raises:
        InputError: The dataset is absent, unfinished or made for other
            columns.
    """

    def __init__(
        self,
        config: config_lib.ExperimentConfig,
        work: artifacts.WorkFolder,
        *,
        splits: Sequence[str] = ("validation",),
        max_rows: int | None = None,
        sample_seed: int = 0,
    ) -> None:
        dataset = data.open_dataset(work.dataset.path)
        columns.check(config, dataset)
        dataset = chunks.narrow(config.training, dataset)
        self.config = config
        self.dataset = dataset
        self._sampled = sampling.examine(dataset)
        total = dataset.rows("train")
        share = 1.0 if max_rows is None else min(1.0, max_rows / total)
        sample = held_rows.Sample(
            held_rows.group_feature(config), share, sample_seed
        )
        self._held = {
            split: held_rows.hold(dataset, split, sample)
            for split in ("train", *splits)
        }
        self.rows = {name: held.rows for name, held in self._held.items()}
        self.sampled_by = None if share == 1.0 else sample.feature or "row"

    def start(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        train_weights: Mapping[str, np.ndarray] | None = None,
    ) -> "Trial":
        """A trial that has not trained yet.

        Args:
            changes: Dotted keys of the configuration to their values, as in
                `{"training.tables.learning_rate": 0.02}`.
            seed: Of weights, order of rows and remedies.
            train_weights: Objective to sample weights of the training rows,
                float32 `(rows,)`, instead of the dataset's, as for masked
                labels; None or left out for the dataset's.

        Raises:
            InputError: A key is unknown or a value does not fit.
        """
        changed = {**(changes or {}), "training.seed": seed}
        config = config_lib.with_changes(self.config, changed)
        train = self._held["train"]
        weights = {**train.weights, **(train_weights or {})}
        train = held_rows.HeldRows(train.features, train.labels, weights)
        held = {**self._held, "train": train}
        return Trial(config, self.dataset, held, self._sampled)

    def labels(self, split: str, objective: str) -> np.ndarray:
        """Labels of a split, float32 `(rows,)`; 0 where not observed."""
        return self._held[split].labels[objective]

    def weights(self, split: str, objective: str) -> np.ndarray:
        """Sample weights of a split, float32 `(rows,)`; 0 masks a label."""
        return self._held[split].weights[objective]

    def ids(self, split: str, feature: str) -> np.ndarray:
        """Raw ids of a scalar feature of a split, `(rows,)`."""
        return self._held[split].features[feature].numpy()


class Trial:
    """One variation, trained epoch after epoch; made by `Trials.start`.

    Args:
        config: With its changes.
        dataset: Opened.
        held: Split to its rows in memory.
        sampled: How the training split was sampled; None if it was not.

    Attributes:
        epochs: What `train_epoch` returned so far.
        model: Compiled and built.
        has_tables: Whether a table of it is trained.

    Raises:
        InputError: Objectives are to stop by a validation split that is not
            held.
    """

    def __init__(
        self,
        config: config_lib.ExperimentConfig,
        dataset: data.Dataset,
        held: dict[str, held_rows.HeldRows],
        sampled: sampling.SampledTraining | None,
    ) -> None:
        keras.utils.set_random_seed(config.training.seed)
        context = model_building.model_context(config, dataset)
        self.config = config
        self.model = model_building.build_model(config, context)
        self.epochs: list[dict[str, Any]] = []
        self._held = held
        self._dataset = dataset.for_model(self.model)
        if sampled:
            self.model = sampled.correct(self.model)
        facts = model_building.describe_training(
            self.model, config, context, self._dataset
        )
        num_steps = -(-held["train"].rows // config.training.batch_size)
        facts = dataclasses.replace(facts, steps_per_epoch=num_steps)
        optimization.compile_model(
            self.model,
            config,
            context,
            self._dataset,
            facts,
            measured=False,
            steps_per_execution=min(_STEPS_PER_EXECUTION, num_steps),
        )
        self._callbacks = [
            callback
            for remedy in config.training.remedies.values()
            for callback in remedy.callbacks(facts)
        ]
        watched = {
            one.metric
            for one in self._callbacks
            if isinstance(one, callbacks.ObjectiveEarlyStopping)
        }
        if watched:
            self._callbacks.insert(0, self._logs(watched, sampled))
        self.has_tables = bool(optimization.trainable_tables(self.model))
        self._predict = tf.function(
            lambda rows: self.model(rows, training=False), reduce_retracing=True
        )

    def _logs(
        self, watched: Set[str], sampled: sampling.SampledTraining | None
    ) -> "_ValidationLogs":
        """What `fit` would have measured on validation, and callbacks read."""
        if "validation" not in self._held:
            raise InputError(
                "Objectives stop by the validation split, which must be held. "
                f"Received: splits={[*self._held][1:]}. Add 'validation', or "
                "leave training.remedies.objective_early_stopping out."
            )
        rates = {
            name: optimization.base_rate(self._dataset, name)
            for name in self._dataset.schema.labels
        }
        if sampled:
            rates = sampled.base_rates
        held = self._held["validation"]
        return _ValidationLogs(self, held, watched, rates)

    def train_epoch(self, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Trains one epoch more and measures every held split but `train`.

        Args:
            rows: Which training rows, in their order, int64 `(n,)`; None for
                all, in an order that follows from seed and epoch.

        Returns:
            `epoch` from 1, `seconds` of training, `train_loss`, and by split
            `{objective: {"auc", "loss"}}`, the loss in nats.
        """
        epoch = len(self.epochs)
        if any(getattr(one, "all_stopped", False) for one in self._callbacks):
            # Nothing is left to learn, as in `training.train`.
            self.epochs.append({**self.epochs[-1], "epoch": epoch + 1})
            return self.epochs[-1]
        begun = time.perf_counter()
        history = self.model.fit(
            self._batches(epoch, rows),
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=self._callbacks,
            shuffle=False,
            verbose=0,
        )
        measured: dict[str, Any] = {
            "epoch": epoch + 1,
            "seconds": time.perf_counter() - begun,
            "train_loss": float(history.history["loss"][-1]),
        }
        for split in self._held:
            if split != "train":
                measured[split] = self.measure(split)
        self.epochs.append(measured)
        return measured

    def predict(
        self, split: str, first: int = 0, last: int | None = None
    ) -> dict[str, np.ndarray]:
        """Objective to float32 logits `(rows,)`, in the split's order.

        Args:
            split: One that is held.
            first: First row.
            last: The row after the last; None for all.
        """
        held = self._held[split]
        last = held.rows if last is None else last
        parts = []
        for start in range(first, last, _PREDICT_ROWS):
            rows = held.slice(start, min(start + _PREDICT_ROWS, last))
            parts.append(self._predict(self._own(rows)))
        return {
            objective: np.concatenate(
                [part[objective].numpy().reshape(-1) for part in parts]
            )
            for objective in self._dataset.schema.labels
        }

    def _own(self, features: dict[str, Any]) -> dict[str, Any]:
        """The features that the model takes."""
        schema = self._dataset.schema
        names = (*schema.id_features, *schema.dense_features)
        return {name: features[name] for name in names}

    def measure(self, split: str) -> dict[str, dict[str, float]]:
        """Objective to `auc` and `loss`, in nats, of a split that is held."""
        held = self._held[split]
        return {
            objective: {
                "auc": scores.auc(
                    held.labels[objective], logits, held.weights[objective]
                ),
                "loss": scores.log_loss(
                    held.labels[objective], logits, held.weights[objective]
                ),
            }
            for objective, logits in self.predict(split).items()
        }

    def _batches(self, epoch: int, rows: np.ndarray | None) -> tf.data.Dataset:
        settings = self.config.training
        held = self._held["train"]
        if rows is None:
            rng = np.random.default_rng([settings.seed, epoch])
            rows = rng.permutation(held.rows)
        order = tf.constant(rows, tf.int64)
        num_steps = -(-len(rows) // settings.batch_size)
        size = settings.batch_size
        objectives = self._dataset.schema.labels
        labels = {name: tf.constant(held.labels[name]) for name in objectives}
        weights = {name: tf.constant(held.weights[name]) for name in objectives}
        features = self._own(held.features)

        def batch(number: tf.Tensor) -> tuple[Any, Any, Any]:
            chosen = order[number * size : (number + 1) * size]
            return (
                {name: tf.gather(f, chosen) for name, f in features.items()},
                {k: tf.gather(v, chosen)[:, None] for k, v in labels.items()},
                {k: tf.gather(v, chosen) for k, v in weights.items()},
            )

        return (
            tf.data.Dataset.range(num_steps)
            .map(batch, num_parallel_calls=1, deterministic=True)
            .prefetch(4)
        )


class _ValidationLogs(keras.callbacks.Callback):
    """Puts metrics of the validation split where callbacks look for them."""

    def __init__(
        self,
        trial: Trial,
        held: held_rows.HeldRows,
        watched: Set[str],
        rates: Mapping[str, float],
    ) -> None:
        super().__init__()
        self._trial = trial
        self._held = held
        self._watched = watched
        self._rates = rates

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if logs is not None:
            for name, logits in self._trial.predict("validation").items():
                for metric, value in self._measure(name, logits).items():
                    logs[f"val_{name}_{metric}"] = value

    def _measure(self, objective: str, logits: np.ndarray) -> dict[str, float]:
        labels = self._held.labels[objective]
        weights = self._held.weights[objective]
        found = {"auc": scores.auc(labels, logits, weights)}
        for metric in metrics.objective_metrics(self._rates[objective]):
            if metric.name in self._watched and metric.name not in found:
                metric.update_state(labels, logits, weights)
                found[metric.name] = float(metric.result())
        return found

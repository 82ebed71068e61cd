"""`history.json`: what training measured, epoch by epoch."""

import math
import pathlib
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import keras

from tfplugin import artifacts
from tfplugin import callbacks
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import layers
from tfplugin import models
from tfplugin.errors import InputError
from tfplugin.training import model_building

if TYPE_CHECKING:
    from tfplugin.training.experiment import Experiment

#: Metrics of an objective, as they are named in Keras's logs and in the file.
METRICS = ("auc", "pr_auc", "normalized_entropy", "calibration")

Logs = dict[str, float]


def split_logs(
    logs: Logs, base_rates: Mapping[str, float], prefix: str = ""
) -> dict[str, Any]:
    """Sorts Keras's flat logs by objective.

    Args:
        logs: Log key to value, as a callback or `evaluate` gets them.
        base_rates: Objective to its positive rate in the training rows.
        prefix: `val_` for the validation split's keys.

    Returns:
        `{"loss": total, "objectives": {objective: {metric: value}}}`. An
        objective's `loss` is the mean cross entropy in nats over the rows in
        which it was observed.

    Raises:
        KeyError: A metric is not in the logs.

    Example:
    >>> logs = {"loss": 0.7} | {k: 0.5 for k in METRICS}
    >>> found = split_logs(logs, {"click": 0.5})["objectives"]["click"]
    >>> found["auc"], round(found["loss"], 4)
    (0.5, 0.3466)
    """
    objectives = {}
    for objective, rate in base_rates.items():
        # With one output Keras leaves its name out of the keys.
        name = prefix if len(base_rates) == 1 else f"{prefix}{objective}_"
        values = {metric: float(logs[name + metric]) for metric in METRICS}
        # Keras's own key averages batches, not rows.
        entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
        loss = values["normalized_entropy"] * entropy
        objectives[objective] = {"loss": loss, **values}
    return {"loss": float(logs[prefix + "loss"]), "objectives": objectives}


def base_rates(dataset: data.Dataset) -> dict[str, float]:
    """Objective to its positive rate in the training rows."""
    labels = dataset.statistics.labels
    return {name: labels[name].positive_rate for name in dataset.schema.labels}


def describe_model(
    model: keras.Model, context: models.ModelContext
) -> dict[str, Any]:
    """Sizes of a compiled and built model, for the report.

    Args:
        model: Its embedding layers are described each as a table.
        context: Its id mappings tell which features a table serves.
    """
    features = context.schema.table_features()
    names = {id(m): table for table, m in context.id_mappings.items()}
    trained = {id(variable) for variable in model.trainable_variables}
    tables = []
    for layer in model_building.embedding_layers(model):
        rows, dim = layer.embeddings.shape
        mapping = {
            layers.VocabularyMapping: "vocabulary",
            layers.HashMapping: "hash",
        }.get(type(layer.id_mapping), "rows")
        is_trained = id(layer.embeddings) in trained
        tables.append(
            {
                "name": layer.table_name,
                "features": features.get(
                    names.get(id(layer.id_mapping), ""), []
                ),
                "mapping": mapping,
                "rows": rows,
                "special_rows": layer.num_special_rows,
                "embedding_dim": dim,
                "bytes": rows * dim * layer.embeddings.value.dtype.size,
                "optimizer_bytes": model.optimizer.state_bytes(layer.embeddings)
                if is_trained
                else 0,
            }
        )
    parameters = model.count_params()
    in_tables = sum(t["rows"] * t["embedding_dim"] for t in tables)
    return {
        "parameters": parameters,
        "dense_parameters": parameters - in_tables,
        "tables": tables,
    }


def new_history(
    experiment: "Experiment",
    earlier: dict[str, Any] | None,
    first_epoch: int,
) -> dict[str, Any]:
    """A history that no epoch has been added to yet.

    Args:
        experiment: What is trained.
        earlier: The history of the training that is resumed, or None.
        first_epoch: How many of its epochs the restored checkpoint has.

    Returns:
        What `history.json` holds; docs/architecture.md lists its keys.

    Raises:
        InputError: `earlier` lacks epochs that the checkpoint has.
    """
    epochs = earlier["epochs"][:first_epoch] if earlier else []
    if [epoch["epoch"] for epoch in epochs] != list(range(1, first_epoch + 1)):
        raise InputError(
            "--resume needs the history of every epoch before the checkpoint. "
            f"Received: {experiment.work.history} with {len(epochs)} of "
            f"{first_epoch}. Train with --overwrite instead."
        )
    config, dataset = experiment.config, experiment.dataset
    batch_size = config.training.batch_size
    return {
        "version": 1,
        "name": config.name,
        "finished": False,
        "objectives": list(dataset.schema.labels),
        "model": describe_model(experiment.model, experiment.context),
        "steps_per_epoch": dataset.num_batches("train", batch_size),
        "batch_size": batch_size,
        "rows": {
            split: dataset.rows(split) for split in ("train", "validation")
        },
        "dataset_fingerprint": experiment.work.dataset.fingerprint(),
        # An epoch whose checkpoint was not finished is trained again.
        "epochs": epochs,
        "monitor": {},
        "test": None,
    }


def monitor_state(history: dict[str, Any]) -> dict[str, Any]:
    """What `ObjectiveMonitor.set_state` needs to go on after a history."""
    return {
        "epochs": [epoch["epoch"] for epoch in history["epochs"]],
        **{
            key: {
                objective: [
                    epoch[split]["objectives"][objective]["auc"]
                    for epoch in history["epochs"]
                ]
                for objective in history["objectives"]
            }
            for key, split in (
                ("training", "train"),
                ("validation", "validation"),
            )
        },
    }


def read_resumable(
    config: config_lib.ExperimentConfig, work: artifacts.WorkFolder
) -> dict[str, Any]:
    """The history of a training that `config` may continue.

    Raises:
        InputError: There is none, or the configuration or the dataset has
            changed since in more than the number of epochs.
    """
    work.require_config()
    earlier = artifacts.read_json(work.history)
    before = _comparable(config_lib.load(work.config))
    now = _comparable(config)
    for key in before.keys() | now.keys():
        if before.get(key) != now.get(key):
            raise InputError(
                "--resume continues the same experiment; only "
                f"training.epochs may change. Received: another `{key}` than "
                f"in {work.config}. Train with --overwrite instead."
            )
    check_same_dataset(earlier, work)
    return earlier


def check_same_dataset(
    history: dict[str, Any], work: artifacts.WorkFolder
) -> None:
    """Refuses a model whose rows stand for the ids of another dataset.

    Args:
        history: What its training measured.
        work: Its folder.

    Raises:
        InputError: The dataset was made anew since.
    """
    if history.get("dataset_fingerprint") != work.dataset.fingerprint():
        raise InputError(
            "A model must stay with the dataset it was trained on. Received: "
            f"{work.dataset.path}, which was made anew since. Run `tfplugin "
            "train --overwrite`."
        )


def _comparable(config: config_lib.ExperimentConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    del values["training"]["epochs"]
    training = values.pop("training")
    return values | {f"training.{k}": v for k, v in training.items()}


class Recorder(keras.callbacks.Callback):
    """Writes `history.json` after each epoch.

    Args:
        history: What `new_history` made; epochs are appended to it.
        path: Where it is written.
        base_rates: See `split_logs`.
        monitor: Whose summary goes with it; must come before this callback.
        after_epoch: Called with the number of finished epochs once the file
            is written (saves the checkpoint).
    """

    def __init__(
        self,
        history: dict[str, Any],
        path: pathlib.Path,
        *,
        base_rates: Mapping[str, float],
        monitor: callbacks.ObjectiveMonitor,
        after_epoch: Callable[[int], None],
    ) -> None:
        super().__init__()
        self.history = history
        self._path = path
        self._base_rates = base_rates
        self._monitor = monitor
        self._after_epoch = after_epoch
        self._began = 0.0
        self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the clock."""
        self._began = time.perf_counter()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Stops the clock of the epoch's training part."""
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Appends an epoch and writes the file.

        Raises:
            KeyError: A metric is missing in the logs.
        """
        logs = logs or {}
        seconds = self._trained - self._began
        self.history["epochs"].append(
            {
                "epoch": epoch + 1,
                "seconds": time.perf_counter() - self._began,
                "examples_per_second": self.history["rows"]["train"] / seconds,
                "train": split_logs(logs, self._base_rates),
                "validation": split_logs(logs, self._base_rates, "val_"),
            }
        )
        self._write()
        self._after_epoch(epoch + 1)

    def finish(self, test: dict[str, Any]) -> dict[str, Any]:
        """Adds the test split's metrics, marks the training as finished.

        Returns:
            The history.
        """
        self.history["test"] = test
        self.history["finished"] = True
        self._write()
        return self.history

    def _write(self) -> None:
        self.history["monitor"] = self._monitor.summary()
        artifacts.write_json(self._path, self.history)

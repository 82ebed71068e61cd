"""`history.json`: what training measured, epoch by epoch."""

import math
import pathlib
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
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
from tfplugin.training import chunks
from tfplugin.training import model_building

if TYPE_CHECKING:
    from tfplugin.training import telemetry as telemetry_lib
    from tfplugin.training.experiment import Experiment

#: Metrics of an objective, as they are named in Keras's logs and in the file.
METRICS = ("auc", "pr_auc", "normalized_entropy", "calibration")

Logs = dict[str, float]


def split_logs(
    logs: Logs,
    base_rates: Mapping[str, float],
    prefix: str = "",
    *,
    over: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Sorts Keras's flat logs by objective.

    Args:
        logs: Log key to value, as a callback or `evaluate` gets them.
        base_rates: Objective to its positive rate in the training rows, as
            the metrics were made with it.
        prefix: `val_` for the validation split's keys.
        over: Objective to the rate whose entropy the normalised entropy is
            over, where that is another one: that of rows as they were sampled.

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
        loss = values["normalized_entropy"] * _entropy(rate)
        if over is not None:
            values["normalized_entropy"] = loss / _entropy(over[objective])
        objectives[objective] = {"loss": loss, **values}
    return {"loss": float(logs[prefix + "loss"]), "objectives": objectives}


def _entropy(rate: float) -> float:
    return -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))


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
    trained = {id(variable) for variable in model.trainable_variables}
    tables = []
    for layer in model_building.embedding_layers(model):
        rows, dim = layer.embeddings.shape
        table = context.table_of(layer.id_mapping)
        is_trained = id(layer.embeddings) in trained
        tables.append(
            {
                "name": layer.table_name,
                "features": features.get(table or "", []),
                "mapping": _mapping_name(layer.id_mapping, context, table),
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


def _mapping_name(
    mapping: layers.IdMapping | None,
    context: models.ModelContext,
    table: str | None,
) -> str:
    name = {
        layers.VocabularyMapping: "vocabulary",
        layers.HashMapping: "hash",
        layers.CodeBlockMapping: "binary_code",
    }.get(type(mapping), "rows")
    composed = table and isinstance(context.id_mappings[table], tuple)
    return "double_hash" if composed and name == "hash" else name


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
        "remedies": {
            name: remedy.model_dump(mode="json")
            for name, remedy in config.training.remedies.items()
        },
        "steps_per_epoch": chunks.mean_steps(config.training, dataset),
        "batch_size": batch_size,
        "rows": {
            split: dataset.rows(split) for split in ("train", "validation")
        },
        "dataset_fingerprint": experiment.work.dataset.fingerprint(),
        # An epoch whose checkpoint was not finished is trained again.
        "epochs": epochs,
        "warm_start": (earlier or {}).get("warm_start"),
        "start": (earlier or {}).get("start"),
        "monitor": {},
        "calibration": None,
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
                "training.epochs may change, and not with "
                f"training.chunks=in_order. Received: another `{key}` than "
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
    # What is exported in the end changes no step of the training.
    del values["export"]
    training = values.pop("training")
    if config.training.chunks != "in_order":
        del training["epochs"]
    return values | {f"training.{k}": v for k, v in training.items()}


class Recorder(keras.callbacks.Callback):
    """Writes `history.json` after each epoch.

    Args:
        history: What `new_history` made; epochs are appended to it.
        path: Where it is written.
        base_rates: See `split_logs`.
        train_rates: Objective to its positive rate in the rows that were
            trained on; another one where negatives were sampled.
        monitor: Whose summary goes with it; must come before this callback.
        chunks: What is trained on in turn.
        passes: Epochs over each of them.
        after_epoch: Called with the number of finished epochs once the file
            is written (saves the checkpoint).
        telemetry: What measures each epoch besides; must come before this
            callback. None for nothing.
    """

    def __init__(
        self,
        history: dict[str, Any],
        path: pathlib.Path,
        *,
        base_rates: Mapping[str, float],
        train_rates: Mapping[str, float],
        monitor: callbacks.ObjectiveMonitor,
        chunks: Sequence[data.Dataset],
        passes: int,
        after_epoch: Callable[[int], None],
        telemetry: "telemetry_lib.Telemetry | None" = None,
    ) -> None:
        super().__init__()
        self.history = history
        self._path = path
        self._base_rates = base_rates
        sampled = dict(train_rates) != dict(base_rates)
        self._train_rates = train_rates if sampled else None
        self._monitor = monitor
        self._chunks = chunks
        self._passes = passes
        self._after_epoch = after_epoch
        self._telemetry = telemetry
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
        measured = self._telemetry and self._telemetry.latest
        apart = measured["seconds"] if measured else 0.0
        place, done = divmod(epoch, self._passes)
        chunk = self._chunks[place]
        self.history["epochs"].append(
            {
                "epoch": epoch + 1,
                "chunk": chunk.chunk,
                "pass": done + 1,
                "seconds": time.perf_counter() - self._began - apart,
                "examples_per_second": chunk.rows("train") / seconds,
                "train": split_logs(
                    logs, self._base_rates, over=self._train_rates
                ),
                "validation": split_logs(logs, self._base_rates, "val_"),
                "telemetry": measured,
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

"""One experiment from its configuration: assemble, train, evaluate."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tfplugin import artifacts
from tfplugin import calibration as calibration_lib
from tfplugin import callbacks
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import models
from tfplugin.errors import InputError
from tfplugin.training import best_epoch
from tfplugin.training import calibrating
from tfplugin.training import checkpoints
from tfplugin.training import chunks
from tfplugin.training import columns
from tfplugin.training import history as history_lib
from tfplugin.training import model_building
from tfplugin.training import optimization
from tfplugin.training import sampling
from tfplugin.training import telemetry as telemetry_lib
from tfplugin.training import warm_start as warm_start_lib


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A compiled model beside its data and its place on disk.

    Args:
        config: How it was configured.
        work: Its folder.
        dataset: Its data, narrowed to the model's columns.
        context: What the model was built from.
        model: Compiled and built.
        remedial: Callbacks of the configured remedies, for `fit`.
        sampled: How the training split was sampled; None if it was not. The
            model then undoes it wherever it does not train.
        calibration: How the trained model is calibrated, if it is.
    """

    config: config_lib.ExperimentConfig
    work: artifacts.WorkFolder
    dataset: data.Dataset
    context: models.ModelContext
    model: keras.Model
    remedial: list[keras.callbacks.Callback]
    sampled: sampling.SampledTraining | None = None
    calibration: calibration_lib.CalibrationRecord | None = None

    @property
    def base_rates(self) -> dict[str, float]:
        """Objective to its rate of positives in training rows.

        Of the whole log, where negatives were sampled.
        """
        if self.sampled:
            return self.sampled.base_rates
        return history_lib.base_rates(self.dataset)

    @property
    def chunks(self) -> tuple[data.Dataset, ...]:
        """What is trained on in turn, `training.epochs` passes each."""
        return chunks.in_order(self.config.training, self.dataset)

    @property
    def num_epochs(self) -> int:
        """All passes over all chunks."""
        return self.config.training.epochs * len(self.chunks)

    def evaluate(self, split: str) -> dict[str, Any]:
        """Metrics of a split with the model's present weights.

        Args:
            split: `validation` or `test`.

        Returns:
            `rows`, `loss` and `objectives`, see `history.split_logs`, of
            probabilities of the whole log; with a calibration, `calibrated`:
            objective to metrics once calibrated.
        """
        measured = {
            "split": split,
            "rows": self.dataset.rows(split),
            **self._measure(self.model, split),
        }
        if self.calibration:
            calibrated = calibrating.calibrated_model(
                self.model, self.calibration, self.base_rates
            )
            measured["calibrated"] = self._measure(calibrated, split)[
                "objectives"
            ]
        return measured

    def _measure(self, model: keras.Model, split: str) -> dict[str, Any]:
        batches = {
            "validation": self.dataset.validation,
            "test": self.dataset.test,
        }[split](self.config.training.batch_size)
        with data_errors(self.dataset):
            logs = model.evaluate(batches, return_dict=True, verbose=0)
        return history_lib.split_logs(logs, self.base_rates)


def assemble(
    config: config_lib.ExperimentConfig, work: artifacts.WorkFolder
) -> Experiment:
    """Opens the dataset, builds the model on it and compiles it.

    Args:
        config: The experiment.
        work: Its folder, with a finished dataset.

    Raises:
        InputError: The dataset is absent, unfinished, changed since it was
            written, or was made for other columns.
    """
    dataset = data.open_dataset(work.dataset.path)
    columns.check(config, dataset)
    dataset = chunks.narrow(config.training, dataset)
    if config.training.verify_checksums:
        dataset.verify_checksums()
    keras.utils.set_random_seed(config.training.seed)
    context = model_building.model_context(config, dataset)
    model = model_building.build_model(config, context)
    dataset = dataset.for_model(model)
    sampled = sampling.examine(dataset)
    if sampled:
        model = sampled.correct(model)
    facts = model_building.describe_training(model, config, context, dataset)
    optimization.compile_model(
        model,
        config,
        context,
        dataset,
        facts,
        base_rates=sampled.base_rates if sampled else None,
    )
    remedial = [
        callback
        for remedy in config.training.remedies.values()
        for callback in remedy.callbacks(facts)
    ]
    return Experiment(config, work, dataset, context, model, remedial, sampled)


def load(work: artifacts.WorkFolder) -> Experiment:
    """The experiment of a finished training, with its final weights.

    Raises:
        InputError: Nothing was trained there, training is unfinished, or
            the dataset was made anew since.
    """
    work.require_config()
    history_lib.check_same_dataset(work.require_trained(), work)
    experiment = assemble(config_lib.load(work.config), work)
    _checkpoints(experiment).restore()
    return dataclasses.replace(
        experiment,
        calibration=calibrating.read(work, experiment.config, experiment.model),
    )


def train(
    config: config_lib.ExperimentConfig,
    work: artifacts.WorkFolder,
    *,
    resume: bool = False,
    overwrite: bool = False,
    warm_start: artifacts.WorkFolder | None = None,
    extra_callbacks: Callable[
        [Experiment], list[keras.callbacks.Callback]
    ] = lambda experiment: [],
) -> dict[str, Any]:
    """Trains, validates after each epoch, and tests once at the end.

    Args:
        config: The experiment.
        work: Its folder, with a finished dataset.
        resume: Continue after the last finished epoch; on one machine the
            weights become those of an uninterrupted run.
        overwrite: Redo a finished training.
        warm_start: Another folder, with a finished training whose weights,
            optimizer state and counts are carried over by raw id; see
            `warm_start.carry`. A training that is resumed goes on from its
            own checkpoint, and may name the folder it began from again.
        extra_callbacks: Given the experiment, more callbacks for `fit` (a
            progress bar).

    Returns:
        The history, as it stands in `history.json`.

    Raises:
        InputError: Something that is needed is absent, unfinished or does
            not fit; see `assemble`.
    """
    earlier = history_lib.read_resumable(config, work) if resume else None
    if not (resume or overwrite):
        work.refuse_trained()
    experiment, beginning = _begin(config, work, earlier, warm_start)
    if earlier is None:
        for stale in (
            work.checkpoints,
            work.logs,
            work.history,
            work.best_epoch,
        ):
            artifacts.remove(stale)
    saved = _checkpoints(experiment)
    first_epoch = saved.restore() if earlier else 0
    left = experiment.num_epochs - first_epoch
    if any(getattr(one, "all_stopped", False) for one in experiment.remedial):
        left = 0  # whatever `training.epochs` says
    # A training cut off in its final test has no epochs left, but the test.
    if earlier and (left < 0 or (left == 0 and earlier.get("finished"))):
        raise InputError(
            "--resume must have epochs left to train. Received: "
            f"training.epochs={config.training.epochs}, of which "
            f"{first_epoch} are done. Raise it with --set training.epochs=N."
        )
    history = history_lib.new_history(experiment, earlier, first_epoch)
    history |= beginning
    artifacts.write_text(work.config, config_lib.dump(config))
    for stale in (work.evaluation, work.calibration):
        artifacts.remove(stale)
    monitor = callbacks.ObjectiveMonitor(history["objectives"])
    monitor.set_state(history_lib.monitor_state(history))
    watcher = _telemetry(experiment, history["epochs"])
    recorder = history_lib.Recorder(
        history,
        work.history,
        base_rates=experiment.base_rates,
        train_rates=history_lib.base_rates(experiment.dataset),
        monitor=monitor,
        chunks=experiment.chunks,
        passes=config.training.epochs,
        after_epoch=saved.save,
        telemetry=watcher,
    )
    if left:
        with data_errors(experiment.dataset):
            _fit(
                experiment,
                first_epoch,
                [
                    *extra_callbacks(experiment),
                    *([watcher] if watcher else []),
                    monitor,
                    # An export that is cut off is done again on resume, since
                    # its epoch is: the checkpoint is saved by the recorder.
                    *best_epoch.exporters(experiment),
                    recorder,
                ],
            )
    experiment = _calibrate(experiment, history)
    test = experiment.evaluate("test")
    if watcher:
        with data_errors(experiment.dataset):
            test["telemetry"] = watcher.measure("test")
    return recorder.finish(test)


def _begin(
    config: config_lib.ExperimentConfig,
    work: artifacts.WorkFolder,
    earlier: dict[str, Any] | None,
    source: artifacts.WorkFolder | None,
) -> tuple[Experiment, dict[str, Any]]:
    """An experiment to train, and what the history says of its beginning."""
    if source is not None:
        warm_start_lib.check(source, work, earlier)
    if source is None or earlier is not None:
        return assemble(config, work), {}
    warm_start_lib.reset_names()
    old = load(source)
    warm_start_lib.reset_names()
    experiment = assemble(config, work)
    report = warm_start_lib.carry(old, experiment)
    del old  # and with it the older tables
    return experiment, {
        "warm_start": report,
        "start": {"validation": experiment.evaluate("validation")},
    }


def _calibrate(experiment: Experiment, history: dict[str, Any]) -> Experiment:
    """The experiment with its calibration, written and told in the history."""
    with data_errors(experiment.dataset):
        record = calibrating.fit(experiment)
    if record is None:
        return experiment
    artifacts.write_json(experiment.work.calibration, record.model_dump())
    history["calibration"] = calibrating.describe(record)
    return dataclasses.replace(experiment, calibration=record)


@contextmanager
def data_errors(dataset: data.Dataset) -> Iterator[None]:
    """Turns TensorFlow's error on a broken shard into one that names it.

    Raises:
        InputError: TensorFlow failed, and a shard's bytes have changed.
    """
    try:
        yield
    except tf.errors.OpError:
        dataset.verify_checksums()
        raise


def _checkpoints(experiment: Experiment) -> checkpoints.EpochCheckpoints:
    return checkpoints.EpochCheckpoints(
        experiment.model, experiment.work.checkpoints, experiment.remedial
    )


def _telemetry(
    experiment: Experiment, earlier: list[dict[str, Any]]
) -> telemetry_lib.Telemetry | None:
    if not experiment.config.training.telemetry:
        return None
    facts = model_building.describe_training(
        experiment.model,
        experiment.config,
        experiment.context,
        experiment.dataset,
    )
    return telemetry_lib.Telemetry(
        experiment.dataset,
        facts,
        base_rates=experiment.base_rates,
        batch_size=experiment.config.training.batch_size,
        folder=experiment.work.logs / "telemetry",
        earlier=earlier,
    )


def _fit(
    experiment: Experiment,
    first_epoch: int,
    more_callbacks: list[keras.callbacks.Callback],
) -> None:
    settings = experiment.config.training
    dataset = experiment.dataset
    own: list[keras.callbacks.Callback] = [
        keras.callbacks.TensorBoard(
            str(experiment.work.logs), write_graph=False
        )
    ]
    own += experiment.remedial
    # A fit a chunk, since Keras takes one number of steps for all epochs.
    for place, chunk in enumerate(experiment.chunks):
        start, stop = place * settings.epochs, (place + 1) * settings.epochs
        if stop <= first_epoch:
            continue
        start = max(start, first_epoch)
        experiment.model.fit(
            chunk.train(
                settings.batch_size,
                seed=settings.seed,
                epochs=range(start, stop),
                shuffle_rows=settings.shuffle_rows,
            ),
            initial_epoch=start,
            epochs=stop,
            steps_per_epoch=chunk.num_batches("train", settings.batch_size),
            validation_data=dataset.validation(settings.batch_size),
            callbacks=[*own, *more_callbacks],
            shuffle=False,  # the dataset shuffles
            verbose=0,
        )
        if experiment.model.stop_training:
            break

"""One experiment from its configuration: assemble, train, evaluate."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tfplugin import artifacts
from tfplugin import callbacks
from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import models
from tfplugin.errors import InputError
from tfplugin.training import checkpoints
from tfplugin.training import columns
from tfplugin.training import history as history_lib
from tfplugin.training import model_building
from tfplugin.training import optimization


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A compiled model beside its data and its place on disk.

    Args:
        config: How it was configured.
        work: Its folder.
        dataset: Its data, narrowed to the model's columns.
        context: What the model was built from.
        model: Compiled and built.
    """

    config: config_lib.ExperimentConfig
    work: artifacts.WorkFolder
    dataset: data.Dataset
    context: models.ModelContext
    model: keras.Model

    def evaluate(self, split: str) -> dict[str, Any]:
        """Metrics of a split with the model's present weights.

        Args:
            split: `validation` or `test`.

        Returns:
            `rows`, `loss` and `objectives`; see `history.split_logs`.
        """
        batches = {
            "validation": self.dataset.validation,
            "test": self.dataset.test,
        }[split](self.config.training.batch_size)
        with data_errors(self.dataset):
            logs = self.model.evaluate(batches, return_dict=True, verbose=0)
        return {
            "split": split,
            "rows": self.dataset.rows(split),
            **history_lib.split_logs(
                logs, history_lib.base_rates(self.dataset)
            ),
        }


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
    if config.training.verify_checksums:
        dataset.verify_checksums()
    keras.utils.set_random_seed(config.training.seed)
    context = model_building.model_context(config, dataset)
    model = model_building.build_model(config, context)
    dataset = dataset.for_model(model)
    optimization.compile_model(model, config, context, dataset)
    return Experiment(config, work, dataset, context, model)


def load(work: artifacts.WorkFolder) -> Experiment:
    """The experiment of a finished training, with its final weights.

    Raises:
        InputError: Nothing was trained there, training is unfinished, or
            the dataset was made anew since.
    """
    work.require_config()
    history_lib.check_same_dataset(work.require_trained(), work)
    experiment = assemble(config_lib.load(work.config), work)
    checkpoints.EpochCheckpoints(experiment.model, work.checkpoints).restore()
    return experiment


def train(
    config: config_lib.ExperimentConfig,
    work: artifacts.WorkFolder,
    *,
    resume: bool = False,
    overwrite: bool = False,
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
    experiment = assemble(config, work)
    if earlier is None:
        for stale in (work.checkpoints, work.logs, work.history):
            artifacts.remove(stale)
    saved = checkpoints.EpochCheckpoints(experiment.model, work.checkpoints)
    first_epoch = saved.restore() if earlier else 0
    left = config.training.epochs - first_epoch
    # A training cut off in its final test has no epochs left, but the test.
    if earlier and (left < 0 or (left == 0 and earlier.get("finished"))):
        raise InputError(
            "--resume must have epochs left to train. Received: "
            f"training.epochs={config.training.epochs}, of which "
            f"{first_epoch} are done. Raise it with --set training.epochs=N."
        )
    history = history_lib.new_history(experiment, earlier, first_epoch)
    artifacts.write_text(work.config, config_lib.dump(config))
    artifacts.remove(work.evaluation)
    monitor = callbacks.ObjectiveMonitor(history["objectives"])
    monitor.set_state(history_lib.monitor_state(history))
    recorder = history_lib.Recorder(
        history,
        work.history,
        base_rates=history_lib.base_rates(experiment.dataset),
        monitor=monitor,
        after_epoch=saved.save,
    )
    if left:
        with data_errors(experiment.dataset):
            _fit(
                experiment,
                first_epoch,
                [*extra_callbacks(experiment), monitor, recorder],
            )
    return recorder.finish(experiment.evaluate("test"))


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
    if settings.embedding_reset:
        own.append(callbacks.EmbeddingReset(seed=settings.seed))
    experiment.model.fit(
        dataset.train(
            settings.batch_size,
            seed=settings.seed,
            epochs=range(first_epoch, settings.epochs),
            shuffle_rows=settings.shuffle_rows,
        ),
        initial_epoch=first_epoch,
        epochs=settings.epochs,
        steps_per_epoch=dataset.num_batches("train", settings.batch_size),
        validation_data=dataset.validation(settings.batch_size),
        callbacks=[*own, *more_callbacks],
        shuffle=False,  # the dataset shuffles
        verbose=0,
    )

"""The progress bar of a training."""

from typing import TYPE_CHECKING
from typing import Any

import keras
import rich.console
import rich.progress

if TYPE_CHECKING:
    from tfplugin.training import Experiment


class _Rate(rich.progress.ProgressColumn):
    """Examples a second."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self._batch_size = batch_size

    def render(self, task: rich.progress.Task) -> str:
        """The text of the column."""
        if not task.speed:
            return "- examples/s"
        return f"{task.speed * self._batch_size:,.0f} examples/s"


class ProgressBar(keras.callbacks.Callback):
    """A bar an epoch with rate and time left, and a line when it is over.

    Args:
        console: Where to draw.
        experiment: What is trained.
    """

    def __init__(
        self, console: rich.console.Console, experiment: "Experiment"
    ) -> None:
        super().__init__()
        self._console = console
        self._objectives = experiment.dataset.schema.labels
        training = experiment.config.training
        self._epochs = experiment.num_epochs
        self._passes = training.epochs
        self._steps = [
            chunk.num_batches("train", training.batch_size)
            for chunk in experiment.chunks
        ]
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            _Rate(training.batch_size),
            rich.progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts drawing."""
        self._bar.start()

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """A new bar."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._bar.add_task(
            f"epoch {epoch + 1}/{self._epochs}",
            total=self._steps[epoch // self._passes],
        )

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """One step further."""
        self._bar.advance(self._bar.task_ids[0])

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Prints the epoch's losses and AUCs."""
        logs = logs or {}
        single = len(self._objectives) == 1
        areas = "  ".join(
            f"{name} {logs['val_auc' if single else f'val_{name}_auc']:.4f}"
            for name in self._objectives
        )
        self._console.print(
            f"epoch {epoch + 1}/{self._epochs}  training loss "
            f"{logs['loss']:.4f}, validation loss {logs['val_loss']:.4f}\n"
            f"           validation AUC  {areas}"
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stops drawing."""
        self._bar.stop()

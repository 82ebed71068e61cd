"""Checkpoints from which a training continues as if it had not stopped."""

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfplugin.errors import InputError

_KEEP = 2


class EpochCheckpoints:
    """Everything a training's future depends on, saved after each epoch.

    Weights, optimizer state and counts, and the state of every random
    generator in the model (dropout), which is in neither a model's weights
    nor a `tf.train.Checkpoint` of the model alone.

    Args:
        model: Compiled and built.
        folder: `WORK/checkpoints`. The last two are kept.
        remedial: Callbacks whose variables, in a dict `trackables` where they
            have one, are saved too.

    Raises:
        InputError: The folder's list of checkpoints is damaged.
    """

    def __init__(
        self,
        model: keras.Model,
        folder: pathlib.Path,
        remedial: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        seeds = [
            variable.value
            for variable in model.variables
            if variable.path.endswith("seed_generator_state")
        ]
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        trackables: dict[str, Any] = {}
        for callback in remedial:
            trackables |= getattr(callback, "trackables", {})
        checkpoint = tf.train.Checkpoint(
            **trackables,
            model=model,
            optimizer=model.optimizer,
            seeds=seeds,
            epoch=self._epoch,
        )
        try:
            self._manager = tf.train.CheckpointManager(
                checkpoint, str(folder), max_to_keep=_KEEP
            )
        except UnicodeDecodeError as error:
            raise InputError(
                "The list of checkpoints must be text. Received: "
                f"{folder / 'checkpoint'}, which is damaged. Train again with "
                "--overwrite."
            ) from error

    def save(self, epoch: int) -> None:
        """Saves the state after `epoch` epochs."""
        self._epoch.assign(epoch)
        self._manager.save(checkpoint_number=epoch)

    def restore(self) -> int:
        """Restores the newest checkpoint.

        Returns:
            How many epochs it has behind it.

        Raises:
            InputError: There is none, or it belongs to another model.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            raise InputError(
                "There must be a checkpoint to continue from. Received: "
                f"{self._manager.directory}, which has none. Train without "
                "--resume."
            )
        try:
            self._manager.checkpoint.restore(path).assert_consumed()
        except (
            AssertionError,
            ValueError,
            IndexError,  # a file that was cut
            tf.errors.OpError,
        ) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                "A checkpoint must fit the configured model. Received: "
                f"{path} ({reason}). Train again with --overwrite."
            ) from error
        return int(self._epoch.numpy())

"""`training.export_best`: the best epoch as a version, beside the training."""

import dataclasses
from typing import TYPE_CHECKING

import keras

from tfplugin import artifacts
from tfplugin import callbacks
from tfplugin import export as export_lib
from tfplugin.training import calibrating
from tfplugin.training import exporting

if TYPE_CHECKING:
    from tfplugin.training.experiment import Experiment


def exporters(experiment: "Experiment") -> list[keras.callbacks.Callback]:
    """The callback that exports the best epoch, if one is configured.

    Each better epoch becomes a version of `WORK/model`, with a calibration of
    its own, and takes the place of the one before it. One whose smaller tables
    exceed a bound of `export.bounds` is not exported, which is logged; training
    goes on.

    Args:
        experiment: To train.
    """
    objective = experiment.config.training.export_best
    if objective is None:
        return []
    folder = experiment.work.model

    def export(epoch: int) -> int:
        version = export_lib.next_version(folder)
        calibrated = dataclasses.replace(
            experiment, calibration=calibrating.fit(experiment)
        )
        try:
            exporting.export(calibrated, folder / str(version))
        except export_lib.BoundExceededError as error:
            raise callbacks.EpochNotExportedError(str(error)) from error
        return version

    def discard(version: int) -> None:
        artifacts.remove(folder / str(version))

    return [
        callbacks.ExportBestEpoch(
            objective, export, discard, state=experiment.work.best_epoch
        )
    ]

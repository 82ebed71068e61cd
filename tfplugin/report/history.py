"""`history.json` as this room reads it."""

import pathlib
from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from tfplugin import artifacts
from tfplugin.errors import InputError
from tfplugin.report.json_values import Record
from tfplugin.report.json_values import Value
from tfplugin.report.telemetry_records import EvidencePass
from tfplugin.report.telemetry_records import Telemetry


class Metrics(Record):
    """What was measured of one objective on one split.

    Args:
        loss: Mean binary cross entropy.
        auc: Area under the ROC curve.
        pr_auc: Area under the precision-recall curve.
        normalized_entropy: Cross entropy over that of the base rate.
        calibration: Mean prediction over mean label.
    """

    loss: Value = None
    auc: Value = None
    pr_auc: Value = None
    normalized_entropy: Value = None
    calibration: Value = None


class Pass(Record):
    """One pass over a split.

    Args:
        rows: Rows passed over; None when the writer did not count them.
        loss: The loss that all objectives share.
        objectives: Objective to its metrics.
        calibrated: The same of calibrated probabilities, if there are any.
        telemetry: What was measured of the test split besides, or None.
    """

    rows: int | None = None
    loss: Value = None
    objectives: dict[str, Metrics] = {}
    calibrated: dict[str, Metrics] = {}
    telemetry: EvidencePass | None = None

    def of(self, objective: str) -> Metrics:
        """The metrics of an objective, all undefined if it has none."""
        return self.objectives.get(objective, Metrics())


class Epoch(Record):
    """One epoch.

    Args:
        epoch: Its number, from 1.
        seconds: Time that it took, training and validation.
        examples_per_second: Training examples per second.
        chunk: The log of the dataset it went over; None for all.
        pass_: Which pass over these rows it was, from 1.
        train: Metrics of the training rows, measured while learning.
        validation: Metrics of the validation rows after it.
        telemetry: What was measured besides; None where it was switched off.
    """

    epoch: int
    seconds: Value = None
    examples_per_second: Value = None
    chunk: str | None = None
    pass_: Annotated[int | None, pydantic.Field(alias="pass")] = None
    train: Pass = Pass()
    validation: Pass = Pass()
    telemetry: Telemetry | None = None


class Monitor(Record):
    """How the validation AUC of one objective went.

    Args:
        peak_epoch: Epoch of the highest value.
        peak_value: That value.
        overfits_from: First epoch that counts as overfitted.
    """

    peak_epoch: int | None = None
    peak_value: Value = None
    overfits_from: int | None = None


class ObjectiveCalibration(Record):
    """How one objective is calibrated.

    Args:
        method: `platt` or `isotonic`; `none` where nothing was fitted.
        reason: Why nothing was fitted.
    """

    method: str
    reason: str | None = None


class Calibration(Record):
    """How a trained model is calibrated.

    Args:
        split: The split it was fitted on.
        objectives: By name.
    """

    split: str = "validation"
    objectives: dict[str, ObjectiveCalibration] = {}


class TableSize(Record):
    """One embedding table.

    Args:
        name: Its name.
        features: Features whose ids index it.
        mapping: How an id becomes a row.
        rows: Rows, with the special ones.
        special_rows: Rows of the missing id and of unknown ids.
        embedding_dim: Numbers a row.
        bytes: Size of the table.
        optimizer_bytes: Size of its optimizer state.
    """

    name: str
    features: tuple[str, ...]
    mapping: str
    rows: int
    special_rows: int
    embedding_dim: int
    bytes: int
    optimizer_bytes: int


class Model(Record):
    """Sizes of the model.

    Args:
        parameters: All weights.
        dense_parameters: Weights outside the tables.
        tables: The embedding tables.
    """

    parameters: int
    dense_parameters: int
    tables: tuple[TableSize, ...] = ()


class History(Record):
    """What training left behind.

    Args:
        version: Version of the format.
        name: Name of the experiment.
        finished: Whether training came to its end.
        objectives: Names of the objectives.
        model: Sizes of the model.
        remedies: Name to settings of the remedies against overfitting.
        steps_per_epoch: Batches an epoch.
        batch_size: Examples a batch.
        dataset_fingerprint: Names the dataset that was trained on.
        epochs: The epochs in turn.
        monitor: Objective to how it went.
        calibration: How it is calibrated; None where it is not.
        test: The test split, measured once; None before that.
    """

    version: Literal[1]
    name: str
    finished: bool
    objectives: tuple[str, ...]
    model: Model
    remedies: dict[str, dict[str, Any]] = {}
    steps_per_epoch: int
    batch_size: int
    dataset_fingerprint: str = ""
    epochs: tuple[Epoch, ...] = ()
    monitor: dict[str, Monitor] = {}
    calibration: Calibration | None = None
    test: Pass | None = None

    def monitor_of(self, objective: str) -> Monitor:
        """How an objective went, all undefined if it was not watched."""
        return self.monitor.get(objective, Monitor())


def read(path: pathlib.Path) -> History | None:
    """Reads `history.json`.

    Args:
        path: The file.

    Returns:
        The history; None when there is no such file: training has not run.

    Raises:
        InputError: The file does not hold a history.

    >>> read(pathlib.Path("absent/history.json")) is None
    True
    """
    if not path.exists():
        return None
    value = artifacts.read_json(path)
    try:
        return History.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path} must hold a history as `tfplugin train` writes it. "
            f"Received: {where}: {first['msg']}. "
            "Run `tfplugin train --overwrite`."
        ) from error

"""`calibration.json`: how each objective of a trained model is calibrated."""

from typing import Literal

from tfplugin import schema
from tfplugin.calibration import curve as curve_lib

Method = Literal["none", "platt", "isotonic"]


class ObjectiveCalibration(schema.Record):
    """How one objective is calibrated.

    Args:
        method: What was fitted; `none` where there was too little to fit on.
        reason: Why nothing was fitted; None where it was.
        curve: From logit to calibrated logit.
        rows: Rows it was fitted on: in which the label was observed.
        positives: How many of them are positive.
        calibration_before: Mean probability over rate of positives, of the
            rows it was fitted on; None without positives.
        calibration_after: The same once calibrated.
        normalized_entropy_before: Mean cross entropy over that of the rate
            of positives in training rows, of the whole log.
        normalized_entropy_after: The same once calibrated.

    Example:
    >>> line = curve_lib.Curve(slope=0.5)
    >>> made = ObjectiveCalibration(
    ...     method="platt", curve=line, rows=90, positives=30
    ... )
    >>> made.curve.apply([2.0]).tolist()
    [1.0]
    """

    method: Method
    reason: str | None = None
    curve: curve_lib.Curve = curve_lib.Curve()
    rows: int
    positives: int
    calibration_before: float | None = None
    calibration_after: float | None = None
    normalized_entropy_before: float | None = None
    normalized_entropy_after: float | None = None


class CalibrationRecord(schema.Record):
    """What `WORK/calibration.json` holds.

    Args:
        version: Version of this format.
        method: The configured method.
        split: The split it was fitted on.
        dataset_fingerprint: Names the dataset.
        model_fingerprint: Names the weights; see `model_fingerprint`.
        sampling_rate: The rate of negatives that was undone before; None
            where none was.
        objectives: By name.

    Example:
    >>> made = CalibrationRecord(
    ...     method="platt",
    ...     dataset_fingerprint="00000001",
    ...     model_fingerprint="00000002",
    ...     objectives={
    ...         "buy": ObjectiveCalibration(
    ...             method="none", reason="too few", rows=90, positives=3
    ...         )
    ...     },
    ... )
    >>> made.curves()["buy"].apply([2.0]).tolist()
    [2.0]
    """

    version: Literal[1] = 1
    method: Method
    split: str = "validation"
    dataset_fingerprint: str
    model_fingerprint: str
    sampling_rate: float | None = None
    objectives: dict[str, ObjectiveCalibration]

    def curves(self) -> dict[str, curve_lib.Curve]:
        """Objective to its curve."""
        return {name: one.curve for name, one in self.objectives.items()}

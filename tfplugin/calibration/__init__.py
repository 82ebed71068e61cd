"""Probabilities of the log: sampling undone, calibrated on validation."""

from tfplugin.calibration.calibrated_logits import CalibratedLogits
from tfplugin.calibration.curve import Curve
from tfplugin.calibration.fingerprint import model_fingerprint
from tfplugin.calibration.fitting import fit
from tfplugin.calibration.isotonic import fit_isotonic
from tfplugin.calibration.isotonic import pool_adjacent_violators
from tfplugin.calibration.platt import fit_platt
from tfplugin.calibration.records import CalibrationRecord
from tfplugin.calibration.records import ObjectiveCalibration
from tfplugin.calibration.sampling_correction import SamplingCorrection
from tfplugin.calibration.sampling_correction import undo_sampling
from tfplugin.calibration.score_counts import ScoreCounts

__all__ = [
    "CalibratedLogits",
    "CalibrationRecord",
    "Curve",
    "ObjectiveCalibration",
    "SamplingCorrection",
    "ScoreCounts",
    "fit",
    "fit_isotonic",
    "fit_platt",
    "model_fingerprint",
    "pool_adjacent_violators",
    "undo_sampling",
]

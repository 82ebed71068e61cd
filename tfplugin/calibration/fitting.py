"""One objective's counted scores → how it is calibrated."""

import numpy as np

from tfplugin.calibration import curve as curve_lib
from tfplugin.calibration import isotonic
from tfplugin.calibration import platt
from tfplugin.calibration import records
from tfplugin.calibration import score_counts

#: Of either class; with fewer the scores stay as they are.
FEWEST_ROWS = 20


def fit(
    counts: score_counts.ScoreCounts,
    method: records.Method,
    base_rate: float,
) -> records.ObjectiveCalibration:
    """Fits a curve to one objective's scores.

    With fewer than 20 positives or negatives nothing is fitted and the record
    says so: at 20, the rate itself is known to a standard error of 22 %.

    Args:
        counts: Logits and labels of the rows to fit on.
        method: `none`, `platt` or `isotonic`.
        base_rate: Positive rate in training rows, of the whole log, for the
            normalised entropy.

    Example:
    >>> counts = score_counts.ScoreCounts()
    >>> counts.add([1] * 25 + [0] * 75, np.zeros(100), np.ones(100))
    >>> fitted = fit(counts, "platt", base_rate=0.25)
    >>> fitted.calibration_before, round(fitted.calibration_after, 6)
    (2.0, 1.0)
    >>> fit(score_counts.ScoreCounts(), "platt", 0.25).reason
    'fewer than 20 positives or negatives'
    """
    negatives, positives = counts.rows.sum(0)
    scores, weights = counts.occupied()
    reason = None
    curve = curve_lib.Curve()
    if method == "none":
        reason = "not asked for"
    elif counts.refused:
        reason = f"{counts.refused} scores are NaN"
    elif min(positives, negatives) < FEWEST_ROWS:
        reason = f"fewer than {FEWEST_ROWS} positives or negatives"
    elif method == "platt":
        curve = platt.fit_platt(scores, weights)
    else:
        curve = isotonic.fit_isotonic(scores, weights, counts.occupied_rows())
    before = _measure(scores, weights, base_rate)
    after = _measure(curve.apply(scores), weights, base_rate)
    return records.ObjectiveCalibration(
        method="none" if reason else method,
        reason=reason,
        curve=curve,
        rows=int(negatives + positives),
        positives=int(positives),
        calibration_before=before[0],
        calibration_after=after[0],
        normalized_entropy_before=before[1],
        normalized_entropy_after=after[1],
    )


def _measure(
    logits: curve_lib.Floats, weights: curve_lib.Floats, base_rate: float
) -> tuple[float | None, float | None]:
    """Calibration and normalised entropy; None where undefined."""
    negatives, positives = weights.sum(0)
    if not positives + negatives:
        return None, None
    predicted = weights.sum(1) @ np.exp(-np.logaddexp(0.0, -logits))
    entropy = weights[:, 0] @ np.logaddexp(0.0, logits)
    entropy += weights[:, 1] @ np.logaddexp(0.0, -logits)
    of_rate = -(
        base_rate * np.log(base_rate) + (1.0 - base_rate) * np.log1p(-base_rate)
    )
    return (
        float(predicted / positives) if positives else None,
        float(entropy / (positives + negatives) / of_rate),
    )

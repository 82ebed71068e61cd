import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfplugin.callbacks import overfitting

CASES = [
    # training, validation, mode, tolerance, peak epoch, overfits from
    ([0.7, 0.8, 0.9], [0.6, 0.65, 0.5], "max", 0.0, 2, 3),
    ([0.7, 0.8, 0.9], [0.6, 0.65, 0.7], "max", 0.0, 3, None),
    ([0.7, 0.8, 0.9], [0.6, 0.6, 0.6], "max", 0.0, 1, None),
    ([0.7, 0.8, 0.9], [0.6, 0.59, 0.5], "max", 0.05, 1, 3),
    # Training fell as well: not overfitting, until it learns again.
    ([0.7, 0.6, 0.8], [0.6, 0.5, 0.5], "max", 0.0, 1, 3),
    ([0.7, 0.6, 0.7], [0.6, 0.5, 0.5], "max", 0.0, 1, None),
    # A later, better peak withdraws the verdict.
    ([0.7, 0.8, 0.9, 0.95], [0.6, 0.5, 0.7, 0.65], "max", 0.0, 3, 4),
    ([3.0, 2.0, 1.0], [3.0, 2.5, 2.6], "min", 0.0, 2, 3),
    ([3.0, 2.0, 2.5], [3.0, 2.5, 2.6], "min", 0.0, 2, None),
    ([0.7, 0.8, 0.9], [None, 0.6, 0.5], "max", 0.0, 2, 3),
    ([0.7, None, 0.9], [0.6, 0.5, None], "max", 0.0, 1, None),
    ([], [], "max", 0.0, None, None),
    ([None], [None], "max", 0.0, None, None),
]


@pytest.mark.parametrize(
    ("training", "validation", "mode", "tolerance", "peak", "start"), CASES
)
def test_cases(training, validation, mode, tolerance, peak, start):
    epochs = list(range(1, len(training) + 1))
    known = overfitting.assess(
        epochs, training, validation, mode=mode, tolerance=tolerance
    )
    assert known["peak_epoch"] == peak
    assert known["overfits_from"] == start
    expected = None if peak is None else validation[peak - 1]
    assert known["peak_value"] == expected


VALUES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12
)


@given(VALUES, st.integers(0, 3))
def test_mode_min_mirrors_mode_max(values, tolerance):
    training, validation = np.array(values, float).T
    epochs = list(range(1, len(values) + 1))
    upper = overfitting.assess(
        epochs, list(training), list(validation), tolerance=tolerance
    )
    lower = overfitting.assess(
        epochs,
        list(-training),
        list(-validation),
        mode="min",
        tolerance=tolerance,
    )
    assert upper["peak_epoch"] == lower["peak_epoch"]
    assert upper["overfits_from"] == lower["overfits_from"]
    peak = upper["peak_epoch"] - 1
    assert validation[peak] == validation.max()
    assert (validation[:peak] < validation.max()).all()
    wanted = [
        epoch
        for epoch in epochs[peak + 1 :]
        if validation[peak] - validation[epoch - 1] > tolerance
        and training[epoch - 1] > training[peak]
    ]
    assert upper["overfits_from"] == (wanted[0] if wanted else None)

"""The rate of negatives, undone."""

import fractions

import numpy as np
import pytest

from tfplugin import schema


def sampling(rate):
    return schema.NegativeSampling(
        labels=("click",), rate=rate, splits=("train",)
    )


@pytest.mark.parametrize("rate", [1e-9, 0.1, 0.7, 1.0])
def test_the_exact_formula_next_to_0_and_1_too(rate):
    near_0 = [0.0, 5e-324, 1e-300, 1e-17, 2**-53, 1e-3]
    p = np.array([*near_0, 0.5, *(1 - np.array(near_0)), 1 - 2**-53])
    undone = sampling(rate).undo(p)
    q = fractions.Fraction(rate)
    for one, found in zip(p.tolist(), undone.tolist(), strict=True):
        x = fractions.Fraction(one)
        exact = x * q / (1 - x + x * q)
        # Below the smallest normal number, roundings are absolute.
        assert found == pytest.approx(float(exact), rel=1e-15, abs=5e-324)


def test_it_undoes_what_sampling_does_to_odds():
    true = np.linspace(0, 1, 11)
    rate = 0.25
    sampled = true / (true + rate * (1 - true))
    np.testing.assert_allclose(sampling(rate).undo(sampled), true, atol=1e-15)


def test_shapes_dtypes_and_missing():
    found = sampling(0.5).undo(np.array([[0.5, np.nan]], np.float32))
    assert found.dtype == np.float64
    assert found.shape == (1, 2)
    assert np.isnan(found[0, 1])
    assert sampling(0.5).undo([]).shape == (0,)
    assert sampling(0.5).undo(1.0) == 1.0


@pytest.mark.parametrize("p", [[-0.1, np.nan], [0.5, 1.5], [np.inf]])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="sigmoid"):
        sampling(0.5).undo(p)

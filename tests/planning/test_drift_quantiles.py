"""Distances of numbers against those of all their values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tfplugin.planning import drift_quantiles

NUMBERS = st.lists(
    st.one_of(
        st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0, -2.5])
    ),
    min_size=1,
    max_size=60,
)


def _exact_ks(a, b):
    """The largest gap of two empirical distributions, at every value."""
    values = np.concatenate([a, b])
    return max(abs((a <= v).mean() - (b <= v).mean()) for v in values)


def _stored(values):
    """Quantiles as a dataset keeps them: rounded, at 101 ranks."""
    ranks = np.sort(values)[
        np.floor(np.linspace(0, 1, 101) * (len(values) - 1)).astype(int)
    ]
    mantissa, exponent = np.frexp(ranks)
    return drift_quantiles.Numbers.stored(
        len(values), np.ldexp(np.rint(mantissa * 1024) / 1024, exponent)
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: (rng.normal(0, 1, 5000), rng.normal(0.3, 1, 4000)),
        lambda rng: (rng.exponential(9, 5000), rng.exponential(12, 4000)),
        lambda rng: (rng.integers(0, 4, 5000), rng.integers(0, 3, 4000)),
        lambda rng: (np.zeros(500), np.full(400, 0.3)),
        lambda rng: (rng.normal(-5, 1, 900), rng.normal(5, 1, 900)),
    ],
)
def test_kolmogorov_smirnov_is_that_of_all_values(draw):
    a, b = (np.float64(part) for part in draw(np.random.default_rng(1)))
    made = (drift_quantiles.Numbers.of(a), drift_quantiles.Numbers.of(b))
    stored = _stored(a), _stored(b)
    for sides in (made, stored, (made[0], stored[1])):
        found = drift_quantiles.number_measures(*sides)
        assert found["kolmogorov_smirnov"].value == pytest.approx(
            _exact_ks(a, b), abs=0.02
        )


@settings(max_examples=80, deadline=None)
@given(NUMBERS, NUMBERS)
def test_measures_are_symmetric_and_bounded(a, b):
    one, two = (drift_quantiles.Numbers.of(np.array(part)) for part in (a, b))
    there = drift_quantiles.number_measures(one, two)
    back = drift_quantiles.number_measures(two, one)
    for name, measure in there.items():
        assert 0.0 <= measure.value <= 1.0
        assert measure.value == pytest.approx(back[name].value, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(NUMBERS)
def test_equal_numbers_are_no_distance_rounded_or_not(values):
    values = np.array(values)
    one = drift_quantiles.Numbers.of(values)
    for measure in drift_quantiles.number_measures(one, one).values():
        assert measure.value == 0.0
    rounded = drift_quantiles.Numbers.stored(
        len(values), one.quantiles * (1 + 2.0**-12)
    )
    found = drift_quantiles.number_measures(one, rounded)
    assert found["kolmogorov_smirnov"].value <= 0.011


def test_a_shifted_column_and_its_bins():
    rng = np.random.default_rng(2)
    sides = [
        drift_quantiles.Numbers.of(rng.normal(shift, 1, 20_000))
        for shift in (0.0, 0.0, 0.5)
    ]
    same = drift_quantiles.number_measures(sides[0], sides[1])
    assert all(m.value <= 2 * m.chance + 0.02 for m in same.values())
    moved = drift_quantiles.number_measures(sides[0], sides[2])
    assert moved["kolmogorov_smirnov"].value == pytest.approx(0.197, abs=0.02)
    assert moved["jensen_shannon"].value == pytest.approx(0.205, abs=0.02)
    assert moved["l_infinity"].value > 0.03


def test_a_small_sample_is_within_chance():
    rng = np.random.default_rng(3)
    large = drift_quantiles.Numbers.of(rng.exponential(1, 50_000))
    small = drift_quantiles.Numbers.of(rng.exponential(1, 30))
    found = drift_quantiles.number_measures(large, small)
    assert all(m.value < m.chance for m in found.values())

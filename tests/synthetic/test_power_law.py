import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfplugin import synthetic
from tfplugin.synthetic import hashed_draws


@given(
    size=st.integers(1, 10**7),
    exponent=st.floats(0.1, 3.0).filter(lambda x: x != 1),
    shift=st.floats(0.01, 100.0),
)
def test_ranks_stay_within_the_size(size, exponent, shift):
    law = synthetic.ZipfMandelbrot(size, exponent, shift)
    found = law.ranks(np.array([0.0, 0.5, np.nextafter(1, 0)]))
    assert np.all((0 <= found) & (found < size))
    assert found[0] == 0
    assert np.all(np.diff(found) >= 0)


def test_draws_follow_the_law():
    law = synthetic.ZipfMandelbrot(50, exponent=1.3, shift=2.0)
    n = 200_000
    drawn = np.bincount(law.ranks(np.random.default_rng(0).random(n)))
    expected = n * law.probabilities()
    # Mean 49, deviation 9.9: a chi-square of 49 degrees of freedom.
    assert np.sum((drawn - expected) ** 2 / expected) < 90


def test_the_slope_is_minus_the_exponent():
    law = synthetic.ZipfMandelbrot(100_000, exponent=1.4, shift=3.0)
    p = law.probabilities()
    ranks = np.arange(len(p)) + 0.5 + law.shift
    slope, _ = np.polyfit(np.log(ranks), np.log(p), 1)
    assert slope == pytest.approx(-1.4, abs=0.01)


@pytest.mark.parametrize(
    "arguments",
    [{"size": 0}, {"exponent": 1.0}, {"exponent": 0.0}, {"shift": 0.0}],
)
def test_parameters_are_checked(arguments):
    with pytest.raises(ValueError, match="Received: "):
        synthetic.ZipfMandelbrot(**{"size": 5, **arguments})


def test_mix_is_splitmix64():
    # The first outputs of the reference implementation with seed 1234567.
    step = 0x9E3779B97F4A7C15
    states = [(1234567 + i * step) % 2**64 for i in range(3)]
    assert hashed_draws.mix(np.array(states, np.uint64)).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_hashed_values_have_their_laws():
    keys = hashed_draws.mix(np.arange(100_000, dtype=np.uint64))
    streams = [hashed_draws.stream(keys, number) for number in range(4)]
    values = np.stack([hashed_draws.normal(one) for one in streams])
    correlations = np.corrcoef(values) - np.eye(4)
    assert np.abs(correlations).max() < 0.02
    assert np.abs(values.mean(axis=1)).max() < 0.02
    assert np.abs(values.std(axis=1) - 1).max() < 0.02
    even = np.histogram(hashed_draws.uniform(streams[0]), 20, (0, 1))[0]
    assert np.sum((even - 5000) ** 2 / 5000) < 50

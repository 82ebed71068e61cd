import fractions
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from beam_jobs.summaries import sketches
from beam_jobs.summaries import value_summary
from tfplugin.errors import InputError

FLOATS = st.floats(
    width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False
)
ANY_FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def summary(*parts, missing=0):
    made = value_summary.DenseSummary()
    for part in parts:
        made.add(np.asarray(part, np.float32), missing)
    return made


@given(st.lists(FLOATS, min_size=1, max_size=80), st.integers(0, 80))
@settings(max_examples=100, deadline=None)
def test_quantiles_are_within_their_error(values, cut):
    array = np.array(values, np.float32)
    merged = summary(array[:cut], missing=1)
    merged.merge(summary(array[cut:], missing=2))
    record = merged.to_record()
    ordered = np.sort(array).astype(np.float64)
    for rank, got in enumerate(record.quantiles):
        want = ordered[(len(ordered) - 1) * rank // 100]
        assert abs(got - want) <= abs(want) * 2.0**-11
    assert record.count == len(values) and record.missing == 3
    assert (record.minimum, record.maximum) == (ordered[0], ordered[-1])
    scale = np.abs(ordered).max() + 1e-30
    assert abs(record.mean - ordered.mean()) <= 1e-9 * scale
    assert abs(record.standard_deviation - ordered.std()) <= 1e-6 * scale


@given(st.lists(ANY_FLOATS, max_size=50))
@settings(max_examples=200, deadline=None)
def test_moments_are_exact(values):
    moments = value_summary.Moments.of(np.array(values, np.float32))
    exact = [fractions.Fraction(value) for value in values]
    assert fractions.Fraction(moments.total, 2**149) == sum(exact)
    squares = sum(value * value for value in exact)
    assert fractions.Fraction(moments.squares, 2**298) == squares
    if values:
        assert moments.mean == float(sum(exact) / len(exact))


def test_moments_where_floats_cancel():
    values = np.float32([1e38, 1, -1e38, 1e-45, 3e38, -3e38])
    assert summary(values).to_record().mean == (1 + float(values[3])) / 6
    far = summary(np.full(1000, 16_777_215, np.float32)).to_record()
    assert far.mean == 16_777_215 and far.standard_deviation == 0


def test_numbers_do_not_depend_on_batches_or_order():
    rng = np.random.default_rng(0)
    values = (rng.standard_cauchy(3000) ** 3).astype(np.float32)
    records = []
    for parts in (1, 7, 300):
        rng.shuffle(values)
        states = [summary(part) for part in np.array_split(values, parts)]
        merged = states[0]
        for state in states[1:]:
            merged.merge(state)
        records.append(merged.to_record())
    assert records[0] == records[1] == records[2]
    assert math.isclose(
        records[0].mean, np.mean(values, dtype=np.float64), rel_tol=1e-9
    )


def test_moments_of_logarithms():
    logs = summary([-np.e + 1, np.e - 1]).to_record()
    assert abs(logs.log1p_mean) < 1e-6
    assert abs(logs.log1p_standard_deviation - 1) < 1e-6


def test_no_values():
    record = summary([], missing=4).to_record()
    assert (record.count, record.missing, record.mean) == (0, 4, 0.0)
    assert record.quantiles == (0.0,) * 101


def test_many_histograms_are_merged_as_one():
    rng = np.random.default_rng(1)
    parts = rng.lognormal(sigma=3, size=(40, 9000)).astype(np.float32)
    builder = value_summary.HistogramBuilder()
    for part in parts:
        builder.add(value_summary.Histogram.of(part))
    whole = value_summary.Histogram.of(parts.ravel())
    assert builder.histogram().quantiles(101) == whole.quantiles(101)


@given(st.lists(st.lists(st.integers(1, 4095), max_size=30), max_size=4))
@settings(max_examples=50, deadline=None)
def test_quantiles_of_small_counts_are_exact(parts):
    stored = [sketches.count_sketch(np.array(p, np.int64)) for p in parts]
    ordered = np.sort([count for part in parts for count in part])
    found = sketches.merge_count_sketches(stored[::-1])
    assert found == tuple(
        float(ordered[(len(ordered) - 1) * rank // 100])
        for rank in range(101 if len(ordered) else 0)
    )


def test_quantiles_of_large_and_decayed_counts():
    counts = np.random.default_rng(2).lognormal(10, 4, 5000)
    found = sketches.merge_count_sketches([sketches.count_sketch(counts)])
    wanted = np.sort(counts)[4999 * np.arange(101) // 100]
    np.testing.assert_allclose(found, wanted, rtol=2.0**-11)


def test_a_damaged_sketch_of_counts_is_refused():
    data = sketches.count_sketch(np.array([1, 2]))
    with pytest.raises(InputError, match="a sketch of counts, bytes whose"):
        sketches.merge_count_sketches([data[:-1]])

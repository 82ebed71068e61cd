import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfplugin.report import formatting


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**9, "5.0 GB"),
        (2 * 10**15, "2,000.0 TB"),
    ],
)
def test_size(num_bytes, text):
    assert plain(formatting.size(num_bytes)) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.015, "1.5 %"),
        (0.00099, "0.1 %"),
        (0.0009, "0.09 %"),
        (9.5e-6, "0.00095 %"),
        (1e-9, "< 0.0001 %"),
        (0.99999, "> 99.9 %"),
        (0.9994, "99.9 %"),
        (1.5, "150.0 %"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_percent(share, text):
    assert plain(formatting.percent(share)) == text


@given(st.floats(0, 1))
def test_percent_is_short_and_hides_no_rest(share):
    text = plain(formatting.percent(share))
    assert len(text) <= 10 and "e" not in text
    assert (text == "0 %") == (share == 0)
    assert (text in ("100 %", "100.0 %")) == (100 * share == 100)


@given(st.floats(-1e11, 1e11))
def test_number_is_near_and_short(value):
    text = formatting.number(value)
    assert len(text.removeprefix("-")) <= 15
    assert math.isclose(
        float(text.replace(",", "")), value, rel_tol=6e-4, abs_tol=1e-300
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (90_061, "25 h 1 min"),
        (None, "–"),
        (math.inf, "–"),
    ],
)
def test_duration(seconds, text):
    assert plain(formatting.duration(seconds)) == text


def test_metric_number_and_undefined():
    assert formatting.metric(0.00004) == "0.0000"
    assert formatting.metric(1234.5) == "1,234.5000"
    for undefined in (None, math.nan, -math.inf):
        assert formatting.metric(undefined) == formatting.UNDEFINED
        assert formatting.number(undefined) == formatting.UNDEFINED


def test_moment_beyond_the_calendar():
    assert formatting.moment(1_500_000_000) == "2017-07-14 02:40:00 UTC"
    assert re.fullmatch("second [0-9,]+", formatting.moment(2**62))


def test_listing():
    assert formatting.listing([]) == ""
    assert formatting.listing(["a"]) == "a"
    assert formatting.listing(["a", "b"]) == "a and b"

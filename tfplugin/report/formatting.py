"""Numbers as a reader wants them: separators, units, few digits."""

import datetime
import math
from collections.abc import Sequence

#: What stands where a number is undefined.
UNDEFINED = "–"
#: Keeps a number and its unit on one line.
_SPACE = "\N{NO-BREAK SPACE}"


def integer(value: int) -> str:
    """A count with separators.

    >>> integer(1469307)
    '1,469,307'
    """
    return f"{value:,}"


def count(value: int, noun: str) -> str:
    """A count with its noun, which takes an s but after 1.

    >>> count(1, "row"), count(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{value:,} {noun}" + ("" if value == 1 else "s")


def size(num_bytes: int) -> str:
    """Bytes in decimal units (1 MB is 10^6 bytes).

    >>> size(12_345_678).replace(chr(160), " ")
    '12.3 MB'
    """
    if num_bytes < 1000:
        return f"{num_bytes}{_SPACE}B"
    units = ("kB", "MB", "GB", "TB")
    value, power = num_bytes / 1000, 0
    # 999.95 would print as 1000.0.
    while value >= 999.95 and power + 1 < len(units):
        value, power = value / 1000, power + 1
    return f"{value:,.1f}{_SPACE}{units[power]}"


def percent(share: float | None) -> str:
    """A share of 1 in percent; never rounded to nothing or to everything.

    Args:
        share: The share; None and NaN are undefined.

    >>> [percent(s).replace(chr(160), " ") for s in (0.0154, 0.00012, 0.9999)]
    ['1.5 %', '0.012 %', '> 99.9 %']
    """
    if share is None or not math.isfinite(share):
        return UNDEFINED
    value = 100 * share
    if value in (0, 100):
        text = f"{value:.0f}"
    elif 0 < value < 0.095:
        text = f"{value:.2g}" if value >= 0.0001 else "< 0.0001"
    elif 99.95 <= value < 100:
        text = "> 99.9"
    else:
        text = f"{value:,.1f}"
    return f"{text}{_SPACE}%"


def ratio(part: int, whole: int) -> str:
    """`part` of `whole` in percent; undefined when `whole` is 0.

    >>> ratio(1, 4).replace(chr(160), " "), ratio(0, 0)
    ('25.0 %', '–')
    """
    return percent(part / whole if whole else None)


def metric(value: float | None) -> str:
    """A metric with four decimals.

    Args:
        value: The metric; None and NaN are undefined.

    >>> metric(0.93124), metric(None)
    ('0.9312', '–')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:,.4f}"


def number(value: float | None) -> str:
    """Any number with four significant digits.

    Args:
        value: The number; None and NaN are undefined.

    >>> [number(v) for v in (0.0, 12.34567, -98765.4, 3.2e-7, 5e15)]
    ['0', '12.35', '-98,765', '3.2e-07', '5e+15']
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    size_of = abs(value)
    if size_of == 0:
        return "0"
    if size_of < 1e-4 or size_of >= 1e12:
        return f"{value:.4g}"
    if size_of >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units.

    Args:
        seconds: The span; None and NaN are undefined.

    >>> [duration(s).replace(chr(160), " ") for s in (0.52, 75.2, 3700)]
    ['0.5 s', '1 min 15 s', '1 h 1 min']
    """
    if seconds is None or not math.isfinite(seconds):
        return UNDEFINED
    if seconds < 9.95:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min {whole % 60}{_SPACE}s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours:,}{_SPACE}h {minutes}{_SPACE}min"


def moment(seconds: int) -> str:
    """A second since 1970, in UTC.

    >>> moment(0)
    '1970-01-01 00:00:00 UTC'
    """
    try:
        utc = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        # A log may count its own seconds, beyond the calendar's year 9999.
        return f"second {seconds:,}"
    return utc.strftime("%Y-%m-%d %H:%M:%S UTC")


def epoch(number_of_epoch: int) -> str:
    """An epoch with its number, on one line.

    >>> epoch(2).replace(chr(160), " ")
    'epoch 2'
    """
    return f"epoch{_SPACE}{number_of_epoch}"


def listing(parts: Sequence[str]) -> str:
    """A list in words.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]

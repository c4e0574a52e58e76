from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.errors import NaiveDatetime, ReversedRange, UnknownTimeframe
from tapehouse.timeframe import (
    aware_range,
    aware_utc,
    from_ms,
    from_us,
    timeframe,
    timeframe_of_seconds,
    to_ms,
    to_us,
)

# What pandas calls the same lengths; W-MON periods would end on Monday, so weeks start W-SUN's way.
PANDAS_PERIODS = {"1w": "W-SUN", "1M": "M"}
FIXED = ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]
times = st.datetimes(datetime(1990, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- made aware by timezones


def pandas_frequency(name: str) -> str:
    return name.replace("m", "min").replace("d", "D").replace("1w", "7D")


@given(time=times, name=st.sampled_from(FIXED))
def test_floor_of_fixed_timeframes_is_that_of_pandas(time: datetime, name: str):
    expected = pd.Timestamp(time).floor(pandas_frequency(name))
    assert timeframe(name).floor(time) == expected.to_pydatetime()


@given(time=times, name=st.sampled_from(sorted(PANDAS_PERIODS)))
def test_weeks_and_months_are_the_calendars(time: datetime, name: str):
    period = pd.Timestamp(time).tz_localize(None).to_period(PANDAS_PERIODS[name])
    opened = timeframe(name).floor(time)
    assert opened == period.start_time.tz_localize(UTC)
    assert timeframe(name).close(opened) == (period + 1).start_time.tz_localize(UTC)


@given(time=times, name=st.sampled_from([*FIXED, "1w", "1M"]))
def test_ceil_is_the_first_open_time_not_before(time: datetime, name: str):
    tf = timeframe(name)
    ceil = tf.ceil(time)
    assert ceil >= time
    assert tf.floor(ceil) == ceil
    assert tf.floor(ceil - timedelta(microseconds=1)) < time or ceil == time


@pytest.mark.parametrize(
    ("name", "start", "end", "count"),
    [
        ("1m", "2025-01-01T00:00:30", "2025-01-01T00:03:00", 2),
        ("1h", "2025-01-01T00:00:00", "2025-01-02T00:00:00", 24),
        ("1w", "2025-01-01T00:00:00", "2025-01-13T00:00:00", 1),
        ("1w", "2025-01-01T00:00:00", "2025-01-13T00:00:01", 2),
        ("1M", "2024-12-31T00:00:00", "2026-01-01T00:00:00", 12),
        ("1d", "2025-01-01T00:00:01", "2025-01-02T00:00:00", 0),
    ],
)
def test_count_is_of_candles_that_open_in_the_range(name: str, start: str, end: str, count: int):
    bounds = (datetime.fromisoformat(time).replace(tzinfo=UTC) for time in (start, end))
    assert timeframe(name).count(*bounds) == count


@pytest.mark.parametrize("name", ["1s", "1m", "4h", "1d", "1w", "1M"])
def test_counts_of_many_ranges_are_those_of_each(name: str):
    times_us = np.random.default_rng(3).choice(moments().asi8, (200, 2))
    each = [timeframe(name).count(from_us(start), from_us(end)) for start, end in times_us.tolist()]
    assert timeframe(name).count_us(times_us[:, 0], times_us[:, 1]).tolist() == each


def moments() -> pd.DatetimeIndex:
    """From 1968 on: the first and the last microsecond of weeks and months, and any times."""
    weeks = pd.date_range("1968-01-01", "2030-01-01", freq="7D", unit="us").asi8
    months = pd.date_range("1968-01-01", "2030-01-01", freq="MS", unit="us").asi8
    any_times = np.random.default_rng(5).integers(0, 4_000_000_000_000_000, 500)
    times_us = np.concatenate([weeks, weeks - 1, months, months - 1, any_times])
    return pd.DatetimeIndex(times_us.view("datetime64[us]"))


def pandas_opens_and_closes(times: pd.DatetimeIndex, name: str) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    if name in PANDAS_PERIODS:
        periods = times.to_period(PANDAS_PERIODS[name])
        return periods.start_time, (periods + 1).start_time
    opens = times.floor(pandas_frequency(name))
    return opens, opens + pd.Timedelta(pandas_frequency(name))


def us(times: pd.DatetimeIndex) -> list[int]:
    return times.as_unit("us").asi8.tolist()


@pytest.mark.parametrize("name", [*FIXED, "1w", "1M"])
def test_arrays_are_floored_and_closed_as_pandas_does(name: str):
    times = moments()
    opens, closes = pandas_opens_and_closes(times, name)
    assert timeframe(name).floor_us(times.asi8).tolist() == us(opens)
    assert timeframe(name).close_us(opens.as_unit("us").asi8).tolist() == us(closes)
    assert timeframe(name).aligned(times.asi8).tolist() == (times == opens).tolist()


@pytest.mark.parametrize("name", [*FIXED, "1w", "1M"])
def test_no_times_have_no_opens(name: str):
    nothing = np.array([], dtype=np.int64)
    assert timeframe(name).floor_us(nothing).tolist() == timeframe(name).close_us(nothing).tolist() == []


@pytest.mark.parametrize(
    ("name", "frequency"), [("1m", "1min"), ("4h", "4h"), ("1d", "1D"), ("1w", "W-MON"), ("1M", "MS")]
)
@pytest.mark.parametrize("end", ["2024-01-01", "2024-01-03T12:34:56", "2024-03-01", "2024-03-01T00:00:00.000001"])
def test_opens_are_those_of_pandas_date_range(name: str, frequency: str, end: str):
    start, stop = datetime(2024, 1, 1, tzinfo=UTC), datetime.fromisoformat(end).replace(tzinfo=UTC)
    expected = pd.date_range(start, stop, freq=frequency, inclusive="left", unit="us")
    assert timeframe(name).opens_us(start, stop).tolist() == us(expected)
    assert timeframe(name).count(start, stop) == len(expected)


@given(time=times, name=st.sampled_from([*FIXED, "1w"]), candles=st.integers(-100, 100))
def test_open_times_are_shifted_by_whole_candles(time: datetime, name: str, candles: int):
    opened = timeframe(name).floor(time)
    step = pd.Timedelta(pandas_frequency(name))
    assert timeframe(name).shift(opened, candles) == pd.Timestamp(opened) + candles * step


@given(time=times, months=st.integers(-200, 200))
def test_months_are_shifted_by_the_calendar(time: datetime, months: int):
    opened = timeframe("1M").floor(time)
    assert timeframe("1M").shift(opened, months) == pd.Timestamp(opened) + pd.DateOffset(months=months)


def test_one_length_has_one_name():
    assert timeframe("60s") == timeframe("1m")
    assert timeframe("24h").name == "1d"


@pytest.mark.parametrize("name", ["", "m", "0m", "1x", "7m", "3d", "2w", "2M", "-1m", "1.5h", " 1m", "1m\n"])
def test_lengths_that_do_not_tile_a_day_are_refused(name: str):
    with pytest.raises(UnknownTimeframe):
        timeframe(name)


@pytest.mark.parametrize("name", [*FIXED, "1w", "1M"])
def test_stored_seconds_give_the_name_back(name: str):
    assert timeframe_of_seconds(timeframe(name).seconds).name == name


def test_times_are_exact_and_in_utc():
    time = datetime(2025, 3, 1, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert to_us(time) == 1_740_771_900_123_456
    assert from_us(to_us(time)) == time
    assert to_ms(time) == 1_740_771_900_123
    assert from_ms(1_740_771_900_123) == datetime(2025, 2, 28, 19, 45, 0, 123000, tzinfo=UTC)
    assert aware_utc(time).tzinfo is UTC


def test_naive_and_reversed_bounds_are_refused():
    naive = datetime(2025, 1, 1)  # noqa: DTZ001 -- the point of the test
    aware = naive.replace(tzinfo=UTC)
    with pytest.raises(NaiveDatetime, match=r"2025-01-01T00:00:00 has no time zone"):
        aware_utc(naive)
    with pytest.raises(ReversedRange, match="so it is empty: choose a later end"):
        aware_range(aware, aware)
    with pytest.raises(ReversedRange, match="swap them"):
        aware_range(aware + timedelta(seconds=1), aware)

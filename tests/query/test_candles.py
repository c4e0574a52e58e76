import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tapehouse import MarketData
from tapehouse.store.connection import Connection
from tests.query.conftest import COLUMNS, Tape, in_units, pandas_resample, random_bars, times

# A Monday that is also the first day of a month.
START = datetime(2024, 1, 1, tzinfo=UTC)
PANDAS_RULES = {
    "3m": "3min",
    "5m": "5min",
    "15m": "15min",
    "30m": "30min",
    "1h": "1h",
    "2h": "2h",
    "4h": "4h",
    "12h": "12h",
    "1d": "1D",
}


def at(**delta: float) -> datetime:
    return START + timedelta(**delta)


def span(start: datetime, end: datetime) -> list[str]:
    return [start.isoformat(), end.isoformat()]


def candles(market: MarketData, tape: Tape, name: str, start: datetime, end: datetime | None = None) -> pd.DataFrame:
    return market.candles(tape.exchange, tape.symbol, name, start, end)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Equal to the last bit; the frequency of an index is no part of the contract."""
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)


def test_native_candles_come_back_exactly(market: MarketData, tape: Tape):
    bars = random_bars(START, 300)
    tape.write(bars)
    assert_same(candles(market, tape, "1m", START, at(minutes=300)), in_units(bars))


def test_a_window_holds_bars_that_open_in_it_and_have_closed_by_its_end(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 60))
    found = candles(market, tape, "1m", at(minutes=9.5), at(minutes=12.5))
    assert [time.minute for time in found.index] == [10, 11]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        # 01:59 EST is followed by 03:00 EDT.
        ("2024-03-10 06:00", "2024-03-10 08:00"),
        # 01:59 EDT is followed by 01:00 EST, so that hour comes twice.
        ("2024-11-03 05:30", "2024-11-03 06:30"),
    ],
)
def test_clocks_that_change_do_not_matter(market: MarketData, tape: Tape, start: str, end: str):
    opened, closed = pd.Timestamp(start, tz="UTC"), pd.Timestamp(end, tz="UTC")
    bars = random_bars(opened.to_pydatetime(), (closed - opened) // timedelta(minutes=1))
    tape.write(bars)
    window = (opened.tz_convert("America/New_York"), closed.tz_convert("America/New_York"))
    assert_same(candles(market, tape, "1m", *window), in_units(bars))


def test_the_frame_has_the_documented_shape(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 3))
    found = candles(market, tape, "1m", START, at(minutes=3))
    assert isinstance(found.index, pd.DatetimeIndex)
    assert (found.index.name, str(found.index.dtype)) == ("time", "datetime64[us, UTC]")
    assert list(found.columns) == COLUMNS
    assert set(map(str, found.dtypes)) == {"float64"}


def test_an_empty_frame_has_the_documented_shape(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 3))
    for name in ("1m", "1h"):
        found = candles(market, tape, name, at(days=10), at(days=11))
        assert (len(found), found.index.name, str(found.index.dtype)) == (0, "time", "datetime64[us, UTC]")
        assert list(found.columns) == COLUMNS
        assert set(map(str, found.dtypes)) == {"float64"}


def test_attrs_say_what_was_fetched_missed_and_found_empty(market: MarketData, tape: Tape):
    bars = random_bars(START, 60)
    without_trades = bars.index[[10, 11, 40]]
    tape.write(bars.drop(without_trades))
    found = candles(market, tape, "1m", at(minutes=-30), at(minutes=90))
    attrs = found.attrs
    assert attrs["exchange"] == tape.exchange
    assert (attrs["symbol"], attrs["timeframe"], attrs["amount_unit"]) == ("BTC/USDT", "1m", "base")
    assert attrs["from_sandbox"] is False
    assert (attrs["source"], attrs["read_from"], attrs["revision"]) == ("native", ["ohlcv 1m"], 0)
    assert (attrs["start"], attrs["end"]) == (at(minutes=-30).isoformat(), at(minutes=90).isoformat())
    assert attrs["covered"] == [span(START, at(hours=1))]
    assert attrs["gaps"] == [span(at(minutes=-30), START), span(at(hours=1), at(minutes=90))]
    assert attrs["empty"] == [span(at(minutes=10), at(minutes=12)), span(at(minutes=40), at(minutes=41))]
    assert (len(found), attrs["candles_empty"], attrs["candles_missing"], attrs["candles_expected"]) == (57, 3, 60, 120)
    assert (attrs["incomplete"], attrs["shortened"], attrs["dropped_before"]) == ([], [], None)


def test_substitutes_before_the_first_bar_hide_no_later_ones(market: MarketData, tape: Tape, connection: Connection):
    tape.cover(START, at(days=3))
    # Each minute by itself, as from a source of its own, more of them than attrs name.
    before = [(at(hours=12, minutes=minute), f"source {minute}") for minute in range(60)]
    for time, source in [*before, (at(days=2), "trades")]:
        connection.execute(
            "insert into substitute (series_id, during, source) values (%s, tstzrange(%s, %s), %s)",
            [tape.series_id("1m"), time, time + timedelta(minutes=1), source],
        )
    found = market.candles(tape.exchange, tape.symbol, "1d", at(hours=12), at(days=3))
    assert found.attrs["repaired"] == [[at(days=2).isoformat(), at(days=2, minutes=1).isoformat(), "trades"]]
    assert found.attrs["shortened"] == []


def test_attrs_survive_json_and_copies(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 10))
    attrs = candles(market, tape, "1m", START, at(hours=1)).attrs
    assert json.loads(json.dumps(attrs)) == attrs


def test_long_lists_in_attrs_are_cut_and_counts_are_not(market: MarketData, tape: Tape):
    bars = random_bars(START, 240)
    tape.write(bars.iloc[::2])
    attrs = candles(market, tape, "1m", START, at(minutes=239)).attrs
    assert (len(attrs["empty"]), attrs["candles_empty"], attrs["shortened"]) == (50, 119, ["empty"])
    assert attrs["empty"][49] == span(at(minutes=99), at(minutes=100))


@pytest.mark.parametrize("refreshed", [False, True])
def test_built_candles_equal_a_pandas_recomputation(market: MarketData, tape: Tape, refreshed: bool):
    bars = random_bars(START, 3 * 1440, seed=3)
    bars = bars.drop(bars.index[100:700])
    tape.insert(bars)
    tape.cover(START, at(days=3))
    if refreshed:
        tape.refresh_rollups(START, at(days=3))
    else:
        tape.mark_stale(START, at(days=3))
    for name, rule in PANDAS_RULES.items():
        found = candles(market, tape, name, START, at(days=3))
        assert_same(found, in_units(pandas_resample(bars, rule)))
        assert found.attrs["gaps"] == []
        assert found.attrs["candles_empty"] + len(found) == found.attrs["candles_expected"]


def test_weeks_open_on_monday_and_months_on_the_first(market: MarketData, tape: Tape):
    hours = random_bars(START - timedelta(days=3), 24 * 70, step=timedelta(hours=1), seed=5)
    tape.insert(hours)
    tape.cover(START - timedelta(days=3), START + timedelta(days=67))
    tape.refresh_rollups(START - timedelta(days=3), START + timedelta(days=67))
    end = START + timedelta(days=67)
    weeks, months = (candles(market, tape, name, START - timedelta(days=40), end) for name in ("1w", "1M"))
    # pandas counts weeks by their last day.
    by_week = pandas_resample(hours, "W-MON").loc[START : START + timedelta(days=8 * 7)]
    by_month = pandas_resample(hours, "MS").loc[START : START + timedelta(days=31)]
    assert_same(weeks, in_units(by_week))
    assert_same(months, in_units(by_month))
    assert list(times(weeks).day_of_week) == [0] * 9
    assert [time.isoformat() for time in months.index] == ["2024-01-01T00:00:00+00:00", "2024-02-01T00:00:00+00:00"]
    assert weeks.attrs["source"] == months.attrs["source"] == "resampled"
    assert weeks.attrs["read_from"] == ["candle_1d"]


def test_native_months_are_counted_by_the_calendar(market: MarketData, tape: Tape):
    months = random_bars(START, 3)
    months.index = pd.DatetimeIndex([datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 4)])
    tape.insert(months, "1M")
    tape.cover(START, datetime(2024, 5, 1, tzinfo=UTC), "1M")
    found = candles(market, tape, "1M", START, datetime(2024, 6, 1, tzinfo=UTC))
    assert_same(found, in_units(months))
    assert found.attrs["empty"] == [["2024-03-01T00:00:00+00:00", "2024-04-01T00:00:00+00:00"]]
    assert found.attrs["gaps"] == [["2024-05-01T00:00:00+00:00", "2024-06-01T00:00:00+00:00"]]
    assert (found.attrs["candles_expected"], found.attrs["candles_empty"], found.attrs["candles_missing"]) == (5, 1, 1)


def test_only_wholly_fetched_bars_are_built(market: MarketData, tape: Tape):
    bars = random_bars(START, 360)
    tape.insert(bars)
    tape.cover(at(minutes=30), at(minutes=150))
    tape.cover(at(minutes=200), at(minutes=360))
    tape.refresh_rollups(START, at(days=1))
    found = candles(market, tape, "1h", START, at(hours=8))
    assert_same(found, in_units(pandas_resample(bars, "1h")).iloc[[1, 4, 5]])
    attrs = found.attrs
    assert attrs["covered"] == [span(at(minutes=30), at(minutes=150)), span(at(minutes=200), at(hours=6))]
    assert attrs["gaps"] == [
        span(START, at(minutes=30)),
        span(at(minutes=150), at(minutes=200)),
        span(at(hours=6), at(hours=8)),
    ]
    assert attrs["incomplete"] == [span(START, at(hours=1)), span(at(hours=2), at(hours=4))]
    assert (attrs["candles_expected"], attrs["candles_empty"], attrs["candles_missing"]) == (8, 0, 5)


def test_many_holes_are_left_out_one_by_one(market: MarketData, tape: Tape):
    bars = random_bars(START, 1440)
    tape.insert(bars)
    for hour in range(0, 24, 2):
        tape.cover(at(hours=hour, minutes=5), at(hours=hour + 2))
    tape.refresh_rollups(START, at(days=1))
    found = candles(market, tape, "5m", START, at(days=1))
    expected = in_units(pandas_resample(bars, "5min"))
    assert_same(found, expected[~((times(expected).hour % 2 == 0) & (times(expected).minute == 0))])


def test_a_bar_of_empty_minutes_is_empty(market: MarketData, tape: Tape):
    bars = random_bars(START, 180)
    tape.insert(bars.drop(bars.index[60:120]))
    tape.cover(START, at(hours=3))
    tape.refresh_rollups(START, at(days=1))
    found = candles(market, tape, "1h", START, at(hours=3))
    assert list(times(found).hour) == [0, 2]
    assert found.attrs["empty"] == [span(at(hours=1), at(hours=2))]


def test_stale_rollups_are_not_trusted(market: MarketData, tape: Tape):
    bars = random_bars(START, 2 * 1440, seed=7)
    tape.write(bars)
    tape.refresh_rollups(START, at(days=2))
    corrected = bars.iloc[600:610] + 1000
    tape.insert(corrected)
    tape.mark_stale(at(minutes=600), at(minutes=610))
    now = pd.concat([bars.drop(corrected.index), corrected]).sort_index()
    before = pandas_resample(bars, "1h")
    assert tape.rollup_closes("candle_1h") == before["close"].tolist(), "the rollup was meant to be behind"
    found = candles(market, tape, "1h", START, at(days=2))
    assert_same(found, in_units(pandas_resample(now, "1h")))
    assert (found.attrs["source"], found.attrs["read_from"]) == ("rollup+resampled", ["candle_1h", "ohlcv 1m"])
    assert_same(candles(market, tape, "1d", START, at(days=2)), in_units(pandas_resample(now, "1D")))
    assert candles(market, tape, "1h", START, at(hours=10)).attrs["source"] == "rollup"


def test_several_stale_ranges_that_touch_and_overlap(market: MarketData, tape: Tape):
    bars = random_bars(START, 1440, seed=8)
    tape.write(bars)
    tape.refresh_rollups(START, at(days=1))
    changed = bars + 5000
    tape.insert(changed)
    for begin, until in ((0, 500), (400, 700), (700, 1440)):
        tape.mark_stale(at(minutes=begin), at(minutes=until))
    found = candles(market, tape, "15m", START, at(days=1))
    assert_same(found, in_units(pandas_resample(changed, "15min")))
    assert found.attrs["source"] == "resampled"


@pytest.fixture
def dropped_before(connection: Connection) -> Iterator[datetime]:
    """A time in 2019 before which no 1m candles are stored any more, of any instrument."""
    time = datetime(2019, 6, 3, tzinfo=UTC)
    connection.execute("insert into retention values ('ohlcv', 60, %s)", (time,))
    yield time
    connection.execute("delete from retention where dataset = 'ohlcv' and timeframe_s = 60")


def test_minutes_that_retention_dropped_are_missing_and_their_rollups_are_not(
    market: MarketData, tape: Tape, dropped_before: datetime
):
    start = dropped_before - timedelta(days=1)
    bars = random_bars(start, 2 * 1440)
    tape.write(bars)
    tape.refresh_rollups(start, dropped_before + timedelta(days=1))
    tape.connection.execute(
        "delete from ohlcv where instrument_id = %s and time < %s", (tape.instrument_id, dropped_before)
    )
    end = dropped_before + timedelta(days=1)
    hours = candles(market, tape, "1h", start, end)
    assert_same(hours, in_units(pandas_resample(bars, "1h")))
    assert (hours.attrs["dropped_before"], hours.attrs["gaps"]) == (None, [])
    for name, rule, per_day in (("1m", "1min", 1440), ("3m", "3min", 480)):
        found = candles(market, tape, name, start, end)
        assert_same(found, in_units(pandas_resample(bars.loc[dropped_before:], rule)))
        assert found.attrs["dropped_before"] == dropped_before.isoformat()
        assert found.attrs["gaps"] == [span(start, dropped_before)]
        assert (found.attrs["candles_empty"], found.attrs["candles_missing"]) == (0, per_day)
    assert candles(market, tape, "1m", dropped_before, end).attrs["dropped_before"] is None


def test_native_candles_are_preferred_where_they_are_complete(market: MarketData, tape: Tape):
    minutes = random_bars(START, 360, seed=1)
    tape.write(minutes)
    tape.refresh_rollups(START, at(days=1))
    hours = random_bars(START, 4, step=timedelta(hours=1), seed=2)
    tape.write(hours, "1h")
    complete = candles(market, tape, "1h", START, at(hours=4))
    assert complete.attrs["source"] == "native"
    assert_same(complete, in_units(hours))
    longer = candles(market, tape, "1h", START, at(hours=6))
    assert longer.attrs["source"] == "rollup"
    assert_same(longer, in_units(pandas_resample(minutes, "1h")))


def test_native_candles_with_gaps_beat_minutes_that_know_less(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 60))
    hours = random_bars(START, 4, step=timedelta(hours=1))
    tape.write(hours, "1h")
    found = candles(market, tape, "1h", START, at(hours=6))
    assert found.attrs["source"] == "native"
    assert_same(found, in_units(hours))


def test_a_widened_scale_does_not_change_what_is_read(market: MarketData, tape: Tape):
    bars = random_bars(START, 10)
    tape.write(bars)
    before = candles(market, tape, "1m", START, at(minutes=10))
    with tape.connection.transaction():
        tape.connection.execute(
            "update instrument set price_decimals = 4 where instrument_id = %s", (tape.instrument_id,)
        )
        tape.connection.execute(
            "update ohlcv set open = open * 100, high = high * 100, low = low * 100, close = close * 100 "
            "where instrument_id = %s",
            (tape.instrument_id,),
        )
    assert_same(candles(market, tape, "1m", START, at(minutes=10)), before)


def test_without_an_end_candles_reach_to_the_last_closed_bar(market: MarketData, tape: Tape):
    now = datetime.now(UTC)
    opened = now.replace(second=0, microsecond=0) - timedelta(minutes=5)
    bars = random_bars(opened, 5)
    tape.write(bars)
    found = candles(market, tape, "1m", opened)
    assert_same(found, in_units(bars))
    assert now - timedelta(minutes=1) < datetime.fromisoformat(found.attrs["as_of"])
    # A bar that closes in the future is neither expected nor missing.
    assert candles(market, tape, "1m", opened, now + timedelta(days=1)).attrs["candles_expected"] in (5, 6)


def test_a_window_slightly_ahead_is_empty(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 5))
    future = datetime.now(UTC) + timedelta(seconds=30)
    for end in (None, future + timedelta(days=1), datetime.max.replace(tzinfo=UTC)):
        found = candles(market, tape, "1h", future, end)
        assert (len(found), found.attrs["candles_expected"], found.attrs["gaps"]) == (0, 0, [])


def test_many_rows_are_read_whole(market: MarketData, tape: Tape):
    # More than are taken over at once, and on the embedded database more than one statement's.
    count = 130_000
    tape.connection.execute(
        """
        insert into ohlcv
        select %s, 60, %s + number * interval '1 minute', number + 1, number + 3, number, number + 2, number * 7
        from generate_series(0, %s) number
        """,
        (tape.instrument_id, START, count - 1),
    )
    tape.cover(START, at(minutes=count))
    number = np.arange(count)
    index = pd.date_range(START, periods=count, freq="1min")
    values = [number + 1, number + 3, number, number + 2, number * 7]
    expected = pd.DataFrame(dict(zip(COLUMNS, values, strict=True)), index=index, dtype=np.float64)
    assert_same(candles(market, tape, "1m", START, at(days=100)), in_units(expected))


@pytest.fixture(scope="module")
def half_a_day() -> pd.DataFrame:
    return random_bars(START, 720, seed=11)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    end=st.integers(1, 720),
    back=st.integers(1, 720),
    name=st.sampled_from(["1m", "3m", "15m", "1h", "4h"]),
    gaps=st.sets(st.integers(0, 47), max_size=3),
    stale=st.sets(st.integers(0, 11), max_size=3),
)
@example(end=700, back=700, name="1h", gaps={9}, stale={3})
def test_what_happens_after_the_end_changes_nothing(
    market: MarketData,
    tape: Tape,
    make_tape: Callable[..., Tape],
    half_a_day: pd.DataFrame,
    end: int,
    back: int,
    name: str,
    gaps: set[int],
    stale: set[int],
):
    if not tape.rollup_closes("candle_1h"):
        tape.insert(half_a_day)
        tape.refresh_rollups(START, at(days=1))
    forget_ledgers(tape)
    # An older tape ends where the question does, and its rollups were never made.
    older = make_tape()
    older.insert(half_a_day.iloc[:end])
    older.mark_stale(START, at(days=1))
    known = [minute for minute in range(720) if minute // 15 not in gaps]
    tape.cover_all((at(minutes=minute), at(minutes=minute + 1)) for minute in known)
    older.cover_all((at(minutes=minute), at(minutes=minute + 1)) for minute in known if minute < end)
    for hour in stale:
        tape.mark_stale(at(hours=hour), at(hours=hour + 1))
    window = at(minutes=max(0, end - back)), at(minutes=end)
    assert_same(candles(market, tape, name, *window), candles(market, older, name, *window))


def forget_ledgers(tape: Tape) -> None:
    tape.connection.execute("delete from coverage where series_id = %s", (tape.series_id("1m"),))
    tape.connection.execute("delete from stale_rollup where instrument_id = %s", (tape.instrument_id,))

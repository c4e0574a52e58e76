import io
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapehouse import MarketData
from tapehouse.cli import main
from tapehouse.errors import InputError
from tests.query.conftest import (
    COLUMNS,
    Tape,
    in_units,
    pandas_resample,
    pandas_trade_bars,
    random_bars,
    random_trades,
    times,
)

Fill = Literal["empty", "all"]
START = datetime(2024, 1, 1, tzinfo=UTC)


def at(**delta: float) -> datetime:
    return START + timedelta(**delta)


@pytest.fixture
def make_tape(make_tape: Callable[..., Tape]) -> Callable[..., Tape]:
    """Whatever the rollups know by now of those days, nothing is read from them."""

    def make(symbol: str = "BTC/USDT", *, exchange: str | None = None) -> Tape:
        tape = make_tape(symbol, exchange=exchange)
        tape.mark_stale(START, at(days=3))
        return tape

    return make


def filled_by_pandas(history: pd.DataFrame, shown: pd.DatetimeIndex) -> pd.DataFrame:
    """The bars at those times, where there is none the last close of the history before, and nothing that adds up."""
    closes = history["close"].reindex(history.index.union(shown)).ffill()
    bars = history.reindex(shown)
    is_filled = bars["close"].isna()
    for name in bars.columns:
        bars[name] = bars[name].mask(is_filled, closes.reindex(shown) if name in COLUMNS[:4] else 0)
    bars["filled"] = is_filled
    return bars[closes.reindex(shown).notna()].rename_axis("time")


def minutes(start: datetime, end: datetime, rule: str = "1min") -> pd.DatetimeIndex:
    return pd.date_range(start, end, freq=rule, inclusive="left", unit="us")


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m"])
def test_empty_bars_repeat_the_close_before_them(market: MarketData, tape: Tape, timeframe: str):
    bars = random_bars(START, 180)
    quiet = times(bars).minute.isin([0, 7, 8, 9]) | ((times(bars).hour == 1) & (times(bars).minute > 20))
    tape.insert(bars[~quiet])
    tape.cover(START, at(hours=3))
    rule = timeframe.replace("m", "min")
    history = in_units(pandas_resample(bars[~quiet], rule) if timeframe != "1m" else bars[~quiet])
    found = market.candles(tape.exchange, tape.symbol, timeframe, at(minutes=30), at(hours=3), fill="empty")
    assert_same(found, filled_by_pandas(history, minutes(at(minutes=30), at(hours=3), rule)))
    assert found["filled"].sum() == found.attrs["candles_filled"] == found.attrs["candles_empty"] > 0


@pytest.mark.parametrize(("fill", "minutes_given"), [("empty", [0, 1, 2, 6, 7]), ("all", [0, 1, 2, 3, 4, 5, 6, 7])])
def test_bars_that_are_not_known_are_filled_only_when_all_are(
    market: MarketData, tape: Tape, fill: Fill, minutes_given: list[int]
):
    bars = random_bars(START, 8)
    tape.insert(bars.iloc[[0, 2, 7]])
    tape.cover_all([(START, at(minutes=3)), (at(minutes=6), at(minutes=8))])
    found = market.candles(tape.exchange, tape.symbol, "1m", START, at(minutes=8), fill=fill)
    assert_same(found, filled_by_pandas(in_units(bars.iloc[[0, 2, 7]]), minutes(START, at(minutes=8))[minutes_given]))
    assert (found.attrs["candles_expected"], found.attrs["candles_empty"], found.attrs["candles_missing"]) == (8, 2, 3)


def test_bars_that_are_fetched_in_part_are_filled_as_missing(market: MarketData, tape: Tape):
    bars = random_bars(START, 15)
    tape.write(bars.iloc[:8])
    tape.write(bars.iloc[10:])
    found = market.candles(tape.exchange, tape.symbol, "5m", START, at(minutes=15), fill="all")
    assert found["filled"].tolist() == [False, True, False]
    assert found["close"].iloc[1] == found["close"].iloc[0]
    assert market.candles(tape.exchange, tape.symbol, "5m", START, at(minutes=15), fill="empty")["filled"].sum() == 0


@pytest.mark.parametrize("fill", ["empty", "all"])
def test_before_the_first_candle_nothing_is_filled(market: MarketData, tape: Tape, fill: Fill):
    bars = random_bars(at(minutes=10), 1)
    tape.insert(bars)
    tape.cover(START, at(minutes=20))
    found = market.candles(tape.exchange, tape.symbol, "1m", START, at(minutes=20), fill=fill)
    assert_same(found, filled_by_pandas(in_units(bars), minutes(at(minutes=10), at(minutes=20))))


def test_a_series_without_any_candle_stays_empty(market: MarketData, tape: Tape):
    tape.cover(START, at(hours=1))
    found = market.candles(tape.exchange, tape.symbol, "1m", START, at(hours=1), fill="all")
    assert (len(found), list(found.columns)) == (0, [*COLUMNS, "filled"])
    assert found["filled"].dtype == np.bool_


def test_a_close_is_found_however_far_back_it_lies(market: MarketData, tape: Tape):
    bars = random_bars(START, 2)
    tape.insert(bars)
    tape.cover_all([(START, at(minutes=2)), (at(days=5), at(days=30))])
    found = market.candles(tape.exchange, tape.symbol, "1m", at(days=29), at(days=29, minutes=3), fill="empty")
    assert_same(found, filled_by_pandas(in_units(bars), minutes(at(days=29), at(days=29, minutes=3))))


def test_the_close_is_the_last_of_any_series_wherever_the_window_begins(market: MarketData, tape: Tape):
    # Up to half past there are candles of 5m themselves, up to the hour they come from 1m.
    tape.insert(random_bars(START, 6, seed=1).set_axis(minutes(START, at(minutes=30), "5min")), "5m")
    tape.cover(START, at(minutes=30), "5m")
    bars = random_bars(START, 60, seed=2)
    tape.insert(bars)
    tape.cover(START, at(hours=1))
    last = in_units(bars)["close"].iloc[-1]
    for first in (25, 50, 65):
        found = market.candles(tape.exchange, tape.symbol, "5m", at(minutes=first), at(minutes=75), fill="all")
        assert found.loc[at(minutes=65) :, "close"].tolist() == [last, last]


def test_long_before_the_first_candle_no_row_is_made_up(market: MarketData, tape: Tape):
    bars = random_bars(START, 2)
    tape.insert(bars)
    tape.cover(START, at(minutes=3))
    tracemalloc.start()
    try:
        found = market.candles(tape.exchange, tape.symbol, "1m", at(days=-9000), at(minutes=3), fill="all")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_same(found, filled_by_pandas(in_units(bars), minutes(START, at(minutes=3))))
    # Their open times alone would take 104 MB.
    assert peak_bytes < 20_000_000


def test_months_are_filled_by_the_calendar(market: MarketData, tape: Tape):
    months = pd.date_range(START, periods=6, freq="MS")
    bars = random_bars(START, 6).set_axis(months)
    tape.insert(bars.iloc[[0, 4]], "1M")
    tape.cover(START, datetime(2024, 7, 1, tzinfo=UTC), "1M")
    found = market.candles(
        tape.exchange,
        tape.symbol,
        "1M",
        datetime(2024, 2, 1, tzinfo=UTC),
        datetime(2024, 7, 1, tzinfo=UTC),
        fill="empty",
    )
    assert_same(found, filled_by_pandas(in_units(bars.iloc[[0, 4]]), months[1:].as_unit("us")))


@pytest.mark.parametrize("timeframe", ["1s", "15s", "1m"])
def test_bars_of_trades_are_filled_without_any_trade(market: MarketData, tape: Tape, timeframe: str):
    trades = random_trades(START, 60, span=timedelta(minutes=6))
    trades = trades[~((trades.index >= at(minutes=2)) & (trades.index < at(minutes=4)))]
    tape.write_trades(trades, (START, at(minutes=6)))
    rule = timeframe.replace("m", "min")
    found = market.candles(
        tape.exchange, tape.symbol, timeframe, at(minutes=2), at(minutes=6), source="trades", fill="empty"
    )
    expected = filled_by_pandas(pandas_trade_bars(trades, rule), minutes(at(minutes=2), at(minutes=6), rule)).astype(
        {"trades": "int64"}
    )
    assert_same(found, expected)
    assert found["filled"].any()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(data=st.data(), fill=st.sampled_from(["empty", "all"]), timeframe=st.sampled_from(["1m", "3m", "1h"]))
def test_filling_changes_no_candle_and_no_row_depends_on_where_the_window_begins(
    market: MarketData, make_tape: Callable[[], Tape], data: st.DataObject, fill: Fill, timeframe: str
):
    tape = make_tape()
    bars = random_bars(START, 240, seed=data.draw(st.integers(0, 99)))
    there = np.array(data.draw(st.lists(st.booleans(), min_size=240, max_size=240)))
    cut = data.draw(st.integers(1, 239))
    resumed = min(cut + 7, 239)
    # What was not fetched has no candles.
    there[cut:resumed] = False
    tape.insert(bars[there])
    tape.cover_all([(START, at(minutes=cut)), (at(minutes=resumed), at(minutes=240))])

    def read(first: int, fill: Fill | None) -> pd.DataFrame:
        return market.candles(tape.exchange, tape.symbol, timeframe, at(minutes=first), at(minutes=240), fill=fill)

    whole, plain = read(0, fill), read(0, None)
    assert_same(whole[~whole["filled"]].drop(columns="filled"), plain)
    later = data.draw(st.integers(1, 239))
    assert_same(read(later, fill), whole[whole.index >= at(minutes=later)])


def test_nothing_filled_is_stored(market: MarketData, tape: Tape):
    tape.insert(random_bars(START, 1))
    tape.cover(START, at(minutes=5))
    assert len(market.candles(tape.exchange, tape.symbol, "1m", START, at(minutes=5), fill="all")) == 5
    assert len(market.candles(tape.exchange, tape.symbol, "1m", START, at(minutes=5))) == 1


def test_another_fill_is_refused(market: MarketData, tape: Tape):
    with pytest.raises(InputError, match="'forward' fills no bars"):
        market.candles(tape.exchange, tape.symbol, "1m", START, fill="forward")  # pyright: ignore[reportArgumentType]


def test_the_command_marks_filled_rows(tape: Tape, quiet_url: str):
    tape.insert(random_bars(START, 1))
    tape.cover(START, at(minutes=2))
    which = [tape.exchange, tape.symbol, "1m", "--start", "2024-01-01", "--end", "2024-01-01T00:04:00Z"]
    result = CliRunner().invoke(main, ["candles", *which, "--fill", "empty", "--format", "csv", "--url", quiet_url])
    frame = pd.read_csv(io.StringIO(result.stdout))
    assert frame["filled"].tolist() == [False, True]
    assert frame["volume"].iloc[1] == 0

"""The candle that has not closed, made of what had by a moment, against pandas."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.errors import InputError
from tapehouse.timeframe import timeframe
from tests.query.conftest import Tape, in_units, pandas_resample, pandas_trade_bars, random_bars, random_trades, times
from tests.query.moments import closed_by, write_bars

START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
AT = START + timedelta(days=1, hours=7, minutes=23, seconds=41)
RULES = {"5m": "5min", "1h": "1h", "4h": "4h", "1d": "1D", "2h": "2h"}


def test_it_is_made_of_the_minutes_that_had_closed(market: MarketData, tape: Tape):
    bars = random_bars(START, 2 * 1440)
    write_bars(tape, bars)
    known = closed_by(bars, timedelta(minutes=1), AT)
    data = market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=AT, include_forming=True)
    for name, rule in RULES.items():
        expected = in_units(pandas_resample(known, rule))
        found = market.candles(tape.exchange, tape.symbol, name, START, AT, include_forming=True)
        pd.testing.assert_frame_equal(found.drop(columns="forming"), expected, check_freq=False)
        assert found["forming"].tolist() == [False] * (len(expected) - 1) + [True]
        assert found.attrs["candles_missing"] == 0
        if name != "2h":
            pd.testing.assert_frame_equal(data.ohlcv(name), found.iloc[-61:], check_freq=False)
            candle = data.forming_candle(name)
            assert candle is not None
            assert (candle.is_forming, candle.time) == (True, timeframe(name).floor(AT))
            assert candle.close == expected["close"].iloc[-1]
    # Of the minute itself no candle tells.
    assert data.forming_candle("1m") is None
    assert not data.ohlcv_1m["forming"].any()
    assert len(data.to_numpy()["ohlcv_1h"]) == 60


def test_trades_go_on_where_minutes_end(market: MarketData, tape: Tape):
    minute = AT.replace(second=0)
    bars = random_bars(START, int((minute - START) / timedelta(minutes=1)))
    write_bars(tape, bars)
    trades = random_trades(minute - timedelta(minutes=2), 400, span=timedelta(minutes=5))
    tape.write_trades(trades, (minute - timedelta(minutes=2), minute + timedelta(minutes=3)))
    data = market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=AT, include_forming=True)
    seen = trades[(times(trades) >= pd.Timestamp(minute)) & (times(trades) < pd.Timestamp(AT))]
    open_minute = pandas_trade_bars(seen, "1min").iloc[0]
    candle = data.forming_candle()
    assert candle is not None
    found = [candle.open, candle.high, candle.low, candle.close, candle.volume]
    assert found == open_minute[["open", "high", "low", "close", "volume"]].tolist()
    hour = in_units(pandas_resample(bars, "1h")).iloc[-1]
    of_hour = data.forming_candle("1h")
    assert of_hour is not None
    assert of_hour.open == hour["open"]
    assert of_hour.high == max(hour["high"], open_minute["high"])
    assert of_hour.low == min(hour["low"], open_minute["low"])
    assert of_hour.close == open_minute["close"]
    assert of_hour.volume == pytest.approx(hour["volume"] + open_minute["volume"], rel=1e-15)


def test_only_what_opens_at_the_start_or_later_is_given(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(START, 1440))
    opened = START + timedelta(hours=5)

    def hours(start: datetime, end: datetime | None) -> pd.DataFrame:
        return market.candles(tape.exchange, tape.symbol, "1h", start, end, include_forming=True)

    inside = hours(opened + timedelta(minutes=20), opened + timedelta(minutes=40))
    assert (len(inside), inside["forming"].dtype) == (0, bool)
    assert hours(opened, opened + timedelta(minutes=40))["forming"].tolist() == [True]
    # What the start of a bot's clock that is a little fast gives without `include_forming`, too.
    ahead = datetime.now(UTC) + timedelta(seconds=20)
    plain = market.candles(tape.exchange, tape.symbol, "1h", ahead)
    for end in (None, ahead + timedelta(seconds=5)):
        found = hours(ahead, end)
        pd.testing.assert_frame_equal(found.drop(columns="forming"), plain)
        assert found.attrs["gaps"] == plain.attrs["gaps"] == []


def test_what_is_not_all_known_is_not_given(market: MarketData, tape: Tape):
    bars = random_bars(START, 1440)
    write_bars(tape, bars.iloc[:600])
    write_bars(tape, bars.iloc[605:])
    found = market.candles(
        tape.exchange, tape.symbol, "1h", START, START + timedelta(hours=10, minutes=30), include_forming=True
    )
    assert not found["forming"].any()
    with pytest.raises(InputError, match="leave source out"):
        market.candles(tape.exchange, tape.symbol, "1h", START, AT, source="trades", include_forming=True)

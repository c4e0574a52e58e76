"""Series joined as of time, against pandas.merge_asof; and what a market says of itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.errors import InputError, NaiveDatetime, StoreUnreachable
from tests.query.conftest import Tape, in_units, random_bars
from tests.query.moments import write_bars

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_each_row_holds_what_had_closed(market: MarketData, make_tape: Callable[..., Tape]):
    first, second = make_tape("BTC/USDT"), make_tape("ETH/USDT")
    minutes = random_bars(START, 600, seed=1).drop(index=[pd.Timestamp(START + timedelta(minutes=90))])
    hours = random_bars(START, 10, step=timedelta(hours=1), seed=2)
    write_bars(first, minutes)
    write_bars(second, hours, "1h")
    rng = np.random.default_rng(3)
    moments = [START + timedelta(seconds=float(one)) for one in rng.uniform(-600, 9 * 3600, 200)]
    moments.append(START + timedelta(hours=2))
    found = market.asof(moments, (first.exchange, "BTC/USDT", "1m"), (second.exchange, "ETH/USDT", "1h"))
    assert found.index.tolist() == [pd.Timestamp(one) for one in moments]
    for tape, bars, length in ((first, minutes, timedelta(minutes=1)), (second, hours, timedelta(hours=1))):
        name = f"{tape.exchange} {tape.symbol} {'1m' if length < timedelta(hours=1) else '1h'}"
        closed = in_units(bars).assign(close_time=lambda frame, length=length: frame.index + length)
        left = pd.DataFrame({"at": pd.DatetimeIndex(moments).as_unit("us")}).sort_values("at")
        tolerance = length - timedelta(microseconds=1)
        expected = pd.merge_asof(left, closed, left_on="at", right_on="close_time", tolerance=tolerance)
        expected = expected.set_index("at").rename_axis("time")
        joined = pd.DataFrame(found[name]).sort_index()
        pd.testing.assert_frame_equal(joined, expected, check_freq=False)
        assert found.attrs["series"][name]["symbol"] == tape.symbol
    # A minute without a candle has none, but where an older one may count.
    hole = [START + timedelta(minutes=91, seconds=5)]
    alone = market.asof(hole, (first.exchange, "BTC/USDT", "1m"))
    assert alone.isna().all().all()
    older = market.asof(hole, (first.exchange, "BTC/USDT", "1m"), tolerance=timedelta(minutes=5))
    assert older.iloc[0, 3] == in_units(minutes)["close"].iloc[89]


def test_what_makes_no_sense_is_refused(market: MarketData, tape: Tape):
    series = (tape.exchange, tape.symbol, "1m")
    with pytest.raises(InputError, match="no times"):
        market.asof([], series)
    with pytest.raises(InputError, match="each once"):
        market.asof([START])
    with pytest.raises(InputError, match="each once"):
        market.asof([START], series, series)
    with pytest.raises(NaiveDatetime):
        market.asof([datetime(2026, 3, 1)], series)  # noqa: DTZ001 -- that is the point
    with pytest.raises(InputError, match="has not come yet"):
        market.asof([datetime.now(UTC) + timedelta(days=1)], series)


@pytest.mark.parametrize("series", [("binance", "1m"), "binance BTC/USDT 1m", ("binance", None, "1m"), None, 5])
def test_what_is_no_series_is_refused(market: MarketData, series: Any):
    with pytest.raises(InputError, match=r"is no (series|symbol): pass"):
        market.asof([START], series)
    with pytest.raises(InputError, match="60 is no timeframe"):
        market.asof([START], ("binance", "BTC/USDT", 60))  # pyright: ignore[reportArgumentType] -- that is the point


@pytest.mark.parametrize("times", [START, "2026-03-01", 5, None])
def test_a_single_time_is_no_list_of_times(market: MarketData, times: Any):
    with pytest.raises(InputError, match="is no list of times"):
        market.asof(times, ("binance", "BTC/USDT", "1m"))
    with pytest.raises(InputError, match="is no list of times"):
        market.iter_inference_data("BTC/USDT", times, exchange="binance")


def test_a_tolerance_is_inclusive_and_may_be_none_at_all(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(START, 2))
    closed = START + timedelta(minutes=2)
    moments = [closed, closed + timedelta(microseconds=1), closed + timedelta(minutes=5)]

    def found(tolerance: timedelta) -> list[bool]:
        joined = market.asof(moments, (tape.exchange, tape.symbol, "1m"), tolerance=tolerance)
        return joined.iloc[:, 3].notna().tolist()

    assert found(timedelta(0)) == [True, False, False]
    assert found(timedelta(microseconds=1)) == [True, True, False]
    assert found(timedelta(minutes=5)) == [True, True, True]
    assert found(timedelta.max) == [True, True, True]


@pytest.mark.parametrize("tolerance", [5, "5m", timedelta(seconds=-1)])
def test_what_is_no_tolerance_is_refused(market: MarketData, tolerance: Any):
    with pytest.raises(InputError, match="is no tolerance: pass a timedelta that is not negative"):
        market.asof([START], ("binance", "BTC/USDT", "1m"), tolerance=tolerance)


def test_joined_series_have_readable_names_in_other_libraries(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(START, 60))
    joined = market.asof([START + timedelta(minutes=30)], (tape.exchange, tape.symbol, "5m"))
    name = f"{tape.exchange} {tape.symbol} 5m"
    columns = ["time", *(f"{name} {one}" for one in ("open", "high", "low", "close", "volume", "close_time"))]
    assert joined.to_arrow().column_names == columns
    assert joined.to_polars().columns == columns
    assert joined.to_polars()[f"{name} close"].to_list() == joined[name, "close"].tolist()


def test_frames_go_into_other_libraries(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(START, 60))
    candles = market.candles(tape.exchange, tape.symbol, "5m", START, START + timedelta(hours=1))
    table = candles.to_arrow()
    assert table.column_names == ["time", "open", "high", "low", "close", "volume"]
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert table.column("close").to_pylist() == candles["close"].tolist()
    frame = candles.to_polars()
    assert frame["close"].to_list() == candles["close"].tolist()
    assert frame["time"].to_list() == [time.to_pydatetime() for time in candles.index]


def test_a_market_tells_how_it_is_doing(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(START, 60))
    for _ in range(3):
        market.candles(tape.exchange, tape.symbol, "5m", START, START + timedelta(hours=1))
    stats = market.stats()
    assert (stats.cache.hits, stats.cache.verified) >= (0, 1)
    assert stats.reads.queries >= 1
    assert 0 < stats.reads.p50_ms <= stats.reads.p99_ms
    health = market.health()
    assert health.timescaledb.startswith("2.")
    assert abs(health.server_time - datetime.now(UTC)) < timedelta(minutes=1)
    market.close()
    with pytest.raises(StoreUnreachable, match="closed"):
        market.health()

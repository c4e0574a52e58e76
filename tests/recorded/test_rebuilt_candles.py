"""Kraken's recorded trades rebuild its recorded candles."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tapehouse.timeframe import from_ms, timeframe
from tapehouse.validate import split_candles, split_trades
from tests.recorded.rest import Record, asked_of, records_of
from tests.recorded.stage import Stage, fetched_candles, fetched_trades

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLUMNS = ["open", "high", "low", "close", "volume"]


async def received(stage: Stage, record: Record) -> tuple[list[object], Any]:
    """The rows that the border gives of the answer, and its own numbers read by hand."""
    ask = asked_of(record)
    assert not isinstance(ask, str)
    exchange = await stage.set_up(ask, record)
    fetched = fetched_candles if ask.kind == "candles" else fetched_trades
    return await fetched(exchange, ask), ask.read(record.json)


def by_minute(trades: Any) -> pd.DataFrame:
    """Candles of trades, a frame of time, price and amount in order, by open time."""
    opened = trades["time"].dt.floor("min").rename("opened")
    prices, amounts = trades["price"].groupby(opened), trades["amount"].groupby(opened)
    columns = (prices.first(), prices.max(), prices.min(), prices.last(), amounts.sum().round(8))
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


async def test_recorded_trades_rebuild_the_recorded_candles(stage: Stage, recorded_data: Path):
    records = {record.name: record for record in records_of(recorded_data, "kraken")}
    rows, told = await received(stage, records["rest-6"])
    window = {"start": from_ms(told[0][0]), "end": from_ms(told[-1][0] + 1)}
    trades = split_trades(rows, **window).good
    times = pd.to_datetime(trades.time_us, unit="us", utc=True)
    rebuilt = by_minute(pd.DataFrame({"time": times, "price": trades.price, "amount": trades.amount}))
    by_hand = pd.DataFrame([(time_ms, price, amount) for time_ms, _, _, price, amount in told])
    by_hand = by_hand.set_axis(["time", "price", "amount"], axis=1)
    by_hand["time"] = pd.to_datetime(by_hand["time"], unit="ms", utc=True)
    pd.testing.assert_frame_equal(rebuilt, by_minute(by_hand), check_index_type=False)

    rows, told = await received(stage, records["rest-5"])
    end = from_ms(int(told[-1][0])) + timedelta(minutes=1)
    candles = split_candles(rows, timeframe("1m"), start=from_ms(int(told[0][0])), end=end).good
    columns = {name: getattr(candles, name) for name in COLUMNS}
    recorded = pd.DataFrame(columns, index=pd.to_datetime(candles.time_us, unit="us", utc=True))
    common = recorded.index.intersection(rebuilt.index)
    differs = recorded.loc[common] != rebuilt.loc[common]
    assert (len(told), len(trades), len(common)) == (721, 1000, 274)
    # The trades begin in the middle of a minute, of which they lack the first: high and close are there all the same.
    assert differs.index[differs.any(axis=1)].tolist() == [common[0]]
    assert differs.columns[differs.loc[common[0]]].tolist() == ["open", "low", "volume"]


async def test_the_one_minute_that_differs_lacks_a_trade(recorded_data: Path):
    records = {record.name: record.json["result"]["XBTUSDT"] for record in records_of(recorded_data, "kraken")[5:7]}
    trades, candles = records["rest-6"], records["rest-5"]
    first_minute = int(trades[0][2]) // 60 * 60
    (candle,) = (one for one in candles if one[0] == first_minute)
    there = [one for one in trades if int(one[2]) // 60 * 60 == first_minute]
    assert (len(there), candle[7]) == (1, 2)
    assert Decimal(there[0][1]) < Decimal(candle[6])

"""The recorded Binance spot session: trades and order books through HTTP, ccxt, pandera and the store, and back."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.ingest import IngestResult, TradeRequest, ingest_series, open_instrument, open_series
from tapehouse.sandbox import Fault, Sandbox, recorded_trading
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import ensure_book_series
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import from_ms
from tapehouse.validate import split_books
from tests.ingest.conftest import OpenExchange

SYMBOLS: Final = {"BTC/USDT": "btcusdt", "ETH/USDT": "ethusdt"}
START, END = datetime(2024, 8, 8, 23, 50, tzinfo=UTC), datetime(2024, 8, 9, 0, 10, tzinfo=UTC)
COUNTS: Final = {"BTC/USDT": 19_904, "ETH/USDT": 14_515}
SECOND: Final = timedelta(seconds=1)


def messages(folder: Path, symbol: str) -> Iterator[dict[str, Any]]:
    """Every message of the symbol's two files, in the order received."""
    for day in ("20240808", "20240809"):
        with gzip.open(folder / "l2_trades" / "binance_spot" / f"{SYMBOLS[symbol]}_{day}.gz", "rt") as lines:
            for line in lines:
                yield json.loads(line.partition(" ")[2])


def recorded_trades(folder: Path, symbol: str) -> pd.DataFrame:
    """trade_id, price, amount, side of every recorded trade, by time and id."""
    found = [message["data"] for message in messages(folder, symbol) if message.get("data", {}).get("e") == "trade"]
    frame = pd.DataFrame(
        {
            "trade_id": [one["t"] for one in found],
            "price": [float(one["p"]) for one in found],
            "amount": [float(one["q"]) for one in found],
            "side": ["sell" if one["m"] else "buy" for one in found],
        },
        index=pd.DatetimeIndex(pd.to_datetime([one["T"] for one in found], unit="ms", utc=True), name="time"),
    )
    return frame.sort_values("trade_id").sort_index(kind="stable")


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    """A connection to a store without binance; what was stored of it is renamed away afterwards."""
    with connect(store_url) as connection:
        yield connection
        connection.execute("update instrument set exchange = %s where exchange = 'binance'", (uuid4().hex,))


async def ingest(sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange) -> dict[str, IngestResult]:
    results: dict[str, IngestResult] = {}
    async with open_unlimited("binance", sandbox.url) as exchange:
        for symbol in SYMBOLS:
            series = await open_series(exchange, connection, TradeRequest(symbol, START, END))
            results[symbol] = await ingest_series(exchange, connection, series, START, END)
    return results


def stored(connection: Connection, symbol: str) -> pd.DataFrame:
    rows = connection.execute(
        "select time, trade_id::bigint, price, amount, side from trade_view "
        "where exchange = 'binance' and symbol = %s order by 1, 2",
        (symbol,),
    ).fetchall()
    frame = pd.DataFrame(rows, columns=pd.Index(["time", "trade_id", "price", "amount", "side"]))
    return frame.set_index("time")


def unlimited(recorded_data: Path, **options: Any) -> Sandbox:
    return Sandbox(recorded_trading(recorded_data), limits={"binance": 10**9}, **options)


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found, expected, check_exact=True, check_dtype=False, check_index_type=False, check_freq=False
    )


def test_all_trades_come_back_exactly_and_once(
    recorded_data: Path, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    with unlimited(recorded_data) as sandbox:
        first = asyncio.run(ingest(sandbox, connection, open_unlimited))
        asked_before = len(sandbox.requests)
        again = asyncio.run(ingest(sandbox, connection, open_unlimited))
        asked_again = [one for one in sandbox.requests[asked_before:] if "aggTrades" in one.path]
    assert {symbol: result.inserted for symbol, result in first.items()} == COUNTS
    assert {(result.inserted, result.changed, result.rejected) for result in again.values()} == {(0, 0, 0)}
    assert len(asked_again) <= 4  # Only the last seconds of each series.
    with MarketData.connect(store_url) as market:
        for symbol in SYMBOLS:
            expected = recorded_trades(recorded_data, symbol)
            assert_equal(stored(connection, symbol), expected)
            found = market.trades("binance", symbol, START, END)
            assert_equal(found.assign(side=found["side"].astype(str)), expected)


def test_small_disordered_pages_with_duplicates_give_the_same(
    recorded_data: Path, connection: Connection, open_unlimited: OpenExchange
):
    with unlimited(recorded_data, page_rows=7) as sandbox:
        sandbox.faults.add(Fault("unordered_rows", path="aggTrades", rows=3, probability=0.5, seed=1))
        sandbox.faults.add(Fault("duplicate_rows", path="aggTrades", rows=2, probability=0.5, seed=2))
        results = asyncio.run(ingest(sandbox, connection, open_unlimited))
    assert {symbol: result.inserted for symbol, result in results.items()} == COUNTS
    for symbol in SYMBOLS:
        assert_equal(stored(connection, symbol), recorded_trades(recorded_data, symbol))


def test_minutes_built_from_the_trades_equal_pandas(
    recorded_data: Path, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    with unlimited(recorded_data) as sandbox:
        asyncio.run(ingest(sandbox, connection, open_unlimited))
    refresh_rollups(connection)
    complete = datetime(2024, 8, 8, 23, 55, tzinfo=UTC), datetime(2024, 8, 9, 0, 5, tzinfo=UTC)
    with MarketData.connect(store_url) as market:
        found = {
            (symbol, name): market.candles("binance", symbol, name, *complete, source="trades")
            for symbol in SYMBOLS
            for name in ("1s", "1m")
        }
    for (symbol, name), candles in found.items():
        trades = recorded_trades(recorded_data, symbol).loc[complete[0] : complete[1] - timedelta(microseconds=1)]
        groups = trades.resample({"1s": "1s", "1m": "1min"}[name])
        expected = groups["price"].agg(["first", "max", "min", "last", "count"])
        # Amounts have five decimals at most: whole lots add up exactly.
        expected["volume"] = (trades["amount"] * 1e5).round().resample(groups.freq).sum() / 1e5
        expected = expected[expected["count"] > 0]
        expected.columns = pd.Index(["open", "high", "low", "close", "trades", "volume"])
        assert_equal(candles[expected.columns], expected.rename_axis("time"))
    minutes = found["BTC/USDT", "1m"]
    assert len(minutes) == 10
    # Worked out from the recording once, by hand.
    by_hand = {
        "BTC/USDT": ("2024-08-08T23:58Z", (61652.00, 61745.27, 61583.22, 61717.63, 77.14202, 3216)),
        "ETH/USDT": ("2024-08-09T00:01Z", (2679.40, 2679.40, 2673.60, 2677.41, 841.985, 2799)),
    }
    for symbol, (time, values) in by_hand.items():
        row = found[symbol, "1m"].loc[time, ["open", "high", "low", "close", "volume", "trades"]]
        assert tuple(row) == values


class Replay:
    """The book as snapshot and updates make it, each update from its event time on."""

    def __init__(self, folder: Path, symbol: str) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        last_id = 0
        changes: list[dict[str, Any]] = []
        for message in messages(folder, symbol):
            if "lastUpdateId" in message:
                last_id = message["lastUpdateId"]
                self._apply(message["bids"], message["asks"])
            elif message["data"].get("e") == "depthUpdate":
                changes.append(message["data"])
        # Some that belong after the snapshot were received before it.
        self._changes = [(one["E"], one["b"], one["a"]) for one in changes if one["u"] > last_id]
        self.begins_ms = self._changes[0][0]
        self.ends_ms = self._changes[-1][0]

    def at(self, time_ms: int, depth: int) -> dict[str, list[list[float]]]:
        while self._changes and self._changes[0][0] <= time_ms:
            _, bids, asks = self._changes.pop(0)
            self._apply(bids, asks)
        return {
            "bid": [[price, self.bids[price]] for price in sorted(self.bids, reverse=True)[:depth]],
            "ask": [[price, self.asks[price]] for price in sorted(self.asks)[:depth]],
        }

    def _apply(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, amount in levels:
                if float(amount):
                    side[float(price)] = float(amount)
                else:
                    side.pop(float(price), None)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_book_sampled_each_second_equals_a_replay(
    recorded_data: Path, connection: Connection, open_unlimited: OpenExchange, symbol: str
):
    replay = Replay(recorded_data, symbol)
    instants_ms = list(range(replay.begins_ms // 1000 * 1000 + 1000, replay.ends_ms, 1000))
    now_ms = [instants_ms[0]]

    async def sample() -> None:
        async with open_unlimited("binance", sandbox.url) as exchange:
            instrument = await open_instrument(exchange, connection, symbol)
            series = ensure_book_series(connection, instrument)
            samples: list[Any] = []
            for instant_ms in instants_ms:
                now_ms[0] = instant_ms
                sample = await exchange.order_book(symbol, 20)
                # Binance tells no time of its own, and its clock stands still here while ours goes on.
                samples.append(replace(sample, exchange_at=from_ms(instant_ms)))
            split = split_books(samples, depth=20)
            assert split.rejected == ()
            window = [(from_ms(instants_ms[0]), from_ms(instants_ms[-1]) + SECOND)]
            write_books(connection, series, split.good, asked=window, covered=window)

    with unlimited(recorded_data, clock_ms=lambda: now_ms[0]) as sandbox:
        asyncio.run(sample())
    rows = connection.execute(
        "select time, side, level, price, amount from order_book_view where exchange = 'binance' and symbol = %s "
        "order by 1, 2, 3",
        (symbol,),
    ).fetchall()
    found: dict[int, dict[str, list[list[float]]]] = {}
    for time, side, _, price, amount in rows:
        sides = found.setdefault(int(time.timestamp() * 1000), {"bid": [], "ask": []})
        sides[side].append([price, amount])
    assert list(found) == instants_ms
    assert len(instants_ms) >= 649
    for instant_ms in instants_ms:
        assert found[instant_ms] == replay.at(instant_ms, 20)

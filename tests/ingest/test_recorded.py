"""The four recorded USDT-M files through HTTP, ccxt, pandera and the store, and back again."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.ingest import CandleRequest, IngestResult, ingest_series, open_series
from tapehouse.sandbox import Sandbox, recorded_markets
from tapehouse.store.connection import Connection, connect
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe
from tests.ingest.conftest import OpenExchange

SYMBOLS: Final = {name: f"{name}/USDT:USDT" for name in ("BTC", "ETH", "SOL", "XRP")}
START, END = datetime(2025, 5, 4, tzinfo=UTC), datetime(2025, 6, 16, tzinfo=UTC)
PANDAS_RULES: Final = {"5m": "5min", "15m": "15min", "1h": "1h", "4h": "4h", "1d": "1D"}


@dataclass(frozen=True)
class Replay:
    url: str
    first_run: dict[str, IngestResult]
    sandbox: Sandbox


def recorded(folder: Path, name: str) -> pd.DataFrame:
    frame = pd.read_feather(folder / "klines" / "binance_usdm_1m" / f"{name}_USDT_USDT-1m-futures.feather")
    return frame.set_index("date").rename_axis("time").tz_convert("UTC")


async def run(sandbox: Sandbox, url: str, open_unlimited: OpenExchange) -> dict[str, IngestResult]:
    results: dict[str, IngestResult] = {}
    async with open_unlimited("binanceusdm", sandbox.url) as exchange:
        for name, symbol in SYMBOLS.items():
            with connect(url) as connection:
                series = await open_series(exchange, connection, CandleRequest(symbol, timeframe("1m"), START, END))
                results[name] = await ingest_series(exchange, connection, series, START, END)
    return results


@pytest.fixture(scope="module")
def replay(store_url: str, recorded_data: Path, open_unlimited: OpenExchange) -> Any:
    with Sandbox(recorded_markets(recorded_data)) as sandbox:
        first_run = asyncio.run(run(sandbox, store_url, open_unlimited))
        with connect(store_url) as connection:
            refresh_rollups(connection)
        yield Replay(store_url, first_run, sandbox)


@pytest.fixture(params=sorted(SYMBOLS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_recorded_row_comes_back_exactly(replay: Replay, recorded_data: Path, name: str):
    expected = recorded(recorded_data, name)
    with MarketData.connect(replay.url) as market:
        candles = market.candles("binanceusdm", SYMBOLS[name], "1m", START, END)
    assert replay.first_run[name].inserted == len(expected)
    assert candles.attrs["source"] == "native"
    pd.testing.assert_frame_equal(candles, expected, check_exact=True, check_index_type=False, check_freq=False)
    for column in ("close", "volume"):
        assert [Decimal(repr(value)) for value in candles[column].tail(500)] == [
            Decimal(repr(value)) for value in expected[column].tail(500)
        ]


@pytest.mark.parametrize("level", sorted(PANDAS_RULES))
def test_rollups_equal_a_recomputation_in_pandas(replay: Replay, recorded_data: Path, name: str, level: str):
    base = recorded(recorded_data, name)
    rule = PANDAS_RULES[level]
    expected = base.resample(rule).agg({"open": "first", "high": "max", "low": "min", "close": "last"})
    # Sums of the decimals themselves: adding float64 volumes one by one would round.
    exact = pd.Series([Decimal(repr(value)) for value in base["volume"].tolist()], index=base.index)
    expected["volume"] = exact.resample(rule).sum().map(float)
    with connect(replay.url) as connection:
        rows = connection.execute(
            f"select time, open, high, low, close, volume from candle_{level}_view "  # pyright: ignore[reportArgumentType] -- a name of PANDAS_RULES
            "where exchange = 'binanceusdm' and symbol = %s order by time",
            (SYMBOLS[name],),
        ).fetchall()
    stored = pd.DataFrame(rows, columns=["time", *expected.columns]).set_index("time")
    pd.testing.assert_frame_equal(
        stored, expected, check_exact=True, check_index_type=False, check_names=False, check_freq=False
    )


def ledger(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        """
        select i.symbol, s.revision, c.covered, (select count(*) from stale_rollup), (select count(*) from quarantine)
        from series s join instrument i using (instrument_id) join coverage c using (series_id)
        where i.exchange = 'binanceusdm' order by 1
        """
    ).fetchall()


def test_a_second_run_writes_nothing_and_asks_only_for_the_trailing_window(
    replay: Replay, open_unlimited: OpenExchange
):
    with connect(replay.url) as connection:
        before = ledger(connection)
        asked_before = len(replay.sandbox.requests)
        results = asyncio.run(run(replay.sandbox, replay.url, open_unlimited))
        assert ledger(connection) == before
    assert {(one.inserted, one.changed) for one in results.values()} == {(0, 0)}
    klines = [one for one in list(replay.sandbox.requests)[asked_before:] if one.path.endswith("/klines")]
    assert klines
    trailing_ms = int((END - timedelta(minutes=5)).timestamp() * 1000)
    assert {one.query["symbol"] for one in klines} == {f"{name}USDT" for name in SYMBOLS}
    assert all(int(one.query["startTime"]) >= trailing_ms for one in klines)

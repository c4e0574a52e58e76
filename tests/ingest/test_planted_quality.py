"""Faults of every kind are planted in two exchanges over three days: the report names each, and nothing else.

They come through the sandbox's fault injection, the border, validation and the store, as they would from an
exchange. What to expect is worked out by hand from what was planted.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final
from uuid import uuid4

import pytest

from tapehouse.ingest import CandleRequest, SeriesRequest, TradeRequest, ingest_series, open_series
from tapehouse.quality import ReportedDay, read_quality, report_quality
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.connection import Connection, connect
from tapehouse.timeframe import timeframe, to_ms
from tests.ingest.conftest import OpenExchange

START: Final = datetime(2026, 2, 20, tzinfo=UTC)
END: Final = START + timedelta(days=3)
DAYS: Final = [START + timedelta(days=day) for day in range(3)]
EXCHANGES: Final = ("binance", "bybit", "coinbaseexchange")

# Kind, from minute to minute after the start, how many, detail where that is known before.
Told = tuple[str, int, int, int | None, str | None]


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def candles(symbol: str, length: str = "1m") -> CandleRequest:
    return CandleRequest(symbol, timeframe(length), START, END)


def planted(kind: Any, exchange: str, first: int, stop: int) -> Fault:
    host, path = {"binance": ("api.binance.com", "klines"), "bybit": ("api.bybit.com", "kline")}[exchange]
    return Fault(kind, host=host, path=path, symbol="BTC/USDT", start_ms=to_ms(at(first)), end_ms=to_ms(at(stop)))


PLANTED: Final = (
    planted("missing_rows", "binance", 100, 107),
    planted("high_below_low", "binance", 300, 304),
    planted("frozen_price", "binance", 2860, 2900),
    planted("corrected_rows", "binance", 3200, 3203),
    planted("price_spike", "binance", 3500, 3501),
    planted("missing_rows", "bybit", 50, 55),
    planted("frozen_price", "bybit", 2200, 2260),
    planted("negative_volume", "bybit", 2400, 2402),
    planted("price_spike", "bybit", 3000, 3001),
)
# Trades of an hour that nobody asked for, and the first of a minute, which comes with a price of 0.
UNASKED: Final = (1600, 1660)
BAD_TRADE_MINUTE: Final = 3400
# Findings whose details are known before.
TELLING: Final = ("gap", "rejected")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    limits: dict[str, int] = dict.fromkeys(EXCHANGES, 10**9)
    now_ms = to_ms(END + timedelta(hours=6))
    with Sandbox(generated_markets(seed=7), limits=limits, clock_ms=lambda: now_ms) as sandbox:
        yield sandbox


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    """A store without these exchanges; what was stored of them is renamed away."""
    with connect(store_url) as connection:
        _forget(connection)
        yield connection
        _forget(connection)


def _forget(connection: Connection) -> None:
    connection.execute(
        "update instrument set exchange = %s || exchange where exchange = any(%s)", (uuid4().hex, list(EXCHANGES))
    )


def first_trade_ms(sandbox: Sandbox, minute: int) -> int:
    market = next(one for one in sandbox.markets if (one.exchange, one.symbol) == ("binance", "BTC/USDT"))
    rank = market.history.rank_at(to_ms(at(minute)) * 1_000_000)
    return int(market.history.ranked(rank, rank + 1).time_ns[0]) // 1_000_000


async def fill(sandbox: Sandbox, connection: Connection, open_exchange: OpenExchange, bad_trade_ms: int) -> None:
    """Ingest everything, with the faults in force."""
    bad_trade = Fault("zero_price", path="aggTrades", start_ms=bad_trade_ms, end_ms=bad_trade_ms + 1)
    for fault in (*PLANTED, bad_trade):
        sandbox.faults.add(fault)
    asked: dict[str, list[SeriesRequest]] = {
        "binance": [
            candles("BTC/USDT"),
            TradeRequest("BTC/USDT", START, at(UNASKED[0])),
            TradeRequest("BTC/USDT", at(UNASKED[1]), END),
            candles("ETH/USDT", "1h"),
            candles("QUILL/USDT"),
        ],
        "bybit": [candles("BTC/USDT"), candles("QUILL/USDT")],
        # An exchange that leaves out minutes without trades.
        "coinbaseexchange": [candles("QUILL/USD")],
    }
    async with AsyncExitStack() as stack:
        for name, requests in asked.items():
            exchange = await stack.enter_async_context(open_exchange(name, sandbox.url))
            for request in requests:
                series = await open_series(exchange, connection, request)
                assert request.end is not None
                await ingest_series(exchange, connection, series, request.start, request.end)


def told(day: ReportedDay) -> list[Told]:
    """The findings of a day, in minutes."""
    return [
        (one.kind, minute(one.start), minute(one.end), one.count, one.detail if one.kind in TELLING else None)
        for one in day.quality.findings
    ]


def minute(time: datetime) -> int:
    return round((time - START) / timedelta(minutes=1))


# By series and day, all there is to be found. Rejected rows are from the first to the last, days from midnight on.
EXPECTED: Final[dict[str, list[list[Told]]]] = {
    "binance BTC/USDT 1m": [
        [
            ("disagreement", 0, 1440, 7, None),
            ("gap", 100, 107, 7, "exchange_empty"),
            ("gap", 300, 304, 4, "rejected"),
            ("rejected", 300, 303, 4, "high_below_open_close_low low_above_open_close_high"),
        ],
        [("disagreement", 1440, 2880, 20, None), ("stale", 2860, 2900, 20, None)],
        [
            ("stale", 2860, 2900, 20, None),
            ("disagreement", 2880, 4320, 20 + 3 + 1, None),
            ("outlier", 3500, 3501, 1, None),
        ],
    ],
    "binance BTC/USDT trades": [
        [],
        [("gap", *UNASKED, None, "never_asked")],
        [
            ("gap", BAD_TRADE_MINUTE, BAD_TRADE_MINUTE, None, "rejected"),
            ("rejected", BAD_TRADE_MINUTE, BAD_TRADE_MINUTE, 1, "price_not_positive"),
        ],
    ],
    "bybit BTC/USDT 1m": [
        [("gap", 50, 55, 5, "exchange_empty")],
        [
            ("stale", 2200, 2260, 60, None),
            ("gap", 2400, 2402, 2, "rejected"),
            ("rejected", 2400, 2401, 2, "volume_negative"),
        ],
        [("outlier", 3000, 3001, 1, None)],
    ],
    # Sound markets, some of which hardly trade.
    "binance ETH/USDT 1h": [[], [], []],
    "binance QUILL/USDT 1m": [[], [], []],
    "bybit QUILL/USDT 1m": [[], [], []],
    "coinbaseexchange QUILL/USD 1m": [[], [], []],
}


def score(*shares: Fraction) -> float:
    return math.floor(10_000 * math.prod(shares)) / 100


def test_every_planted_fault_is_found_and_none_is_invented(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    bad_trade_ms = first_trade_ms(sandbox, BAD_TRADE_MINUTE)
    asyncio.run(fill(sandbox, connection, open_unlimited, bad_trade_ms))

    reported = [day for name in EXCHANGES for day in report_quality(connection, exchange=name, start=START, end=END)]

    found: dict[str, list[list[Told]]] = {}
    for one in reported:
        found.setdefault(one.quality.name, []).append(told(one))
    assert found == EXPECTED

    of_day = {(one.quality.name, one.quality.day): one for one in reported}
    first, second, third = (of_day["binance BTC/USDT 1m", day] for day in DAYS)
    counted = [
        (one.quality.expected, one.quality.known, one.quality.rows, one.quality.compared, one.quality.differing)
        for one in (first, second, third)
    ]
    assert counted == [(1440, 1429, 1429, 1436, 7), (1440, 1440, 1440, 1380, 20), (1440, 1440, 1440, 1439, 24)]
    assert [one.quality.score for one in (first, second, third)] == [
        score(Fraction(1429, 1440), Fraction(1429, 1433), Fraction(1429, 1436)),
        score(Fraction(1360, 1380), Fraction(1420, 1440)),
        score(Fraction(1415, 1439), Fraction(1419, 1440)),
    ]
    assert first.before is None
    assert second.before == first.quality
    assert second.changes == {
        "score": round(second.quality.score - first.quality.score, 2),
        "gaps": -2,
        "rejected": -4,
        "differing": 13,
        "stale": 20,
    }

    trades = [of_day["binance BTC/USDT trades", day].quality for day in DAYS]
    assert [one.known for one in trades] == [86_400, 86_400 - 3600, pytest.approx(86_400 - 0.001)]
    assert trades[1].score == score(Fraction(23, 24))
    # A hole of a millisecond and one rejected trade of thousands are no nothing.
    assert 99.9 < trades[2].score < 100
    sound = {one.quality.score for one in reported if not one.quality.findings}
    assert sound == {100.0}
    assert read_quality(connection, exchange="bybit", start=START, end=END) == [
        one.quality for one in reported if one.quality.exchange == "bybit"
    ]

"""Candles and listings through real ccxt over real HTTP, against the sandbox's own JSON read without ccxt."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, cast

import pytest

from tapehouse.errors import NaiveDatetime, ReversedRange
from tapehouse.exchange import CandlePage, Exchange
from tapehouse.ranges import Unavailable
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.timeframe import Timeframe, timeframe
from tapehouse.validate import CandleSplit, split_candles
from tests.exchange.conftest import NOW_MS, Open

Klines = Callable[[str, str, int, int], list[list[Any]]]
MINUTE: Final = timedelta(minutes=1)
MINUTE_MS: Final = 60_000
NOW: Final = datetime.fromtimestamp(NOW_MS / 1000, UTC)
FORMING: Final = NOW.replace(second=0, microsecond=0)
FORMING_MS: Final = NOW_MS // MINUTE_MS * MINUTE_MS
ONE_MINUTE: Final = timeframe("1m")


async def walk(
    exchange: Exchange, symbol: str, start: datetime, end: datetime, *, by: Timeframe = ONE_MINUTE
) -> list[CandlePage]:
    return [page async for page in exchange.candle_pages(symbol, by, start, end)]


def rows_of(pages: list[CandlePage]) -> list[Any]:
    return sorted(list(cast("Sequence[Any]", row)) for page in pages for row in page.rows)


def splits_of(pages: list[CandlePage]) -> list[CandleSplit]:
    return [
        split_candles(page.rows, ONE_MINUTE, start=start, end=end) for page in pages for start, end in page.answered
    ]


def asked_for_candles(sandbox: Sandbox, since: int) -> int:
    return sum(
        "klines" in asked.path or "OHLC" in asked.path or "candles" in asked.path for asked in sandbox.requests[since:]
    )


async def test_rows_are_those_of_the_exchange_over_several_pages(klines: Klines, open_on: Open):
    exchange = await open_on("binance")
    pages = await walk(exchange, "BTC/USDT", FORMING - 2500 * MINUTE, NOW)
    first_ms = FORMING_MS - 2500 * MINUTE_MS
    expected = [
        row
        for start_ms in range(first_ms, FORMING_MS, 1000 * MINUTE_MS)
        for row in klines("BTCUSDT", "1m", start_ms, min(start_ms + 1000 * MINUTE_MS, FORMING_MS))
    ]
    assert len(expected) == 2500
    assert rows_of(pages) == expected
    windows = sorted(window for page in pages for window in page.answered)
    assert all(left[1] == right[0] for left, right in pairwise(windows))
    assert (windows[0][0], windows[-1][1]) == (FORMING - 2500 * MINUTE, FORMING)
    assert [page.refused for page in pages] == [[], [], []]


@pytest.mark.parametrize("name", ["5m", "1h", "1d", "1w"])
async def test_every_timeframe_ends_before_its_open_candle(klines: Klines, open_on: Open, name: str):
    by = timeframe(name)
    exchange = await open_on("binance")
    start = NOW - timedelta(days=400)
    pages = await walk(exchange, "BTC/USDT", max(start, NOW - 900 * by.length), NOW + timedelta(days=60), by=by)
    rows = rows_of(pages)
    opened_ms = int(by.floor(NOW).timestamp()) * 1000
    assert rows == klines("BTCUSDT", name, rows[0][0], opened_ms)
    assert pages[-1].answered[-1][1] == by.floor(NOW)


async def test_a_range_in_the_future_has_no_pages(open_on: Open):
    exchange = await open_on("binance")
    assert await walk(exchange, "BTC/USDT", NOW + MINUTE, NOW + 5 * MINUTE) == []


async def test_a_candle_is_closed_by_the_clock_of_the_exchange(sandbox: Sandbox, open_on: Open):
    sandbox.faults.add(Fault("clock_skew", skew_ms=-10 * MINUTE_MS))
    exchange = await open_on("binance")
    pages = await walk(exchange, "BTC/USDT", FORMING - 20 * MINUTE, FORMING + 20 * MINUTE)
    assert pages[-1].answered == [(FORMING - 20 * MINUTE, FORMING - 10 * MINUTE)]
    assert max(row[0] for row in rows_of(pages)) == FORMING_MS - 11 * MINUTE_MS
    assert abs(await exchange.now() - (NOW - 10 * MINUTE)) < timedelta(seconds=30)


async def test_the_clock_is_asked_for_once(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("kraken")
    before = exchange.requests
    times = await asyncio.gather(*(exchange.now() for _ in range(5)))
    assert exchange.requests == before + 1
    assert all(time.tzinfo is UTC for time in times)


async def test_kraken_gives_its_last_720_and_refuses_the_rest_in_one_request(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("kraken")
    before = len(sandbox.requests)
    (page,) = await walk(exchange, "BTC/USD", NOW - timedelta(days=30), NOW)
    horizon = FORMING - 720 * MINUTE
    assert page.refused == [Unavailable(NOW - timedelta(days=30), horizon, "beyond_exchange_history")]
    assert page.answered == [(horizon, FORMING)]
    assert [row[0] for row in rows_of([page])] == list(range(FORMING_MS - 720 * MINUTE_MS, FORMING_MS, MINUTE_MS))
    assert asked_for_candles(sandbox, before) == 1


async def test_kraken_ignoring_the_end_gives_no_rows_beyond_it(open_on: Open):
    exchange = await open_on("kraken")
    (page,) = await walk(exchange, "BTC/USD", FORMING - 300 * MINUTE, FORMING - 200 * MINUTE)
    assert len(page.rows) == 100
    assert page.answered == [(FORMING - 300 * MINUTE, FORMING - 200 * MINUTE)]
    assert page.refused == []


async def test_a_short_kraken_page_does_not_make_old_history_look_empty(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("kraken")
    sandbox.faults.add(Fault("short_page", rows=200, path="OHLC"))
    (page,) = await walk(exchange, "BTC/USD", NOW - timedelta(days=3), NOW)
    assert page.refused == [Unavailable(NOW - timedelta(days=3), FORMING - 720 * MINUTE, "beyond_exchange_history")]


async def test_a_new_listing_is_found_with_few_requests(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance")
    listed = datetime(2025, 7, 1, 9, 30, tzinfo=UTC)
    before = len(sandbox.requests)
    pages = await walk(exchange, "EMBER/USDT", datetime(2025, 1, 2, tzinfo=UTC), listed + 100 * MINUTE)
    assert len(rows_of(pages)) == 100
    assert rows_of(pages)[0][0] == int(listed.timestamp()) * 1000
    assert asked_for_candles(sandbox, before) <= 4


async def test_after_a_delisting_there_is_nothing_and_that_is_an_answer(open_on: Open):
    exchange = await open_on("binance")
    listing = await exchange.listing("RELIC/USDT")
    assert listing.active is False
    gone = datetime(2025, 3, 31, 8, tzinfo=UTC)
    pages = await walk(exchange, "RELIC/USDT", gone - 10 * MINUTE, gone + 3000 * MINUTE)
    assert len(rows_of(pages)) == 10
    assert pages[-1].answered[-1][1] == gone + 3000 * MINUTE


async def test_where_empty_minutes_are_left_out_they_are_believed_to_be_empty(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("coinbaseexchange")
    thin = next(listing.symbol for listing in await exchange.listings() if listing.base == "QUILL")
    before = len(sandbox.requests)
    pages = await walk(exchange, thin, FORMING - 900 * MINUTE, NOW)
    assert 0 < len(rows_of(pages)) < 900
    assert asked_for_candles(sandbox, before) == 3
    assert min(window for page in pages for window in page.answered)[0] == FORMING - 900 * MINUTE
    assert [page.refused for page in pages] == [[], [], []]


@pytest.mark.parametrize("kind", ["missing_rows", "short_page"])
async def test_rows_lost_once_are_asked_for_again(sandbox: Sandbox, open_on: Open, kind: Any):
    exchange = await open_on("binance")
    sandbox.faults.add(Fault(kind, rows=50, count=1, path="klines"))
    pages = await walk(exchange, "BTC/USDT", FORMING - 300 * MINUTE, NOW)
    assert [row[0] for row in rows_of(pages)] == list(range(FORMING_MS - 300 * MINUTE_MS, FORMING_MS, MINUTE_MS))


async def test_a_lasting_hole_is_asked_for_once_more_then_believed(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance")
    start_ms = FORMING_MS - 200 * MINUTE_MS
    hole = Fault("missing_rows", path="klines", start_ms=start_ms, end_ms=start_ms + 30 * MINUTE_MS)
    sandbox.faults.add(hole)
    before = len(sandbox.requests)
    (page,) = await walk(exchange, "BTC/USDT", FORMING - 300 * MINUTE, NOW)
    assert len(page.rows) == 270
    assert page.answered == [(FORMING - 300 * MINUTE, FORMING)]
    again = sandbox.requests[-1].query
    assert asked_for_candles(sandbox, before) == 2
    assert (int(again["startTime"]), int(again["endTime"])) == (start_ms, start_ms + 30 * MINUTE_MS - 1)


ROW_FAULTS: Final = {
    "negative_price": "price_not_positive",
    "zero_price": "price_not_positive",
    "high_below_low": "high_below_open_close_low",
    "negative_volume": "volume_negative",
    "nan_price": "price_not_finite",
    "null_price": "price_not_finite",
    "text_price": "price_not_finite",
    "misaligned_time": "time_not_aligned",
}


@pytest.mark.parametrize("exchange_id", ["binance", "kraken"])
@pytest.mark.parametrize("kind", ROW_FAULTS)
async def test_a_spoilt_row_reaches_quarantine_and_no_other_row_is_lost(
    sandbox: Sandbox, open_on: Open, exchange_id: str, kind: Any
):
    exchange = await open_on(exchange_id)
    sandbox.faults.add(Fault(kind, rows=3, count=1, path="klines" if exchange_id == "binance" else "OHLC"))
    symbol = "BTC/USDT" if exchange_id == "binance" else "BTC/USD"
    pages = await walk(exchange, symbol, FORMING - 300 * MINUTE, NOW)
    (split,) = splits_of(pages)
    assert len(split.rejected) == 3
    assert all(ROW_FAULTS[kind] in reject.reasons for reject in split.rejected)
    # A row with a wrong time leaves its place empty, so the right one is asked for again.
    assert len(split.good) == (300 if kind == "misaligned_time" else 297)
    assert sum((end - start) // MINUTE for start, end in split.covered) == len(split.good)


@pytest.mark.parametrize("kind", ["duplicate_rows", "unordered_rows", "future_time"])
async def test_disorder_changes_nothing_in_what_is_stored(sandbox: Sandbox, klines: Klines, open_on: Open, kind: Any):
    expected = klines("BTCUSDT", "1m", FORMING_MS - 300 * MINUTE_MS, FORMING_MS)
    exchange = await open_on("binance")
    sandbox.faults.add(Fault(kind, rows=20, count=1, path="klines"))
    (split,) = splits_of(await walk(exchange, "BTC/USDT", FORMING - 300 * MINUTE, NOW))
    assert split.rejected == ()
    assert split.good.time_us.tolist() == [row[0] * 1000 for row in expected]
    assert split.good.close.tolist() == [row[4] for row in expected]
    assert split.covered == [(FORMING - 300 * MINUTE, FORMING)]


async def test_listings_describe_spot_and_swaps_and_keep_the_delisted(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance")
    before = len(sandbox.requests)
    listings = {listing.symbol: listing for listing in await exchange.listings()}
    hosts = sorted(f"{asked.host}{asked.path}" for asked in sandbox.requests[before:])
    assert hosts == ["api.binance.com/api/v3/exchangeInfo", "fapi.binance.com/fapi/v1/exchangeInfo"]
    expected = {m.symbol: m for m in sandbox.markets if m.exchange in ("binance", "binanceusdm")}
    assert set(listings) == set(expected)
    for symbol, market in expected.items():
        listing = listings[symbol]
        assert (listing.base, listing.quote) == (market.base, market.quote)
        assert (listing.price_decimals, listing.amount_decimals) == (market.price_decimals, market.amount_decimals)
        assert listing.tick_size == pytest.approx(10.0**-market.price_decimals)
        assert listing.active is market.active
        assert listing.kind == ("swap" if ":" in symbol else "spot")
        assert listing.settle == ("USDT" if ":" in symbol else None)
        assert listing.contract_size == (1.0 if ":" in symbol else None)
        assert listing.raw["symbol"] == f"{market.base}{market.quote}"
    await exchange.listings()
    assert exchange.requests == 2


async def test_krakens_markets_cost_one_request(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("kraken")
    listings = await exchange.listings()
    assert {listing.symbol for listing in listings} == {m.symbol for m in sandbox.markets if m.exchange == "kraken"}
    assert exchange.requests == 1


async def test_many_series_at_once_share_one_exchange(open_on: Open):
    exchange = await open_on("binance")
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"]
    walks = await asyncio.gather(*(walk(exchange, symbol, FORMING - 60 * MINUTE, NOW) for symbol in symbols))
    assert [len(rows_of(pages)) for pages in walks] == [60] * 5
    # Two for the markets, one for the clock, one for each series.
    assert exchange.requests == 8


async def test_a_cancelled_series_leaves_the_others_alone(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance")
    sandbox.faults.add(Fault("status", status=500, count=2, path="exchangeInfo"))
    cancelled = asyncio.create_task(walk(exchange, "BTC/USDT", FORMING - 60 * MINUTE, NOW))
    other = asyncio.create_task(walk(exchange, "ETH/USDT", FORMING - 60 * MINUTE, NOW))
    while exchange.requests == 0:  # noqa: ASYNC110 -- the border sets no event for tests
        await asyncio.sleep(0)
    cancelled.cancel()
    assert len(rows_of(await other)) == 60
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_bounds_without_zone_or_reversed_are_refused(open_on: Open):
    exchange = await open_on("binance")
    with pytest.raises(NaiveDatetime):
        await walk(exchange, "BTC/USDT", datetime(2025, 1, 1), NOW)  # noqa: DTZ001 -- that is the fault
    with pytest.raises(ReversedRange):
        await walk(exchange, "BTC/USDT", NOW, FORMING)


def test_importing_the_border_imports_no_ccxt():
    script = "import sys, tapehouse.exchange; assert not {'ccxt', 'aiohttp', 'pandera'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


OPEN_ONE: Final = """
import asyncio
from tapehouse.exchange import open_exchange
async def main():
    async with open_exchange("binance"):
        pass
asyncio.run(main())
"""


@pytest.mark.parametrize(("blocked", "use"), [("ccxt", OPEN_ONE), ("pandera", "import tapehouse.validate")])
def test_without_the_extra_one_sentence_says_what_to_install(blocked: str, use: str):
    script = f"import sys; sys.modules[{blocked!r}] = None\n{use}"
    run = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert run.stderr.strip().splitlines()[-1].startswith("tapehouse.errors.MissingExtra: ")
    assert "pip install 'tapehouse[ingest]'" in run.stderr

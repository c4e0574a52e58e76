"""Trades through real ccxt over real HTTP, against the sandbox's own history read without ccxt."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
import pytest_asyncio

from tapehouse.errors import BadPage, NaiveDatetime, PermanentError, UnknownSymbol
from tapehouse.exchange import Exchange, RetryPolicy, TradePage, open_exchange
from tapehouse.ranges import Unavailable, merge_ranges
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tests.exchange.conftest import NOW_MS, UNLIMITED, Open

Row = tuple[Any, ...]
MINUTE: Final = timedelta(minutes=1)
NOW: Final = datetime.fromtimestamp(NOW_MS / 1000, UTC)
MARKETS: Final = {
    "binance": "BTC/USDT",
    "binanceusdm": "BTC/USDT:USDT",
    "kraken": "BTC/USD",
    "coinbaseexchange": "BTC/USD",
    "coinbase": "BTC/USD",
    "okx": "BTC/USDT:USDT",
    "bybit": "BTC/USDT:USDT",
}
WALKED: Final = [exchange_id for exchange_id in MARKETS if exchange_id not in {"okx", "bybit"}]


async def walk(exchange: Exchange, symbol: str, start: datetime, end: datetime) -> list[TradePage]:
    return [page async for page in exchange.trade_pages(symbol, start, end)]


def rows_in(pages: list[TradePage]) -> list[Row]:
    rows = cast("list[Row]", [row for page in pages for row in page.rows])
    return sorted(_numbered(row[:5]) for row in rows)


def _numbered(row: Row) -> Row:
    """Without the ids that bybit's dialect makes up for contracts, which the history does not know."""
    return (row[0], "", *row[2:]) if row[1] is not None and not row[1].isdecimal() else row


def truth(sandbox: Sandbox, exchange_id: str, symbol: str, start: datetime, end: datetime) -> list[Row]:
    (market,) = (one for one in sandbox.markets if (one.exchange, one.symbol) == (exchange_id, symbol))
    history = market.history
    start_ms, end_ms = (round(time.timestamp() * 1000) for time in (start, end))
    trades = history.ranked(history.rank_at(start_ms * 1_000_000 - 1000), history.rank_at(end_ms * 1_000_000))
    columns = (
        [_kraken_ms(ns) if exchange_id == "kraken" else ns // 1_000_000 for ns in trades.time_ns.tolist()],
        [""] * len(trades) if exchange_id == "bybit" else trades.ids(),
        ["buy" if bought else "sell" for bought in trades.buyer_took.tolist()],
        [price / 10**history.price_decimals for price in trades.price.tolist()],
        [amount / 10**history.amount_decimals for amount in trades.amount.tolist()],
    )
    return sorted(row for row in zip(*columns, strict=True) if start_ms <= row[0] < end_ms)


def _kraken_ms(time_ns: int) -> int:
    """As ccxt reads seconds rounded to seven decimals: in floats, so that some trades come a millisecond off."""
    seconds, below = divmod((time_ns + 50) // 100, 10**7)
    return int(float(f"{seconds}.{below:07d}") * 1000)


def windows_of(pages: list[TradePage]) -> list[tuple[datetime, datetime]]:
    refused = [(one.start, one.end) for page in pages for one in page.refused]
    return merge_ranges([*(window for page in pages for window in page.answered), *refused])


@pytest.fixture(scope="module")
def sandbox_of_sevens() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: NOW_MS, page_rows=7) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def open_sevens(sandbox_of_sevens: Sandbox) -> AsyncIterator[Sandbox]:
    yield sandbox_of_sevens
    sandbox_of_sevens.faults.clear()


@pytest.mark.parametrize("exchange_id", WALKED)
async def test_trades_are_those_of_the_exchange_over_several_pages(sandbox: Sandbox, open_on: Open, exchange_id: str):
    exchange, symbol = await open_on(exchange_id), MARKETS[exchange_id]
    start, end = NOW - 400 * MINUTE, NOW - 10 * MINUTE
    pages = await walk(exchange, symbol, start, end)
    assert len(pages) > 1
    assert windows_of(pages) == [(start, end)]
    refused = [one for page in pages for one in page.refused]
    assert refused == []
    assert rows_in(pages) == truth(sandbox, exchange_id, symbol, start, end)


@pytest.mark.parametrize("exchange_id", WALKED)
async def test_pages_of_seven_with_faults_give_the_same_trades(open_sevens: Sandbox, exchange_id: str):
    symbol, start, end = MARKETS[exchange_id], NOW - 30 * MINUTE, NOW - 20 * MINUTE
    open_sevens.faults.add(Fault("duplicate_rows", rows=3, probability=0.3, seed=1))
    open_sevens.faults.add(Fault("unordered_rows", rows=2, probability=0.3, seed=2))
    open_sevens.faults.add(Fault("short_page", rows=1, probability=0.3, seed=3))
    open_sevens.faults.add(Fault("missing_rows", rows=1, probability=0.2, seed=4))
    retry = RetryPolicy(attempts=3, base_s=0.001, cap_s=0.002)
    async with open_exchange(exchange_id, base_url=open_sevens.url, retry=retry) as exchange:
        exchange._connection.ccxt.enableRateLimit = False  # pyright: ignore[reportPrivateUsage] -- no option for tests alone
        pages = await walk(exchange, symbol, start, end)
    assert windows_of(pages) == [(start, end)]
    refused = [one for page in pages for one in page.refused]
    expected = {
        row
        for row in truth(open_sevens, exchange_id, symbol, start, end)
        if not any(one.start.timestamp() * 1000 <= row[0] < one.end.timestamp() * 1000 for one in refused)
    }
    assert set(rows_in(pages)) == expected
    assert len(expected) > 20


@pytest.mark.parametrize(("exchange_id", "limit"), [("okx", 500), ("bybit", 1000)])
async def test_what_lies_before_the_recent_trades_is_refused(
    sandbox: Sandbox, open_on: Open, exchange_id: str, limit: int
):
    exchange, symbol = await open_on(exchange_id), MARKETS[exchange_id]
    start = NOW - 3000 * MINUTE
    pages = await walk(exchange, symbol, start, NOW + MINUTE)
    (refused,) = (one for page in pages for one in page.refused)
    assert refused.cause == "beyond_exchange_history"
    assert windows_of(pages) == [(start, NOW)]
    assert rows_in(pages) == truth(sandbox, exchange_id, symbol, refused.end, NOW)
    assert limit - 5 < len(rows_in(pages)) < limit


@pytest.mark.parametrize("exchange_id", MARKETS)
async def test_a_range_into_the_future_ends_at_the_clock_of_the_exchange(
    sandbox: Sandbox, open_on: Open, exchange_id: str
):
    sandbox.faults.add(Fault("clock_skew", skew_ms=-600_000))
    exchange, symbol = await open_on(exchange_id), MARKETS[exchange_id]
    pages = await walk(exchange, symbol, NOW - 12 * MINUTE, NOW + 60 * MINUTE)
    ((start, end),) = windows_of(pages)
    assert start == NOW - 12 * MINUTE
    # Some tell the time in whole seconds.
    assert timedelta(seconds=-1) < end - (NOW - 10 * MINUTE) < timedelta(seconds=30)
    assert end.microsecond % 1000 == 0
    assert await walk(exchange, symbol, NOW, NOW + MINUTE) == []


async def test_a_range_before_the_listing_costs_a_handful_of_requests(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance")
    await exchange.listing("EMBER/USDT")
    await exchange.now()
    before = exchange.requests
    start, end = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 7, 1, 12, tzinfo=UTC)
    pages = await walk(exchange, "EMBER/USDT", start, end)
    assert windows_of(pages) == [(start, end)]
    assert rows_in(pages) == truth(sandbox, "binance", "EMBER/USDT", start, end)
    assert exchange.requests - before <= 5


async def test_the_whole_life_of_a_market_that_is_gone_can_be_asked_about(sandbox: Sandbox, open_on: Open):
    for exchange_id, symbol in (("binance", "RELIC/USDT"), ("kraken", "RELIC/USD"), ("coinbase", "RELIC/USD")):
        exchange = await open_on(exchange_id)
        start, end = datetime(2025, 3, 31, 7, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
        pages = await walk(exchange, symbol, start, end)
        assert windows_of(pages) == [(start, end)]
        assert rows_in(pages) == truth(sandbox, exchange_id, symbol, start, end) != []


@pytest.mark.parametrize("exchange_id", MARKETS)
@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [("missing_id", 1, None), ("unknown_side", 2, None), ("null_price", 3, None), ("negative_volume", 4, -1.0)],
)
async def test_one_bad_row_does_not_spoil_a_page(
    sandbox: Sandbox, open_on: Open, exchange_id: str, kind: Any, cell: int, value: object
):
    exchange, symbol = await open_on(exchange_id), MARKETS[exchange_id]
    start, end = NOW - 20 * MINUTE, NOW
    await exchange.listing(symbol)
    bad_ms = range(NOW_MS - 600_000, NOW_MS - 480_000)
    sandbox.faults.add(Fault(kind, start_ms=bad_ms.start, end_ms=bad_ms.stop))
    pages = await walk(exchange, symbol, start, end)
    right = truth(sandbox, exchange_id, symbol, start, end)
    given = {_numbered(row[:5]) for row in cast("list[Row]", [row for page in pages for row in page.rows])}
    assert {row[0] for row in given} == {row[0] for row in right}
    wrong = given - set(right)
    assert {row[0] for row in wrong} == {row[0] for row in right if row[0] in bad_ms} != set()
    for row in wrong:
        assert row[cell] == value or (value == -1.0 and row[cell] < 0)


@pytest.mark.parametrize("exchange_id", MARKETS)
async def test_a_page_that_is_no_page_of_trades_is_asked_for_again(sandbox: Sandbox, open_on: Open, exchange_id: str):
    exchange, symbol = await open_on(exchange_id), MARKETS[exchange_id]
    start, end = NOW - 20 * MINUTE, NOW
    await exchange.listing(symbol)
    await exchange.now()
    sandbox.faults.add(Fault("html", count=1))
    pages = await walk(exchange, symbol, start, end)
    assert rows_in(pages) == truth(sandbox, exchange_id, symbol, start, end)
    assert exchange.retries == 1


async def test_an_exchange_that_only_answers_html_is_given_up_on(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance", attempts=2)
    await exchange.listing("BTC/USDT")
    await exchange.now()
    sandbox.faults.add(Fault("html"))
    with pytest.raises(BadPage, match="HTML"):
        await walk(exchange, "BTC/USDT", NOW - MINUTE, NOW)


@pytest.mark.parametrize("exchange_id", MARKETS)
async def test_a_range_within_a_millisecond_is_answered_by_the_millisecond_that_begins_in_it(
    open_on: Open, exchange_id: str
):
    exchange, symbol = await open_on(exchange_id), MARKETS[exchange_id]
    moment = NOW - timedelta(seconds=2)
    start, end = moment + timedelta(microseconds=200), moment + timedelta(microseconds=700)
    assert [(page.rows, page.answered) for page in await walk(exchange, symbol, start, end)] == [([], [(start, end)])]


async def test_bad_questions_are_refused(open_on: Open):
    exchange = await open_on("binance")
    with pytest.raises(NaiveDatetime):
        await walk(exchange, "BTC/USDT", NOW.replace(tzinfo=None), NOW)
    with pytest.raises(UnknownSymbol, match="BTC/USDT"):
        await walk(exchange, "BTC/USDTT", NOW - MINUTE, NOW)


async def test_an_exchange_without_trades_says_what_to_do(open_on: Open):
    exchange = await open_on("blockchaincom")
    with pytest.raises(PermanentError, match="choose another exchange"):
        await walk(exchange, "BTC/USD", NOW - MINUTE, NOW)
    assert exchange.requests == 0


async def test_contracts_are_counted_where_ccxt_passes_on_contracts(open_on: Open):
    units = {
        (exchange_id, symbol): (await (await open_on(exchange_id)).listing(symbol)).trade_unit
        for exchange_id, symbol in (
            ("okx", "BTC/USDT"),
            ("okx", "BTC/USDT:USDT"),
            ("okx", "BTC/USD:BTC"),
            ("bybit", "BTC/USDT:USDT"),
            ("bybit", "BTC/USD:BTC"),
            ("binanceusdm", "BTC/USDT:USDT"),
            ("kraken", "BTC/USD"),
        )
    }
    assert list(units.values()) == ["base", "contract", "contract", "base", "contract", "base", "base"]


async def test_a_refusal_ends_where_the_answer_begins(open_on: Open):
    exchange = await open_on("bybit")
    refused, answered = await walk(exchange, "BTC/USDT", NOW - 900 * MINUTE, NOW)
    assert refused.refused == [Unavailable(NOW - 900 * MINUTE, answered.answered[0][0], "beyond_exchange_history")]
    assert refused.rows == []
    # Spot markets give 60; only three of them together tell how far back that goes.
    assert len(answered.rows) == 57

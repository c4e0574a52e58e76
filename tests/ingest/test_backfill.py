"""Backfills through HTTP, ccxt, pandera and the store: where series begin, what is asked for, what fails and stops."""

import asyncio
import gc
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from tapehouse.errors import BeyondRetention, ExchangeError, UnknownSymbol
from tapehouse.exchange import CandlePage, open_exchange
from tapehouse.ingest import (
    Backfill,
    CandleRequest,
    IngestPlan,
    IngestResult,
    Outcome,
    Report,
    SeriesRequest,
    TradeRequest,
    backfill,
    ingest_plan,
    ingest_series,
    open_series,
    plan_backfill,
    walk_chunks,
)
from tapehouse.ingest.pages import Pages, ingest_pages
from tapehouse.ranges import TimeRange
from tapehouse.sandbox import Asked, Fault, Sandbox, generated_markets
from tapehouse.store.batch import WriteResult
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.gaps import find_gaps
from tapehouse.store.instruments import CandleSeries
from tapehouse.timeframe import from_ms, timeframe, to_ms
from tapehouse.validate import split_candles
from tests.ingest.conftest import OpenExchange

MINUTE: Final = timedelta(minutes=1)
# A day of generated history, and where the sandbox's markets begin.
DAY: Final = datetime(2026, 3, 1, tzinfo=UTC)
LISTED: Final = datetime(2025, 1, 1, tzinfo=UTC)
EMBER_LISTED: Final = datetime(2025, 7, 1, 9, 30, tzinfo=UTC)
EXCHANGES: Final = ("binance", "bybit", "coinbaseexchange", "kraken", "okx")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=dict.fromkeys(EXCHANGES, 10**9)) as sandbox:
        yield sandbox


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    with connect(store_url) as connection:
        yield connection


@pytest.fixture(autouse=True)
def forget(connection: Connection, sandbox: Sandbox) -> Iterator[None]:
    """Each test meets a store without these exchanges: what was stored of them is renamed away."""
    yield
    sandbox.faults.clear()
    connection.execute(
        "update instrument set exchange = %s || exchange where exchange = any(%s)", (uuid4().hex, list(EXCHANGES))
    )


def at(minute: int) -> datetime:
    return DAY + minute * MINUTE


def request(first: int, last: int, symbol: str = "BTC/USDT") -> CandleRequest:
    return CandleRequest(symbol, timeframe("1m"), at(first), at(last))


def fill(
    sandbox: Sandbox,
    connection: Connection,
    open_unlimited: OpenExchange,
    request: SeriesRequest,
    name: str = "binance",
) -> IngestResult:
    async def run() -> IngestResult:
        async with open_unlimited(name, sandbox.url) as exchange:
            series = await open_series(exchange, connection, request)
            plan = await plan_backfill(exchange, connection, series, request.start, request.end, force=True)
            return await ingest_plan(exchange, connection, series, plan)

    return asyncio.run(run())


def asked_since(sandbox: Sandbox, count: int) -> list[Asked]:
    """What was asked for since then but for clocks and lists of markets."""
    paths = ("klines", "kline", "candles", "history-candles", "OHLC", "aggTrades")
    return [one for one in sandbox.requests[count:] if one.path.rpartition("/")[2] in paths]


def covered(connection: Connection, name: str = "binance") -> list[TimeRange]:
    row = connection.execute(
        "select covered from coverage join series using (series_id) join instrument using (instrument_id) "
        "where exchange = %s",
        (name,),
    ).fetchall()[0]
    return [(one.lower, one.upper) for one in row[0]]


def begins_at(connection: Connection, name: str = "binance") -> datetime | None:
    return connection.execute(
        "select begins_at from series join instrument using (instrument_id) where exchange = %s", (name,)
    ).fetchall()[0][0]


def stored(connection: Connection, name: str = "binance") -> list[tuple[datetime, float]]:
    return connection.execute("select time, close from candle where exchange = %s order by 1", (name,)).fetchall()


def waiting(connection: Connection) -> list[tuple[datetime, datetime, str, int]]:
    return connection.execute(
        """
        select lower(during), upper(during), cause, attempts
        from unavailable join series using (series_id) join instrument using (instrument_id)
        where exchange = 'binance' order by 1
        """
    ).fetchall()


# The sandbox has no candles of a week or a month, so days are the longest: twenty pages of 300 since 2009, each twice.
@pytest.mark.parametrize(
    ("name", "symbol", "most"),
    [
        ("binance", "BTC/USDT", 2),
        ("bybit", "BTC/USDT", 14),
        ("okx", "BTC/USDT", 30),
        ("coinbaseexchange", "BTC/USD", 47),
    ],
)
def test_years_before_a_listing_cost_a_search_and_are_known_to_be_empty(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, name: str, symbol: str, most: int
):
    start, end = LISTED - timedelta(days=900), LISTED + timedelta(hours=5)
    asked_before = len(sandbox.requests)
    fill(sandbox, connection, open_unlimited, CandleRequest(symbol, timeframe("1m"), start, end), name)
    asked = asked_since(sandbox, asked_before)
    assert begins_at(connection, name) == LISTED
    assert covered(connection, name) == [(start, end)]
    assert stored(connection, name)[0][0] == LISTED
    # Five hours are one page everywhere.
    assert len(asked) <= most + 1
    fill(sandbox, connection, open_unlimited, CandleRequest(symbol, timeframe("1m"), start, end), name)
    assert len(asked_since(sandbox, asked_before)) == len(asked)


def test_what_lies_before_a_known_beginning_is_never_asked_for(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    minute = timeframe("1m")
    fill(sandbox, connection, open_unlimited, CandleRequest("EMBER/USDT", minute, EMBER_LISTED, EMBER_LISTED + MINUTE))
    asked_before = len(sandbox.requests)
    start = EMBER_LISTED - timedelta(days=3)
    fill(sandbox, connection, open_unlimited, CandleRequest("EMBER/USDT", minute, start, EMBER_LISTED - MINUTE))
    assert asked_since(sandbox, asked_before) == []
    assert covered(connection) == [(start, EMBER_LISTED - MINUTE), (EMBER_LISTED, EMBER_LISTED + MINUTE)]


@pytest.mark.parametrize("name", ["binance", "bybit"])
@pytest.mark.parametrize("kind", ["short_page", "missing_rows"])
@pytest.mark.parametrize("answers", [1, 2, 3])
def test_empty_answers_by_mistake_make_no_history_look_empty(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, name: str, kind: Any, answers: int
):
    sandbox.faults.add(Fault(kind, path="kline", rows=1000, count=answers))
    start, end = LISTED - timedelta(days=1), LISTED + timedelta(hours=20)
    fill(sandbox, connection, open_unlimited, CandleRequest("BTC/USDT", timeframe("1m"), start, end), name)
    assert [time for time, _ in stored(connection, name)] == [LISTED + minute * MINUTE for minute in range(1200)]


@pytest.mark.parametrize(("name", "symbol"), [("binance", "BTC/USDT"), ("coinbaseexchange", "BTC/USD")])
def test_an_empty_page_by_mistake_leaves_no_hole(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, name: str, symbol: str
):
    fill(sandbox, connection, open_unlimited, request(0, 1, symbol), name)
    path = "candles" if name == "coinbaseexchange" else "klines"
    sandbox.faults.add(Fault("short_page", path=path, rows=1000, count=1))
    fill(sandbox, connection, open_unlimited, request(1, 901, symbol), name)
    assert [time for time, _ in stored(connection, name)] == [at(minute) for minute in range(901)]


def test_trades_need_no_candles_of_a_minute(sandbox: Sandbox, connection: Connection):
    asked = TradeRequest("BTC/USDT", DAY, DAY + timedelta(minutes=5))

    async def run() -> IngestPlan:
        async with open_exchange("binance", base_url=sandbox.url) as exchange:
            series = await open_series(exchange, connection, asked)
            del exchange._connection.ccxt.timeframes["1m"]  # pyright: ignore[reportPrivateUsage] -- all in the sandbox have them
            return await plan_backfill(exchange, connection, series, asked.start, asked.end, force=True)

    assert asyncio.run(run()).chunks == ((asked.start, asked.end),)


def test_failed_windows_hold_on_to_nothing(sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange):
    class Received:
        """Stands for rows that came before the fault."""

    all_received: list[weakref.ref[Received]] = []

    async def run() -> None:
        async with open_unlimited("binance", sandbox.url) as exchange:
            series = await open_series(exchange, connection, request(0, 1))

        async def fetch(span: TimeRange, report: Report) -> None:
            received = Received()
            all_received.append(weakref.ref(received))
            report(IngestResult(fetched=1))
            error = ExchangeError("Try again later.")
            error.window = span
            raise error

        chunks = [(at(first), at(first + 1)) for first in range(20)]
        alive = 0

        def fail(window: TimeRange) -> None:
            nonlocal alive
            gc.collect()
            alive = sum(one() is not None for one in all_received)

        with pytest.raises(ExchangeError, match="20 ranges could not be had"):
            await walk_chunks(series, chunks, fetch, fail)
        # The one being told of, and the one before.
        assert alive <= 2

    asyncio.run(run())


def test_the_beginning_of_candles_is_that_of_trades(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    asked_before = len(sandbox.requests)
    start, end = LISTED - timedelta(days=300), LISTED + timedelta(minutes=20)
    result = fill(sandbox, connection, open_unlimited, TradeRequest("BTC/USDT", start, end))
    assert result.inserted > 100
    assert begins_at(connection) == LISTED
    assert covered(connection)[0] == (start, LISTED)
    # Chunks of six hours of nothing would take 1,200 requests.
    assert len(asked_since(sandbox, asked_before)) < 30


def test_an_exchange_that_keeps_recent_candles_only_has_no_beginning(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    start = datetime.now(UTC) - timedelta(days=2)
    fill(sandbox, connection, open_unlimited, CandleRequest("BTC/USD", timeframe("1m"), start), "kraken")
    assert begins_at(connection, "kraken") is None
    assert covered(connection, "kraken")[0][0] > start


@pytest.mark.parametrize("faults", [[], [{"kind": "status", "status": 451, "count": 1}]], ids=["sound", "refused"])
def test_a_search_that_fails_stops_nothing(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, faults: list[dict[str, Any]]
):
    for fault in faults:
        sandbox.faults.add(Fault(path="klines", **fault))
    fill(sandbox, connection, open_unlimited, request(0, 100))
    assert begins_at(connection) == (None if faults else LISTED)
    assert len(stored(connection)) == 100


def test_only_what_is_missing_is_asked_for_newest_first(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    fill(sandbox, connection, open_unlimited, request(2000, 3000))
    fill(sandbox, connection, open_unlimited, request(5000, 5500))
    asked_before = len(sandbox.requests)
    fill(sandbox, connection, open_unlimited, request(1000, 6000))
    pages = [(one.query["startTime"], one.query["endTime"]) for one in asked_since(sandbox, asked_before)]
    expected = [(5500, 6000), (3000, 4000), (4000, 5000), (1000, 2000)]
    assert pages == [(str(to_ms(at(first))), str(to_ms(at(last)) - 1)) for first, last in expected]
    assert len(stored(connection)) == 5000


def test_the_last_candles_are_asked_for_again_only_while_they_are_recent(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    start = datetime.now(UTC) - timedelta(hours=2)
    recent = CandleRequest("BTC/USDT", timeframe("1m"), start)
    fill(sandbox, connection, open_unlimited, recent)
    asked_before = len(sandbox.requests)
    fill(sandbox, connection, open_unlimited, recent)
    starts = [from_ms(int(one.query["startTime"])) for one in asked_since(sandbox, asked_before)]
    assert len(starts) == 1
    assert starts[0] >= start + timedelta(minutes=110)


def test_candles_that_were_recent_when_they_were_fetched_are_asked_for_again_however_old_they_are(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    fill(sandbox, connection, open_unlimited, request(0, 100))
    connection.execute(
        "update coverage set updated_at = %s where series_id in "
        "(select series_id from series join instrument using (instrument_id) where exchange = 'binance')",
        (at(101),),
    )
    asked_before = len(sandbox.requests)
    fill(sandbox, connection, open_unlimited, request(0, 200))
    assert [one.query["startTime"] for one in asked_since(sandbox, asked_before)] == [str(to_ms(at(95)))]


def test_a_window_that_fails_is_noted_the_rest_fetched_and_the_next_run_asks_for_it(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    fill(sandbox, connection, open_unlimited, request(0, 1))
    # All eight attempts at one page.
    sandbox.faults.add(Fault("status", status=503, path="klines", count=8))
    with pytest.raises(ExchangeError, match=r"1 range could not be had.*503.*run the same command again"):
        fill(sandbox, connection, open_unlimited, request(1, 4001))
    assert covered(connection) == [(at(0), at(1)), (at(1001), at(4001))]
    assert waiting(connection) == [(at(1), at(1001), "failed", 1)]
    asked_before = len(sandbox.requests)
    assert fill(sandbox, connection, open_unlimited, request(1, 4001)).inserted == 1000
    assert len(asked_since(sandbox, asked_before)) == 1
    assert (waiting(connection), covered(connection)) == ([], [(at(0), at(4001))])


def test_a_window_that_failed_twice_counts_two_attempts_and_may_be_answered_in_parts(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    fill(sandbox, connection, open_unlimited, request(0, 1))
    for _ in range(2):
        sandbox.faults.add(Fault("status", status=503, path="klines", count=8))
        with pytest.raises(ExchangeError):
            fill(sandbox, connection, open_unlimited, request(1, 1001))
        sandbox.faults.clear()
    assert waiting(connection) == [(at(1), at(1001), "failed", 2)]
    fill(sandbox, connection, open_unlimited, request(1, 300))
    assert waiting(connection) == [(at(1), at(1001), "failed", 2)]
    fill(sandbox, connection, open_unlimited, request(300, 1001))
    assert waiting(connection) == []


def test_three_windows_that_fail_in_a_row_end_the_series(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    fill(sandbox, connection, open_unlimited, request(0, 1))
    asked_before = len(sandbox.requests)
    sandbox.faults.add(Fault("status", status=503, path="klines"))
    with pytest.raises(ExchangeError, match="3 ranges could not be had"):
        fill(sandbox, connection, open_unlimited, request(1, 20_000))
    assert len(asked_since(sandbox, asked_before)) == 3 * 8
    assert [(start, end) for start, end, _, _ in waiting(connection)] == [
        (at(1), at(1001)),
        (at(1001), at(2001)),
        (at(2001), at(3001)),
    ]


def test_trades_that_fail_leave_what_was_answered(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    hours = TradeRequest("BTC/USDT", DAY, DAY + timedelta(hours=8))
    fill(sandbox, connection, open_unlimited, TradeRequest("BTC/USDT", DAY, DAY + timedelta(hours=1)))
    sandbox.faults.add(Fault("status", status=503, path="aggTrades", count=8))
    with pytest.raises(ExchangeError, match="1 range could not be had"):
        fill(sandbox, connection, open_unlimited, hours)
    # Chunks of trades are six hours long, the newest first.
    assert [(start, end, cause) for start, end, cause, _ in waiting(connection)] == [
        (DAY + timedelta(hours=2), DAY + timedelta(hours=8), "failed")
    ]
    assert covered(connection) == [(DAY, DAY + timedelta(hours=2))]
    fill(sandbox, connection, open_unlimited, hours)
    assert (waiting(connection), covered(connection)) == ([], [(hours.start, hours.end)])


def test_what_retention_would_drop_is_refused_unless_forced(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    async def plan(*, force: bool) -> IngestPlan:
        async with open_unlimited("binance", sandbox.url) as exchange:
            series = await open_series(exchange, connection, request(0, 1))
            return await plan_backfill(exchange, connection, series, LISTED - timedelta(days=1500), at(0), force=force)

    with pytest.raises(BeyondRetention, match="--force"):
        asyncio.run(plan(force=False))
    assert asyncio.run(plan(force=True)).chunks[-1][0] == LISTED


class Watched:
    """Who is told, and remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def started(self, outcome: Outcome) -> None:
        self.told.append((outcome.exchange_id, f"{outcome.request} started"))

    def progressed(self, outcome: Outcome) -> None:
        assert outcome.plan is not None

    def ended(self, outcome: Outcome) -> None:
        self.told.append((outcome.exchange_id, f"{outcome.request} ended"))


def test_exchanges_are_filled_side_by_side_and_one_series_that_fails_stops_no_other(
    sandbox: Sandbox, connection: Connection, store_url: str
):
    watched = Watched()
    day = {"binance": ["BTC/USDT", "NONE/USDT", "ETH/USDT"], "bybit": ["BTC/USDT"]}
    outcomes = backfill(
        [Backfill(name, [request(0, 1440, symbol) for symbol in symbols]) for name, symbols in day.items()],
        database_url=store_url,
        base_url=sandbox.url,
        watcher=watched,
    )
    asked = [(name, symbol) for name, symbols in day.items() for symbol in symbols]
    assert [(one.exchange_id, one.request.symbol) for one in outcomes] == asked
    assert [one.result.inserted for one in outcomes] == [1440, 0, 1440, 1440]
    assert [type(one.error) for one in outcomes] == [type(None), UnknownSymbol, type(None), type(None)]
    assert sorted(watched.told) == sorted(
        (name, f"{symbol} 1m {what}") for name, symbol in asked for what in ("started", "ended")
    )


@pytest.mark.parametrize(
    "fault", [{"kind": "hang"}, {"kind": "status", "status": 429, "retry_after_s": 50}], ids=["hang", "retry pause"]
)
def test_ctrl_c_stops_at_once_and_keeps_what_came(
    sandbox: Sandbox, connection: Connection, store_url: str, fault: dict[str, Any]
):
    command = [str(Path(sys.executable).with_name("tapehouse")), "backfill", "--exchange", "binance", "--force"]
    command += ["--symbol", "BTC/USDT", "--start", at(0).isoformat(), "--end", at(100_000).isoformat()]
    command += ["--url", store_url, "--exchange-url", sandbox.url]
    asked_before = len(sandbox.requests)
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background lets them and their children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while len(asked_since(sandbox, asked_before)) < 4:
            time.sleep(0.005)
        sandbox.faults.add(Fault(path="klines", **fault))
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        # The request that hangs would be given up after ten seconds, and made again.
        _, said = process.communicate(timeout=8)
    assert process.returncode == 130
    assert b"Stopped" in said
    count = len(stored(connection))
    assert 0 < count < 100_000
    assert sum((end - start) // MINUTE for start, end in covered(connection)) == count


def test_what_a_run_is_stopped_before_is_known_to_be_missing(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    minute = timeframe("1m")
    start, end = EMBER_LISTED - timedelta(days=3), EMBER_LISTED + timedelta(hours=5)

    async def stop_once_planned() -> CandleSeries:
        async with open_unlimited("binance", sandbox.url) as exchange:
            series = await open_series(exchange, connection, CandleRequest("EMBER/USDT", minute, start, end))
            await plan_backfill(exchange, connection, series, start, end, force=True)
            assert isinstance(series, CandleSeries)
            assert found_gaps(connection, series) == [
                (start, EMBER_LISTED, "before_listing"),
                (EMBER_LISTED, end, "never_asked"),
            ]
            with pytest.raises(InterruptedError):
                await ingest_series(exchange, connection, series, start, end + timedelta(hours=1), progress=stop)
            return series

    def stop(plan: IngestPlan, result: IngestResult) -> None:
        raise InterruptedError

    series = asyncio.run(stop_once_planned())
    assert found_gaps(connection, series)[-1] == (EMBER_LISTED, end + timedelta(hours=1), "never_asked")
    fill(sandbox, connection, open_unlimited, CandleRequest("EMBER/USDT", minute, start, end + timedelta(hours=1)))
    assert found_gaps(connection, series) == [(start, EMBER_LISTED, "before_listing")]


def found_gaps(connection: Connection, series: CandleSeries) -> list[tuple[datetime, datetime, str]]:
    return [(gap.start, gap.end, gap.cause) for gap in find_gaps(connection, series)]


def test_pages_that_wait_when_cancelled_are_written(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    fill(sandbox, connection, open_unlimited, request(0, 1))

    async def run() -> None:
        async with open_unlimited("binance", sandbox.url) as exchange:
            series = await open_series(exchange, connection, request(0, 1))
            assert isinstance(series, CandleSeries)
            all_asked = asyncio.Event()

            async def five_pages() -> AsyncIterator[CandlePage]:
                async for page in exchange.candle_pages("BTC/USDT", timeframe("1m"), at(1), at(5001)):
                    yield page
                all_asked.set()
                await asyncio.Event().wait()

            def write(pages: Pages) -> WriteResult:
                # Not before all pages are there, so that those behind the first wait.
                asyncio.run_coroutine_threadsafe(all_asked.wait(), loop).result()
                split = split_candles(pages.rows, series.timeframe, start=pages.bounds[0], end=pages.bounds[1])
                return write_candles(connection, series, split.good, asked=pages.asked, covered=pages.asked)

            loop = asyncio.get_running_loop()
            running = asyncio.ensure_future(
                ingest_pages(series, five_pages(), write, max_reject_share=1, progress=None)
            )
            await all_asked.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(run())
    assert covered(connection) == [(at(0), at(5001))]
    assert len(stored(connection)) == 5001

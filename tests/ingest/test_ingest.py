"""Ingest through HTTP, ccxt, pandera and the store, from exchanges that misbehave."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from tapehouse.errors import (
    BeyondRetention,
    ExchangeError,
    MixedOrigins,
    QualityError,
    ReversedRange,
    UnknownSymbol,
    UnknownTimeframe,
)
from tapehouse.exchange import Exchange
from tapehouse.ingest import CandleRequest, IngestResult, ingest_series, open_series, plan_series
from tapehouse.ingest.plan import newest_first_chunks
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.connection import Connection, connect
from tapehouse.timeframe import timeframe
from tests.ingest.conftest import OpenExchange

MINUTE: Final = timedelta(minutes=1)
# A day of generated history that no other test asks for.
DAY: Final = datetime(2026, 3, 1, tzinfo=UTC)
# Unless a fault says otherwise, it strikes half of the pages.
SPREAD: Final[dict[str, Any]] = {"probability": 0.5, "seed": 5}
FAULTS: Final[list[dict[str, Any]]] = [
    {"kind": "status", "status": 429, "retry_after_s": 0},
    {"kind": "status", "status": 503},
    {"kind": "drop"},
    {"kind": "html"},
    {"kind": "broken_json"},
    {"kind": "empty_body"},
    # A page that lacks rows is asked for once more, so the answer to that has to be sound.
    {"kind": "short_page", "rows": 300, "probability": 1.0, "count": 1},
    {"kind": "duplicate_rows", "rows": 20},
    {"kind": "unordered_rows", "rows": 50},
    {"kind": "missing_rows", "rows": 30, "probability": 1.0, "count": 1},
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits={"binance": 10**9, "kraken": 10**9}) as sandbox:
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
        "update instrument set exchange = %s || exchange where exchange in ('binance', 'kraken')", (uuid4().hex,)
    )


def at(minute: int) -> datetime:
    return DAY + minute * MINUTE


def ingest(
    sandbox: Sandbox,
    connection: Connection,
    open_unlimited: OpenExchange,
    request: CandleRequest,
    name: str = "binance",
) -> IngestResult:
    async def run() -> IngestResult:
        async with open_unlimited(name, sandbox.url) as exchange:
            series = await open_series(exchange, connection, request)
            return await ingest_series(exchange, connection, series, request.start, request.end)

    return asyncio.run(run())


def closes(connection: Connection, symbol: str = "BTC/USDT") -> list[tuple[datetime, float]]:
    return connection.execute(
        "select time, close from candle where exchange in ('binance', 'kraken') and symbol = %s order by 1", (symbol,)
    ).fetchall()


def request(first: int, last: int, symbol: str = "BTC/USDT") -> CandleRequest:
    return CandleRequest(symbol, timeframe("1m"), at(first), at(last))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}")
def test_what_a_faulty_exchange_gives_in_the_end_is_what_a_sound_one_gives(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, fault: dict[str, Any]
):
    ingest(sandbox, connection, open_unlimited, request(0, 2500))
    sound = closes(connection)
    connection.execute("update instrument set exchange = %s || exchange where exchange = 'binance'", (uuid4().hex,))
    sandbox.faults.add(Fault(path="klines", **(SPREAD | fault)))
    ingest(sandbox, connection, open_unlimited, request(0, 2500))
    assert len(sound) == 2500
    assert closes(connection) == sound


def test_the_last_candles_of_the_run_before_are_asked_for_again(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    ingest(sandbox, connection, open_unlimited, request(0, 100))
    asked_before = len(sandbox.requests)
    ingest(sandbox, connection, open_unlimited, request(0, 300))
    starts = [int(one.query["startTime"]) for one in sandbox.requests[asked_before:] if "klines" in one.path]
    assert min(starts) == int(at(95).timestamp() * 1000)


def test_one_bad_candle_of_the_last_few_does_not_stop_the_rest(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    ingest(sandbox, connection, open_unlimited, request(500, 600))
    bad_ms = int(at(598).timestamp() * 1000)
    sandbox.faults.add(Fault("negative_price", path="klines", start_ms=bad_ms, end_ms=bad_ms + 60_000))
    assert ingest(sandbox, connection, open_unlimited, request(0, 600)).inserted == 500


def test_the_open_candle_is_not_stored(sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange):
    before = datetime.now(UTC)
    ingest(sandbox, connection, open_unlimited, CandleRequest("BTC/USDT", timeframe("1m"), before - 10 * MINUTE))
    newest = closes(connection)[-1][0]
    assert newest + MINUTE <= datetime.now(UTC)
    assert newest + 2 * MINUTE >= before - timedelta(seconds=5)


def test_the_exchanges_clock_decides_which_candle_is_closed(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    sandbox.faults.add(Fault("clock_skew", skew_ms=-600_000))
    now = datetime.now(UTC)
    ingest(sandbox, connection, open_unlimited, CandleRequest("BTC/USDT", timeframe("1m"), now - 20 * MINUTE))
    newest = closes(connection)[-1][0]
    assert newest + MINUTE <= now - 9 * MINUTE


def test_bad_rows_are_quarantined_and_leave_holes_that_wait(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    start_ms = int(at(100).timestamp() * 1000)
    sandbox.faults.add(Fault("negative_price", path="klines", start_ms=start_ms, end_ms=start_ms + 3 * 60_000))
    result = ingest(sandbox, connection, open_unlimited, request(0, 500))
    assert (result.inserted, result.rejected) == (497, 3)
    assert {time for time, _ in closes(connection)} & {at(100), at(101), at(102)} == set()
    held = connection.execute(
        """
        select q.time, q.reasons from quarantine q join series using (series_id) join instrument using (instrument_id)
        where exchange = 'binance' order by 1
        """
    ).fetchall()
    assert [time for time, _ in held] == [at(100), at(101), at(102)]
    assert all("price_not_positive" in reasons for _, reasons in held)
    waiting = connection.execute(
        """
        select lower(during), upper(during), cause, next_try_at > now()
        from unavailable join series using (series_id) join instrument using (instrument_id) where exchange = 'binance'
        """
    ).fetchall()
    assert waiting == [(at(100), at(103), "rejected", True)]


def test_a_hole_is_filled_once_its_time_has_come(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    start_ms = int(at(100).timestamp() * 1000)
    sandbox.faults.add(Fault("negative_price", path="klines", start_ms=start_ms, end_ms=start_ms + 60_000))
    ingest(sandbox, connection, open_unlimited, request(0, 500))
    sandbox.faults.clear()
    assert ingest(sandbox, connection, open_unlimited, request(0, 400)).inserted == 0
    connection.execute("update unavailable set next_try_at = now()")
    assert ingest(sandbox, connection, open_unlimited, request(0, 400)).inserted == 1
    assert len(closes(connection)) == 500


def test_too_many_bad_rows_end_the_run_after_quarantining_them(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    sandbox.faults.add(Fault("high_below_low", path="klines", rows=100))
    with pytest.raises(QualityError, match=r"100 of 500 rows were rejected.*10%"):
        ingest(sandbox, connection, open_unlimited, request(0, 500))
    assert len(closes(connection)) == 400


def test_what_was_fetched_before_a_fault_stays_and_is_not_asked_for_again(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    sound = ingest(sandbox, connection, open_unlimited, request(0, 2000))
    sandbox.faults.add(Fault("status", status=451, path="klines"))
    with pytest.raises(ExchangeError):
        ingest(sandbox, connection, open_unlimited, request(0, 3000))
    assert len(closes(connection)) == sound.inserted == 2000
    sandbox.faults.clear()
    asked_before = len(sandbox.requests)
    ingest(sandbox, connection, open_unlimited, request(0, 3000))
    starts = [int(one.query["startTime"]) for one in sandbox.requests[asked_before:] if "klines" in one.path]
    assert min(starts) == int(at(1995).timestamp() * 1000)


def test_kraken_gives_its_last_720_and_is_not_asked_for_the_rest_again(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    now = datetime.now(UTC)
    month = CandleRequest("BTC/USD", timeframe("1m"), now - timedelta(days=30))
    first = ingest(sandbox, connection, open_unlimited, month, "kraken")
    assert 715 <= first.inserted <= 720
    assert first.refused == 1
    cause = connection.execute(
        "select cause from unavailable join series using (series_id) join instrument using (instrument_id) "
        "where exchange = 'kraken'"
    ).fetchall()
    assert cause == [("beyond_exchange_history",)]
    again = ingest(sandbox, connection, open_unlimited, month, "kraken")
    assert (again.refused, again.changed) == (0, 0)
    assert again.inserted <= 2


def test_an_unknown_symbol_names_its_neighbours_and_stores_nothing(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    with pytest.raises(UnknownSymbol, match="BTC/USDT"):
        ingest(sandbox, connection, open_unlimited, request(0, 10, "BTC/USDTT"))
    stored = connection.execute("select count(*) from instrument where exchange = 'binance'").fetchall()
    assert stored == [(0,)]


def test_the_sandbox_is_never_stored_as_the_exchange_it_plays(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    ingest(sandbox, connection, open_unlimited, request(0, 10))
    connection.execute("update instrument set from_sandbox = false where exchange = 'binance'")
    with pytest.raises(MixedOrigins, match="holds real binance data, which the sandbox's must not mix with"):
        ingest(sandbox, connection, open_unlimited, request(0, 20))
    with pytest.raises(MixedOrigins):
        ingest(sandbox, connection, open_unlimited, request(0, 20, "ETH/USDT"))
    assert len(closes(connection)) == 10


def test_what_the_exchange_has_not_becomes_no_series(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    ingest(sandbox, connection, open_unlimited, request(0, 2))
    half_minutes = CandleRequest("BTC/USDT", timeframe("30s"), at(0), at(2))
    with pytest.raises(UnknownTimeframe, match="binance has no 30s candles"):
        ingest(sandbox, connection, open_unlimited, half_minutes)
    stored = connection.execute(
        "select timeframe_s from series join instrument using (instrument_id) where exchange = 'binance'"
    )
    assert stored.fetchall() == [(60,)]


def test_a_cancelled_ingest_has_finished_its_batch(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    async def run() -> None:
        async with open_unlimited("binance", sandbox.url) as exchange:
            series = await open_series(exchange, connection, request(0, 1))
            running = asyncio.ensure_future(ingest_series(exchange, connection, series, at(0), at(30_000)))
            while not closes_so_far():  # noqa: ASYNC110 -- the database has no event to wait for
                await asyncio.sleep(0.02)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    def closes_so_far() -> int:
        return own.execute("select count(*) from candle where exchange = 'binance'").fetchall()[0][0]

    with connect(connection.info.dsn + f" password={connection.info.password}") as own:
        asyncio.run(run())
        count = closes_so_far()
    assert 0 < count < 30_000
    covered = connection.execute(
        "select covered from coverage join series using (series_id) join instrument using (instrument_id) "
        "where exchange = 'binance'"
    ).fetchall()[0][0]
    assert sum((one.upper - one.lower) // MINUTE for one in covered) == count


def test_plans_are_what_is_missing_newest_first(sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange):
    ingest(sandbox, connection, open_unlimited, request(100, 200))
    ingest(sandbox, connection, open_unlimited, request(300, 400))

    async def plans(exchange: Exchange) -> None:
        series = await open_series(exchange, connection, request(0, 1))
        plan = plan_series(connection, series, at(0), at(350), now=at(5000))
        assert plan.chunks == ((at(345), at(350)), (at(200), at(300)), (at(0), at(100)))
        assert plan_series(connection, series, at(0), at(5000), now=at(150) + MINUTE / 2).wanted == (at(0), at(150))
        assert plan_series(connection, series, at(10), at(20), now=at(5)).chunks == ()
        with pytest.raises(ReversedRange):
            plan_series(connection, series, at(20), at(10), now=at(5))
        connection.execute("insert into retention values ('ohlcv', 60, %s)", (at(50),))
        try:
            assert plan_series(connection, series, at(0), at(120), now=at(5000)).chunks[-1] == (at(50), at(100))
            with pytest.raises(BeyondRetention):
                plan_series(connection, series, at(0), at(50), now=at(5000))
        finally:
            connection.execute("delete from retention")

    async def run() -> None:
        async with open_unlimited("binance", sandbox.url) as exchange:
            await plans(exchange)

    asyncio.run(run())


def test_chunks_are_at_most_so_many_candles():
    chunks = newest_first_chunks([(at(0), at(25)), (at(40), at(45))], timeframe("1m"), 10)
    assert chunks == [(at(40), at(45)), (at(15), at(25)), (at(5), at(15)), (at(0), at(5))]


def test_months_in_chunks_are_counted_by_the_calendar():
    year = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    november = datetime(2024, 11, 1, tzinfo=UTC)
    assert newest_first_chunks([year], timeframe("1M"), 50_000) == [year]
    assert newest_first_chunks([year], timeframe("1M"), 2)[0] == (november, year[1])

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from tapehouse.errors import QualityError
from tapehouse.ingest import IngestPlan, IngestResult, TradeRequest, ingest_series, open_series, plan_series
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.connection import Connection, connect
from tapehouse.timeframe import to_ms
from tests.ingest.conftest import OpenExchange

DAY: Final = datetime(2026, 3, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
EXCHANGES: Final = ("binance", "bybit", "kraken", "okx")
SPREAD: Final[dict[str, Any]] = {"probability": 0.3, "seed": 5}
FAULTS: Final[list[dict[str, Any]]] = [
    {"kind": "status", "status": 429, "retry_after_s": 0},
    {"kind": "status", "status": 503},
    {"kind": "drop"},
    {"kind": "html"},
    {"kind": "broken_json"},
    {"kind": "duplicate_rows", "rows": 20},
    {"kind": "unordered_rows", "rows": 50},
    {"kind": "short_page", "rows": 60},
    # What is left out is asked for once more, and believed if it is missing again: ids may be left out for good.
    {"kind": "missing_rows", "rows": 30, "probability": 1.0, "count": 1},
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=dict.fromkeys(EXCHANGES, 10**9), page_rows=100) as sandbox:
        yield sandbox


@pytest.fixture
def connection(store_url: str, sandbox: Sandbox) -> Iterator[Connection]:
    """A connection to a store without these exchanges; what was stored of them is renamed away afterwards."""
    with connect(store_url) as connection:
        yield connection
        connection.execute(
            "update instrument set exchange = %s || exchange where exchange = any(%s)", (uuid4().hex, list(EXCHANGES))
        )
    sandbox.faults.clear()


def at(hours: float) -> datetime:
    return DAY + hours * HOUR


def request(first: float, last: float | None, symbol: str = "BTC/USDT") -> TradeRequest:
    return TradeRequest(symbol, at(first), None if last is None else at(last))


def ingest(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, asked: TradeRequest, name: str = "binance"
) -> IngestResult:
    async def run() -> IngestResult:
        async with open_unlimited(name, sandbox.url) as exchange:
            series = await open_series(exchange, connection, asked)
            return await ingest_series(exchange, connection, series, asked.start, asked.end)

    return asyncio.run(run())


def plan(sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, last: float) -> IngestPlan:
    async def run() -> IngestPlan:
        async with open_unlimited("binance", sandbox.url) as exchange:
            series = await open_series(exchange, connection, request(0, last))
            return plan_series(connection, series, at(0), at(last), now=at(1000))

    return asyncio.run(run())


def stored(connection: Connection, symbol: str = "BTC/USDT") -> list[tuple[Any, ...]]:
    return connection.execute(
        "select time, trade_id, price, amount, side from trade_view where exchange = any(%s) and symbol = %s "
        "order by 1, 2",
        (list(EXCHANGES), symbol),
    ).fetchall()


def ledger(connection: Connection, table: str, column: str) -> Any:
    return connection.execute(
        f"select {column} from {table} join series using (series_id) join instrument using (instrument_id) "  # pyright: ignore[reportArgumentType] -- names written below
        "where exchange = any(%s)",
        (list(EXCHANGES),),
    ).fetchall()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}")
def test_what_a_faulty_exchange_gives_in_the_end_is_what_it_traded(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, fault: dict[str, Any]
):
    sandbox.faults.add(Fault(path="aggTrades", **(SPREAD | fault)))
    ingest(sandbox, connection, open_unlimited, request(0, 3))
    (market,) = (one for one in sandbox.markets if (one.exchange, one.symbol) == ("binance", "BTC/USDT"))
    history = market.history
    traded = history.ranked(*(history.rank_at(to_ms(at(hours)) * 1_000_000) for hours in (0, 3)))
    assert [int(trade_id) for _, trade_id, *_ in stored(connection)] == traded.trade_id.tolist()
    assert [price for *_, price, _, _ in stored(connection)] == (traded.price / 10.0**history.price_decimals).tolist()


def test_the_end_of_the_run_before_is_asked_for_again_before_anything_newer(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    ingest(sandbox, connection, open_unlimited, request(0, 1))
    seconds = timedelta(seconds=10)
    assert plan(sandbox, connection, open_unlimited, 14).chunks == (
        (at(1) - seconds, at(2)),
        (at(8), at(14)),
        (at(2), at(8)),
    )
    again = ingest(sandbox, connection, open_unlimited, request(0, 2))
    assert (again.changed, again.rejected) == (0, 0)
    assert again.unchanged == sum(time >= at(1) - seconds for time, *_ in stored(connection)) - again.inserted
    assert plan(sandbox, connection, open_unlimited, 2).chunks == ((at(2) - seconds, at(2)),)


@pytest.mark.parametrize("name", ["bybit", "okx"])
def test_what_an_exchange_gives_no_more_is_noted_as_such(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange, name: str
):
    now = datetime.now(UTC)
    asked = TradeRequest("BTC/USDT", now - timedelta(days=2), None)
    result = ingest(sandbox, connection, open_unlimited, asked, name)
    assert result.refused > 0
    ((covered,),) = ledger(connection, "coverage", "covered")
    refused = ledger(connection, "unavailable", "during")
    assert {cause for (cause,) in ledger(connection, "unavailable", "cause")} == {"beyond_exchange_history"}
    oldest = stored(connection)[0][0]
    assert covered[0].lower <= oldest
    assert min(during.lower for (during,) in refused) == asked.start
    assert max(during.upper for (during,) in refused) == covered[0].lower > now - timedelta(hours=6)


def test_too_many_bad_trades_end_the_run_after_quarantining_them(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    sandbox.faults.add(Fault("zero_price", path="aggTrades", rows=40))
    with pytest.raises(QualityError, match=r"BTC/USDT trades: \d+ of \d+ rows were rejected.*10%"):
        ingest(sandbox, connection, open_unlimited, request(0, 3))
    rejected = ledger(connection, "quarantine", "time")
    assert len(rejected) > 10
    assert stored(connection)
    # What was rejected is not covered, and is asked for again when its time has come.
    ((covered,),) = ledger(connection, "coverage", "covered")
    assert not any(time in one for (time,) in rejected for one in covered)


def test_units_that_an_older_version_stored_are_put_right(
    sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange
):
    now = datetime.now(UTC)
    asked = TradeRequest("BTC/USDT:USDT", now - HOUR, None)
    ingest(sandbox, connection, open_unlimited, asked, "okx")
    connection.execute("update instrument set trade_unit = 'base' where exchange = 'okx'")
    ingest(sandbox, connection, open_unlimited, asked, "okx")
    units = connection.execute(
        "select trade_unit, amount_unit, contract_size from instrument where exchange = 'okx' and symbol = %s",
        (asked.symbol,),
    ).fetchall()
    assert units == [("contract", "base", 0.01)]

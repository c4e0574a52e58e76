import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tapehouse.errors import InputError
from tapehouse.ingest.sampling import Sampling, SamplingOutcome, sample_books
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.connection import Connection, connect
from tests.ingest.conftest import OpenExchange

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
EVERY = timedelta(milliseconds=250)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits={"binance": 10**9}) as sandbox:
        yield sandbox


@pytest.fixture
def connection(store_url: str, sandbox: Sandbox) -> Iterator[Connection]:
    """A connection to a store without binance; what was stored of it is renamed away afterwards."""
    with connect(store_url) as connection:
        yield connection
        connection.execute("update instrument set exchange = %s where exchange = 'binance'", (uuid4().hex,))
    sandbox.faults.clear()


def sample(
    sandbox: Sandbox,
    url: str,
    open_unlimited: OpenExchange,
    *,
    ticks: int = 8,
    symbols: list[str] = SYMBOLS,
) -> dict[str, SamplingOutcome]:
    async def run() -> list[SamplingOutcome]:
        async with open_unlimited("binance", sandbox.url) as exchange:
            return await sample_books(exchange, symbols, Sampling(5, EVERY, ticks * EVERY), database_url=url)

    return {outcome.symbol: outcome for outcome in asyncio.run(run())}


def series(connection: Connection, symbol: str, column: str) -> Any:
    row = connection.execute(
        "select (select covered from coverage c where c.series_id = s.series_id) as covered, "
        "(select range_agg(during) from unavailable u where u.series_id = s.series_id) as unavailable, "
        "(select array_agg(reasons) from quarantine q where q.series_id = s.series_id) as reasons, "
        "(select array_agg(time order by time) from order_book o where o.instrument_id = s.instrument_id) as times "
        "from series s join instrument i using (instrument_id) "
        "where i.exchange = 'binance' and i.symbol = %s and s.dataset = 'order_book'",
        (symbol,),
    ).fetchone()
    assert row is not None
    return row[["covered", "unavailable", "reasons", "times"].index(column)]


def ticks_in(multirange: Any) -> int:
    return sum((one.upper - one.lower) // EVERY for one in multirange or ())


def test_every_tick_of_every_market_is_sampled(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    outcomes = sample(sandbox, store_url, open_unlimited)
    for symbol in SYMBOLS:
        outcome = outcomes[symbol]
        assert (outcome.ticks, outcome.sampled, outcome.missed, outcome.rejected) == (8, 8, 0, 0)
        assert len(outcome.lateness_ms) == 8
        covered = series(connection, symbol, "covered")
        assert len(covered) == 1
        assert covered[0].upper - covered[0].lower == 8 * EVERY
        # Ticks are whole multiples of the interval since midnight.
        midnight = covered[0].lower.replace(hour=0, minute=0, second=0, microsecond=0)
        assert (covered[0].lower - midnight) % EVERY == timedelta(0)
        times = series(connection, symbol, "times")
        assert [(time - covered[0].lower) // EVERY for time in times] == list(range(8))


def test_a_market_that_answers_late_delays_no_other(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    sandbox.faults.add(Fault("hang", path="depth", symbol="ETH/USDT", count=1))
    outcomes = sample(sandbox, store_url, open_unlimited, ticks=16)
    assert [outcomes[symbol].missed for symbol in ("BTC/USDT", "SOL/USDT")] == [0, 0]
    late = outcomes["ETH/USDT"]
    assert late.ticks == 16
    # A request is given up after two seconds, which are eight ticks.
    assert 8 <= late.missed <= 12
    assert ticks_in(series(connection, "ETH/USDT", "unavailable")) == late.missed
    assert ticks_in(series(connection, "ETH/USDT", "covered")) == late.sampled


def test_a_book_that_makes_no_sense_is_quarantined_and_its_tick_not_covered(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    sandbox.faults.add(Fault("crossed_book", path="depth", symbol="BTC/USDT", count=2))
    outcome = sample(sandbox, store_url, open_unlimited, symbols=["BTC/USDT"])["BTC/USDT"]
    assert (outcome.sampled, outcome.rejected, outcome.inserted) == (8, 2, 6)
    assert series(connection, "BTC/USDT", "reasons") == [["crossed"]] * 2
    assert ticks_in(series(connection, "BTC/USDT", "covered")) == 6


def test_a_market_that_does_not_exist_stops_no_other(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    outcomes = sample(sandbox, store_url, open_unlimited, ticks=2, symbols=["NOPE/USDT", "BTC/USDT"])
    assert "NOPE/USDT" in str(outcomes["NOPE/USDT"].error)
    assert outcomes["BTC/USDT"].inserted == 2
    assert len(series(connection, "BTC/USDT", "times")) == 2


def test_what_was_sampled_is_written_when_it_is_stopped(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    async def run() -> None:
        async with open_unlimited("binance", sandbox.url) as exchange:
            sampling = Sampling(5, EVERY, timedelta(minutes=10))
            running = asyncio.ensure_future(sample_books(exchange, ["BTC/USDT"], sampling, database_url=store_url))
            await asyncio.sleep(2.0)
            stopped_at_s = time.monotonic()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert time.monotonic() - stopped_at_s < 2

    asyncio.run(run())
    times = series(connection, "BTC/USDT", "times")
    assert len(times) >= 4
    assert datetime.now(UTC) - times[-1] < timedelta(seconds=3)
    assert ticks_in(series(connection, "BTC/USDT", "covered")) == len(times)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth of 0"),
        ({"depth": 1001}, "1 to 1000 levels"),
        ({"every": timedelta(milliseconds=99)}, "every 100 ms"),
        ({"every": timedelta(seconds=10), "lasting": timedelta(seconds=9)}, "let it last longer"),
    ],
)
def test_a_sampling_that_makes_no_sense_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        Sampling(**options)

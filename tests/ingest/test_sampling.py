import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tapehouse.errors import InputError, RetryableError, StoreError, StoreUnreachable
from tapehouse.ingest import sampling
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
    progress: Callable[[Sequence[SamplingOutcome]], None] | None = None,
) -> dict[str, SamplingOutcome]:
    async def run() -> list[SamplingOutcome]:
        async with open_unlimited("binance", sandbox.url) as exchange:
            what = Sampling(5, EVERY, ticks * EVERY)
            return await sample_books(exchange, symbols, what, database_url=url, progress=progress)

    return {outcome.symbol: outcome for outcome in asyncio.run(run())}


def series(connection: Connection, symbol: str, column: str) -> Any:
    row = connection.execute(
        "select (select covered from coverage c where c.series_id = s.series_id) as covered, "
        "(select array_agg(reasons) from quarantine q where q.series_id = s.series_id) as reasons, "
        "(select array_agg(time order by time) from order_book o where o.instrument_id = s.instrument_id) as times "
        "from series s join instrument i using (instrument_id) "
        "where i.exchange = 'binance' and i.symbol = %s and s.dataset = 'order_book'",
        (symbol,),
    ).fetchone()
    assert row is not None
    return row[["covered", "reasons", "times"].index(column)]


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


def test_a_market_that_never_answers_failed(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    sandbox.faults.add(Fault("status", path="depth", symbol="ETH/USDT", status=503))
    outcomes = sample(sandbox, store_url, open_unlimited)
    assert (outcomes["ETH/USDT"].sampled, outcomes["ETH/USDT"].ticks) == (0, 8)
    assert isinstance(outcomes["ETH/USDT"].error, RetryableError)
    assert (outcomes["BTC/USDT"].sampled, outcomes["BTC/USDT"].error) == (8, None)


def test_what_was_sampled_is_written_when_it_is_stopped(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    async def run() -> None:
        async with open_unlimited("binance", sandbox.url) as exchange:
            long = Sampling(5, EVERY, timedelta(minutes=10))
            running = asyncio.ensure_future(sample_books(exchange, ["BTC/USDT"], long, database_url=store_url))
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


class Proxy:
    """A way to the database that can be shut and opened again."""

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._target = str(parts["host"]), int(str(parts["port"]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._is_open = True
        self.url = make_conninfo(url, host="127.0.0.1", hostaddr="127.0.0.1", port=self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        self._is_open = False
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._is_open = True

    def close(self) -> None:
        self.shut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self._is_open:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(store_url: str) -> Iterator[Proxy]:
    with closing(Proxy(store_url)) as proxy:
        yield proxy


@pytest.mark.parametrize("shut_after", [2, 8], ids=["in the middle", "at the end"])
def test_nothing_is_lost_while_the_database_is_away(
    sandbox: Sandbox,
    connection: Connection,
    open_unlimited: OpenExchange,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    shut_after: int,
):
    monkeypatch.setattr(sampling, "_FLUSH_S", 0.4)
    back = threading.Timer(1.5, proxy.open)

    def shut(outcomes: Sequence[SamplingOutcome]) -> None:
        if outcomes[0].ticks >= shut_after and back.ident is None:
            proxy.shut()
            back.start()

    outcomes = sample(sandbox, proxy.url, open_unlimited, ticks=10, progress=shut)
    back.join()
    for symbol in SYMBOLS:
        assert outcomes[symbol].inserted == outcomes[symbol].sampled >= 5
        assert len(series(connection, symbol, "times")) == outcomes[symbol].sampled
        assert ticks_in(series(connection, symbol, "covered")) == outcomes[symbol].sampled


def test_a_database_that_stays_away_ends_the_sampling(
    sandbox: Sandbox,
    connection: Connection,
    open_unlimited: OpenExchange,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sampling, "_FLUSH_S", 0.4)
    monkeypatch.setattr(sampling, "_PATIENCE_S", 1.0)
    with pytest.raises(StoreUnreachable, match="order books were not written"):
        sample(sandbox, proxy.url, open_unlimited, ticks=100, progress=lambda _: proxy.shut())


def test_what_the_database_says_of_one_market_stops_no_other(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    sample(sandbox, store_url, open_unlimited, ticks=1)
    connection.execute(
        "delete from coverage where series_id in (select series_id from series join instrument using (instrument_id) "
        "where exchange = 'binance' and symbol = 'ETH/USDT' and dataset = 'order_book')"
    )
    outcomes = sample(sandbox, store_url, open_unlimited, ticks=4)
    assert isinstance(outcomes["ETH/USDT"].error, StoreError)
    for symbol in ("BTC/USDT", "SOL/USDT"):
        # A busy machine misses ticks.
        outcome = outcomes[symbol]
        assert (outcome.error, outcome.sampled + outcome.missed) == (None, 4)
        assert outcome.inserted == outcome.sampled > 0


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
